//! The cases of `supervisor.jsonl`: real supervisors with scripted children.
//!
//! [`case`] is the format of a case, [`log`] the sequence of events, [`tree`] the supervisors and
//! workers, and [`controller`] performs the ops.

pub mod case;
pub mod controller;
pub mod log;
pub mod tree;
