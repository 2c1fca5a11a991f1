//! Identity across kernels (issue 14, 2 and 3): a `Context` belongs to one process for ever, also when its kernel is gone and
//! another process has the same pid; and a kernel stays where its processes look for it, whatever is done with its handle.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use atropos_kernel::reclaim::Domain;
use atropos_kernel::{Context, Core, Host, Kernel, Options, Pid, Received, SpawnOptions};

use common::{Stage, Stepped};

/// Kernels and processes of each that a test of memory that is used again tries.
const ROUNDS: usize = 40;
const EACH: usize = 16;

/// Contexts of processes that are dead, by their pids.
type Old<M> = Arc<Mutex<HashMap<Pid, Vec<Context<M>>>>>;

/// A kernel lives and ends; its processes leave their contexts behind.
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

/// Processes of another kernel try the contexts with their own pid: how many pids were the same, and how many contexts were
/// taken for a process's own.
fn try_contexts<M: Send + 'static>(old: &Old<M>) -> (usize, usize) {
    let mut stage = Stage::new(Options::default());
    let (same, hits) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..EACH {
        let (old, same, hits) = (old.clone(), same.clone(), hits.clone());
        let tries = async move |cx: Context<Vec<String>>| {
            let old = old.lock().unwrap();
            for foreign in old.get(&cx.pid()).into_iter().flatten() {
                same.fetch_add(1, Ordering::Relaxed);
                // What it would do with the other's messages is not looked at: that would be undefined.
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

/// Issue 14, 2: two kernels that were told nothing of each other give out the same pids, and the allocator the same memory.
#[test]
fn n02_a_context_that_outlives_its_kernel_is_nobodys() {
    let (old, of_its_type) = (Old::<u64>::default(), Old::<Vec<String>>::default());
    let mut same = 0;
    for _ in 0..ROUNDS {
        leave_contexts(&old);
        leave_contexts(&of_its_type);
        for (tried, hits) in [try_contexts(&old), try_contexts(&of_its_type)] {
            same += tried;
            assert_eq!(hits, 0, "the Context of a dead kernel is taken for a process's own");
        }
    }
    assert!(same > 0, "no pid came again: this has tried nothing");
}

/// Issue 14, 2: what keeps the memory of a dead process keeps nothing else.
#[test]
fn n02_a_context_keeps_neither_the_kernel_nor_the_body() {
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
    // The last share of each process goes, some here and some on another thread.
    let mut kept = std::mem::take(&mut *kept.lock().unwrap());
    let others = kept.split_off(5);
    std::thread::spawn(move || drop(others)).join().unwrap();
    drop(kept);
}

/// A context may go before its process does, after it, or on another thread meanwhile; the memory goes with the last.
#[test]
fn n02_contexts_come_back_in_every_order() {
    for _ in 0..50 {
        let mut stage = Stage::new(Options::default());
        let kept = Arc::new(Mutex::new(Vec::new()));
        for kind in 0..4 {
            let kept = kept.clone();
            let body = move |cx: Context<u8>| async move {
                match kind {
                    // Dropped with the body.
                    0 => drop(cx.recv().await),
                    // Dropped by the body, which goes on.
                    1 => {
                        drop(cx);
                        std::future::pending::<()>().await;
                    }
                    // Dropped elsewhere, before or after the death.
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

/// Issue 14, 3: the kernel that processes point to stays where it is when a handle is swapped, and taken out of its `Arc`.
#[test]
fn n03_a_handle_of_a_kernel_is_swapped_and_taken_out() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let kernel = |number: u32| {
        let (world, told) = (Arc::new(Stepped::default()), told.clone());
        let kernel = Kernel::new(Options::default(), Domain::new(), world.clone());
        let participant = kernel.register();
        let body = move |cx: Context<u32>| async move {
            // The first waker holds the kernel, by where the process finds it.
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
    let taken = Box::new(Arc::try_unwrap(one).expect("there is no other"));
    let one = Arc::from(taken);
    for (kernel, member, pid, more) in [(one, second_member, second, 20_u32), (other, first_member, first, 10)] {
        Host::new(&kernel, &member).send(pid, more).unwrap();
        let mut core = Core::new(kernel, 0);
        let _ = core.run(100);
    }
    assert_eq!(*told.lock().unwrap(), [22, 11]);
    assert_eq!((Arc::strong_count(&first_world), Arc::strong_count(&second_world)), (1, 1), "both kernels are gone");
}
