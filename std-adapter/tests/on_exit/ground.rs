//! The fixtures of these tests: a runtime, processes to watch, and memory that can be withheld.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use atropos::prelude::*;
use atropos::{ExitWatch, Handle, Outcome};

pub(crate) const LONG: Duration = Duration::from_secs(30);

thread_local! {
    pub(crate) static STARVED: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, which refuses memory to a thread that has set `STARVED`.
pub(crate) struct Starving;

// SAFETY: every call is forwarded to the system's allocator, or fails with a null pointer, as the
// contract allows.
unsafe impl GlobalAlloc for Starving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if STARVED.with(Cell::get) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is also the system
        // allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and `alloc` got the
        // memory from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Starving = Starving;

pub(crate) fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("threads")
}

/// Spawns a process that waits for a message.
pub(crate) fn waiter(handle: &Handle) -> Pid {
    let waits = async |cx: Context<()>| {
        cx.recv().await;
    };
    handle.spawn(waits).expect("a process").pid()
}

/// Installs a watch that sends the outcome to a channel.
pub(crate) fn watched(handle: &Handle, pid: Pid) -> (ExitWatch, Receiver<Outcome>) {
    let (send, outcome) = channel();
    let watch = handle.on_exit(pid, move |outcome| send.send(outcome).expect("the test waits"));
    (watch.expect("a watch"), outcome)
}

pub(crate) fn kill(handle: &Handle, pid: Pid) {
    assert_eq!(handle.exit(pid, Reason::KILL), Ok(true));
}
