//! The message of a request, [`Request`]: a message with the watch by which its sender learns of
//! the receiver's death.

use core::ptr::{self, NonNull};

use crate::memory::pool::Pool;
use crate::process::request_cell::RequestHead;
use crate::signal::message::into_parts;
use crate::signal::node::Node;

/// A message whose sender waits for an answer: the watch for it travels with the message
/// (`ops::request`).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Request<M> {
    pub(crate) head: RequestNode,
    pub(crate) value: M,
}

/// The part of a [`Request`] that can be read without its type.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct RequestNode {
    pub(crate) node: Node,
    /// Null when the watch has reported a death.
    pub(crate) watch: *mut RequestHead,
}

/// Takes the watch out of an unreceived request. Returns `None` if it was taken before.
///
/// # Safety
/// The caller holds `node` (rule N1), of kind `Request`.
pub(crate) unsafe fn take_watch(node: NonNull<Node>) -> Option<NonNull<RequestHead>> {
    // SAFETY: N1: the caller holds a `Request`'s node (this function's contract); its head comes
    // first.
    let head = unsafe { &mut *node.cast::<RequestNode>().as_ptr() };
    NonNull::new(core::mem::replace(&mut head.watch, ptr::null_mut()))
}

impl<M> Request<M> {
    /// Returns a reference to the value.
    ///
    /// # Safety
    /// As for [`Message::peek`](crate::signal::message::Message::peek), of kind `Request`.
    pub(crate) unsafe fn peek<'a>(node: NonNull<Node>) -> &'a M {
        // SAFETY: N1: the caller holds the node, which heads a `Request<M>` (this function's
        // contract).
        unsafe { &(*node.cast::<Self>().as_ptr()).value }
    }

    /// Moves the watch and the value out, and frees the rest.
    ///
    /// # Safety
    /// As for [`Message::open`](crate::signal::message::Message::open), of kind `Request`, whose
    /// watch has not reported a death.
    #[inline(always)]
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> (NonNull<RequestHead>, M) {
        // SAFETY: N1: the caller holds a `Request`'s node (this function's contract); its head
        // comes first.
        let watch = unsafe { node.cast::<RequestNode>().as_ref() }.watch;
        // SAFETY: N1: the caller holds the node, which heads a `Request<M>` (this function's
        // contract).
        let value = unsafe { into_parts(node.cast::<Self>(), |whole| (&mut whole.head, &mut whole.value), pool) };
        // SAFETY: the watch has not reported a death (this function's contract), so it is not null.
        (unsafe { NonNull::new_unchecked(watch) }, value)
    }
}
