//! The test's allocator: it counts what is live, and refuses when it is told to. All by thread, so that the tests
//! of this file can run side by side: a kernel of one hart stays on one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Which allocations fail, counted from the moment it is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refuse {
    /// From the `n`-th (the first is 1), as many as are said.
    From(usize, usize),
    /// None.
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

/// Begins to refuse, or ends it. Returns how often it was asked since the last time.
pub(crate) fn refuse(refuse: Refuse) -> usize {
    STATE.with(|state| state.replace(State { refuse, asked: 0, ..state.get() }).asked)
}

/// Bytes that are allocated on this thread and not freed.
pub(crate) fn live() -> isize {
    STATE.with(|state| state.get().live)
}

struct Allocator;

impl Allocator {
    /// Whether to give so many bytes more.
    fn grants(&self, more: isize) -> bool {
        // A thread that ends has no state any more.
        STATE
            .try_with(|state| {
                let mut now = state.get();
                now.asked += 1;
                let refused = match now.refuse {
                    // A failed assertion needs memory to say so.
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

// SAFETY: the system's allocator does the work; a null is a refusal.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.grants(layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let _ = STATE.try_with(|state| {
            let now = state.get();
            state.set(State { live: now.live - layout.size() as isize, ..now });
        });
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.grants(size as isize - layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;
