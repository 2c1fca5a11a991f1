//! [`Pool`]: small blocks that a core keeps for what it allocates next.
//!
//! A message lives for one send and one receive, and the core that frees it is most often the one that allocates the
//! next. So each core keeps the blocks that it frees, by size, youngest first: the next message is in a cache line
//! that is warm. What is more than it may keep is a *surplus*: it goes to the other cores if they have room for it
//! ([`Depot`]), and else back to the allocator, when its core has nothing else to do ([`Pool::trim`]), or block after block
//! while it has. So many that die at once do not wait for the allocator one after the other, and memory is given back all the
//! same; a surplus has its limit too, beyond which what is freed is freed.
//!
//! Every small block has its class's layout, whoever allocates it (`super::layout`), so what came from a pool may be
//! freed without one, on any thread, and the other way round. A pool is its core's alone: nothing in here is atomic.
//!
//! Model checkers and AddressSanitizer see no pool: to them a block that is used again looks like one that was never freed.
//! ThreadSanitizer does: who uses a block again must be ordered behind all who used it before, which an allocator would hide.

use alloc::sync::Arc;
use core::ptr::{self, NonNull};

use super::depot::Depot;
use super::{CLASS, CLASSES, NoMemory, class};
use crate::sync::Cell;
use crate::timer::slot;

/// Whether blocks are kept at all.
pub const KEEPS: bool = !cfg!(any(loom, shuttle, asan, miri));

/// Blocks that go to the depot together.
pub const BATCH: usize = 64;

/// So many times what it may keep a pool has at most, for as long as its core is busy.
const SURPLUS: usize = 128;

/// A block that nobody uses: the first of a chain.
#[derive(Debug)]
pub struct FreeBlock {
    next: *mut FreeBlock,
}

impl FreeBlock {
    /// Gives a chain back to the allocator.
    ///
    /// # Safety
    /// The chain is the caller's, of this class, and not used again.
    pub(super) unsafe fn free_all(mut first: *mut Self, class: usize) {
        while let Some(block) = NonNull::new(first) {
            // SAFETY: the caller's.
            first = unsafe { block.as_ref() }.next;
            // SAFETY: every block of a class has its layout.
            unsafe { alloc::alloc::dealloc(block.as_ptr().cast(), super::class_layout(class)) };
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    free: [Cell<*mut FreeBlock>; CLASSES],
    /// Blocks of each class.
    counts: [Cell<usize>; CLASSES],
    /// Bytes.
    kept: Cell<usize>,
    /// The class of the last block that was too much.
    surplus: Cell<usize>,
    limit: usize,
    depot: Arc<Depot>,
    /// Timers' slots, which are no blocks, but are given back where blocks are.
    pub(crate) timer_slots: slot::Kept,
}

// SAFETY: the blocks are the pool's alone.
unsafe impl Send for Pool {}

impl Pool {
    /// A pool that keeps so many bytes, and a surplus until it is trimmed, and shares a depot with others. With 0 it keeps nothing.
    pub fn new(limit: usize, depot: Arc<Depot>) -> Self {
        Self {
            free: core::array::from_fn(|_| Cell::new(ptr::null_mut())),
            counts: core::array::from_fn(|_| Cell::new(0)),
            kept: Cell::new(0),
            surplus: Cell::new(0),
            limit: if KEEPS { limit } else { 0 },
            depot,
            timer_slots: slot::Kept::default(),
        }
    }

    /// Moves `value` to the heap; gives it back when there is no memory. O(1), but for the allocator.
    #[inline]
    pub fn try_new<T>(&self, value: T) -> Result<NonNull<T>, T> {
        match self.try_alloc::<T>() {
            Ok(memory) => {
                // SAFETY: memory for a `T` that nobody uses.
                unsafe { memory.write(value) };
                Ok(memory)
            }
            Err(NoMemory) => Err(value),
        }
    }

    /// Memory for a `T`. O(1), but for the allocator.
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
        // SAFETY: a free block of this pool.
        self.free[class].set(unsafe { block.as_ref() }.next);
        self.count(class, self.counts[class].get() - 1);
        Some(block.cast())
    }

    /// From now on there are so many blocks of the class.
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
            // The class is empty here: that is why we are asked.
            self.free[class].set(batch.as_ptr());
            self.count(class, BATCH);
            return self.take().ok_or(NoMemory);
        }
        match super::try_alloc() {
            // What is kept here and between the cores may be what is missing.
            Err(NoMemory) if self.clear() | self.depot.clear() => super::try_alloc(),
            memory => memory,
        }
    }

    /// Keeps the memory of a `T`, or frees it, without dropping the value. O(1).
    ///
    /// # Safety
    /// As for [`super::free`].
    #[inline]
    pub unsafe fn free<T>(&self, memory: NonNull<T>) {
        let Some(class) = (const { class::<T>() }) else {
            // SAFETY: by contract.
            return unsafe { super::free(memory) };
        };
        if self.kept.get() + (class + 1) * CLASS > self.limit {
            if self.counts[class].get() % BATCH == BATCH - 1 {
                self.spill(class);
            }
            if self.kept.get() / SURPLUS >= self.limit {
                // SAFETY: by contract.
                return unsafe { super::free(memory) };
            }
            self.surplus.set(class);
        }
        let block = memory.cast::<FreeBlock>();
        // SAFETY: the caller's, who does not use it again; a class's block has room for a pointer.
        unsafe { block.write(FreeBlock { next: self.free[class].get() }) };
        self.free[class].set(block.as_ptr());
        self.count(class, self.counts[class].get() + 1);
    }

    /// Makes room by a batch of the class, if there is one here and the others have room for it.
    #[inline(never)]
    fn spill(&self, class: usize) {
        if !self.depot.has_room(class) || self.counts[class].get() < BATCH {
            return;
        }
        let Some(batch) = NonNull::new(self.free[class].get()) else { return };
        let mut last = batch;
        for _ in 1..BATCH {
            // SAFETY: free blocks of this pool, of which there are as many.
            let next = unsafe { last.as_ref() }.next;
            last = NonNull::new(next).unwrap_or(last);
        }
        // SAFETY: as above.
        let rest = core::mem::replace(&mut unsafe { last.as_mut() }.next, ptr::null_mut());
        self.free[class].set(rest);
        self.count(class, self.counts[class].get() - BATCH);
        if !self.depot.put(class, batch) {
            // Another core was faster.
            // SAFETY: taken out above.
            unsafe { FreeBlock::free_all(batch.as_ptr(), class) };
        }
    }

    /// Gives up to so many blocks of the surplus back to the allocator; whether there was one.
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
            // What was too much is used again: then it is what there is most of.
            let bytes = |class: &usize| self.counts[*class].get() * (class + 1);
            class = (0..CLASSES).max_by_key(bytes).unwrap_or(class);
            self.surplus.set(class);
        }
        // Others may need by now what they had no room for.
        self.spill(class);
        for _ in 0..blocks {
            let block = NonNull::new(self.free[class].get()).filter(|_| self.kept.get() > self.limit);
            let Some(block) = block else { return };
            // SAFETY: a free block of this pool.
            self.free[class].set(unsafe { block.as_ref() }.next);
            self.count(class, self.counts[class].get() - 1);
            // SAFETY: every block of a class has its layout; taken out just now.
            unsafe { alloc::alloc::dealloc(block.as_ptr().cast(), super::class_layout(class)) };
        }
    }

    /// Gives everything back to the allocator; whether there was anything.
    #[cold]
    fn clear(&self) -> bool {
        let any = self.kept.get() > 0;
        for (class, free) in self.free.iter().enumerate() {
            self.count(class, 0);
            // SAFETY: free blocks of this pool.
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

/// Frees the memory of a `T` to a pool, if there is one here, without dropping the value.
///
/// # Safety
/// As for [`super::free`].
#[inline]
pub unsafe fn free<T>(memory: NonNull<T>, pool: Option<&Pool>) {
    match pool {
        // SAFETY: by contract.
        Some(pool) => unsafe { pool.free(memory) },
        // SAFETY: by contract.
        None => unsafe { super::free(memory) },
    }
}

/// Drops the value, and frees its memory as [`free`].
///
/// # Safety
/// As for [`super::drop_and_free`].
#[inline]
pub unsafe fn drop_and_free<T>(memory: NonNull<T>, pool: Option<&Pool>) {
    // The memory goes back also when the value's destructor, which may be foreign, panics.
    struct Frees<'a, T>(NonNull<T>, Option<&'a Pool>);
    impl<T> Drop for Frees<'_, T> {
        #[inline]
        fn drop(&mut self) {
            // SAFETY: by the contract of `drop_and_free`; the value is gone, whole or in parts.
            unsafe { free(self.0, self.1) };
        }
    }
    let _frees = Frees(memory, pool);
    // SAFETY: by contract the value is whole and not used again.
    unsafe { memory.drop_in_place() };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(limit: usize) -> Pool {
        Pool::new(limit, Arc::default())
    }

    #[test]
    fn what_overflows_comes_to_who_needs_it() {
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
        assert!(again.iter().all(|block| sent.contains(block)), "the first batch has come back");
        assert!(depot.take(of).is_none());
        for block in again {
            // SAFETY: allocated above, not used again.
            unsafe { receiver.free(block) };
        }
        assert!(depot.clear() && !depot.clear());
        assert!(depot.take(of).is_none(), "given back to the allocator");
    }

    #[test]
    fn a_batch_is_taken_whole() {
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
    fn a_block_is_used_again_by_whatever_fits_its_class() {
        let pool = pool(64);
        let first = pool.try_new([1_u64; 3]).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(first) };
        let other = pool.try_new([2_u32; 8]).unwrap();
        assert_eq!(first.cast(), other, "24 and 32 bytes are one class");
        // SAFETY: allocated above.
        unsafe { super::super::free(other) };
    }

    #[test]
    fn what_is_more_than_may_be_kept_goes_when_it_is_trimmed() {
        let pool = pool(64);
        let blocks: [_; 9] = core::array::from_fn(|i| pool.try_new(i).unwrap());
        for block in blocks {
            // SAFETY: allocated above, not used again.
            unsafe { pool.free(block) };
        }
        assert_eq!(pool.kept.get(), 9 * CLASS);
        assert!(pool.trim(1));
        assert_eq!(pool.kept.get(), 8 * CLASS, "no more than it was asked for");
        assert!(pool.trim(100));
        assert_eq!(pool.kept.get(), 64, "and no more than the surplus");
        assert!(!pool.trim(100));
        pool.clear();
        assert_eq!((pool.kept.get(), pool.take::<usize>()), (0, None));
    }

    #[test]
    fn a_surplus_has_its_limit() {
        let pool = pool(CLASS);
        let blocks: std::vec::Vec<_> = (0..10 * SURPLUS).map(|i| pool.try_new(i).unwrap()).collect();
        for block in blocks {
            // SAFETY: allocated above, not used again.
            unsafe { pool.free(block) };
            assert!(pool.kept.get() <= SURPLUS * CLASS, "{} bytes", pool.kept.get());
        }
    }

    #[test]
    fn who_may_keep_nothing_keeps_nothing() {
        let pool = pool(0);
        let block = pool.try_new(1_usize).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(block) };
        assert_eq!((pool.kept.get(), pool.take::<usize>()), (0, None));
    }

    #[test]
    fn what_is_large_is_never_kept() {
        let pool = pool(1 << 20);
        let block = pool.try_new([0_u8; CLASS * CLASSES + 1]).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(block) };
        assert_eq!(pool.kept.get(), 0);
    }
}
