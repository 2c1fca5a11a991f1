//! The kernel of one hart, without epochs: `cargo test -p atropos-kernel --no-default-features`.
//! Here only the kernel allocates, so the test shows exactly what the exit path allocates: nothing.
#![cfg(not(feature = "epoch"))]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::{Body, BodyPoll, Cx, Options, Pid, Reason, Received, RunOutcome, SpawnOptions};

use common::Stage;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract for this method is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract for this method is that of the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A process of the chain: links itself to the next one, and counts its own exit. Each monitors one
/// common target, whose pid is passed along the chain.
struct ChainLink {
    left: usize,
    died: Arc<AtomicUsize>,
    watched: Option<Pid>,
}

impl Body for ChainLink {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        if let Some(Received::Down(_)) = cx.receive() {
            return BodyPoll::Exit(Reason::NORMAL);
        }
        if let Some(watched) = self.watched.take() {
            cx.monitor(watched).expect("memory");
            if self.left > 0 {
                let next = Self { left: self.left - 1, died: self.died.clone(), watched: Some(watched) };
                cx.spawn(&SpawnOptions::new().link(), next).expect("room");
            }
        }
        BodyPoll::Wait
    }
}

impl Drop for ChainLink {
    fn drop(&mut self) {
        self.died.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn exit_path_allocates_nothing() {
    const N: usize = 100_000;
    let mut stage = Stage::new(Options::default());
    let died = Arc::new(AtomicUsize::new(0));
    let first = {
        let host = stage.host();
        let target = ChainLink { left: 0, died: Arc::default(), watched: None };
        let target = host.spawn(&SpawnOptions::new(), target).expect("room").pid;
        let first = ChainLink { left: N - 1, died: died.clone(), watched: Some(target) };
        host.spawn(&SpawnOptions::new(), first).expect("room").pid
    };
    while stage.cores[0].run(1 << 20) == RunOutcome::Worked {}
    assert_eq!(stage.kernel.process_count(), N + 1);
    let reason = Reason::crash("the first one");
    stage.host().exit(first, reason).expect("memory");

    // Links fire, monitors are released and swept, slots and memory are freed.
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    while stage.cores[0].run(1 << 20) == RunOutcome::Worked {}
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;

    assert_eq!(died.load(Ordering::Relaxed), N, "each process dies once");
    assert_eq!(stage.kernel.process_count(), 1);
    assert_eq!(allocated, 0, "allocations of {N} deaths");
}
