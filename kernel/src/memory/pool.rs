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
use core::fmt;
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

/// A chain of unused blocks that its holder owns.
///
/// **F1.** All blocks of a chain are of one class, which its place says: the index of a pool's
/// list, or of a depot's place. The first pointer, and each `next`, is null or the only pointer to
/// a block that no other code uses.
#[derive(Debug)]
#[must_use = "the blocks must be kept or freed"]
pub struct FreeChain(Cell<*mut FreeBlock>);

impl FreeChain {
    /// Creates a chain without blocks.
    const fn new() -> Self {
        Self(Cell::new(ptr::null_mut()))
    }

    /// Makes a chain of the pointer that [`FreeChain::into_raw`] returned.
    ///
    /// # Safety
    /// The caller passes on the chain, whose blocks are of the class of the place where it is used
    /// (F1).
    pub const unsafe fn from_raw(first: *mut FreeBlock) -> Self {
        Self(Cell::new(first))
    }

    /// Returns the pointer to the first block, whose chain the caller now owns.
    pub const fn into_raw(self) -> *mut FreeBlock {
        self.0.into_inner()
    }

    /// Returns `true` if there are no blocks.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    /// Takes the first block.
    #[inline(always)]
    fn pop(&self) -> Option<NonNull<FreeBlock>> {
        let block = NonNull::new(self.0.get())?;
        // SAFETY: F1: the chain has the only pointer to the block, which is live.
        self.0.set(unsafe { block.as_ref() }.next);
        Some(block)
    }

    /// Adds a block.
    ///
    /// # Safety
    /// The caller passes the only pointer to a block of the chain's class (F1).
    #[inline(always)]
    unsafe fn push(&self, block: NonNull<FreeBlock>) {
        // SAFETY: the block is the chain's from here on (this function's contract). A block of any
        // class has room for a pointer.
        unsafe { block.write(FreeBlock { next: self.0.get() }) };
        self.0.set(block.as_ptr());
    }

    /// Splits off the first `count` blocks, or all of them if there are fewer.
    fn split(&self, count: usize) -> Self {
        let Some(first) = NonNull::new(self.0.get()) else { return Self::new() };
        let mut last = first;
        for _ in 1..count {
            // SAFETY: F1: the chain has the only pointer to the block, which is live.
            let Some(next) = NonNull::new(unsafe { last.as_ref() }.next) else { break };
            last = next;
        }
        // SAFETY: F1: the chain has the only pointer to the block, which is live.
        self.0.set(core::mem::replace(&mut unsafe { last.as_mut() }.next, ptr::null_mut()));
        Self(Cell::new(first.as_ptr()))
    }

    /// Returns up to `count` blocks to the allocator. Returns their number.
    ///
    /// # Safety
    /// The blocks are of this class (F1).
    pub(super) unsafe fn free(&self, class: usize, count: usize) -> usize {
        for freed in 0..count {
            let Some(block) = self.pop() else { return freed };
            // SAFETY: F1: the line above took the block out of the chain, so it is freed once.
            // Every block of a class has the layout of the class.
            unsafe { alloc::alloc::dealloc(block.as_ptr().cast(), crate::memory::class_layout(class)) };
        }
        count
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
pub struct Pool {
    /// The unused blocks of each class.
    free: [FreeChain; CLASSES],
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

// SAFETY: F1: only the pool has its blocks, so they move to another thread together with it.
unsafe impl Send for Pool {}

impl Pool {
    /// Creates a pool that keeps up to `limit` bytes, plus a surplus until it is trimmed, and
    /// shares a depot with other pools. With a limit of 0 it keeps nothing.
    pub fn new(limit: usize, depot: Arc<Depot>) -> Self {
        Self {
            free: core::array::from_fn(|_| FreeChain::new()),
            counts: core::array::from_fn(|_| Cell::new(0)),
            kept: Cell::new(0),
            surplus: Cell::new(0),
            limit: if POOLED_BLOCKS { limit } else { 0 },
            depot,
            timer_slots: KeptSlots::default(),
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
        let block = self.free[class].pop()?;
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
            self.free[class].0.set(batch.into_raw());
            self.count(class, BATCH);
            return self.take().ok_or(NoMemory);
        }
        match crate::memory::try_alloc() {
            // The pool and the depot may hold the memory that is missing.
            Err(NoMemory) if self.clear() | self.depot.clear() => crate::memory::try_alloc(),
            memory => memory,
        }
    }

    /// Returns `true` if the pool keeps one more block of the class. Makes room for it, if it
    /// exceeds the limit and there is no room.
    #[inline]
    fn keeps(&self, class: usize) -> bool {
        if self.kept.get() + (class + 1) * CLASS > self.limit {
            if self.counts[class].get() % BATCH == BATCH - 1 {
                self.spill(class);
            }
            if self.kept.get() / SURPLUS >= self.limit {
                return false;
            }
            self.surplus.set(class);
        }
        true
    }

    /// Moves one batch of the class to the depot, if the pool has a batch and the depot has room
    /// for it.
    #[inline(never)]
    fn spill(&self, class: usize) {
        if !self.depot.has_room(class) || self.counts[class].get() < BATCH {
            return;
        }
        let batch = self.free[class].split(BATCH);
        self.count(class, self.counts[class].get() - BATCH);
        if let Err(batch) = self.depot.put(class, batch) {
            // Another core was faster.
            // SAFETY: F1: the batch was split off the chain of this class.
            unsafe { batch.free(class, BATCH) };
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
        let surplus = self.kept.get().saturating_sub(self.limit).div_ceil((class + 1) * CLASS);
        self.free_some(class, blocks.min(surplus));
    }

    /// Returns up to `count` blocks of the class to the allocator.
    fn free_some(&self, class: usize, count: usize) {
        // SAFETY: F1: the chain at the index of the class has its blocks.
        let freed = unsafe { self.free[class].free(class, count) };
        self.count(class, self.counts[class].get() - freed);
    }

    /// Returns all blocks to the allocator. Returns `true` if there were any.
    #[cold]
    fn clear(&self) -> bool {
        let any = self.kept.get() > 0;
        for class in 0..CLASSES {
            self.free_some(class, usize::MAX);
        }
        any
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("kept", &self.kept).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Keeps the memory of a `T` in the pool, if there is one, or frees it, without dropping the value.
/// O(1), except for the allocator.
///
/// # Safety
/// The same contract as [`crate::memory::free`].
#[inline]
pub unsafe fn free<T>(memory: NonNull<T>, pool: Option<&Pool>) {
    if let Some(pool) = pool
        && let Some(class) = const { class::<T>() }
        && pool.keeps(class)
    {
        // SAFETY: F1: the memory is a block of the class of `T`, which the caller does not use
        // again (this function's contract).
        unsafe { pool.free[class].push(memory.cast()) };
        return pool.count(class, pool.counts[class].get() + 1);
    }
    // SAFETY: the caller passes memory of `try_alloc` for the same `T`, and does not use it again
    // (this function's contract).
    unsafe { crate::memory::free(memory) };
}

/// Drops the value, and frees its memory like [`free`], even if the value's destructor, which may
/// be foreign, panics.
///
/// # Safety
/// The same contract as [`crate::memory::free`], and the value is intact.
#[inline]
pub unsafe fn drop_and_free<T>(memory: NonNull<T>, pool: Option<&Pool>) {
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
    use crate::memory::pool_box::PoolBox;

    fn pool(limit: usize) -> Pool {
        Pool::new(limit, Arc::default())
    }

    fn block<T>(pool: &Pool, value: T) -> PoolBox<T> {
        PoolBox::try_new(value, Some(pool)).ok().expect("memory")
    }

    fn at<T>(block: &PoolBox<T>) -> *const () {
        ptr::from_ref(&**block).cast()
    }

    #[test]
    fn surplus_batch_reaches_the_core_that_needs_it() {
        let depot: Arc<Depot> = Arc::default();
        let (sender, receiver) = (Pool::new(1 << 20, depot.clone()), Pool::new(BATCH * 32, depot.clone()));
        let sent: [_; 2 * BATCH] = core::array::from_fn(|i| block(&sender, [i; 4]));
        let places: std::vec::Vec<_> = sent.iter().map(at).collect();
        for block in sent {
            block.release(Some(&receiver));
        }
        let of = class::<[usize; 4]>().unwrap();
        assert_eq!((sender.counts[of].get(), receiver.counts[of].get()), (0, BATCH));
        let again: [_; BATCH] = core::array::from_fn(|i| block(&sender, [i; 4]));
        assert!(again.iter().all(|block| places.contains(&at(block))), "the first batch comes back from the depot");
        assert!(depot.take(of).is_none());
        for block in again {
            block.release(Some(&receiver));
        }
        assert!(depot.clear() && !depot.clear());
        assert!(depot.take(of).is_none(), "returned to the allocator");
    }

    #[test]
    fn batch_is_taken_whole() {
        let depot: Arc<Depot> = Arc::default();
        let (sender, receiver) = (Pool::new(1 << 20, depot.clone()), Pool::new(BATCH * 32, depot));
        let sent: [_; 2 * BATCH] = core::array::from_fn(|i| block(&sender, [i; 4]));
        for block in sent {
            block.release(Some(&receiver));
        }
        let again: [_; BATCH] = core::array::from_fn(|i| block(&sender, [i; 4]));
        for block in again {
            block.release(Some(&sender));
        }
        let of = class::<[usize; 4]>().unwrap();
        assert_eq!(sender.counts[of].get(), BATCH);
    }

    #[test]
    fn block_is_reused_by_any_type_of_its_class() {
        let pool = pool(64);
        let first = block(&pool, [1_u64; 3]);
        let place = at(&first);
        first.release(Some(&pool));
        let other = block(&pool, [2_u32; 8]);
        assert_eq!(place, at(&other), "24 and 32 bytes are one class");
    }

    #[test]
    fn trim_frees_the_surplus() {
        let pool = pool(64);
        let blocks: [_; 9] = core::array::from_fn(|i| block(&pool, i));
        for block in blocks {
            block.release(Some(&pool));
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
        let blocks: std::vec::Vec<_> = (0..10 * SURPLUS).map(|i| block(&pool, i)).collect();
        for block in blocks {
            block.release(Some(&pool));
            assert!(pool.kept.get() <= SURPLUS * CLASS, "{} bytes", pool.kept.get());
        }
    }

    #[test]
    fn pool_with_limit_zero_keeps_nothing() {
        let pool = pool(0);
        block(&pool, 1_usize).release(Some(&pool));
        assert_eq!((pool.kept.get(), pool.take::<usize>()), (0, None));
    }

    #[test]
    fn large_block_is_never_kept() {
        let pool = pool(1 << 20);
        block(&pool, [0_u8; CLASS * CLASSES + 1]).release(Some(&pool));
        assert_eq!(pool.kept.get(), 0);
    }
}
