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

use super::{CLASS, CLASSES, NoMemory, class};

/// Whether blocks are kept at all.
const KEEPS: bool = !cfg!(any(loom, shuttle, tsan, asan, miri));

/// A block that nobody uses.
struct Free {
    next: *mut Free,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    free: [*mut Free; CLASSES],
    kept: usize,
    limit: usize,
}

// SAFETY: the blocks are the pool's alone.
unsafe impl Send for Pool {}

impl Pool {
    /// A pool that keeps at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { free: [ptr::null_mut(); CLASSES], kept: 0, limit: if KEEPS { limit } else { 0 } }
    }

    /// Memory for a `T`, warm if there is some. O(1), but for the allocator.
    #[inline]
    pub fn alloc<T>(&mut self) -> Result<NonNull<T>, NoMemory> {
        if KEEPS
            && let Some(class) = const { class::<T>() }
            && let Some(block) = NonNull::new(self.free[class])
        {
            // SAFETY: a free block of this pool.
            self.free[class] = unsafe { block.as_ref() }.next;
            self.kept -= (class + 1) * CLASS;
            return Ok(block.cast());
        }
        match super::try_alloc() {
            Err(NoMemory) if self.kept > 0 => {
                self.clear();
                super::try_alloc()
            }
            memory => memory,
        }
    }

    /// Keeps the memory of a `T`, or frees it. O(1).
    ///
    /// # Safety
    /// As for [`super::free`].
    #[inline]
    pub unsafe fn free<T>(&mut self, memory: NonNull<T>) {
        if KEEPS
            && let Some(class) = const { class::<T>() }
            && self.kept + (class + 1) * CLASS <= self.limit
        {
            let block = memory.cast::<Free>();
            // SAFETY: the caller's, who does not use it again; a class's block has room for a pointer.
            unsafe { block.write(Free { next: self.free[class] }) };
            self.free[class] = block.as_ptr();
            self.kept += (class + 1) * CLASS;
            return;
        }
        // SAFETY: by contract.
        unsafe { super::free(memory) };
    }

    /// Gives everything back to the allocator.
    #[cold]
    fn clear(&mut self) {
        for (class, free) in self.free.iter_mut().enumerate() {
            while let Some(block) = NonNull::new(*free) {
                // SAFETY: a free block of this pool.
                *free = unsafe { block.as_ref() }.next;
                // SAFETY: every block of a class has its layout.
                unsafe { alloc::alloc::dealloc(block.as_ptr().cast(), super::class_layout(class)) };
            }
        }
        self.kept = 0;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}
