//! An intrusive list, [`List`], to which any thread adds records, and which a death closes.
//!
//! The list is a stack of intrusive records with one atomic head: null, a record, or `CLOSED`. Each
//! process has one for its watchers (monitors, timers that end with it) and one for the links that
//! other processes made.
//!
//! - **L1.** A record whose `push` succeeded is in exactly one chain that `take` or `close`
//!   returned. So the thread that closes the list fires each record once.
//! - **L2.** After `close` every `push` and `push_back_chain` is refused, and the records still
//!   belong to the caller. So a thread that adds to a dead process's list learns of the death
//!   immediately. A sweeper that took the list and then finds it closed fires the records that it
//!   holds, as the death would have.
//! - **L3.** A pusher never reads the record that it pushes onto, and all records are taken at
//!   once. So there is no ABA problem, and the list needs no reclamation.
//!
//! Progress: `push`, `take`, `push_back_chain` are lock-free, `close` is wait-free.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};

use crate::intrusive::handle::Handle;
use crate::shipped::Shipped;
use crate::sync::{AtomicPtr, Ordering, UnsafeCell};

/// The orderings of the protocol. They are a parameter so that a loom model can weaken one of them
/// and show that it then fails.
pub trait Orders: 'static {
    /// The ordering of a push. Release: pairs with `CLOSE` and publishes the record's fields.
    const PUSH: Ordering = Ordering::Release;
    /// The ordering of a close or take. Acquire: sees what was pushed. Release: a refused push sees
    /// what the dying process wrote before (its reason).
    const CLOSE: Ordering = Ordering::AcqRel;
}

impl Orders for Shipped {}

/// The links of a record in a list.
#[derive(Debug)]
pub struct Links<T>(UnsafeCell<*mut T>);

impl<T> Links<T> {
    /// Creates the links of a record that is in no list.
    #[inline(always)]
    pub fn new() -> Self {
        Self(UnsafeCell::new(ptr::null_mut()))
    }
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A record that can be in a [`List`].
///
/// # Safety
/// A record always returns the same links, which are its own and which no other list uses.
pub unsafe trait Linked: Sized {
    /// Returns the record's links.
    fn place(&self) -> &Links<Self>;
}

/// A record whose handle this thread has: it is being pushed, or in a chain. The thread has the
/// record's links to itself (`handle`, E1).
struct Held<T>(NonNull<T>);

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Held<T> {}

impl<T: Linked> Held<T> {
    fn links(&self) -> &Links<T> {
        // SAFETY: E2: this thread has the handle, so the record is live.
        unsafe { self.0.as_ref() }.place()
    }

    /// Returns the next record.
    fn next(self) -> Option<Self> {
        // SAFETY: E1: this thread has the handle, so no other one writes the links.
        NonNull::new(self.links().0.with(|next| unsafe { *next })).map(Self)
    }

    /// Sets the next record.
    fn set_next(self, to: *mut T) {
        // SAFETY: E1: this thread has the handle, so no other one accesses the links.
        self.links().0.with_mut(|next| unsafe { *next = to });
    }
}

/// An intrusive list of records that any thread adds to (see the module). It does not release what
/// is left in it: it is closed before it is dropped.
pub struct List<H: Handle, O = Shipped> {
    head: AtomicPtr<H::Record>,
    orders: PhantomData<fn(H) -> O>,
}

/// The error of a list whose process is dead or dying.
struct Closed;

impl<H: Handle<Record: Linked> + Send, O: Orders> List<H, O> {
    /// Creates an open, empty list.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), orders: PhantomData }
    }

    fn closed() -> *mut H::Record {
        ptr::without_provenance_mut(1)
    }

    /// Adds a record. Returns it if the list is closed. Lock-free.
    pub fn push(&self, record: H) -> Result<(), H> {
        let record = Held(record.into_raw());
        self.push_segment_of(record, record).map_err(|Closed| {
            // SAFETY: E2: the push was refused, so the handle is still this thread's.
            unsafe { H::from_raw(record.0) }
        })
    }

    /// Adds a segment of records. Returns it if the list is closed. Lock-free.
    pub fn push_segment(&self, segment: Segment<H>) -> Result<(), Segment<H>> {
        let segment = ManuallyDrop::new(segment);
        self.push_segment_of(segment.first, segment.last).map_err(|Closed| {
            // The failed push left the last record's links pointing at the sentinel.
            segment.last.set_next(ptr::null_mut());
            ManuallyDrop::into_inner(segment)
        })
    }

    fn push_segment_of(&self, first: Held<H::Record>, last: Held<H::Record>) -> Result<(), Closed> {
        // Relaxed: only compared, never dereferenced (L3).
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == Self::closed() {
                // Pairs with the Release of `close`: the reason is written.
                crate::sync::acquire_by(|order| self.head.load(order));
                return Err(Closed);
            }
            last.set_next(head);
            match self.head.compare_exchange_weak(head, first.0.as_ptr(), O::PUSH, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all records and leaves the list open; returns nothing if it is closed. Lock-free.
    pub fn take(&self) -> Chain<H> {
        // Relaxed: the value is only compared.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head.is_null() || head == Self::closed() {
                return Chain::empty();
            }
            match self.head.compare_exchange_weak(head, ptr::null_mut(), O::CLOSE, Ordering::Relaxed) {
                Ok(_) => return Chain::of(head),
                Err(now) => head = now,
            }
        }
    }

    /// Puts back what [`List::take`] returned, less the records that the caller removed. Returns
    /// the chain if the list was closed in between (L2). Lock-free.
    pub fn push_back_chain(&self, chain: Chain<H>) -> Result<(), Chain<H>> {
        let Some(segment) = chain.into_segment() else { return Ok(()) };
        self.push_segment(segment).map_err(Segment::into_chain)
    }

    /// Closes the list for good and takes its records. Only the dying process may call it, once.
    /// Wait-free.
    pub fn close(&self) -> Chain<H> {
        let head = self.head.swap(Self::closed(), O::CLOSE);
        if head == Self::closed() { Chain::empty() } else { Chain::of(head) }
    }

    /// Returns `true` if the list is empty. Only a hint.
    pub fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        head.is_null() || head == Self::closed()
    }
}

impl<H: Handle<Record: Linked> + Send, O: Orders> Default for List<H, O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Handle, O> fmt::Debug for List<H, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("List")
    }
}

/// Records taken from a list, newest first; iterating passes them to the caller. Dropping it drops
/// the handles that are left.
#[must_use = "the records in it must be fired or put back"]
pub struct Chain<H: Handle<Record: Linked>> {
    first: Option<Held<H::Record>>,
    handles: PhantomData<H>,
}

impl<H: Handle<Record: Linked>> Chain<H> {
    /// Creates an empty chain.
    pub const fn empty() -> Self {
        Self { first: None, handles: PhantomData }
    }

    fn of(first: *mut H::Record) -> Self {
        Self { first: NonNull::new(first).map(Held), handles: PhantomData }
    }

    /// Returns `true` if the chain is empty.
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds a record at the front.
    pub fn push(&mut self, record: H) {
        self.push_held(Held(record.into_raw()));
    }

    fn push_held(&mut self, record: Held<H::Record>) {
        record.set_next(self.first.map_or(ptr::null_mut(), |first| first.0.as_ptr()));
        self.first = Some(record);
    }

    fn pop_held(&mut self) -> Option<Held<H::Record>> {
        let record = self.first?;
        self.first = record.next();
        Some(record)
    }

    /// Reverses the chain: oldest first.
    pub fn reversed(mut self) -> Self {
        let mut turned = Self::empty();
        while let Some(record) = self.pop_held() {
            turned.push_held(record);
        }
        turned
    }

    fn into_segment(self) -> Option<Segment<H>> {
        let first = ManuallyDrop::new(self).first?;
        let mut last = first;
        while let Some(next) = last.next() {
            last = next;
        }
        Some(Segment { first, last, handles: PhantomData })
    }
}

impl<H: Handle<Record: Linked>> Iterator for Chain<H> {
    type Item = H;

    fn next(&mut self) -> Option<H> {
        // SAFETY: E2: the chain had the handle, and no longer has a pointer to the record.
        self.pop_held().map(|record| unsafe { H::from_raw(record.0) })
    }
}

// SAFETY: only the chain has the handles, which may move to another thread.
unsafe impl<H: Handle<Record: Linked> + Send> Send for Chain<H> {}
// SAFETY: a shared chain gives no access to the handles.
unsafe impl<H: Handle<Record: Linked> + Send> Sync for Chain<H> {}

// Not under loom: a model that fails unwinds through here, and loom's accesses would panic again
// and abort the run. There a chain that is only dropped leaks, as a `HeldNode` does.
#[cfg(not(loom))]
impl<H: Handle<Record: Linked>> Drop for Chain<H> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<H: Handle<Record: Linked>> fmt::Debug for Chain<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

/// One or more records in a chain whose end is known, so that the chain can be pushed in O(1).
/// Dropping it drops the handles.
#[must_use = "the records in it must be pushed or used"]
pub struct Segment<H: Handle<Record: Linked>> {
    first: Held<H::Record>,
    /// Its links are null.
    last: Held<H::Record>,
    handles: PhantomData<H>,
}

impl<H: Handle<Record: Linked>> Segment<H> {
    /// Creates a segment of one record.
    pub fn of(record: H) -> Self {
        let record = Held(record.into_raw());
        record.set_next(ptr::null_mut());
        Self { first: record, last: record, handles: PhantomData }
    }

    /// Adds a record at the front.
    pub fn push(&mut self, record: H) {
        let record = Held(record.into_raw());
        record.set_next(self.first.0.as_ptr());
        self.first = record;
    }

    /// Converts the segment into a chain of its records.
    pub fn into_chain(self) -> Chain<H> {
        Chain { first: Some(ManuallyDrop::new(self).first), handles: PhantomData }
    }
}

// SAFETY: only the segment has the handles, which may move to another thread.
unsafe impl<H: Handle<Record: Linked> + Send> Send for Segment<H> {}
// SAFETY: a shared segment gives no access to the handles.
unsafe impl<H: Handle<Record: Linked> + Send> Sync for Segment<H> {}

impl<H: Handle<Record: Linked>> Drop for Segment<H> {
    fn drop(&mut self) {
        drop(Chain::<H> { first: Some(self.first), handles: PhantomData });
    }
}

impl<H: Handle<Record: Linked>> fmt::Debug for Segment<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Segment")
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::memory::pool_box::PoolBox;
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    struct Record {
        place: Links<Record>,
        number: usize,
        _alive: Arc<()>,
    }

    // SAFETY: the links are a field of the record.
    unsafe impl Linked for Record {
        fn place(&self) -> &Links<Self> {
            &self.place
        }
    }

    // SAFETY: the links belong to the thread that has the record.
    unsafe impl Sync for Record {}
    // SAFETY: the record is not tied to a thread.
    unsafe impl Send for Record {}

    fn record(number: usize, alive: &Arc<()>) -> PoolBox<Record> {
        PoolBox::try_new(Record { place: Links::new(), number, _alive: alive.clone() }, None).ok().expect("memory")
    }

    fn numbers(chain: Chain<PoolBox<Record>>) -> Vec<usize> {
        chain.map(|record| record.number).collect()
    }

    #[test]
    fn closed_list_returns_what_is_pushed() {
        let (list, alive) = (List::<PoolBox<Record>>::new(), Arc::new(()));
        for number in 0..3 {
            assert!(list.push(record(number, &alive)).is_ok());
        }
        let taken = list.take();
        assert!(list.is_empty() && !taken.is_empty());
        assert!(list.push(record(3, &alive)).is_ok());
        assert!(list.push_back_chain(taken).is_ok());
        assert_eq!(numbers(list.close()), [2, 1, 0, 3]);
        assert_eq!(list.push(record(4, &alive)).map_err(|refused| refused.number), Err(4));
        let mut segment = Segment::of(record(5, &alive));
        segment.push(record(6, &alive));
        let refused = list.push_segment(segment).expect_err("the list is closed");
        assert_eq!(numbers(refused.into_chain().reversed()), [5, 6]);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn chain_and_segment_drop_what_is_left() {
        let alive = Arc::new(());
        let mut chain = Chain::empty();
        (0..3).for_each(|number| chain.push(record(number, &alive)));
        assert_eq!(chain.next().map(|record| record.number), Some(2));
        assert_eq!(Arc::strong_count(&alive), 3);
        drop(chain);
        drop(Segment::of(record(3, &alive)));
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
