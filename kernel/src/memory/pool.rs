//! [`Pool`]: small blocks that a core keeps for what it allocates next.
//!
//! A message lives for one send and one receive, and the core that frees it is most often the one that allocates the
//! next. So each core keeps the blocks that it frees, by size, youngest first: the next message is in a cache line
//! that is warm. What is more than it may keep goes back to the allocator.
//!
//! Every small block has its class's layout, whoever allocates it ([`super::layout`]), so what came from a pool may be
//! freed without one, on any thread, and the other way round. A pool is its core's alone: nothing in here is atomic.
//!
//! A model checker, and a sanitizer, see no pool: to them a block that is used again looks like one that was never freed.

use core::ptr::{self, NonNull};

use crate::sync::Cell;

use super::{CLASS, CLASSES, NoMemory, class};

/// Whether blocks are kept at all.
pub const KEEPS: bool = !cfg!(any(loom, shuttle, tsan, asan, miri));

/// A block that nobody uses.
struct Free {
    next: *mut Free,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    free: [Cell<*mut Free>; CLASSES],
    kept: Cell<usize>,
    limit: usize,
}

// SAFETY: the blocks are the pool's alone.
unsafe impl Send for Pool {}

impl Pool {
    /// A pool that keeps at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            free: core::array::from_fn(|_| Cell::new(ptr::null_mut())),
            kept: Cell::new(0),
            limit: if KEEPS { limit } else { 0 },
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
        self.kept.set(self.kept.get() - (class + 1) * CLASS);
        Some(block.cast())
    }

    #[inline(never)]
    fn alloc<T>(&self) -> Result<NonNull<T>, NoMemory> {
        match super::try_alloc() {
            Err(NoMemory) if self.kept.get() > 0 => {
                self.clear();
                super::try_alloc()
            }
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
        let kept = self.kept.get() + (class + 1) * CLASS;
        if kept > self.limit {
            // SAFETY: by contract.
            return unsafe { super::free(memory) };
        }
        let block = memory.cast::<Free>();
        // SAFETY: the caller's, who does not use it again; a class's block has room for a pointer.
        unsafe { block.write(Free { next: self.free[class].get() }) };
        self.free[class].set(block.as_ptr());
        self.kept.set(kept);
    }

    /// Gives everything back to the allocator.
    #[cold]
    fn clear(&self) {
        for (class, free) in self.free.iter().enumerate() {
            while let Some(block) = NonNull::new(free.get()) {
                // SAFETY: a free block of this pool.
                free.set(unsafe { block.as_ref() }.next);
                // SAFETY: every block of a class has its layout.
                unsafe { alloc::alloc::dealloc(block.as_ptr().cast(), super::class_layout(class)) };
            }
        }
        self.kept.set(0);
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
    // SAFETY: by contract the value is whole and not used again.
    unsafe { memory.drop_in_place() };
    // SAFETY: by contract.
    unsafe { free(memory, pool) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_used_again_by_whatever_fits_its_class() {
        let pool = Pool::new(64);
        let first = pool.try_new([1_u64; 3]).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(first) };
        let other = pool.try_new([2_u32; 8]).unwrap();
        assert_eq!(first.cast(), other, "24 and 32 bytes are one class");
        // SAFETY: allocated above.
        unsafe { super::super::free(other) };
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let pool = Pool::new(64);
        let blocks: [_; 5] = core::array::from_fn(|i| pool.try_new(i).unwrap());
        for block in blocks {
            // SAFETY: allocated above, not used again.
            unsafe { pool.free(block) };
        }
        assert_eq!(pool.kept.get(), 64);
        pool.clear();
        assert_eq!((pool.kept.get(), pool.take::<usize>()), (0, None));
    }

    #[test]
    fn what_is_large_is_never_kept() {
        let pool = Pool::new(1 << 20);
        let block = pool.try_new([0_u8; CLASS * CLASSES + 1]).unwrap();
        // SAFETY: allocated above, not used again.
        unsafe { pool.free(block) };
        assert_eq!(pool.kept.get(), 0);
    }
}
