//! Operations: what happens to a process. They act on the words and records of `process`, and on
//! what the cores share (`kernel`).

pub(crate) mod drain;
pub(crate) mod exit;
pub(crate) mod exit_inline;
pub(crate) mod exit_signal;
pub(crate) mod host_watch;
pub(crate) mod info;
pub(crate) mod limit;
pub(crate) mod message;
pub(crate) mod owner_op;
pub(crate) mod query;
pub(crate) mod received;
pub(crate) mod relations;
pub(crate) mod request;
pub(crate) mod send;
pub(crate) mod signal;
pub(crate) mod spawn;
pub(crate) mod teardown;
pub(crate) mod timer;
pub(crate) mod timer_outcome;
pub(crate) mod waiters;
pub(crate) mod waker;
