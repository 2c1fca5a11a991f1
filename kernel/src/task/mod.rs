//! Async bodies: a future as a process.
//!
//! The future and its process are one allocation, and the future never moves: it is made
//! in place by the first slice ([`future`]). What it asks of the kernel it asks through its
//! [`Context`]; a waker ([`waker`]) is a signal to the process like any other.

pub mod context;
pub mod future;
pub mod receive;
pub mod waiting;
pub mod waker;

pub use context::Context;
pub use future::{Exit, Returned};
