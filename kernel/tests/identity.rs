//! Identity across kernels (issue 14, items 2 and 3): a `Context` belongs to one process for ever,
//! even when its kernel is gone and another process has the same pid. A kernel stays where its
//! processes look for it, whatever is done with its handle.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use atropos_kernel::reclaim::Domain;
use atropos_kernel::task::WithResult;
use atropos_kernel::{Context, Core, Host, Kernel, Limits, Options, Pid, Received, SpawnOptions};

use common::{Stage, Stepped};

/// Number of kernels, and of processes of each, in tests of reused memory.
const ROUNDS: usize = 40;
const EACH: usize = 16;

/// Contexts of dead processes, by their pids.
type Old<M> = Arc<Mutex<HashMap<Pid, Vec<Context<M>>>>>;

/// Runs a kernel to its end; its processes leave their contexts behind.
fn leave_contexts<M: Send + 'static>(old: &Old<M>) {
    let mut stage = Stage::new(Options::default());
    for _ in 0..EACH {
        let old = old.clone();
        let leaves = async move |cx: Context<M>| old.lock().unwrap().entry(cx.pid()).or_default().push(cx);
        stage.host().spawn_async(&SpawnOptions::new(), leaves).unwrap();
    }
    stage.settle();
    assert_eq!(stage.kernel.process_count(), 0);
}

/// Lets processes of another kernel try the contexts of their own pid. Returns how many pids were
/// equal, and how many contexts were accepted as a process's own.
fn try_contexts<M: Send + 'static>(old: &Old<M>) -> (usize, usize) {
    let mut stage = Stage::new(Options::default());
    let (same, hits) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..EACH {
        let (old, same, hits) = (old.clone(), same.clone(), hits.clone());
        let tries = async move |cx: Context<Vec<String>>| {
            let old = old.lock().unwrap();
            for foreign in old.get(&cx.pid()).into_iter().flatten() {
                same.fetch_add(1, Ordering::Relaxed);
                // The test does not use the accepted context on foreign messages: that would be
                // undefined behaviour.
                if foreign.try_with(|_| ()).is_some() {
                    hits.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        stage.host().spawn_async(&SpawnOptions::new(), tries).unwrap();
    }
    stage.settle();
    assert_eq!(stage.kernel.process_count(), 0);
    (same.load(Ordering::Relaxed), hits.load(Ordering::Relaxed))
}

/// Issue 14, item 2: two kernels that are not coordinated give out the same pids, and the allocator
/// gives out the same memory.
#[test]
fn n02_context_that_outlives_its_kernel_belongs_to_no_process() {
    let (old, of_its_type) = (Old::<u64>::default(), Old::<Vec<String>>::default());
    let mut same = 0;
    for _ in 0..ROUNDS {
        leave_contexts(&old);
        leave_contexts(&of_its_type);
        for (tried, hits) in [try_contexts(&old), try_contexts(&of_its_type)] {
            same += tried;
            assert_eq!(hits, 0, "the Context of a dead kernel is accepted as a process's own");
        }
    }
    assert!(same > 0, "no pid was repeated: the test has tried nothing");
}

/// Issue 14, item 2: the result of a process may hold its own context or waker. Neither keeps the
/// other alive, nor does the slot's last process.
#[test]
fn n02_context_in_its_own_reason_is_freed() {
    for wakes in [false, true] {
        let probe = Arc::new(());
        let limits = Limits { processes: 4, ..Limits::default() };
        let mut stage = Stage::new(Options { limits, ..Options::default() });
        for _ in 0..1000 {
            let held = probe.clone();
            let returns = async move |cx: Context<()>| {
                let waker = wakes.then(|| cx.with(|cx| cx.waker()));
                WithResult((cx, waker, held))
            };
            stage.host().spawn_async(&SpawnOptions::new(), returns).unwrap();
            stage.settle();
        }
        // Each free slot keeps the reason of its last process, and there are few slots.
        assert!(Arc::strong_count(&probe) < 100, "{} reasons, wakers: {wakes}", Arc::strong_count(&probe));
        // Once others have died in all of those slots, none is remembered. (A waker in a reason
        // that is remembered holds the kernel that remembers it: a ring, which only these others
        // undo.)
        for _ in 0..1000 {
            stage.host().spawn_async(&SpawnOptions::new(), async |_: Context<()>| ()).unwrap();
            stage.settle();
        }
        drop(stage);
        assert_eq!(Arc::strong_count(&probe), 1, "wakers: {wakes}");
    }
}

/// Issue 14, item 2: an object that keeps the memory of a dead process keeps nothing else alive.
#[test]
fn n02_context_keeps_neither_the_kernel_nor_the_body() {
    struct Canary(Arc<AtomicUsize>);
    impl Drop for Canary {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (kept, dropped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let mut stage = Stage::new(Options::default());
    for _ in 0..10 {
        let (kept, canary) = (kept.clone(), Canary(dropped.clone()));
        let leaves = async move |cx: Context<()>| {
            let _canary = canary;
            kept.lock().unwrap().push(cx);
        };
        stage.host().spawn_async(&SpawnOptions::new(), leaves).unwrap();
    }
    stage.settle();
    assert_eq!(dropped.load(Ordering::Relaxed), 10, "the bodies are gone");
    let world = Arc::downgrade(&stage.world);
    drop(stage);
    assert_eq!(world.strong_count(), 0, "and so is the kernel");
    // The last reference of each process is released, for some on this thread and for some on
    // another.
    let mut kept = std::mem::take(&mut *kept.lock().unwrap());
    let others = kept.split_off(5);
    std::thread::spawn(move || drop(others)).join().unwrap();
    drop(kept);
}

/// A context may be dropped before or after its process ends, or at the same time on another
/// thread. The memory is freed with the last of them.
#[test]
fn n02_contexts_are_dropped_in_every_order() {
    for _ in 0..50 {
        let mut stage = Stage::new(Options::default());
        let kept = Arc::new(Mutex::new(Vec::new()));
        for kind in 0..4 {
            let kept = kept.clone();
            let body = move |cx: Context<u8>| async move {
                match kind {
                    // Dropped with the body.
                    0 => drop(cx.recv().await),
                    // Dropped by the body, which continues.
                    1 => {
                        drop(cx);
                        std::future::pending::<()>().await;
                    }
                    // Dropped elsewhere, before or after the exit.
                    _ => {
                        kept.lock().unwrap().push(cx);
                        if kind == 2 {
                            std::future::pending::<()>().await;
                        }
                    }
                }
            };
            stage.host().spawn_async(&SpawnOptions::new(), body).unwrap();
        }
        stage.settle();
        let kept = std::mem::take(&mut *kept.lock().unwrap());
        let elsewhere = std::thread::spawn(move || drop(kept));
        let alive: Vec<_> = stage.host().processes().collect();
        for pid in alive {
            stage.host().exit(pid, atropos_kernel::Reason::KILL).unwrap();
        }
        stage.settle();
        elsewhere.join().unwrap();
        assert_eq!(stage.kernel.process_count(), 0);
    }
}

/// Issue 14, item 3: the kernel to which processes point does not move when a handle is swapped,
/// and taken out of its `Arc`.
#[test]
fn n03_kernel_handle_is_swapped_and_taken_out() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let kernel = |number: u32| {
        let (world, told) = (Arc::new(Stepped::default()), told.clone());
        let kernel = Kernel::new(Options::default(), Domain::new(), world.clone());
        let participant = kernel.register();
        let body = move |cx: Context<u32>| async move {
            // The first waker keeps the kernel alive, through the address at which the process
            // finds it.
            let waker = cx.with(|cx| cx.waker());
            waker.wake_by_ref();
            let Received::Message(more) = cx.recv().await else { return };
            told.lock().unwrap().push(number + more);
        };
        let pid = Host::new(&kernel, &participant).spawn_async(&SpawnOptions::new(), body).unwrap().pid();
        (kernel, participant, world, pid)
    };
    let (mut one, first_member, first_world, first) = kernel(1);
    let (mut other, second_member, second_world, second) = kernel(2);
    std::mem::swap(Arc::get_mut(&mut one).unwrap(), Arc::get_mut(&mut other).unwrap());
    let taken = Box::new(Arc::try_unwrap(one).expect("there is no other handle"));
    let one = Arc::from(taken);
    for (kernel, member, pid, more) in [(one, second_member, second, 20_u32), (other, first_member, first, 10)] {
        Host::new(&kernel, &member).send(pid, more).unwrap();
        let mut core = Core::new(kernel, 0);
        let _ = core.run(100);
    }
    assert_eq!(*told.lock().unwrap(), [22, 11]);
    assert_eq!((Arc::strong_count(&first_world), Arc::strong_count(&second_world)), (1, 1), "both kernels are gone");
}
