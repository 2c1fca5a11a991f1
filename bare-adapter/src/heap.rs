//! The heap, which knows how much of it was ever used.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use embedded_alloc::LlffHeap;

/// Bytes of the heap.
pub const SIZE: usize = 160 * 1024;

/// A first-fit heap with a high-water mark.
pub struct Heap {
    inner: LlffHeap,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl Heap {
    /// A heap without memory.
    #[allow(clippy::new_without_default, reason = "made in a static")]
    pub const fn new() -> Self {
        Self { inner: LlffHeap::empty(), used: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Gives it its memory.
    ///
    /// # Safety
    /// Called once, before the first allocation; the memory is nobody else's.
    pub unsafe fn init(&self, start: usize, size: usize) {
        // SAFETY: by contract.
        unsafe { self.inner.init(start, size) };
    }

    /// Bytes that are allocated now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever allocated at a time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

// SAFETY: the first-fit heap does the work; the counts only follow.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's contract.
        let memory = unsafe { self.inner.alloc(layout) };
        if !memory.is_null() {
            let used = self.used.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.used.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: by the caller's contract.
        unsafe { self.inner.dealloc(memory, layout) };
    }
}
