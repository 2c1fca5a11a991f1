//! OTP's rules as a plain sequential model, and random programs that compare the kernel with it.
//!
//! A [`Program`] is decoded from bytes, so that a fuzzer and a property test share one format.
//! [`run`] performs it on the real kernel, on one to three simulated cores (`atropos-sim`).
//! The driver reports every action and every receipt of a process to the [`model`] as it happens.
//! The kernel decides which process runs when; the model decides what the process must see.
//!
//! # Map
//!
//! | module | contents |
//! | --- | --- |
//! | [`model`] | the rules for processes, their inboxes, links, monitors, names and aliases: begin here |
//! | [`model::timers`] | the rules with time in them |
//! | [`model::claims`] | compares the kernel's results with what the rules allow |
//! | [`program`] | the operations, and their encoding as bytes |
//! | [`judge`] | the model, the comparisons' outcome and the letters, for all processes of a program |
//! | [`actor`] | the body that all processes run: it follows orders and reports to the judge |
//! | [`play`] | performs a program; at its end it checks the live processes, the leaks and the memory |
//!
//! On one thread all signals have one total order, so the model is exact: a process must receive
//! precisely the signals that reached it, in that order. Only what the rules leave open stays open:
//! when a core resumes a process, in which order several DOWNs of one death arrive, and how long
//! after its due time a timer's message arrives.

pub mod actor;
pub mod judge;
pub mod model;
pub mod play;
pub mod program;

pub use play::run;
pub use program::Program;
