//! [`System`]: what a library of processes offers.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::role::{Message, Role};

/// A library of processes. Cheap to clone.
pub trait System: Clone + Send + Sync + Sized + 'static {
    /// The address of a process.
    type Address: Clone + Send + Sync + 'static;

    /// Starts a process that plays a role.
    fn start(&self, role: Role<Self>) -> impl Future<Output = Self::Address> + Send;

    /// Starts a process that runs a closure and ends.
    fn once(&self, job: impl FnOnce() + Send + Sync + 'static) -> impl Future<Output = ()> + Send;

    /// Sends a message to a live process.
    fn send(&self, to: &Self::Address, message: Message<Self::Address>);

    /// Returns the number of live processes, or a larger number.
    fn alive(&self) -> u64;

    /// Lets other processes run between pieces of long work, where a process can do so within a
    /// step.
    fn breathe(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Returns the value of a future that is ready at once.
///
/// # Panics
/// Panics if the future is pending.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a step waited in a system whose steps cannot"),
    }
}
