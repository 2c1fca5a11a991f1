//! Simulated cores: a seed decides the run, time is virtual, panics become reasons, and leaks are
//! reported.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{BodyPoll, Cx, Limits, Options, Pid, Reason, SpawnOptions, Tombstone};
use atropos_sim::{LeakOnPanic, Leaks, NO_TEXT, Sim, Stuck, body, crash, is_in_slice};

/// Limits that make the kernel count its nodes.
fn counted() -> Limits {
    Limits { nodes: 1 << 10, ..Limits::default() }
}

/// Returns the order in which 16 processes on 3 cores run, with the time of each slice.
fn order(seed: u64) -> Vec<usize> {
    let mut sim = Sim::new(3, seed);
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..16 {
        let (order, mut left) = (order.clone(), 3);
        let act = move |_: &Cx<'_, ()>| {
            order.lock().unwrap().push(number);
            left -= 1;
            if left == 0 { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Yield }
        };
        sim.host().spawn(&SpawnOptions::new(), body(act)).unwrap();
    }
    assert_eq!(sim.settle(), Ok(()));
    assert_eq!(sim.kernel().process_count(), 0);
    std::mem::take(&mut order.lock().unwrap())
}

#[test]
fn seed_decides_the_order() {
    let once = order(1);
    assert_eq!(once.len(), 48);
    assert_eq!(order(1), once, "the same seed gives the same run");
    assert!((2..20).any(|seed| order(seed) != once), "other seeds give other runs");
}

#[test]
fn time_passes_only_when_it_is_told_to() {
    let mut sim = Sim::new(2, 1);
    let woken = Arc::new(Mutex::new(Vec::new()));
    for millis in [30, 10, 20] {
        let woken = woken.clone();
        let options = SpawnOptions::new();
        let sleeps = async move |cx: atropos_kernel::Context<()>| {
            cx.sleep(Duration::from_millis(millis)).await;
            woken.lock().unwrap().push(millis);
        };
        sim.host().spawn_async(&options, sleeps).unwrap();
    }
    let woken = || woken.lock().unwrap().clone();
    assert_eq!(sim.settle(), Ok(()));
    assert_eq!((sim.now(), woken()), (Duration::ZERO, vec![]));
    sim.pass(Duration::from_millis(1));
    assert_eq!((sim.now(), woken()), (Duration::from_millis(1), vec![]));
    // The wheel may be due for its own sake before the first timer is.
    while woken().is_empty() {
        assert_eq!(sim.next_timer(), Ok(true));
    }
    assert_eq!(woken(), [10]);
    sim.sleep(Duration::from_secs(1)).unwrap();
    assert_eq!(woken(), [10, 20, 30], "in the order of their times");
    assert!(sim.now() >= Duration::from_millis(1_010));
    assert_eq!(sim.next_timer(), Ok(false));
}

#[test]
fn due_timers_fire_without_more_time() {
    let mut sim = Sim::new(2, 1);
    let fired = Arc::new(AtomicBool::new(false));
    let fires = fired.clone();
    let sleeps = async move |cx: atropos_kernel::Context<()>| {
        cx.sleep(Duration::from_millis(5)).await;
        fires.store(true, Ordering::Relaxed);
    };
    sim.host().spawn_async(&SpawnOptions::new(), sleeps).unwrap();
    assert_eq!(sim.settle(), Ok(()));
    // A timer may fire later than its time by the width of its slot on the wheel.
    sim.pass(Duration::from_millis(50));
    assert_eq!(sim.settle_timers(), Ok(()));
    assert!(fired.load(Ordering::Relaxed));
}

fn reason_of(act: impl FnMut(&Cx<'_, ()>) -> BodyPoll + Send + 'static) -> Reason {
    let mut sim = Sim::with(Options { tombstones: true, ..Options::default() });
    let pid: Pid = sim.host().spawn(&SpawnOptions::new(), body(act)).unwrap().pid;
    sim.settle().unwrap();
    assert!(!is_in_slice());
    match sim.host().tombstone(pid) {
        Tombstone::Known(reason) => reason,
        other => panic!("not dead: {other:?}"),
    }
}

#[test]
fn panic_is_a_crash_with_its_text() {
    assert_eq!(reason_of(|_| crash("a text")), Reason::crash("a text"));
    assert_eq!(reason_of(|_| std::panic::resume_unwind(Box::new("a literal"))), Reason::crash("a literal"));
    assert_eq!(reason_of(|_| std::panic::resume_unwind(Box::new(1_u8))), Reason::crash(NO_TEXT));
    assert_eq!(reason_of(|_| BodyPoll::Exit(Reason::value(u8::from(is_in_slice())))), Reason::value(1_u8));
}

#[test]
fn unhandled_panic_of_a_destructor_fails_the_step() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            crash("a bomb");
        }
    }
    let mut sim = Sim::new(1, 1);
    let pid = sim.host().spawn(&SpawnOptions::new(), body(|_: &Cx<'_, Bomb>| BodyPoll::Wait)).unwrap().pid;
    sim.settle().unwrap();
    sim.host().send(pid, Bomb).unwrap();
    sim.host().exit(pid, Reason::KILL).unwrap();
    let failed = catch_unwind(AssertUnwindSafe(|| sim.settle())).expect_err("the message's destructor panics");
    let text = failed.downcast_ref::<String>().expect("a text");
    assert!(text.contains("a destructor panicked: crash: a bomb"), "{text}");
    std::mem::forget(sim);
}

#[test]
fn leaks_are_counted() {
    let mut sim = Sim::with(Options { limits: counted(), ..Options::default() });
    let pid = sim.host().spawn(&SpawnOptions::new(), body(|_: &Cx<'_, u8>| BodyPoll::Wait)).unwrap().pid;
    sim.host().send(pid, 7_u8).unwrap();
    let leaks = Leaks::check(sim.kernel()).unwrap_err();
    assert_eq!((leaks.processes, leaks.nodes), (1, 1));
    sim.host().exit(pid, Reason::KILL).unwrap();
    sim.settle().unwrap();
    assert_eq!(Leaks::check(sim.kernel()), Ok(()));
}

#[test]
fn endless_work_is_reported() {
    let mut sim = Sim::new(1, 1).max_steps(100);
    sim.host().spawn(&SpawnOptions::new(), body(|_: &Cx<'_, ()>| BodyPoll::Yield)).unwrap();
    assert!(sim.step());
    assert_eq!(sim.settle(), Err(Stuck::Busy));
}

#[test]
fn value_is_leaked_only_by_a_panic() {
    struct Counts(Arc<Mutex<usize>>);
    impl Drop for Counts {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let count = Arc::new(Mutex::new(0));
    drop(LeakOnPanic::new(Counts(count.clone())));
    assert_eq!(*count.lock().unwrap(), 1);
    let kept = LeakOnPanic::new(Counts(count.clone()));
    let failed = catch_unwind(AssertUnwindSafe(move || {
        let _kept = kept;
        crash("a failure");
    }));
    assert!(failed.is_err());
    assert_eq!(*count.lock().unwrap(), 1, "the panic has leaked the value");
    drop(LeakOnPanic::new(Counts(count.clone())).take());
    assert_eq!(*count.lock().unwrap(), 2);
}
