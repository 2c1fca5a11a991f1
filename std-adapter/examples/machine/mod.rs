//! A bytecode machine whose processes are processes of Atropos: what a runtime with an interpreter of its own has to write.
//!
//! [`assembler`] turns a text into a [`program`]; [`process`] is a process that interprets it, a `Body` that counts reductions
//! and is preempted every so many instructions; [`services`] are the facilities that its instructions call; [`storm`] is the
//! demonstration: thousands of them, half of them busy loops, are killed while async processes go on answering.
//!
//! The kernel knows nothing of it, and it knows nothing of the kernel but `Body`, `Cx` and the facilities.
#![allow(dead_code, reason = "the example and its test use different parts")]

pub(crate) mod assembler;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod services;
pub(crate) mod storm;
pub(crate) mod value;
