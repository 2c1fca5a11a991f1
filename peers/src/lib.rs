//! Other systems on the workloads of `atropos-bench`: the same sizes, the same checks, the same
//! line of JSON.
//!
//! A [`System`] is what such a library offers: processes that handle messages, and a way to send
//! them. What the processes do is written once ([`role`]), and so are the workloads that need no
//! more ([`common`]). A driver binds them to its library, and adds the library's other features:
//! calls, links, monitors, timers. A workload for which a library has no feature is reported as
//! unsupported, and is not built on top of the library here.
//!
//! A role's step is a future, because some libraries start processes asynchronously. In the other
//! libraries it is ready at once.

pub mod common;
pub mod driver;
pub mod role;
pub mod system;

pub use driver::{Special, drive};
pub use role::{Flow, Message, Role};
pub use system::{System, ready};
