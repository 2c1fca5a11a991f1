//! Messages: a value behind a node, of a type that the sender has checked.
//!
//! The receiver's process says which type it takes (`Header::takes`), and the sender
//! compares before it pushes, so a message that arrives is of that type.

use core::ptr::{self, NonNull};

use super::node::{SignalKind, Node};
use crate::hand::KernelCx;
use crate::memory::pool::{self, Pool};
use crate::pid::Reference;
use crate::reason::Reason;
use crate::reply::RequestHead;
use crate::reply::watch as request_watch;

/// A message.
#[derive(Debug)]
#[repr(C)]
pub struct Message<M> {
    node: Node,
    value: M,
}

/// A message that was sent through an alias: it counts only if the alias does when it
/// is fetched.
#[derive(Debug)]
#[repr(C)]
pub struct AliasMessage<M> {
    head: AliasHead,
    value: M,
}

/// What can be read of an [`AliasMessage`] without its type.
#[derive(Debug)]
#[repr(C)]
struct AliasHead {
    node: Node,
    via: Reference,
}

/// A message whose sender waits for an answer: the watch for that travels with it (`reply::request`).
#[derive(Debug)]
#[repr(C)]
pub struct Request<M> {
    head: RequestNode,
    value: M,
}

/// What can be told of a [`Request`] without its type.
#[derive(Debug)]
#[repr(C)]
struct RequestNode {
    node: Node,
    /// Null when the watch has been told.
    watch: *mut RequestHead,
}

/// The asker of a request that nobody receives learns that the process is dead.
///
/// # Safety
/// The caller holds `node` (rule N1), of kind `Request`, once, and releases it afterwards.
pub(crate) unsafe fn down(node: NonNull<Node>, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: by contract a `Request`, which starts with its head.
    let head = unsafe { &mut *node.cast::<RequestNode>().as_ptr() };
    if let Some(watch) = NonNull::new(core::mem::replace(&mut head.watch, ptr::null_mut())) {
        // SAFETY: the watch is in the node until here (Q1).
        unsafe { request_watch::down(watch, hand, reason) };
    }
}

/// The alias through which a message was sent.
///
/// # Safety
/// The caller holds `node` (rule N1), of kind `AliasMessage`.
pub unsafe fn alias_of(node: NonNull<Node>) -> Reference {
    // SAFETY: by contract an `AliasMessage`, which starts with its head.
    unsafe { (*node.cast::<AliasHead>().as_ptr()).via }
}

/// Takes the value out of a message, drops what is before it, and frees the whole. The parts one by one: as a whole it would be
/// copied first.
///
/// # Safety
/// `whole` is the caller's, has these parts, and is not used again.
#[inline(always)]
unsafe fn take_apart<W, H, V>(
    mut whole: NonNull<W>,
    parts: impl FnOnce(&mut W) -> (&mut H, &mut V),
    pool: Option<&Pool>,
) -> V {
    // SAFETY: by contract.
    let (head, value) = parts(unsafe { whole.as_mut() });
    let (head, value) = (ptr::from_mut(head), ptr::from_mut(value));
    // SAFETY: moved out here, once.
    let value = unsafe { value.read() };
    // SAFETY: likewise.
    unsafe { head.drop_in_place() };
    // SAFETY: nothing of it is left.
    unsafe { pool::free(whole, pool) };
    value
}

impl<M> Message<M> {
    /// A message's node, ready to be pushed; the value back when there is no memory.
    // Where the value is made: it is written where it goes at once.
    #[inline(always)]
    pub(crate) fn try_new(hand: &KernelCx<'_>, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` made the whole, which this node heads.
            unsafe { pool::drop_and_free(node.cast::<Message<M>>(), pool) }
        }
        let Some(node) = hand.kernel.nodes.node(SignalKind::Message, release::<M>) else { return Err(value) };
        let message = Self { node, value };
        hand.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }

    /// The value.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `Message`, with an `M`.
    pub unsafe fn peek<'a>(node: NonNull<Node>) -> &'a M {
        // SAFETY: by contract.
        unsafe { &(*node.cast::<Self>().as_ptr()).value }
    }

    /// Takes the value and frees the rest.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `Message`, with an `M`, and does not use it again.
    #[inline(always)]
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> M {
        // SAFETY: by contract a whole message that nobody else has.
        unsafe { take_apart(node.cast::<Self>(), |whole| (&mut whole.node, &mut whole.value), pool) }
    }
}

impl<M> AliasMessage<M> {
    /// As [`Message::try_new`], through the alias `via`.
    pub(crate) fn try_new(hand: &KernelCx<'_>, via: Reference, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` made the whole, which this node heads.
            unsafe { pool::drop_and_free(node.cast::<AliasMessage<M>>(), pool) }
        }
        let Some(node) = hand.kernel.nodes.node(SignalKind::AliasMessage, release::<M>) else { return Err(value) };
        let message = Self { head: AliasHead { node, via }, value };
        hand.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }

    /// The value.
    ///
    /// # Safety
    /// As for [`Message::peek`], of kind `AliasMessage`.
    pub unsafe fn peek<'a>(node: NonNull<Node>) -> &'a M {
        // SAFETY: by contract.
        unsafe { &(*node.cast::<Self>().as_ptr()).value }
    }

    /// Takes the value and frees the rest.
    ///
    /// # Safety
    /// As for [`Message::open`], of kind `AliasMessage`.
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> M {
        // SAFETY: by contract a whole message that nobody else has.
        unsafe { take_apart(node.cast::<Self>(), |whole| (&mut whole.head, &mut whole.value), pool) }
    }
}

impl<M> Request<M> {
    /// As [`Message::try_new`], with the watch.
    #[inline(always)]
    pub(crate) fn try_new(hand: &KernelCx<'_>, watch: NonNull<RequestHead>, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` made the whole, which this node heads.
            let request = unsafe { node.cast::<Request<M>>().as_ref() };
            if let Some(watch) = NonNull::new(request.head.watch) {
                // Before the message goes, with the reply in it: nobody has to ask whether the process is alive.
                // SAFETY: the watch is in the node until here (Q1).
                unsafe { request_watch::let_go(watch, pool) };
            }
            // SAFETY: as above.
            unsafe { pool::drop_and_free(node.cast::<Request<M>>(), pool) }
        }
        let Some(node) = hand.kernel.nodes.node(SignalKind::Request, release::<M>) else { return Err(value) };
        let message = Self { head: RequestNode { node, watch: watch.as_ptr() }, value };
        hand.try_new(message).map(NonNull::cast).map_err(|message| message.value)
    }

    /// The value.
    ///
    /// # Safety
    /// As for [`Message::peek`], of kind `Request`.
    pub unsafe fn peek<'a>(node: NonNull<Node>) -> &'a M {
        // SAFETY: by contract.
        unsafe { &(*node.cast::<Self>().as_ptr()).value }
    }

    /// Takes the watch and the value, and frees the rest.
    ///
    /// # Safety
    /// As for [`Message::open`], of kind `Request`, whose watch was not told.
    #[inline(always)]
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> (NonNull<RequestHead>, M) {
        // SAFETY: by contract a `Request`, which starts with its head.
        let watch = unsafe { node.cast::<RequestNode>().as_ref() }.watch;
        // SAFETY: by contract a whole request that nobody else has.
        let value = unsafe { take_apart(node.cast::<Self>(), |whole| (&mut whole.head, &mut whole.value), pool) };
        // SAFETY: by contract not told.
        (unsafe { NonNull::new_unchecked(watch) }, value)
    }
}
