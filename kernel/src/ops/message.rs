//! Making a message: its node, its place in memory and its value.

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::pool_box::PoolBox;
use crate::pid::Reference;
use crate::process::request_message::{Request, RequestNode};
use crate::process::request_watch::DeathWatch;
use crate::signal::message::{AliasHead, AliasMessage, Message};
use crate::sync::Cell;

impl<M: Send> Message<M> {
    /// Allocates a message, ready to push. Returns the value if there is no memory.
    // Inlined where the value is made: it is written directly to its final place.
    #[inline(always)]
    pub(crate) fn try_new(kernel_cx: &KernelCx<'_>, value: M) -> Result<PoolBox<Self>, M> {
        let Some(node) = kernel_cx.kernel.nodes.node_of::<Self>() else { return Err(value) };
        kernel_cx.try_new(Self { node, value }).map_err(|message| message.value)
    }
}

impl<M: Send> AliasMessage<M> {
    /// Allocates a message as [`Message::try_new`] does, sent through the alias `via`.
    pub(crate) fn try_new(kernel_cx: &KernelCx<'_>, via: Reference, value: M) -> Result<PoolBox<Self>, M> {
        let Some(node) = kernel_cx.kernel.nodes.node_of::<Self>() else { return Err(value) };
        kernel_cx.try_new(Self { head: AliasHead { node, via }, value }).map_err(|message| message.value)
    }
}

impl<M: Send> Request<M> {
    /// Allocates a message as [`Message::try_new`] does, with the watch, which is released if there
    /// is no memory.
    #[inline(always)]
    pub(crate) fn try_new(kernel_cx: &KernelCx<'_>, watch: DeathWatch, value: M) -> Result<PoolBox<Self>, M> {
        let Some(node) = kernel_cx.kernel.nodes.node_of::<Self>() else { return Err(value) };
        let head = RequestNode { node, watch: Cell::new(Some(watch)) };
        kernel_cx.try_new(Self { head, value }).map_err(|message| message.value)
    }
}
