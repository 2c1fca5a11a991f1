//! Nodes as types: the node that its holder has in no queue ([`HeldNode`]), the same with the
//! record that it heads ([`Held`]), and a node that is read in its place ([`NodeRef`]).
//!
//! These are rule N1 (`node`) as types. All code outside this module and the queues of `mailbox`
//! uses nodes through them.
//!
//! - **H1.** A [`HeldNode`] is the only right to a node that is in no queue. What the node heads,
//!   or the reference that travels with it, is released with it, exactly once: a `HeldNode` is
//!   neither copied nor lost, and is consumed by the queue that takes the node.
//! - **H2.** The kind of a held node decides what the node heads ([`Headed`], [`BoxedSignal`]). The
//!   kind changes only together with that ([`HeldNode::set_kind`]).

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::signal::node::{Budget, Node, NodeFields, SignalKind};
use crate::sync::UnsafeCell;

/// A record that a node heads, whose type follows from the node's kind.
///
/// # Safety
/// The record is `repr(C)`, with the node, or a struct that starts with the node, as its first
/// field. Every held node of a kind for which [`Headed::is_headed_by`] returns `true` heads a
/// `Self`, which is live as long as the node is held, and of which its holder may have a `&Self`.
pub unsafe trait Headed {
    /// Returns `true` if a node of this kind heads a `Self`.
    fn is_headed_by(kind: SignalKind) -> bool;
}

/// A record that is a signal and nothing else: it lies in a [`PoolBox`] that travels with its node.
///
/// # Safety
/// The record is `repr(C)`, with the node, or a struct that starts with the node, as its first
/// field. That node was made by [`Budget::node_of`] for this type. The record may be moved to
/// another thread.
pub unsafe trait BoxedSignal: Sized {
    /// The kind of its node.
    const KIND: SignalKind;
}

impl Budget {
    /// Creates the node of a `T` that will lie in a [`PoolBox`], counted until it is dropped;
    /// `None` if the limit is reached. Wait-free.
    #[inline(always)]
    pub fn node_of<T: BoxedSignal>(&self) -> Option<Node> {
        unsafe fn release<T: BoxedSignal>(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: H1, H2: the node's holder releases it, once. `T` is the type for which the
            // node was made, and lies in a `PoolBox` (`BoxedSignal`'s contract).
            unsafe { HeldNode(node).into_box_unchecked::<T>() }.release(pool);
        }
        self.node(T::KIND, release::<T>)
    }
}

/// A node that is read in its place: while it is held, or in a queue of its reader. Several of them
/// may exist, on one thread.
#[derive(Clone, Copy)]
pub struct NodeRef<'a>(NonNull<Node>, PhantomData<&'a Node>);

impl<'a> NodeRef<'a> {
    /// Returns the view of a node in the caller's queue.
    ///
    /// # Safety
    /// The caller holds the node (rule N1) for as long as the view is used.
    #[inline(always)]
    pub(crate) const unsafe fn of(node: NonNull<Node>) -> Self {
        Self(node, PhantomData)
    }

    /// Returns the pointer to the node.
    #[inline(always)]
    pub(crate) const fn as_non_null(self) -> NonNull<Node> {
        self.0
    }

    #[inline(always)]
    fn fields(self) -> &'a UnsafeCell<NodeFields> {
        // SAFETY: N1: the node is held while this view exists, so it is live.
        &unsafe { self.0.as_ref() }.fields
    }

    #[inline(always)]
    fn get<R>(self, get: impl FnOnce(&NodeFields) -> R) -> R {
        // SAFETY: N1: only the holder writes the fields, in `set`, which calls nothing.
        self.fields().with(|fields| get(unsafe { &*fields }))
    }

    #[inline(always)]
    fn set(self, set: impl FnOnce(&mut NodeFields)) {
        // SAFETY: N1: only the holder uses the fields, on this thread, and `set` is one of the
        // assignments below, which call nothing.
        self.fields().with_mut(|fields| set(unsafe { &mut *fields }));
    }

    /// Returns the kind of signal that the node heads.
    #[inline(always)]
    pub fn kind(self) -> SignalKind {
        self.get(|fields| fields.kind)
    }

    /// Returns the node's number in a private queue; 0 for none yet.
    #[inline(always)]
    pub fn stamp(self) -> u32 {
        self.get(|fields| fields.stamp)
    }

    /// Sets the node's number.
    #[inline(always)]
    pub(crate) fn set_stamp(self, stamp: u32) {
        self.set(|fields| fields.stamp = stamp);
    }

    /// Returns the node below (in a stack) or after (in a queue), or null.
    #[inline(always)]
    pub(crate) fn next(self) -> *mut Node {
        self.get(|fields| fields.next)
    }

    /// Sets the node below (in a stack) or after (in a queue).
    #[inline(always)]
    pub(crate) fn set_next(self, next: *mut Node) {
        self.set(|fields| fields.next = next);
    }

    /// Returns the node before this one in a private queue, or null.
    #[inline(always)]
    pub(crate) fn prev(self) -> *mut Node {
        self.get(|fields| fields.prev)
    }

    /// Sets the node before this one in a private queue.
    #[inline(always)]
    pub(crate) fn set_prev(self, prev: *mut Node) {
        self.set(|fields| fields.prev = prev);
    }

    /// Returns the record that the node heads.
    ///
    /// # Panics
    /// If the node is of another kind.
    #[inline(always)]
    pub fn record<T: Headed>(self) -> &'a T {
        assert!(T::is_headed_by(self.kind()), "the kind of a node decides what it heads");
        // SAFETY: H2: a held node of this kind heads a live `T`, of which its holder may have a
        // reference (`Headed`'s contract).
        unsafe { self.0.cast().as_ref() }
    }

    /// Returns the record that the node heads, whose type the caller knows.
    ///
    /// # Safety
    /// The node heads a `T`, of which the holder may have a reference.
    #[inline(always)]
    pub(crate) unsafe fn record_unchecked<T>(self) -> &'a T {
        // SAFETY: the node is held and heads a `T` (this function's contract).
        unsafe { self.0.cast().as_ref() }
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.kind()).finish()
    }
}

/// A node that is in no queue, with the right and the duty to release what it heads (H1). Dropping
/// it releases that to the allocator; [`HeldNode::release`] to a pool.
///
/// The kernel's code releases each node explicitly. So a node that is only dropped is leaked under
/// loom, where the model then reports it.
#[repr(transparent)]
#[must_use = "the signal must be handled, queued or released"]
pub struct HeldNode(NonNull<Node>);

// SAFETY: H1: only the holder touches the node, and what a node heads may move to another thread
// (`BoxedSignal`'s contract, and the rules of the records that are counted).
unsafe impl Send for HeldNode {}

impl HeldNode {
    /// Makes the holder's right of a pointer that [`HeldNode::into_raw`] returned, or to the node
    /// of a record that its creator, or a thread that the record's word has chosen, may send.
    ///
    /// # Safety
    /// The node is in no queue and no other `HeldNode` exists for it. What it heads, or the
    /// reference that travels with it, comes with the pointer (H1, H2).
    #[inline(always)]
    pub const unsafe fn from_raw(node: NonNull<Node>) -> Self {
        Self(node)
    }

    /// Returns the node, whose release is now the caller's duty.
    #[inline(always)]
    pub fn into_raw(self) -> NonNull<Node> {
        ManuallyDrop::new(self).0
    }

    /// Makes a node of the signal that it heads.
    #[inline(always)]
    pub fn of<T: BoxedSignal>(signal: PoolBox<T>) -> Self {
        // H1, H2: the box is the only right to the signal, which was made for its node
        // (`BoxedSignal`'s contract).
        Self(signal.into_raw().cast())
    }

    /// Returns the view of the node.
    #[inline(always)]
    pub fn view(&self) -> NodeRef<'_> {
        NodeRef(self.0, PhantomData)
    }

    /// Returns the address of the node, to compare.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut Node {
        self.0.as_ptr()
    }

    /// Returns the kind of signal that the node heads.
    #[inline(always)]
    pub fn kind(&self) -> SignalKind {
        self.view().kind()
    }

    /// Changes the node into another signal of the same record.
    ///
    /// # Safety
    /// The node heads what a node of the new kind heads (H2).
    #[inline(always)]
    pub unsafe fn set_kind(&mut self, kind: SignalKind) {
        self.view().set(|fields| fields.kind = kind);
    }

    /// Returns the node with the record that it heads.
    ///
    /// # Panics
    /// If the node is of another kind.
    #[inline(always)]
    pub fn typed<T: Headed>(self) -> Held<T> {
        assert!(T::is_headed_by(self.kind()), "the kind of a node decides what it heads");
        Held(self, PhantomData)
    }

    /// Returns the signal that the node heads, whose type the caller knows.
    ///
    /// # Safety
    /// The node was made by [`HeldNode::of`] for a `T`.
    #[inline(always)]
    pub unsafe fn into_box_unchecked<T: BoxedSignal>(self) -> PoolBox<T> {
        debug_assert!(self.kind() == T::KIND, "the kind of a node decides what it heads");
        // SAFETY: H1: the node's holder has the box that `of` took (this function's contract).
        unsafe { PoolBox::from_raw(self.into_raw().cast()) }
    }

    /// Releases a signal that no process receives, to `pool` if there is one. What it heads may
    /// have a foreign destructor.
    pub fn release(self, pool: Option<&Pool>) {
        let node = ManuallyDrop::new(self);
        let release = node.view().get(|fields| fields.release);
        // SAFETY: H1: the node is released once, here, by the function that was made for what it
        // heads.
        unsafe { release(node.0, pool) }
    }
}

#[cfg(not(loom))]
impl Drop for HeldNode {
    fn drop(&mut self) {
        HeldNode(self.0).release(None);
    }
}

impl fmt::Debug for HeldNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// A held node with the type of the record that it heads.
#[repr(transparent)]
#[must_use = "the signal must be handled, queued or released"]
pub struct Held<T>(HeldNode, PhantomData<fn() -> T>);

impl<T> Held<T> {
    /// Returns the node, without the type of its record.
    #[inline(always)]
    pub fn into_node(self) -> HeldNode {
        self.0
    }

    /// Releases the signal; see [`HeldNode::release`].
    #[inline]
    pub fn release(self, pool: Option<&Pool>) {
        self.0.release(pool);
    }
}

impl<T: Headed> Held<T> {
    /// Returns the pointer to the record, with the release that the node owed: a reference, or the
    /// record itself.
    #[inline(always)]
    pub fn into_raw(self) -> NonNull<T> {
        self.0.into_raw().cast()
    }

    /// Returns the pointer to the record.
    #[inline(always)]
    pub fn as_non_null(&self) -> NonNull<T> {
        self.0.0.cast()
    }
}

impl<T: Headed + BoxedSignal> Held<T> {
    /// Returns the signal.
    #[inline(always)]
    pub fn into_box(self) -> PoolBox<T> {
        // SAFETY: H2: a held node of this kind heads a `T`, which is a `BoxedSignal`, so it lies in
        // the box that `HeldNode::of` took.
        unsafe { self.0.into_box_unchecked() }
    }
}

impl<T: Headed> Deref for Held<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: H2: `HeldNode::typed` has checked the kind, and only `HeldNode::set_kind`, which
        // has no access to this node, would change it.
        unsafe { self.0.view().record_unchecked() }
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
