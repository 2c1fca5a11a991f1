//! The test's allocator: it counts the live bytes, and refuses allocations on request. All state is
//! per thread, so that the tests of this file can run in parallel: a kernel of one hart stays on
//! one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allocations that fail, counted from the moment this is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refuse {
    /// Refuses from the `n`-th allocation on (the first is 1), as many as the second number says.
    From(usize, usize),
    /// Refuses no allocation.
    Nothing,
}

#[derive(Clone, Copy)]
struct State {
    refuse: Refuse,
    asked: usize,
    live: isize,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State { refuse: Refuse::Nothing, asked: 0, live: 0 }) };
}

/// Begins to refuse, or stops refusing. Returns the number of allocations since the last call.
pub(crate) fn refuse(refuse: Refuse) -> usize {
    STATE.with(|state| state.replace(State { refuse, asked: 0, ..state.get() }).asked)
}

/// Returns the number of bytes that are allocated on this thread and not freed.
pub(crate) fn live() -> isize {
    STATE.with(|state| state.get().live)
}

struct Allocator;

impl Allocator {
    /// Returns `true` if the allocator grants `more` further bytes.
    fn grants(&self, more: isize) -> bool {
        // The state of a thread that ends is gone.
        STATE
            .try_with(|state| {
                let mut now = state.get();
                now.asked += 1;
                let refused = match now.refuse {
                    // A failed assertion needs memory to report.
                    Refuse::From(first, count) => {
                        (first..first.saturating_add(count)).contains(&now.asked) && !std::thread::panicking()
                    }
                    Refuse::Nothing => false,
                };
                if !refused {
                    now.live += more;
                }
                state.set(now);
                !refused
            })
            .unwrap_or(true)
    }
}

// SAFETY: the system's allocator does the work, and a null means a refusal.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.grants(layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract for this method is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let _ = STATE.try_with(|state| {
            let now = state.get();
            state.set(State { live: now.live - layout.size() as isize, ..now });
        });
        // SAFETY: the caller's contract for this method is that of the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.grants(size as isize - layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract for this method is that of the system's allocator.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;
