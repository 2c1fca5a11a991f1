//! The heap, with a record of its maximum use.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use embedded_alloc::LlffHeap;

/// Size of the heap in bytes.
pub const SIZE: usize = 160 * 1024;

/// A first-fit heap with a high-water mark.
pub struct Heap {
    inner: LlffHeap,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl Heap {
    /// Creates a heap without memory.
    #[allow(clippy::new_without_default, reason = "created in a static")]
    pub const fn new() -> Self {
        Self { inner: LlffHeap::empty(), used: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Gives the heap its memory.
    ///
    /// # Safety
    /// Called once, before the first allocation. No other code uses the memory.
    pub unsafe fn init(&self, start: usize, size: usize) {
        // SAFETY: the caller calls this once, before the first allocation, with memory of its own
        // (this function's contract).
        unsafe { self.inner.init(start, size) };
    }

    /// Returns the number of bytes that are allocated now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns the maximum number of bytes that were ever allocated at a time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

// SAFETY: the first-fit heap does the work, and the counters do not affect it.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract for this method is that of the inner heap.
        let memory = unsafe { self.inner.alloc(layout) };
        if !memory.is_null() {
            let used = self.used.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.used.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract for this method is that of the inner heap.
        unsafe { self.inner.dealloc(memory, layout) };
    }
}
