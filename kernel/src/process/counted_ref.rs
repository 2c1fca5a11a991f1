//! The counted references to a process's memory: the table's ([`TableRef`]), a waker's
//! ([`WakerRef`]) and the context's ([`ContextRef`]), and their one word, [`ReferenceCount`].
//!
//! - **F1.** The table has one reference, from the process's birth to its reclamation. The context
//!   has one (`header`, P5). Each waker has one, and all wakers together hold the kernel (P4).
//! - **F2.** Only the owner of the process, or a holder of a waker's reference, acquires a
//!   reference. So when the table's is released (no thread can find the process then) and no other
//!   exists, none will.
//! - **F3.** The release of the last reference frees the memory. Each value of the three types
//!   stands for its reference, and is released once, because it is neither copied nor used again.

use core::mem::{ManuallyDrop, offset_of};
use core::ptr::NonNull;

use crate::memory::pool::Pool;
use crate::process::header::Header;
use crate::process::owned::Owned;
use crate::process::process_ref::ProcessRef;
use crate::reason::Reason;
use crate::reclaim::Retired;
use crate::sync::{AtomicUsize, Ordering, acquire_by};

/// The table's reference.
const TABLE: usize = 1;
/// The context's reference.
const CONTEXT: usize = 2;
/// One waker's reference.
const WAKER: usize = 4;

/// The number of references to a process's memory, by kind.
#[derive(Debug)]
pub struct ReferenceCount(AtomicUsize);

impl ReferenceCount {
    /// Creates the count of a new process, to which the table has the only reference.
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(TABLE))
    }

    /// Returns the number of wakers. A hint.
    pub(crate) fn wakers(&self) -> usize {
        // Relaxed: a hint.
        self.0.load(Ordering::Relaxed) / WAKER
    }
}

/// A reference of any kind, or several. Its holder says what it counts for.
#[derive(Debug)]
struct MemoryRef(NonNull<Header>);

// SAFETY: the count is atomic, and a header is Sync.
unsafe impl Send for MemoryRef {}
// SAFETY: the count is atomic, and a header is Sync.
unsafe impl Sync for MemoryRef {}

impl MemoryRef {
    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: F3: this reference keeps the memory.
        unsafe { self.0.as_ref() }
    }

    /// Releases the reference, which counts for `share`, and frees the memory with the last one.
    /// Returns the count before.
    fn release(self, share: usize, pool: Option<&Pool>) -> usize {
        let shares = &self.header().shares.0;
        // Release, and the Acquire fence below: the free comes after every use.
        let before = shares.fetch_sub(share, Ordering::Release);
        if before == share {
            acquire_by(|order| shares.load(order));
            self.free(pool);
        }
        before
    }

    /// Frees the memory, for the holder of the last reference.
    #[inline(always)]
    fn free(self, pool: Option<&Pool>) {
        let free = self.header().vtable.free;
        // SAFETY: F3: this was the last reference, and the vtable is this process's.
        unsafe { free(self.0, pool) };
    }
}

/// The table's reference.
#[derive(Debug)]
#[must_use = "it is released by reclamation"]
pub(crate) struct TableRef(MemoryRef);

impl TableRef {
    /// Takes the table's reference, for a process to which the table no longer leads.
    ///
    /// # Safety
    /// No other `TableRef` of the process exists, and no thread that pins from now on can find it.
    pub(super) const unsafe fn take(process: ProcessRef<'_>) -> Self {
        Self(MemoryRef(process.as_ptr()))
    }

    /// Gives the reference to the record by which the process is retired.
    #[inline(always)]
    pub(super) fn into_retired(self) -> NonNull<Retired> {
        // SAFETY: the record lies at this offset in the header, and the pointer is that of the
        // whole process.
        unsafe { self.0.0.byte_add(offset_of!(Header, retired)) }.cast()
    }

    /// Takes the reference from the record.
    ///
    /// # Safety
    /// The pointer came from [`TableRef::into_retired`], and is used once.
    #[inline(always)]
    pub(super) unsafe fn from_retired(retired: NonNull<Retired>) -> Self {
        // SAFETY: the record lies at this offset in the header (this function's contract).
        Self(MemoryRef(unsafe { retired.byte_sub(offset_of!(Header, retired)) }.cast()))
    }

    /// Releases the reference. No guard protects the process.
    pub(super) fn release(self, pool: Option<&Pool>) {
        let header = self.0.header();
        // Relaxed: written in a slice of the process, which is over; the retirement publishes it.
        let gone = header.context_gone.load(Ordering::Relaxed);
        let ours = if gone { TABLE | CONTEXT } else { TABLE };
        // Acquire: pairs with the Release of the last waker, or of the context. If there is no
        // other reference now, there will be none (F2). So the last holder needs no exchange.
        if header.shares.0.load(Ordering::Acquire) == ours {
            return self.0.free(pool);
        }
        self.release_shared(ours, pool);
    }

    /// Does the same as [`TableRef::release`] where wakers or a context hold references. It is a
    /// function of its own, so that the common path needs no registers for it.
    #[cold]
    #[inline(never)]
    fn release_shared(self, ours: usize, pool: Option<&Pool>) {
        self.forget_foreign_values();
        self.0.release(ours, pool);
    }

    /// Drops the foreign values in a process whose memory stays only for wakers and a context,
    /// which never read a reason (`header`, P6).
    fn forget_foreign_values(&self) {
        let header = self.0.header();
        // SAFETY: P1: the owner, and every thread that found the process, is done with it.
        let dying = header.private.with_mut(|private| unsafe { (*private).dying.take() });
        // SAFETY: P3: no thread can find the process, so none reads the reason.
        let reason = header.reason.with_mut(|reason| unsafe { core::mem::replace(&mut *reason, Reason::NOPROC) });
        // SAFETY: `predecessor` belongs to the table's reference, which this is.
        let predecessor = header.predecessor.with_mut(|predecessor| unsafe { (*predecessor).take() });
        // All three may be foreign.
        drop((dying, reason, predecessor));
    }
}

/// A waker's reference. While a process has any, they hold its kernel together (`header`, P4).
/// Dropping it releases it.
#[derive(Debug)]
pub(crate) struct WakerRef(MemoryRef);

impl WakerRef {
    /// Acquires a reference to an owned process. Wait-free.
    #[inline]
    pub(crate) fn new(owned: &Owned<'_>) -> Self {
        // SAFETY: an owned process is in the table, and its kernel exists.
        unsafe { Self::acquire(owned.process()) }
    }

    /// Acquires a reference. The first of them holds the kernel. Wait-free.
    ///
    /// # Safety
    /// Another reference to the process's memory exists, and its kernel exists.
    #[inline]
    pub(crate) unsafe fn acquire(process: ProcessRef<'_>) -> Self {
        // Relaxed: only a holder acquires another reference.
        if process.shares.0.fetch_add(WAKER, Ordering::Relaxed) < WAKER {
            // SAFETY: P4: the kernel exists (this function's contract). The count is taken before
            // another thread has this waker, so before the last of them releases it.
            unsafe { process.kernel.hold() };
        }
        Self(MemoryRef(process.as_ptr()))
    }

    /// Returns the process.
    #[inline(always)]
    pub(crate) fn process(&self) -> ProcessRef<'_> {
        // SAFETY: F3: this reference keeps the memory, and its pointer came from a `ProcessRef`.
        unsafe { ProcessRef::new(self.0.0) }
    }

    /// Gives the reference to a pointer, from which [`WakerRef::from_raw`] takes it.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0.0
    }

    /// Takes the reference from a pointer.
    ///
    /// # Safety
    /// The pointer came from [`WakerRef::into_raw`], or from the `as_ptr` of a process that
    /// outlives the result. In the second case the result is not dropped. In the first case at most
    /// one result is.
    #[inline(always)]
    pub(crate) const unsafe fn from_raw(process: NonNull<Header>) -> Self {
        Self(MemoryRef(process))
    }
}

impl Clone for WakerRef {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: this reference keeps the memory, and holds the kernel (P4). If it is that of a
        // poll (`from_raw`), the process is owned.
        unsafe { Self::acquire(self.process()) }
    }
}

impl Drop for WakerRef {
    #[inline]
    fn drop(&mut self) {
        let kernel = self.0.header().kernel;
        if MemoryRef(self.0.0).release(WAKER, None) < 2 * WAKER {
            // The process may be freed by now; the kernel count that its wakers held is ours.
            // SAFETY: P4: the first waker, since the number of wakers was last 0, took this count.
            unsafe { kernel.release() };
        }
    }
}

/// A context's reference (`header`, P5). It does not hold the kernel, so it leads only to the
/// process's identity. It ends by [`ContextRef::end_in_slice`], or by being dropped.
pub(crate) struct ContextRef(MemoryRef);

impl ContextRef {
    /// Acquires the reference for the context of a process that runs its first slice.
    ///
    /// # Panics
    /// If the process has a context or a waker already.
    pub(crate) fn new(owned: &mut Owned<'_>) -> Self {
        // Relaxed, and no exchange: only the owner, or a holder, acquires a reference (F2), and
        // there is no holder.
        let shares = &owned.header().shares.0;
        assert!(shares.load(Ordering::Relaxed) == TABLE, "a process has one context, made in its first slice");
        shares.store(TABLE | CONTEXT, Ordering::Relaxed);
        Self(MemoryRef(owned.process().as_ptr()))
    }

    /// Returns the process's address, which is its identity (P5).
    #[inline(always)]
    pub(crate) const fn address(&self) -> *const Header {
        self.0.0.as_ptr()
    }

    /// Ends the reference in a slice of its process: the table's reference takes it along.
    #[inline(always)]
    pub(crate) fn end_in_slice(self) {
        let ended = ManuallyDrop::new(self);
        // SAFETY: the value was the reference, and ends here. Until the process's slice ends, the
        // table's reference keeps the memory.
        unsafe { ended.0.header().record_context_gone() };
    }
}

impl Drop for ContextRef {
    /// Releases the reference outside the process's own slice. Wait-free.
    #[cold]
    fn drop(&mut self) {
        MemoryRef(self.0.0).release(CONTEXT, None);
    }
}
