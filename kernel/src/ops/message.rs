//! Making a message: its node, its place in memory and its value.

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::pool::{self, Pool};
use crate::pid::Reference;
use crate::process::request_cell::RequestHead;
use crate::process::request_message::{Request, RequestNode};
use crate::process::request_watch;
use crate::signal::message::{AliasHead, AliasMessage, Message};
use crate::signal::node::{Node, SignalKind};

impl<M> Message<M> {
    /// Allocates a message's node, ready to push. Returns the value if there is no memory.
    // Inlined where the value is made: it is written directly to its final place.
    #[inline(always)]
    pub(crate) fn try_new(kernel_cx: &KernelCx<'_>, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` allocated the message that this node heads.
            unsafe { pool::drop_and_free(node.cast::<Message<M>>(), pool) }
        }
        let Some(node) = kernel_cx.kernel.nodes.node(SignalKind::Message, release::<M>) else { return Err(value) };
        let message = Self { node, value };
        kernel_cx.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }
}

impl<M> AliasMessage<M> {
    /// Allocates a message as [`Message::try_new`] does, sent through the alias `via`.
    pub(crate) fn try_new(kernel_cx: &KernelCx<'_>, via: Reference, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` allocated the message that this node heads.
            unsafe { pool::drop_and_free(node.cast::<AliasMessage<M>>(), pool) }
        }
        let Some(node) = kernel_cx.kernel.nodes.node(SignalKind::AliasMessage, release::<M>) else { return Err(value) };
        let message = Self { head: AliasHead { node, via }, value };
        kernel_cx.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }
}

impl<M> Request<M> {
    /// Allocates a message as [`Message::try_new`] does, with the watch.
    #[inline(always)]
    pub(crate) fn try_new(kernel_cx: &KernelCx<'_>, watch: NonNull<RequestHead>, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` allocated the request that this node heads.
            let request = unsafe { node.cast::<Request<M>>().as_ref() };
            if let Some(watch) = NonNull::new(request.head.watch) {
                // Before the message and the reply in it are dropped: so the requester need not
                // check if the process is alive.
                // SAFETY: Q1: the watch is in the node until here.
                unsafe { request_watch::let_go(watch, pool) };
            }
            // SAFETY: `try_new` allocated the request that this node heads.
            unsafe { pool::drop_and_free(node.cast::<Request<M>>(), pool) }
        }
        let Some(node) = kernel_cx.kernel.nodes.node(SignalKind::Request, release::<M>) else { return Err(value) };
        let message = Self { head: RequestNode { node, watch: watch.as_ptr() }, value };
        kernel_cx.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }
}
