//! [`SendTarget`]: a process, as the caller of an operation names it.

use crate::pid::Pid;

/// The target of a timer or a monitor.
#[derive(Clone, Copy, Debug)]
pub enum SendTarget<'a> {
    /// A process.
    Pid(Pid),
    /// The process that has the name: for a timer, when the timer is due; for a monitor, now.
    Name(&'a str),
}

impl From<Pid> for SendTarget<'_> {
    fn from(pid: Pid) -> Self {
        Self::Pid(pid)
    }
}

impl<'a> From<&'a str> for SendTarget<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}
