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

use core::marker::PhantomData;
use core::ptr::{self, NonNull};

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

/// The orderings that the kernel uses.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// The links of a record in a list.
#[derive(Debug)]
pub struct Links<T>(UnsafeCell<*mut T>);

impl<T> Links<T> {
    /// Creates the links of a record that is in no list.
    pub fn new() -> Self {
        Self(UnsafeCell::new(ptr::null_mut()))
    }

    /// Returns the next record.
    ///
    /// # Safety
    /// The caller owns the record: it created the record and did not push it, or took it.
    unsafe fn get(&self) -> *mut T {
        // SAFETY: the caller owns the record, so no other thread writes (this function's contract).
        self.0.with(|next| unsafe { *next })
    }

    /// Sets the next record.
    ///
    /// # Safety
    /// As for `get`.
    unsafe fn set(&self, to: *mut T) {
        // SAFETY: the caller owns the record, so no other thread accesses it (this function's
        // contract).
        self.0.with_mut(|next| unsafe { *next = to });
    }
}

impl<T> Default for Links<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the record after `record`.
///
/// # Safety
/// The caller owns the record (see `Links::get`).
pub(crate) unsafe fn next<T: Linked>(record: NonNull<T>) -> *mut T {
    // SAFETY: the caller owns the record, so it is live.
    let record = unsafe { record.as_ref() };
    // SAFETY: the caller owns the record (this function's contract).
    unsafe { record.place().get() }
}

/// Sets the record after `record`.
///
/// # Safety
/// The caller owns the record (see `Links::get`).
pub(crate) unsafe fn set_next<T: Linked>(record: NonNull<T>, to: *mut T) {
    // SAFETY: the caller owns the record, so it is live.
    let record = unsafe { record.as_ref() };
    // SAFETY: the caller owns the record (this function's contract).
    unsafe { record.place().set(to) };
}

/// A record that can be in a [`List`].
pub trait Linked: Sized {
    /// Returns the record's links.
    fn place(&self) -> &Links<Self>;
}

/// An intrusive list of records that any thread adds to (see the module).
#[derive(Debug)]
pub struct List<T, O = Shipped> {
    head: AtomicPtr<T>,
    orders: PhantomData<O>,
}

/// The error of a list whose process is dead or dying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed;

impl<T: Linked, O: Orders> List<T, O> {
    /// Creates an open, empty list.
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), orders: PhantomData }
    }

    fn closed() -> *mut T {
        ptr::without_provenance_mut(1)
    }

    /// Adds a record. Lock-free.
    ///
    /// # Safety
    /// The caller owns `record`, which is in no list and lives until a chain returns it.
    pub unsafe fn push(&self, record: NonNull<T>) -> Result<(), Closed> {
        // SAFETY: one record is a chain of one; the caller owns it (this function's contract).
        unsafe { self.push_chain(record, record) }
    }

    /// Adds a chain of records. Lock-free.
    ///
    /// # Safety
    /// The caller owns the records from `first` to `last`, chained by their links. After `Closed`
    /// the links of the last one are invalid.
    pub unsafe fn push_chain(&self, first: NonNull<T>, last: NonNull<T>) -> Result<(), Closed> {
        // Relaxed: only compared, never dereferenced (L3).
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == Self::closed() {
                // Pairs with the Release of `close`: the reason is written.
                crate::sync::acquire_by(|order| self.head.load(order));
                return Err(Closed);
            }
            // SAFETY: the caller owns the records until the exchange succeeds.
            unsafe { set_next(last, head) };
            match self.head.compare_exchange_weak(head, first.as_ptr(), O::PUSH, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => head = now,
            }
        }
    }

    /// Takes all records and leaves the list open; returns nothing if it is closed. Lock-free.
    pub fn take(&self) -> Chain<T> {
        // Relaxed: the value is only compared.
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

    /// Puts back what [`List::take`] returned, less the records that the caller removed. Returns
    /// the chain if the list was closed in between (L2). Lock-free.
    pub fn push_back_chain(&self, chain: Chain<T>) -> Result<(), Chain<T>> {
        let Some(first) = NonNull::new(chain.0) else { return Ok(()) };
        let mut last = first;
        // SAFETY: the caller owns the chain's records.
        while let Some(next) = NonNull::new(unsafe { next(last) }) {
            last = next;
        }
        // SAFETY: the caller owns the chain's records, which are chained.
        unsafe { self.push_chain(first, last) }.map_err(|Closed| {
            // The failed push left the last record's links pointing at the sentinel.
            // SAFETY: the push was refused, so the caller still owns the record.
            unsafe { set_next(last, ptr::null_mut()) };
            Chain(first.as_ptr())
        })
    }

    /// Closes the list for good and takes its records. Only the dying process may call it, once.
    /// Wait-free.
    pub fn close(&self) -> Chain<T> {
        let head = self.head.swap(Self::closed(), O::CLOSE);
        Chain(if head == Self::closed() { ptr::null_mut() } else { head })
    }

    /// Returns `true` if the list is empty. Only a hint.
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

/// Records taken from a list, newest first; iterating passes them to the caller.
#[derive(Debug)]
#[must_use = "the records in it must be fired or put back"]
pub struct Chain<T>(*mut T);

impl<T: Linked> Chain<T> {
    /// Creates an empty chain.
    pub const fn empty() -> Self {
        Self(ptr::null_mut())
    }

    /// Returns `true` if the chain is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_null()
    }

    /// Adds a record at the front.
    ///
    /// # Safety
    /// The caller owns `record`.
    pub unsafe fn push(&mut self, record: NonNull<T>) {
        // SAFETY: the caller owns the record (this function's contract).
        unsafe { set_next(record, self.0) };
        self.0 = record.as_ptr();
    }

    /// Reverses the chain: oldest first.
    pub fn reversed(mut self) -> Self {
        let mut turned = Self::empty();
        for record in &mut self {
            // SAFETY: the chain passed the record to this thread.
            unsafe { turned.push(record) };
        }
        turned
    }
}

impl<T: Linked> Iterator for Chain<T> {
    type Item = NonNull<T>;

    fn next(&mut self) -> Option<NonNull<T>> {
        let record = NonNull::new(self.0)?;
        // SAFETY: the chain's holder owns its records.
        self.0 = unsafe { next(record) };
        Some(record)
    }
}
