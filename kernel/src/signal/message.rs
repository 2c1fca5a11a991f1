//! Messages: a value behind a node, of a type that the sender has checked.
//!
//! The receiver's process declares which type it takes (`BodyVtable::takes`), and the sender
//! compares the types before it pushes. So a message that arrives has that type: the receiver's
//! queue holds `Mail` of that type, and signals without a value.

use alloc::boxed::Box;
use core::any::Any;
use core::marker::PhantomData;
use core::ptr;

use crate::memory::pool::{self, Pool};
use crate::memory::pool_box::PoolBox;
use crate::pid::Reference;
use crate::signal::held::{BoxedSignal, Headed, HeldNode, NodeRef};
use crate::signal::node::{Node, SignalKind};

/// A message of any type. A process that takes these takes messages of all types: the kernel puts
/// each one that is not an `AnyMessage` into a box.
pub type AnyMessage = Box<dyn Any + Send>;

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
pub struct AliasHead {
    pub(crate) node: Node,
    /// The alias that the message came through.
    pub via: Reference,
}

// SAFETY: `repr(C)`, and the node is first. `Message::try_new` makes it for this type, whose value
// is `Send`.
unsafe impl<M: Send> BoxedSignal for Message<M> {
    const KIND: SignalKind = SignalKind::Message;
}

// SAFETY: `repr(C)`, and the head is first, with the node first. `AliasMessage::try_new` makes it
// for this type, whose value is `Send`.
unsafe impl<M: Send> BoxedSignal for AliasMessage<M> {
    const KIND: SignalKind = SignalKind::AliasMessage;
}

// SAFETY: `repr(C)`, and the node is first. Nodes of this kind are those of an `AliasMessage`,
// which starts with this head. Its holder owns it.
unsafe impl Headed for AliasHead {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::AliasMessage
    }
}

/// A signal that carries a message behind a head.
///
/// # Safety
/// A [`Mail`] with messages of the type [`Carrier::Message`], whose node is of this kind, heads a
/// `Self`. [`Carrier::parts`] returns all fields of `self`.
pub(crate) unsafe trait Carrier: BoxedSignal {
    /// The part before the message.
    type Head;
    /// The message.
    type Message;

    /// Returns the head and the message.
    fn parts(&mut self) -> (&mut Self::Head, &mut Self::Message);
}

// SAFETY: nodes of this kind, with an `M`, are made for a `Message<M>`, whose two fields these are.
unsafe impl<M: Send> Carrier for Message<M> {
    type Head = Node;
    type Message = M;

    #[inline(always)]
    fn parts(&mut self) -> (&mut Node, &mut M) {
        (&mut self.node, &mut self.value)
    }
}

// SAFETY: nodes of this kind, with an `M`, are made for an `AliasMessage<M>`, whose two fields
// these are.
unsafe impl<M: Send> Carrier for AliasMessage<M> {
    type Head = AliasHead;
    type Message = M;

    #[inline(always)]
    fn parts(&mut self) -> (&mut AliasHead, &mut M) {
        (&mut self.head, &mut self.value)
    }
}

/// Moves the message out of its carrier, drops the head before it, and frees the whole. It handles
/// the parts one by one: as a whole the carrier would be copied first.
#[inline(always)]
pub(crate) fn into_message<C: Carrier>(mut carrier: PoolBox<C>, pool: Option<&Pool>) -> C::Message {
    let (head, value) = carrier.parts();
    let (head, value) = (ptr::from_mut(head), ptr::from_mut(value));
    let whole = carrier.into_raw();
    // SAFETY: `Carrier`: the parts lie in the carrier, which is this function's. The message is
    // moved out here, once.
    let value = unsafe { value.read() };
    // SAFETY: the parts lie in the carrier, which is this function's. The head is dropped here,
    // once.
    unsafe { head.drop_in_place() };
    // SAFETY: B1 (`pool_box`): the block is this function's. Its parts are all its fields, moved
    // out or dropped.
    unsafe { pool::free(whole, pool) };
    value
}

/// A held node that carries a message `M`, or no message, according to its kind.
#[derive(Debug)]
#[must_use = "the signal must be received or released"]
pub(crate) struct Mail<M>(HeldNode, PhantomData<M>);

impl<M> Mail<M> {
    /// Gives a node the type of its message.
    ///
    /// # Safety
    /// If the node carries a message, it carries an `M`: for example, because it came from the
    /// queue of a process that takes `M`.
    #[inline(always)]
    pub(crate) const unsafe fn of(node: HeldNode) -> Self {
        Self(node, PhantomData)
    }

    /// Returns the kind of the signal.
    #[inline(always)]
    pub(crate) fn kind(&self) -> SignalKind {
        self.0.kind()
    }

    /// Returns the node, without the type of its message.
    #[inline(always)]
    pub(crate) fn into_node(self) -> HeldNode {
        self.0
    }

    /// Returns the carrier of the message.
    ///
    /// # Panics
    /// If the node is of another kind.
    #[inline(always)]
    pub(crate) fn into_carrier<C: Carrier<Message = M>>(self) -> PoolBox<C> {
        assert!(self.kind() == C::KIND, "the kind of a node decides what it heads");
        // SAFETY: `Carrier`: the node carries an `M` (`Mail::of`) and is of this kind.
        unsafe { self.0.into_box_unchecked() }
    }
}

/// A node in a queue that carries a message `M`, or no message, according to its kind.
#[derive(Debug)]
pub(crate) struct MailRef<'a, M>(NodeRef<'a>, PhantomData<M>);

impl<'a, M> MailRef<'a, M> {
    /// Gives a node the type of its message.
    ///
    /// # Safety
    /// As for [`Mail::of`].
    #[inline(always)]
    pub(crate) const unsafe fn of(node: NodeRef<'a>) -> Self {
        Self(node, PhantomData)
    }

    /// Returns the node, without the type of its message.
    #[inline(always)]
    pub(crate) fn node(&self) -> NodeRef<'a> {
        self.0
    }

    /// Returns the carrier of the message.
    ///
    /// # Panics
    /// If the node is of another kind.
    #[inline(always)]
    pub(crate) fn carrier<C: Carrier<Message = M>>(&self) -> &'a C {
        assert!(self.0.kind() == C::KIND, "the kind of a node decides what it heads");
        // SAFETY: `Carrier`: the node carries an `M` (`MailRef::of`) and is of this kind.
        unsafe { self.0.record_unchecked() }
    }
}
