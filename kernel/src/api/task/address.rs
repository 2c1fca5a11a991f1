//! [`Address`]: a pid with the type of the messages that its process takes.

use core::fmt;
use core::marker::PhantomData;

use crate::pid::Pid;
use crate::signal::target::SendTarget;

/// A pid that is known to take `M`.
pub struct Address<M> {
    pid: Pid,
    takes: PhantomData<fn(M)>,
}

impl<M> Address<M> {
    /// Creates the address of a process that the caller knows to take `M`. Sending checks the type
    /// again.
    pub const fn new(pid: Pid) -> Self {
        Self { pid, takes: PhantomData }
    }

    /// Returns the pid of the process.
    pub const fn pid(self) -> Pid {
        self.pid
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Address<M> {}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid
    }
}

impl<M> Eq for Address<M> {}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.pid, f)
    }
}

impl<M> From<Address<M>> for Pid {
    fn from(address: Address<M>) -> Self {
        address.pid
    }
}

impl<M> From<Address<M>> for SendTarget<'_> {
    fn from(address: Address<M>) -> Self {
        Self::Pid(address.pid)
    }
}

/// A target for a message of type `N`: a pid takes any type (and checks it), an address its own.
pub trait Recipient<N> {
    /// Returns the pid of the process.
    fn recipient(self) -> Pid;
}

impl<N> Recipient<N> for Pid {
    fn recipient(self) -> Pid {
        self
    }
}

impl<N> Recipient<N> for Address<N> {
    fn recipient(self) -> Pid {
        self.pid
    }
}
