//! A bytecode machine whose processes are Atropos processes: what a runtime with an interpreter of
//! its own has to write.
//!
//! [`assembler`] turns a text into a [`program`]. [`process`] is a process that interprets it: a
//! `Body` that counts reductions and is preempted after a number of instructions. [`services`] are
//! the facilities that its instructions call. [`storm`] is the demonstration: thousands of such
//! processes, half of them busy loops, are killed while async processes go on answering.
//!
//! The kernel knows nothing of the machine, and the machine uses nothing of the kernel but `Body`,
//! `Cx` and the facilities.
#![allow(dead_code, reason = "the example and its test use different parts")]

pub(crate) mod assembler;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod services;
pub(crate) mod storm;
pub(crate) mod value;
