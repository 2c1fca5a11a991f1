//! Async bodies: a future as a process.
//!
//! The future and its process are one allocation, and the future never moves: it is made
//! in place by the first slice ([`future`]). What it asks of the kernel it asks through its
//! [`Context`]; a waker ([`waker`]) is a signal to the process like any other. A future that is
//! polled with another waker than its process's, by a combinator that polls only what was woken,
//! leaves it with the process ([`waiters`]). One rule says when a future must let the others run ([`coop`]).

pub mod context;
pub mod coop;
pub mod future;
pub mod receive;
pub(crate) mod waiters;
pub mod waiting;
pub mod waker;

pub use context::Context;
pub use future::{IntoReason, Returned};
