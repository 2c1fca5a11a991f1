//! [`List`]: records that anybody adds and that a death closes.
//!
//! A stack of intrusive records with one atomic head: null, a record, or `CLOSED`.
//! Each process has one for its watchers (monitors, timers that end with it) and one
//! for the links that others made.
//!
//! - **L1.** A record whose `push` succeeded is in exactly one chain that `take` or `close`
//!   returned, so whoever closes fires each record once.
//! - **L2.** After `close` every `push` and `give_back` is refused and the records stay the
//!   caller's: who adds to a dead process's list learns it at once; a sweeper that took
//!   the list and comes back to find it closed fires what it holds, as the death would have.
//! - **L3.** A pusher never looks into the record that it pushes on, and records are taken all
//!   at once: no ABA, no reclamation.
//!
//! Progress: `push`, `take`, `give_back` are lock-free, `close` is wait-free.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use crate::sync::{AtomicPtr, Ordering, UnsafeCell};

/// The orderings, a parameter so that a model can weaken one and see it fail.
pub trait Orders: 'static {
    /// Of a push. Release: pairs with `CLOSE`, hands over the record's fields.
    const PUSH: Ordering = Ordering::Release;
    /// Of a close or take. Acquire: sees what was pushed. Release: a refused push sees
    /// what the dying process wrote before (its reason).
    const CLOSE: Ordering = Ordering::AcqRel;
}

/// The orderings as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// A record's place in a list.
#[derive(Debug)]
pub struct Links<T>(UnsafeCell<*mut T>);

impl<T> Links<T> {
    /// In no list.
    pub fn new() -> Self {
        Self(UnsafeCell::new(ptr::null_mut()))
    }

    /// # Safety
    /// The caller has the record: it made it and did not push it, or took it.
    unsafe fn get(&self) -> *mut T {
        // SAFETY: by contract nobody writes.
        self.0.with(|next| unsafe { *next })
    }

    /// # Safety
    /// As for `get`.
    unsafe fn set(&self, to: *mut T) {
        // SAFETY: by contract nobody else looks.
        self.0.with_mut(|next| unsafe { *next = to });
    }
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// # Safety
/// The caller has the record (see `Links::get`).
pub(crate) unsafe fn next<T: Linked>(record: NonNull<T>) -> *mut T {
    // SAFETY: the caller's, so live.
    let record = unsafe { record.as_ref() };
    // SAFETY: by contract.
    unsafe { record.place().get() }
}

/// # Safety
/// The caller has the record (see `Links::get`).
pub(crate) unsafe fn set_next<T: Linked>(record: NonNull<T>, to: *mut T) {
    // SAFETY: the caller's, so live.
    let record = unsafe { record.as_ref() };
    // SAFETY: by contract.
    unsafe { record.place().set(to) };
}

/// What can be in a [`List`].
pub trait Linked: Sized {
    /// Its place.
    fn place(&self) -> &Links<Self>;
}

/// See the module.
#[derive(Debug)]
pub struct List<T, O = Shipped> {
    head: AtomicPtr<T>,
    orders: PhantomData<O>,
}

/// The list's process is dead or dying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed;

impl<T: Linked, O: Orders> List<T, O> {
    /// An open, empty list.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), orders: PhantomData }
    }

    fn closed() -> *mut T {
        ptr::without_provenance_mut(1)
    }

    /// Adds a record. Lock-free.
    ///
    /// # Safety
    /// The caller has `record`, which is in no list and lives until a chain returns it.
    pub unsafe fn push(&self, record: NonNull<T>) -> Result<(), Closed> {
        // SAFETY: a chain of one.
        unsafe { self.push_chain(record, record) }
    }

    /// Adds records. Lock-free.
    ///
    /// # Safety
    /// The caller has the records from `first` to `last`, chained by their places. After `Closed` the last one's place
    /// leads nowhere.
    pub unsafe fn push_chain(&self, first: NonNull<T>, last: NonNull<T>) -> Result<(), Closed> {
        // Relaxed: only compared, never followed (L3).
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == Self::closed() {
                // Pairs with the Release of `close`: the reason is written.
                crate::sync::acquire_by(|order| self.head.load(order));
                return Err(Closed);
            }
            // SAFETY: the caller's until the exchange succeeds.
            unsafe { set_next(last, head) };
            match self.head.compare_exchange_weak(head, first.as_ptr(), O::PUSH, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all records and leaves the list open; nothing when it is closed. Lock-free.
    pub fn take(&self) -> Chain<T> {
        // Relaxed: only compared.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head.is_null() || head == Self::closed() {
                return Chain(ptr::null_mut());
            }
            match self.head.compare_exchange_weak(head, ptr::null_mut(), O::CLOSE, Ordering::Relaxed) {
                Ok(_) => return Chain(head),
                Err(now) => head = now,
            }
        }
    }

    /// Puts back what [`List::take`] gave, less what the caller took out; the chain back
    /// when the list has been closed meanwhile (L2). Lock-free.
    pub fn give_back(&self, chain: Chain<T>) -> Result<(), Chain<T>> {
        let Some(first) = NonNull::new(chain.0) else { return Ok(()) };
        let mut last = first;
        // SAFETY: the chain's records are the caller's.
        while let Some(next) = NonNull::new(unsafe { next(last) }) {
            last = next;
        }
        // SAFETY: the chain's records are the caller's, chained.
        unsafe { self.push_chain(first, last) }.map_err(|Closed| {
            // The failed push left the last one's place pointing at the sentinel.
            // SAFETY: still the caller's.
            unsafe { set_next(last, ptr::null_mut()) };
            Chain(first.as_ptr())
        })
    }

    /// Closes for good and takes what is there. The dying process's, once. Wait-free.
    pub fn close(&self) -> Chain<T> {
        let head = self.head.swap(Self::closed(), O::CLOSE);
        Chain(if head == Self::closed() { ptr::null_mut() } else { head })
    }

    /// Whether nothing is in it. A hint.
    pub fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        head.is_null() || head == Self::closed()
    }
}

impl<T: Linked, O: Orders> Default for List<T, O> {
    fn default() -> Self {
        Self::new()
    }
}

/// Records taken from a list, newest first; iterating hands them over.
#[derive(Debug)]
#[must_use = "the records in it must be fired or given back"]
pub struct Chain<T>(*mut T);

impl<T: Linked> Chain<T> {
    /// No record.
    pub const fn empty() -> Self {
        Self(ptr::null_mut())
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    /// Adds a record in front.
    ///
    /// # Safety
    /// The caller has `record`.
    pub unsafe fn push(&mut self, record: NonNull<T>) {
        // SAFETY: by contract.
        unsafe { set_next(record, self.0) };
        self.0 = record.as_ptr();
    }

    /// Oldest first.
    pub fn reversed(mut self) -> Self {
        let mut turned = Self::empty();
        for record in &mut self {
            // SAFETY: handed over by the chain.
            unsafe { turned.push(record) };
        }
        turned
    }
}

impl<T: Linked> Iterator for Chain<T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        let record = NonNull::new(self.0)?;
        // SAFETY: the chain's records are its holder's.
        self.0 = unsafe { next(record) };
        Some(record)
    }
}
