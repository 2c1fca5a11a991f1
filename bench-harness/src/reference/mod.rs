//! The kernel against a plain sequential model of OTP's rules.
//!
//! A [`program::Program`] is decoded from bytes, so that a fuzzer and a property test drive the same thing. [`run`]
//! performs it on the real kernel, stepped on one thread with one to three cores, and every act and every receipt of
//! a process is told to the [`model`] as it happens: the kernel decides who runs when, the model what they must see.
//!
//! - [`program`]: what is done, and how bytes say it.
//! - [`model`]: the rules: processes, their inboxes, links, monitors, names, aliases. [`claims`] is the part that
//!   compares what the kernel said with what the rules allow; [`timers`] the part that has time in it.
//! - [`judge`]: the model, what was held against it, and the letters, for all processes of a program.
//! - [`actor`]: the body that all processes run: it does what it is told and tells the judge.
//! - [`world`]: performs a program, and at its end looks at who is left, what is left, and what memory.
//!
//! On one thread everything that is sent has a place in one order, so the model is exact: a process must receive
//! precisely the signals that reached it, in that order. What stays open are the things that the rules leave open: when
//! a core turns to a process, in which order several DOWNs of one death come, and when after its time a timer comes.

pub mod actor;
pub mod claims;
pub mod judge;
pub mod model;
pub mod program;
pub mod timers;
pub mod world;

pub use program::Program;
pub use world::run;
