//! Atropos on simulated cores: the platform on which the workspace tests its kernel.
//!
//! [`Sim`] is a kernel whose cores one thread steps. A seed decides which core runs next and for
//! how many slices, and time is virtual, so the same seed gives the same run. A test that needs
//! another arrangement (loom's threads, shuttle's threads, one core that is counted) creates its
//! own kernel on [`SimPlatform`]. That is the only `unsafe impl Platform` outside the adapters and
//! the kernel's own unit tests.
//!
//! # Map
//!
//! | module | contents |
//! | --- | --- |
//! | `sim` | [`Sim`]: steps, virtual time, and [`Stuck`], the report of cores that cannot go on |
//! | `platform` | [`SimPlatform`]: the kernel's platform over a safe trait, [`Environment`] |
//! | `environment` | [`VirtualEnvironment`]: virtual time, counted wakes, caught panics |
//! | `current_slot` | the place of a thread's current slice: a thread-local of `std`, loom or shuttle |
//! | `panics` | panics as exit reasons, and panics on purpose: [`crash`] |
//! | `leaks` | what dead processes have left in their kernel: [`Leaks`] |
//! | `leak_on_panic` | values that a failed test must not drop: [`LeakOnPanic`] |
//! | `closure_body` | a body that is a closure: [`body`] |
//!
//! Under `--cfg loom` and `--cfg shuttle` only `current_slot` differs, because loom and shuttle
//! bring their own threads. Without the feature `epoch` the kernel is the one of a single hart.

mod closure_body;
mod current_slot;
mod environment;
mod leak_on_panic;
mod leaks;
mod panics;
mod platform;
mod sim;

pub use closure_body::{ClosureBody, body};
pub use current_slot::is_in_slice;
pub use environment::{VirtualEnvironment, VirtualPlatform};
pub use leak_on_panic::LeakOnPanic;
pub use leaks::Leaks;
pub use panics::{NO_TEXT, crash};
pub use platform::{Environment, SimPlatform};
pub use sim::{Sim, Stuck};
