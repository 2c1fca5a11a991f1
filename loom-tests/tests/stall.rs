//! Models of the watch over stuck cores. While a core is at work, one of the sleeping cores has the
//! watch, even if a core falls asleep, begins, gives up the watch or ends at that moment
//! (`runq/idle`, I5). A process that is queued at a stuck core runs once, either at its rescuer or
//! at that core (`sched/stall`, L2). Issue 14, 9 and 10.
#![cfg(loom)]

use std::ptr::NonNull;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::custody::{Barrier, Custody};
use atropos_kernel::internals::runq::idle::Idle;
use atropos_kernel::internals::runq::node::{HeldRunNode, RunNode};
use atropos_kernel::internals::runq::{Local, Queues, Shared};
use atropos_loom::{model, mutant};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// The fault of a mutant.
#[derive(Clone, Copy, PartialEq)]
enum Slip {
    None,
    /// A core that falls asleep checks which cores are awake before it announces itself.
    LooksFirst,
    /// A core that begins checks for a watch before it clears its idle bit.
    BeginsFirst,
    /// Core 0 drops the watch and wakes no core.
    WakesNobody,
    /// A core that gives up the watch does not check again which cores are awake.
    GivesUp,
}

/// A core's action in the model.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// It sleeps all the time.
    Sleeps,
    /// It is awake, and falls asleep.
    FallsAsleep,
    /// It sleeps, and begins to work, for good.
    Begins,
    /// It has had nothing to watch for a long time.
    GivesUp,
    /// It is dropped while asleep.
    Ends,
}

struct Scene {
    idle: Idle,
    claims: Vec<AtomicUsize>,
    slip: Slip,
}

impl Scene {
    fn wakes(&self, claimed: Option<usize>) {
        if let Some(core) = claimed {
            // Relaxed: it must not order what the kernel does not order.
            self.claims[core].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn falls_asleep(&self, core: usize) {
        let cores = self.claims.len();
        if self.slip == Slip::LooksFirst {
            let _ = self.idle.takes_watch(core, cores);
            return self.idle.announce(core);
        }
        self.idle.announce(core);
        let _ = self.idle.takes_watch(core, cores);
    }

    fn does(&self, core: usize, what: Does) {
        match what {
            Does::Sleeps => {}
            Does::FallsAsleep => self.falls_asleep(core),
            Does::Begins if self.slip == Slip::BeginsFirst => {
                self.wakes(self.idle.begins(core));
                self.idle.retract(core);
            }
            Does::Begins => {
                self.idle.retract(core);
                let claimed = self.idle.begins(core);
                if self.slip == Slip::WakesNobody && core == 0 {
                    // As if no core had been claimed: none is woken.
                    claimed.into_iter().for_each(|core| self.idle.announce(core));
                } else {
                    self.wakes(claimed);
                }
            }
            Does::GivesUp if self.slip == Slip::GivesUp => {
                if self.idle.ends(core) == Some(core) {
                    self.idle.announce(core);
                }
            }
            Does::GivesUp => _ = self.idle.resigns(core, self.claims.len()),
            Does::Ends => {
                self.idle.retract(core);
                self.wakes(self.idle.ends(core));
            }
        }
    }

    /// Checks the quiet state: each woken core has searched, found nothing to do and gone back to
    /// sleep. One of the sleeping cores has the watch.
    fn assert_watched(&self, acts: &[Does]) {
        for (core, what) in acts.iter().enumerate() {
            let claims = self.claims[core].load(Ordering::Relaxed);
            assert!(claims <= 1, "claimed once");
            if claims > 0 && matches!(what, Does::Sleeps | Does::FallsAsleep | Does::GivesUp) {
                assert!(!self.idle.retract(core), "claimed");
                self.falls_asleep(core);
            }
        }
        let mut asleep = (0..acts.len()).filter(|core| self.idle.contains(*core)).peekable();
        assert!(asleep.peek().is_none() || asleep.any(|core| self.idle.has_watch(core)), "no core has the watch");
    }
}

/// Each core acts at the same time, core 0 in this thread. `watcher`: the core that has it in the
/// beginning, while a core outside the model was at work.
fn watched(slip: Slip, watch: Option<usize>, acts: &'static [Does]) {
    let claims = acts.iter().map(|_| AtomicUsize::new(0)).collect();
    let scene = Arc::new(Scene { idle: Idle::new(true), claims, slip });
    for (core, what) in acts.iter().enumerate() {
        if *what != Does::FallsAsleep {
            scene.idle.announce(core);
        }
    }
    if let Some(core) = watch {
        assert!(scene.idle.takes_watch(core, acts.len() + 1));
    }
    let others = acts.iter().enumerate().skip(1).filter(|(_, what)| **what != Does::Sleeps);
    let others: Vec<_> = others
        .map(|(core, what)| {
            let scene = scene.clone();
            thread::spawn(move || scene.does(core, *what))
        })
        .collect();
    scene.does(0, acts[0]);
    for other in others {
        other.join().unwrap();
    }
    scene.assert_watched(acts);
}

use Does::{Begins, Ends, FallsAsleep, GivesUp, Sleeps};

/// Nodes that the model keeps to its end, and how often each was run.
struct Nodes([(RunNode, AtomicUsize); 3]);

// SAFETY: R1: the thread that holds a node is its only user, which is what the models check.
unsafe impl Send for Nodes {}
// SAFETY: R1: the thread that holds a node is its only user, which is what the models check.
unsafe impl Sync for Nodes {}

impl Nodes {
    /// Takes a node that is in no queue.
    fn get(&self, i: usize) -> HeldRunNode {
        // SAFETY: R1: each model takes each node once, and keeps it to its end.
        unsafe { HeldRunNode::new(NonNull::from(&self.0[i].0)) }
    }

    fn ran(&self, node: HeldRunNode) {
        let node = node.into_raw();
        let found = self.0.iter().find(|(other, _)| std::ptr::eq(other, node.as_ptr()));
        let before = found.expect("a node of this model").1.fetch_add(1, Ordering::Relaxed);
        assert_eq!(before, 0, "a node runs twice");
    }
}

/// A core's half, reduced to its queues.
struct Half {
    custody: Custody,
    queues: UnsafeCell<Local>,
    shared: Shared,
}

// SAFETY: loom checks every access to the cell, and all other fields are atomic.
unsafe impl Send for Half {}
// SAFETY: loom checks every access to the cell, and all other fields are atomic.
unsafe impl Sync for Half {}

impl Half {
    /// Runs the owner's next node; the owner goes on without the half if a rescuer has it.
    fn next(&self, nodes: &Nodes) -> bool {
        if !self.custody.enter(Barrier::Both) {
            return self.shared.pop_public().map(|node| nodes.ran(node)).is_some();
        }
        let node = self.with(|queues| queues.pop());
        self.custody.leave();
        node.map(|node| nodes.ran(node)).is_some()
    }

    /// Uses the queues.
    fn with<R>(&self, f: impl FnOnce(&mut Queues<'_>) -> R) -> R {
        self.queues.with_mut(|queues| {
            // SAFETY: the thread holds custody: the model's claim, which loom checks.
            let queues = unsafe { &mut *queues };
            // SAFETY: as above: the thread holds custody of these queues.
            f(&mut unsafe { Queues::of(queues, &self.shared) })
        })
    }
}

/// A core whose body returns, with one process in its LIFO slot and one woken from elsewhere, while
/// another core rescues both. `asking`: the rescuer takes custody first. `wakes`: a thread wakes
/// one more process.
fn rescue_or_go_on(asking: bool, wakes: bool) {
    let nodes = Arc::new(Nodes([(); 3].map(|()| (RunNode::new(1), AtomicUsize::new(0)))));
    let half = Half { custody: Custody::new(), queues: UnsafeCell::new(<Local>::default()), shared: Shared::new() };
    let _ = half.with(|queues| queues.push_next(nodes.get(0), false));
    half.shared.inbox.push(nodes.get(1));
    half.custody.leave();
    let half = Arc::new(half);
    let (stuck, found) = (half.clone(), nodes.clone());
    let rescues = thread::spawn(move || {
        if asking && !stuck.custody.take(Barrier::Both, || unreachable!("both have fences")) {
            return;
        }
        // The rescuer has taken custody, or its absence is the mutant's fault.
        stuck.with(|queues| queues.hand_over());
        stuck.custody.give_back();
        let (own, mut local) = (Shared::new(), <Local<Shipped>>::default());
        // SAFETY: this thread is the core of both parts.
        let mut queues = unsafe { Queues::of(&mut local, &own) };
        let _ = queues.take_over(&stuck.shared);
        while let Some(node) = queues.pop() {
            found.ran(node);
        }
    });
    let wakes = wakes.then(|| {
        let (half, nodes) = (half.clone(), nodes.clone());
        thread::spawn(move || half.shared.inbox.push(nodes.get(2)))
    });
    let woken = wakes.is_some();
    let _ = half.next(&nodes);
    rescues.join().unwrap();
    wakes.into_iter().for_each(|wakes| wakes.join().unwrap());
    while half.next(&nodes) {}
    for (number, (_, runs)) in nodes.0.iter().enumerate() {
        assert_eq!(runs.load(Ordering::Relaxed), usize::from(number < 2 || woken), "each node runs once");
    }
}

#[test]
fn watch() {
    model("watch: fall asleep, begin", None, || watched(Slip::None, None, &[FallsAsleep, Begins]));
    model("watch: give up, begin", None, || watched(Slip::None, Some(0), &[GivesUp, Begins]));
    model("watch: begin with it, begin, a sleeper", Some(3), || {
        watched(Slip::None, Some(0), &[Begins, Begins, Sleeps])
    });
    model("watch: fall asleep, begin with it", Some(3), || watched(Slip::None, Some(1), &[FallsAsleep, Begins]));
    model("watch: end with it, begin, a sleeper", Some(3), || watched(Slip::None, Some(0), &[Ends, Begins, Sleeps]));
    model("watch: fall asleep, begin with it, begin", Some(3), || {
        watched(Slip::None, Some(1), &[FallsAsleep, Begins, Begins]);
    });
    model("watch: fall asleep, fall asleep, begin", Some(3), || {
        watched(Slip::None, None, &[FallsAsleep, FallsAsleep, Begins]);
    });
}

#[test]
fn rescue() {
    model("rescue: a core continues", Some(3), || rescue_or_go_on(true, false));
    model("rescue: a core continues, one is woken", Some(2), || rescue_or_go_on(true, true));
}

#[test]
fn mutants() {
    mutant("watch, checked, then announced", Some(2), || {
        watched(Slip::LooksFirst, None, &[FallsAsleep, Begins]);
    });
    mutant("watch, begun before it is seen", Some(2), || watched(Slip::BeginsFirst, None, &[FallsAsleep, Begins]));
    mutant("watch, dropped silently", Some(2), || watched(Slip::WakesNobody, Some(0), &[Begins, Begins, Sleeps]));
    mutant("watch, given up without another check", Some(2), || watched(Slip::GivesUp, Some(0), &[GivesUp, Begins]));
    mutant("rescue, without the half", Some(2), || rescue_or_go_on(false, false));
}
