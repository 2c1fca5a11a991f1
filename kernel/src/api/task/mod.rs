//! Async bodies: a future as a process.
//!
//! The future and its process are one allocation, and the future never moves: the first slice makes
//! it in place ([`future`]). It uses the kernel through its [`Context`]. A waker (`ops::waker`)
//! sends the process a signal like any other. A combinator that polls only woken futures polls them
//! with wakers of its own, which the futures leave with the process (`process::waiters`). One rule
//! decides when a future must let other processes run ([`coop`]).

pub mod address;
pub mod context;
pub mod coop;
pub mod future;
pub mod panic_scope;
pub mod receive;
pub mod send_wait;

pub use crate::api::task::context::Context;
pub use crate::api::task::future::{IntoReason, WithResult};
