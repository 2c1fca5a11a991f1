//! Messages: a value behind a node, of a type that the sender has checked.
//!
//! The receiver's process declares which type it takes (`BodyVtable::takes`), and the sender
//! compares the types before it pushes. So a message that arrives has that type.

use core::ptr::{self, NonNull};

use crate::memory::pool::{self, Pool};
use crate::pid::Reference;
use crate::signal::node::Node;

/// A message: a node and its value.
#[derive(Debug)]
#[repr(C)]
pub struct Message<M> {
    pub(crate) node: Node,
    pub(crate) value: M,
}

/// A message that was sent through an alias: it is received only if the alias is in force when the
/// message is fetched.
#[derive(Debug)]
#[repr(C)]
pub struct AliasMessage<M> {
    pub(crate) head: AliasHead,
    pub(crate) value: M,
}

/// The part of an [`AliasMessage`] that can be read without its type.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct AliasHead {
    pub(crate) node: Node,
    pub(crate) via: Reference,
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
pub(crate) unsafe fn into_parts<W, H, V>(
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
        unsafe { into_parts(node.cast::<Self>(), |whole| (&mut whole.node, &mut whole.value), pool) }
    }
}

impl<M> AliasMessage<M> {
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
        unsafe { into_parts(node.cast::<Self>(), |whole| (&mut whole.head, &mut whole.value), pool) }
    }
}
