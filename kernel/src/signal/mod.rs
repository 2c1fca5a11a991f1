//! Signals: everything that a process learns from outside.

pub mod ask;
pub mod exit_signal;
pub mod message;
pub mod node;
pub mod queue;
