//! Messages: a value behind a node, of a type that the sender has checked.
//!
//! The receiver's process says which type it takes (`Header::takes`), and the sender
//! compares before it pushes, so a message that arrives is of that type.

use core::ptr::NonNull;

use super::node::{Kind, Node};
use crate::hand::Hand;
use crate::memory::pool::{self, Pool};
use crate::pid::Reference;

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

/// The alias through which a message was sent.
///
/// # Safety
/// The caller holds `node` (rule N1), of kind `AliasMessage`.
pub unsafe fn alias_of(node: NonNull<Node>) -> Reference {
    // SAFETY: by contract an `AliasMessage`, which starts with its head.
    unsafe { (*node.cast::<AliasHead>().as_ptr()).via }
}

impl<M> Message<M> {
    /// A message's node, ready to be pushed; the value back when there is no memory.
    pub(crate) fn try_new(hand: &Hand<'_>, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` made the whole, which this node heads.
            unsafe { pool::drop_and_free(node.cast::<Message<M>>(), pool) }
        }
        let Some(node) = hand.kernel.nodes.node(Kind::Message, release::<M>) else { return Err(value) };
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
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> M {
        // SAFETY: by contract a whole message that nobody else has.
        let message = unsafe { node.cast::<Self>().read() };
        // SAFETY: moved out above.
        unsafe { pool::free(node.cast::<Self>(), pool) };
        message.value
    }
}

impl<M> AliasMessage<M> {
    /// As [`Message::try_new`], through the alias `via`.
    pub(crate) fn try_new(hand: &Hand<'_>, via: Reference, value: M) -> Result<NonNull<Node>, M> {
        unsafe fn release<M>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: `try_new` made the whole, which this node heads.
            unsafe { pool::drop_and_free(node.cast::<AliasMessage<M>>(), pool) }
        }
        let Some(node) = hand.kernel.nodes.node(Kind::AliasMessage, release::<M>) else { return Err(value) };
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
        let message = unsafe { node.cast::<Self>().read() };
        // SAFETY: moved out above.
        unsafe { pool::free(node.cast::<Self>(), pool) };
        message.value
    }
}
