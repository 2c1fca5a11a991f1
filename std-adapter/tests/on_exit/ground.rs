//! What the tests stand on: a runtime, processes to watch, and memory that can be taken away.

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

/// The system's memory, none of which is for a thread that says so.
pub(crate) struct Starving;

// SAFETY: the system's allocator does the work, or there is no memory.
unsafe impl GlobalAlloc for Starving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if STARVED.with(Cell::get) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Starving = Starving;

pub(crate) fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("threads")
}

/// A process that waits for a message.
pub(crate) fn waiter(handle: &Handle) -> Pid {
    let waits = async |cx: Context<()>| {
        cx.recv().await;
    };
    handle.spawn(waits).expect("a process").pid()
}

/// A watch that brings the outcome.
pub(crate) fn watched(handle: &Handle, pid: Pid) -> (ExitWatch, Receiver<Outcome>) {
    let (send, outcome) = channel();
    let watch = handle.on_exit(pid, move |outcome| send.send(outcome).expect("the test waits"));
    (watch.expect("a watch"), outcome)
}

pub(crate) fn kill(handle: &Handle, pid: Pid) {
    assert_eq!(handle.exit(pid, Reason::KILL), Ok(true));
}
