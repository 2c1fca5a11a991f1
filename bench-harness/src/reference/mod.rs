//! Model-based tests: the kernel compared with a plain sequential model of OTP's rules.
//!
//! A [`program::Program`] is decoded from bytes, so that a fuzzer and a property test share one
//! format. [`run`] performs it on the real kernel, stepped on one thread with one to three cores.
//! The driver reports every action and every receipt of a process to the [`model`] as it happens.
//! The kernel decides which process runs when; the model decides what the process must see.
//!
//! - [`program`]: the operations, and their encoding as bytes.
//! - [`model`]: the rules for processes, their inboxes, links, monitors, names and aliases.
//!   [`claims`] compares the kernel's results with what the rules allow, and [`timers`] is the part
//!   with time in it.
//! - [`judge`]: the model, the comparisons' outcome and the letters, for all processes of a
//!   program.
//! - [`actor`]: the body that all processes run. It follows orders and reports to the judge.
//! - [`world`]: performs a program. At its end it checks the live processes, the other remains
//!   and the memory.
//!
//! On one thread all signals have one total order, so the model is exact: a process must receive
//! precisely the signals that reached it, in that order. Only what the rules leave open stays open:
//! when a core resumes a process, in which order several DOWNs of one death arrive, and how long
//! after its due time a timer's message arrives.

pub mod actor;
pub mod claims;
pub mod judge;
pub mod model;
pub mod program;
pub mod timers;
pub mod world;

pub use program::Program;
pub use world::run;
