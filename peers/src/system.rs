//! What a library of processes offers: [`System`].

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::role::{Message, Role};

/// See the module. Cheap to clone.
pub trait System: Clone + Send + Sync + Sized + 'static {
    /// What a message is sent to.
    type Address: Clone + Send + Sync + 'static;

    /// Starts a process that plays a role.
    fn start(&self, role: Role<Self>) -> impl Future<Output = Self::Address> + Send;

    /// Starts a process that does this and ends.
    fn once(&self, job: impl FnOnce() + Send + Sync + 'static) -> impl Future<Output = ()> + Send;

    /// Sends a message to a process that lives.
    fn send(&self, to: &Self::Address, message: Message<Self::Address>);

    /// How many processes are alive, at least those that are.
    fn alive(&self) -> u64;

    /// Between pieces of long work: lets others run where a process can, within a step.
    fn breathe(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What a future gives that is ready at once.
///
/// # Panics
/// When it is not.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a step waited in a system whose steps cannot"),
    }
}
