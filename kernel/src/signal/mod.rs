//! Signals: everything that reaches a process from outside.

pub(crate) mod exit_signal;
pub mod held;
pub mod message;
pub mod node;
pub(crate) mod target;
