//! [`Pool`]: small blocks that a core keeps for its next allocations.
//!
//! A message lives for one send and one receive, and the core that frees it is usually the core
//! that allocates the next one. Each core therefore keeps the blocks that it frees, by size,
//! youngest first: the next message then lies in a warm cache line. Blocks beyond the limit are a
//! *surplus*. They go to the other cores if the [`Depot`] has room for them, else back to the
//! allocator: when the core has nothing else to do ([`Pool::trim`]), or block by block while it is
//! busy. A mass exit therefore does not wait for the allocator at every process, and the memory is
//! returned all the same. The surplus has a limit too: beyond it, blocks are freed immediately.
//!
//! Every small block has the layout of its class, no matter which code allocates it
//! (`crate::memory::layout`). A block from a pool may therefore be freed without a pool, on any
//! thread, and the other way round. A pool belongs to one core: nothing in this module is atomic.
//!
//! Model checkers and AddressSanitizer run without a pool: to them a reused block looks like a
//! block that was never freed. ThreadSanitizer runs with it: the thread that reuses a block must be
//! ordered after all threads that used it before, and an allocator would hide a missing order.

use alloc::sync::Arc;
use core::ptr::{self, NonNull};

use crate::memory::depot::Depot;
use crate::memory::{CLASS, CLASSES, NoMemory, class};
use crate::sync::Cell;

/// `true` if pools keep blocks at all.
pub const POOLED_BLOCKS: bool = !cfg!(any(loom, shuttle, asan, miri));

/// Number of blocks that move to the depot together.
pub const BATCH: usize = 64;

/// The maximum size of a pool while its core is busy, as a multiple of its limit.
const SURPLUS: usize = 128;

/// An unused block: the first of a chain.
#[derive(Debug)]
pub struct FreeBlock {
    next: *mut FreeBlock,
}

impl FreeBlock {
    /// Returns a chain to the allocator.
    ///
    /// # Safety
    /// The caller owns the chain, whose blocks are of this class, and does not use it again.
    pub(super) unsafe fn free_all(mut first: *mut Self, class: usize) {
        while let Some(block) = NonNull::new(first) {
            // SAFETY: the caller owns the chain (this function's contract), and the block is not
            // freed yet.
            first = unsafe { block.as_ref() }.next;
            // SAFETY: every block of a class has the layout of the class, and this loop frees each
            // block once.
            unsafe { alloc::alloc::dealloc(block.as_ptr().cast(), crate::memory::class_layout(class)) };
        }
    }
}

/// The free timer slots that one core keeps, linked through the slots. `process::timer_slot` knows
/// what a slot is, and has the operations.
#[derive(Debug)]
pub(crate) struct KeptSlots {
    pub(crate) first: Cell<*mut ()>,
    pub(crate) count: Cell<u32>,
}

impl Default for KeptSlots {
    fn default() -> Self {
        Self { first: Cell::new(ptr::null_mut()), count: Cell::new(0) }
    }
}

// SAFETY: only the core that keeps the slots uses this list.
unsafe impl Send for KeptSlots {}

/// A core's private pool of small blocks, see the module documentation.
#[derive(Debug)]
pub struct Pool {
    free: [Cell<*mut FreeBlock>; CLASSES],
    /// Number of blocks of each class.
    counts: [Cell<usize>; CLASSES],
    /// Total size of the kept blocks in bytes.
    kept: Cell<usize>,
    /// The class of the last block that exceeded the limit.
    surplus: Cell<usize>,
    limit: usize,
    depot: Arc<Depot>,
    /// Timer slots. They are not memory blocks, but they are returned where blocks are returned.
    pub(crate) timer_slots: KeptSlots,
}

// SAFETY: only the pool has its blocks, so they move to another thread together with it.
unsafe impl Send for Pool {}

impl Pool {
    /// Creates a pool that keeps up to `limit` bytes, plus a surplus until it is trimmed, and
    /// shares a depot with other pools. With a limit of 0 it keeps nothing.
    pub fn new(limit: usize, depot: Arc<Depot>) -> Self {
        Self {
            free: core::array::from_fn(|_| Cell::new(ptr::null_mut())),
            counts: core::array::from_fn(|_| Cell::new(0)),
            kept: Cell::new(0),
            surplus: Cell::new(0),
            limit: if POOLED_BLOCKS { limit } else { 0 },
            depot,
            timer_slots: KeptSlots::default(),
        }
    }

    /// Moves `value` to the heap, or gives it back when there is no memory. O(1), except for the
    /// allocator.
    #[inline]
    pub fn try_new<T>(&self, value: T) -> Result<NonNull<T>, T> {
        match self.try_alloc::<T>() {
            Ok(memory) => {
                // SAFETY: `try_alloc` returned memory for a `T` that no other code uses.
                unsafe { memory.write(value) };
                Ok(memory)
            }
            Err(NoMemory) => Err(value),
        }
    }

    /// Allocates memory for a `T`. O(1), except for the allocator.
    #[inline]
    pub fn try_alloc<T>(&self) -> Result<NonNull<T>, NoMemory> {
        match self.take::<T>() {
            Some(memory) => Ok(memory),
            None => self.alloc(),
        }
    }

    #[inline]
    fn take<T>(&self) -> Option<NonNull<T>> {
        let class = const { class::<T>() }?;
        let block = NonNull::new(self.free[class].get())?;
        // SAFETY: the block is on this pool's free list, so it is live and no other code uses it.
        self.free[class].set(unsafe { block.as_ref() }.next);
        self.count(class, self.counts[class].get() - 1);
        Some(block.cast())
    }

    /// Sets the number of blocks of the class and updates the total size.
    #[inline]
    fn count(&self, class: usize, blocks: usize) {
        let size = (class + 1) * CLASS;
        let before = self.counts[class].replace(blocks);
        self.kept.set(self.kept.get() + blocks * size - before * size);
    }

    #[inline(never)]
    fn alloc<T>(&self) -> Result<NonNull<T>, NoMemory> {
        if self.limit > 0
            && let Some(class) = const { class::<T>() }
            && let Some(batch) = self.depot.take(class)
        {
            // This class is empty: otherwise `take` would have returned a block.
            self.free[class].set(batch.as_ptr());
            self.count(class, BATCH);
            return self.take().ok_or(NoMemory);
        }
        match crate::memory::try_alloc() {
            // The pool and the depot may hold the memory that is missing.
            Err(NoMemory) if self.clear() | self.depot.clear() => crate::memory::try_alloc(),
            memory => memory,
        }
    }

    /// Keeps the memory of a `T`, or frees it, without dropping the value. O(1).
    ///
    /// # Safety
    /// The same contract as [`crate::memory::free`].
    #[inline]
    pub unsafe fn free<T>(&self, memory: NonNull<T>) {
        let Some(class) = (const { class::<T>() }) else {
            // SAFETY: the caller passes memory of `try_alloc` or `try_new` for the same `T` (this
            // function's contract).
            return unsafe { crate::memory::free(memory) };
        };
        if self.kept.get() + (class + 1) * CLASS > self.limit {
            if self.counts[class].get() % BATCH == BATCH - 1 {
                self.spill(class);
            }
            if self.kept.get() / SURPLUS >= self.limit {
                // SAFETY: the caller passes memory of `try_alloc` or `try_new` for the same `T`
                // (this function's contract).
                return unsafe { crate::memory::free(memory) };
            }
            self.surplus.set(class);
        }
        let block = memory.cast::<FreeBlock>();
        // SAFETY: the caller owns the block and does not use it again. A block of any class has
        // room for a pointer.
        unsafe { block.write(FreeBlock { next: self.free[class].get() }) };
        self.free[class].set(block.as_ptr());
        self.count(class, self.counts[class].get() + 1);
    }

    /// Moves one batch of the class to the depot, if the pool has a batch and the depot has room
    /// for it.
    #[inline(never)]
    fn spill(&self, class: usize) {
        if !self.depot.has_room(class) || self.counts[class].get() < BATCH {
            return;
        }
        let Some(batch) = NonNull::new(self.free[class].get()) else { return };
        let mut last = batch;
        for _ in 1..BATCH {
            // SAFETY: free blocks of this pool; the list has at least `BATCH` of them (checked
            // above).
            let next = unsafe { last.as_ref() }.next;
            last = NonNull::new(next).unwrap_or(last);
        }
        // SAFETY: `last` is the last block of the batch, on this pool's free list, and no other
        // code uses it.
        let rest = core::mem::replace(&mut unsafe { last.as_mut() }.next, ptr::null_mut());
        self.free[class].set(rest);
        self.count(class, self.counts[class].get() - BATCH);
        if !self.depot.put(class, batch) {
            // Another core was faster.
            // SAFETY: this call took the batch off the free list above, and the depot did not
            // accept it.
            unsafe { FreeBlock::free_all(batch.as_ptr(), class) };
        }
    }

    /// Returns up to `blocks` blocks of the surplus to the allocator. Returns `true` if there was a
    /// surplus.
    #[inline]
    pub fn trim(&self, blocks: usize) -> bool {
        let due = self.kept.get() > self.limit;
        if due {
            self.trim_some(blocks);
        }
        due
    }

    #[inline(never)]
    fn trim_some(&self, blocks: usize) {
        let mut class = self.surplus.get();
        if self.counts[class].get() == 0 {
            // The blocks of the last surplus are in use again: continue with the class of the most
            // bytes.
            let bytes = |class: &usize| self.counts[*class].get() * (class + 1);
            class = (0..CLASSES).max_by_key(bytes).unwrap_or(class);
            self.surplus.set(class);
        }
        // Other cores may now need the blocks for which the depot had no room before.
        self.spill(class);
        for _ in 0..blocks {
            let block = NonNull::new(self.free[class].get()).filter(|_| self.kept.get() > self.limit);
            let Some(block) = block else { return };
            // SAFETY: the block is on this pool's free list, so it is live and no other code uses
            // it.
            self.free[class].set(unsafe { block.as_ref() }.next);
            self.count(class, self.counts[class].get() - 1);
            // SAFETY: the block was taken off the free list just now, and every block of a class
            // has its layout.
            unsafe { alloc::alloc::dealloc(block.as_ptr().cast(), crate::memory::class_layout(class)) };
        }
    }

    /// Returns all blocks to the allocator. Returns `true` if there were any.
    #[cold]
    fn clear(&self) -> bool {
        let any = self.kept.get() > 0;
        for (class, free) in self.free.iter().enumerate() {
            self.count(class, 0);
            // SAFETY: `replace` took all free blocks of the class off this pool's list.
            unsafe { FreeBlock::free_all(free.replace(ptr::null_mut()), class) };
        }
        any
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Frees the memory of a `T` to the pool, if there is one, without dropping the value.
///
/// # Safety
/// The same contract as [`crate::memory::free`].
#[inline]
pub unsafe fn free<T>(memory: NonNull<T>, pool: Option<&Pool>) {
    match pool {
        // SAFETY: the caller passes memory of `try_alloc` or `try_new` for the same `T` (this
        // function's contract).
        Some(pool) => unsafe { pool.free(memory) },
        // SAFETY: the caller passes memory of `try_alloc` or `try_new` for the same `T` (this
        // function's contract).
        None => unsafe { crate::memory::free(memory) },
    }
}

/// Drops the value, and frees its memory like [`free`].
///
/// # Safety
/// The same contract as [`crate::memory::drop_and_free`].
#[inline]
pub unsafe fn drop_and_free<T>(memory: NonNull<T>, pool: Option<&Pool>) {
    // The memory is freed even if the value's destructor, which may be foreign, panics.
    struct Frees<'a, T>(NonNull<T>, Option<&'a Pool>);
    impl<T> Drop for Frees<'_, T> {
        #[inline]
        fn drop(&mut self) {
            // SAFETY: the caller of `drop_and_free` passes memory of its own; the value was
            // dropped, in whole or in part.
            unsafe { free(self.0, self.1) };
        }
    }
    let _frees = Frees(memory, pool);
    // SAFETY: the value is intact and not used again (this function's contract).
    unsafe { memory.drop_in_place() };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(limit: usize) -> Pool {
        Pool::new(limit, Arc::default())
    }

    #[test]
    fn surplus_batch_reaches_the_core_that_needs_it() {
        let depot: Arc<Depot> = Arc::default();
        let (sender, receiver) = (Pool::new(1 << 20, depot.clone()), Pool::new(BATCH * 32, depot.clone()));
        let sent: [_; 2 * BATCH] = core::array::from_fn(|i| sender.try_new([i; 4]).unwrap());
        for block in sent {
            // SAFETY: allocated above, not used again.
            unsafe { receiver.free(block) };
        }
        let of = class::<[usize; 4]>().unwrap();
        assert_eq!((sender.counts[of].get(), receiver.counts[of].get()), (0, BATCH));
        let again: [_; BATCH] = core::array::from_fn(|i| sender.try_new([i; 4]).unwrap());
        assert!(again.iter().all(|block| sent.contains(block)), "the first batch comes back from the depot");
        assert!(depot.take(of).is_none());
        for block in again {
            // SAFETY: allocated above, not used again.
            unsafe { receiver.free(block) };
        }
        assert!(depot.clear() && !depot.clear());
        assert!(depot.take(of).is_none(), "returned to the allocator");
    }

    #[test]
    fn batch_is_taken_whole() {
        let depot: Arc<Depot> = Arc::default();
        let (sender, receiver) = (Pool::new(1 << 20, depot.clone()), Pool::new(BATCH * 32, depot));
        let sent: [_; 2 * BATCH] = core::array::from_fn(|i| sender.try_new([i; 4]).unwrap());
        for block in sent {
            // SAFETY: allocated above, not used again.
            unsafe { receiver.free(block) };
        }
        let again: [_; BATCH] = core::array::from_fn(|i| sender.try_new([i; 4]).unwrap());
        for block in again {
            // SAFETY: allocated above, not used again.
            unsafe { sender.free(block) };
        }
    }

    #[test]
    fn block_is_reused_by_any_type_of_its_class() {
        let pool = pool(64);
        let first = pool.try_new([1_u64; 3]).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(first) };
        let other = pool.try_new([2_u32; 8]).unwrap();
        assert_eq!(first.cast(), other, "24 and 32 bytes are one class");
        // SAFETY: the block was allocated above and is not used again.
        unsafe { super::super::free(other) };
    }

    #[test]
    fn trim_frees_the_surplus() {
        let pool = pool(64);
        let blocks: [_; 9] = core::array::from_fn(|i| pool.try_new(i).unwrap());
        for block in blocks {
            // SAFETY: allocated above, not used again.
            unsafe { pool.free(block) };
        }
        assert_eq!(pool.kept.get(), 9 * CLASS);
        assert!(pool.trim(1));
        assert_eq!(pool.kept.get(), 8 * CLASS, "trims only the requested number of blocks");
        assert!(pool.trim(100));
        assert_eq!(pool.kept.get(), 64, "trims only the surplus");
        assert!(!pool.trim(100));
        pool.clear();
        assert_eq!((pool.kept.get(), pool.take::<usize>()), (0, None));
    }

    #[test]
    fn surplus_has_a_limit() {
        let pool = pool(CLASS);
        let blocks: std::vec::Vec<_> = (0..10 * SURPLUS).map(|i| pool.try_new(i).unwrap()).collect();
        for block in blocks {
            // SAFETY: allocated above, not used again.
            unsafe { pool.free(block) };
            assert!(pool.kept.get() <= SURPLUS * CLASS, "{} bytes", pool.kept.get());
        }
    }

    #[test]
    fn pool_with_limit_zero_keeps_nothing() {
        let pool = pool(0);
        let block = pool.try_new(1_usize).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(block) };
        assert_eq!((pool.kept.get(), pool.take::<usize>()), (0, None));
    }

    #[test]
    fn large_block_is_never_kept() {
        let pool = pool(1 << 20);
        let block = pool.try_new([0_u8; CLASS * CLASSES + 1]).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(block) };
        assert_eq!(pool.kept.get(), 0);
    }
}
