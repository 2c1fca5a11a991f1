//! Messages: a value behind a node, of a type that the sender has checked.
//!
//! The receiver's process declares which type it takes (`BodyVtable::takes`), and the sender
//! compares the types before it pushes. So a message that arrives has that type.

use core::ptr::{self, NonNull};

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::pool::{self, Pool};
use crate::ops::request::RequestHead;
use crate::pid::Reference;
use crate::process::request_watch;
use crate::reason::Reason;
use crate::signal::node::{Node, SignalKind};

/// A message: a node and its value.
#[derive(Debug)]
#[repr(C)]
pub struct Message<M> {
    node: Node,
    value: M,
}

/// A message that was sent through an alias: it is received only if the alias is in force when the
/// message is fetched.
#[derive(Debug)]
#[repr(C)]
pub struct AliasMessage<M> {
    head: AliasHead,
    value: M,
}

/// The part of an [`AliasMessage`] that can be read without its type.
#[derive(Debug)]
#[repr(C)]
struct AliasHead {
    node: Node,
    via: Reference,
}

/// A message whose sender waits for an answer: the watch for it travels with the message
/// (`reply::request`).
#[derive(Debug)]
#[repr(C)]
pub struct Request<M> {
    head: RequestNode,
    value: M,
}

/// The part of a [`Request`] that can be read without its type.
#[derive(Debug)]
#[repr(C)]
struct RequestNode {
    node: Node,
    /// Null when the watch has reported a death.
    watch: *mut RequestHead,
}

/// Notifies the requester of an unreceived request that the process is dead.
///
/// # Safety
/// The caller holds `node` (rule N1), of kind `Request`, once, and releases it afterwards.
pub(crate) unsafe fn down(node: NonNull<Node>, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: N1: the caller holds a `Request`'s node (this function's contract); its head comes
    // first.
    let head = unsafe { &mut *node.cast::<RequestNode>().as_ptr() };
    if let Some(watch) = NonNull::new(core::mem::replace(&mut head.watch, ptr::null_mut())) {
        // SAFETY: Q1: the watch is in the node until here.
        unsafe { request_watch::down(watch, hand, reason) };
    }
}

/// Returns the alias through which a message was sent.
///
/// # Safety
/// The caller holds `node` (rule N1), of kind `AliasMessage`.
pub unsafe fn alias_of(node: NonNull<Node>) -> Reference {
    // SAFETY: N1: the caller holds an `AliasMessage`'s node (this function's contract); its head
    // comes first.
    unsafe { (*node.cast::<AliasHead>().as_ptr()).via }
}

/// Moves the value out of a message, drops the head before it, and frees the whole. It handles the
/// parts one by one: as a whole the message would be copied first.
///
/// # Safety
/// The caller owns `whole`, which has these parts, and does not use it again.
#[inline(always)]
unsafe fn take_apart<W, H, V>(
    mut whole: NonNull<W>,
    parts: impl FnOnce(&mut W) -> (&mut H, &mut V),
    pool: Option<&Pool>,
) -> V {
    // SAFETY: the caller owns `whole` (this function's contract).
    let (head, value) = parts(unsafe { whole.as_mut() });
    let (head, value) = (ptr::from_mut(head), ptr::from_mut(value));
    // SAFETY: moved out here, once.
    let value = unsafe { value.read() };
    // SAFETY: the caller owns the whole; dropped here, once.
    unsafe { head.drop_in_place() };
    // SAFETY: both parts are moved out or dropped; not used again.
    unsafe { pool::free(whole, pool) };
    value
}

impl<M> Message<M> {
    /// Allocates a message's node, ready to push. Returns the value if there is no memory.
    // Inlined where the value is made: it is written directly to its final place.
    #[inline(always)]
    pub(crate) fn try_new(hand: &KernelCx<'_>, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` allocated the message that this node heads.
            unsafe { pool::drop_and_free(node.cast::<Message<M>>(), pool) }
        }
        let Some(node) = hand.kernel.nodes.node(SignalKind::Message, release::<M>) else { return Err(value) };
        let message = Self { node, value };
        hand.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }

    /// Returns a reference to the value.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `Message`, with an `M`.
    pub unsafe fn peek<'a>(node: NonNull<Node>) -> &'a M {
        // SAFETY: N1: the caller holds the node, which heads a `Message<M>` (this function's
        // contract).
        unsafe { &(*node.cast::<Self>().as_ptr()).value }
    }

    /// Moves the value out and frees the rest.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `Message`, with an `M`, and does not use it
    /// again.
    #[inline(always)]
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> M {
        // SAFETY: N1: the caller holds the node, which heads a `Message<M>` (this function's
        // contract).
        unsafe { take_apart(node.cast::<Self>(), |whole| (&mut whole.node, &mut whole.value), pool) }
    }
}

impl<M> AliasMessage<M> {
    /// Allocates a message as [`Message::try_new`] does, sent through the alias `via`.
    pub(crate) fn try_new(hand: &KernelCx<'_>, via: Reference, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` allocated the message that this node heads.
            unsafe { pool::drop_and_free(node.cast::<AliasMessage<M>>(), pool) }
        }
        let Some(node) = hand.kernel.nodes.node(SignalKind::AliasMessage, release::<M>) else { return Err(value) };
        let message = Self { head: AliasHead { node, via }, value };
        hand.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }

    /// Returns a reference to the value.
    ///
    /// # Safety
    /// As for [`Message::peek`], of kind `AliasMessage`.
    pub unsafe fn peek<'a>(node: NonNull<Node>) -> &'a M {
        // SAFETY: N1: the caller holds the node, which heads an `AliasMessage<M>` (this function's
        // contract).
        unsafe { &(*node.cast::<Self>().as_ptr()).value }
    }

    /// Moves the value out and frees the rest.
    ///
    /// # Safety
    /// As for [`Message::open`], of kind `AliasMessage`.
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> M {
        // SAFETY: N1: the caller holds the node, which heads an `AliasMessage<M>` (this function's
        // contract).
        unsafe { take_apart(node.cast::<Self>(), |whole| (&mut whole.head, &mut whole.value), pool) }
    }
}

impl<M> Request<M> {
    /// Allocates a message as [`Message::try_new`] does, with the watch.
    #[inline(always)]
    pub(crate) fn try_new(hand: &KernelCx<'_>, watch: NonNull<RequestHead>, value: M) -> Result<NonNull<Node>, M> {
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
        let Some(node) = hand.kernel.nodes.node(SignalKind::Request, release::<M>) else { return Err(value) };
        let message = Self { head: RequestNode { node, watch: watch.as_ptr() }, value };
        hand.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }

    /// Returns a reference to the value.
    ///
    /// # Safety
    /// As for [`Message::peek`], of kind `Request`.
    pub unsafe fn peek<'a>(node: NonNull<Node>) -> &'a M {
        // SAFETY: N1: the caller holds the node, which heads a `Request<M>` (this function's
        // contract).
        unsafe { &(*node.cast::<Self>().as_ptr()).value }
    }

    /// Moves the watch and the value out, and frees the rest.
    ///
    /// # Safety
    /// As for [`Message::open`], of kind `Request`, whose watch has not reported a death.
    #[inline(always)]
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> (NonNull<RequestHead>, M) {
        // SAFETY: N1: the caller holds a `Request`'s node (this function's contract); its head
        // comes first.
        let watch = unsafe { node.cast::<RequestNode>().as_ref() }.watch;
        // SAFETY: N1: the caller holds the node, which heads a `Request<M>` (this function's
        // contract).
        let value = unsafe { take_apart(node.cast::<Self>(), |whole| (&mut whole.head, &mut whole.value), pool) };
        // SAFETY: the watch has not reported a death (this function's contract), so it is not null.
        (unsafe { NonNull::new_unchecked(watch) }, value)
    }
}
