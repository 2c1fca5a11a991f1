//! The cases of `supervisor.jsonl`: real supervisors with scripted children.
//!
//! [`case`] is what a case says, [`log`] what has happened, in the order in which it did, [`tree`] the supervisors and
//! workers, [`controller`] performs the ops.

pub mod case;
pub mod controller;
pub mod log;
pub mod tree;
