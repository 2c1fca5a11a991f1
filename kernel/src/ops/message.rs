//! Making a message: its node, its place in memory and its value.

use core::mem::MaybeUninit;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::pool_box::PoolBox;
use crate::pid::Reference;
use crate::process::request_message::{Request, RequestNode};
use crate::process::request_watch::DeathWatch;
use crate::signal::message::{AliasHead, AliasMessage, Message};
use crate::signal::node::Node;
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

/// The memory of a request's message, before the message is made.
#[must_use = "the message must be made in it"]
pub(crate) struct RequestBlock<M> {
    node: Node,
    block: PoolBox<MaybeUninit<Request<M>>>,
}

impl<M: Send> RequestBlock<M> {
    /// Allocates the memory. Returns `None` if there is none.
    #[inline(always)]
    pub(crate) fn try_new(kernel_cx: &KernelCx<'_>) -> Option<Self> {
        let node = kernel_cx.kernel.nodes.node_of::<Request<M>>()?;
        let block = PoolBox::try_uninit(kernel_cx.pool()).ok()?;
        Some(Self { node, block })
    }

    /// Makes the message, ready to push, with the watch, which is released if `make` panics. `make`
    /// writes the value in its final place: a value that lies elsewhere would be copied, and the
    /// copy would wait for its parts to be stored.
    #[inline(always)]
    pub(crate) fn fill(self, watch: DeathWatch, make: impl FnOnce() -> M) -> PoolBox<Request<M>> {
        let Self { node, mut block } = self;
        let place = (*block).as_mut_ptr();
        let value = make();
        // SAFETY: B1 (`pool_box`): the block is this function's, and has the layout of a request.
        let message = unsafe { &raw mut (*place).value };
        // SAFETY: B1, as above.
        unsafe { message.write(value) };
        // SAFETY: B1, as above.
        let head = unsafe { &raw mut (*place).head };
        // SAFETY: B1, as above.
        unsafe { head.write(RequestNode { node, watch: Cell::new(Some(watch)) }) };
        // SAFETY: B1: the lines above wrote both fields.
        unsafe { PoolBox::from_raw(block.into_raw().cast()) }
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
