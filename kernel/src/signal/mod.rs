//! Signals: everything that a process learns from outside.

pub(crate) mod ask;
pub(crate) mod exit_signal;
pub mod message;
pub mod node;
pub mod queue;
