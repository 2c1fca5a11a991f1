//! Models of the owned half of a core. Its owner or a rescuer holds it, and neither waits for the
//! other (`kernel/custody`). Further models show what a rescuer does with timers that the stuck
//! body starts or cancels at that moment (`sched/stall`). Issue 14, 10.
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::custody::{Barrier, Custody, Steps};
use atropos_kernel::internals::mutation::Mutation;
use atropos_kernel::{
    BodyPoll, Core, Cx, Host, Kernel, Limits, Options, Pid, Reason, Received, RunOutcome, SpawnOptions,
};
use atropos_loom::host::{Canary, Outcomes, body, core, member, rescuing};
use atropos_loom::mutant;
use atropos_sim::VirtualPlatform;
use loom::cell::UnsafeCell;
use loom::sync::Arc as Shared;
use loom::thread;

/// A core's half, reduced to one word.
struct Half<S> {
    custody: Custody<S>,
    word: UnsafeCell<usize>,
}

impl<S: Steps> Half<S> {
    /// Creates a half that its owner has left.
    fn new() -> Shared<Self> {
        let half = Self { custody: Custody::new(), word: UnsafeCell::new(0) };
        half.custody.leave();
        Shared::new(half)
    }

    /// Performs the owner's operation `times` times. Returns how often the owner had to go on
    /// without the half.
    fn owns(&self, times: usize) -> usize {
        let mut without = 0;
        for _ in 0..times {
            if self.custody.enter(Barrier::Both) {
                // SAFETY: the owner holds custody: the model's claim, which loom checks.
                self.word.with_mut(|word| unsafe { *word += 1 });
                self.custody.leave();
            } else {
                without += 1;
            }
        }
        without
    }

    /// Performs a rescuer's operation. Returns `true` if the rescuer got custody.
    fn rescues(&self) -> bool {
        let has = self.custody.take(Barrier::Both, || unreachable!("both have fences"));
        if has {
            // SAFETY: the rescuer holds custody: the model's claim, which loom checks.
            self.word.with_mut(|word| unsafe { *word += 1 });
            self.custody.give_back();
        }
        has
    }

    fn word(&self) -> usize {
        // SAFETY: the other threads have been joined.
        self.word.with(|word| unsafe { *word })
    }
}

/// One owner and one rescuer: each works on the half alone, or goes on without it.
fn one_rescuer<S: Steps>(outcomes: &Outcomes) {
    let half = Half::<S>::new();
    let other = half.clone();
    let rescues = thread::spawn(move || other.rescues());
    let without = half.owns(2);
    let rescued = rescues.join().unwrap();
    assert_eq!(half.word(), 2 - without + usize::from(rescued), "each operation takes effect once");
    outcomes.saw(match (without > 0, rescued) {
        (false, true) => 0,
        (true, true) => 1,
        (false, false) => 2,
        // Both have seen each other, and go on without the half.
        (true, false) => 3,
    });
}

/// One owner and two rescuers.
fn two_rescuers<S: Steps>() {
    let half = Half::<S>::new();
    let others = [half.clone(), half.clone()].map(|other| thread::spawn(move || usize::from(other.rescues())));
    let without = half.owns(1);
    let [one, other] = others.map(|other| other.join().unwrap());
    assert_eq!(half.word(), 1 - without + one + other, "each operation takes effect once");
}

struct NoBarriers;
impl Steps for NoBarriers {
    const BARRIERS: bool = false;
}
struct NeverLooks;
impl Steps for NeverLooks {
    const LOOKS: bool = false;
}
struct NeverHonours;
impl Steps for NeverHonours {
    const HONOURS: bool = false;
}

/// Length of a slice after which a core rescues, in nanoseconds.
const AFTER: u64 = 1 << 20;
/// A delay that does not elapse in a model, in nanoseconds.
const TICKS: u64 = 1 << 40;

/// The stuck body's action on its timer.
#[derive(Clone, Copy)]
enum Does {
    Starts,
    Cancels,
}

/// The outcome of a timer.
#[derive(Default)]
struct Counts {
    got: AtomicUsize,
    cancelled: AtomicUsize,
}

fn read(cx: &Cx<'_, Canary>, counts: &Counts) {
    while let Some(received) = cx.receive() {
        if let Received::Message(canary) = received {
            counts.got.fetch_add(1, Ordering::Relaxed);
            if !canary.is_alive() {
                // It was returned as well: the count is wrong and fails the model.
                std::mem::forget(canary);
            }
        }
    }
}

/// Core 0 is in a slice that core 1 has seen before. Now core 1 rescues what is due there, and the
/// body starts or cancels a timer.
fn stuck(outcomes: &Outcomes, what: Does) {
    let limits = Limits { processes: 2, names: 1, timers: 1, nodes: 16, kept: 0 };
    let (kernel, world): (Arc<Kernel>, Arc<VirtualPlatform>) =
        rescuing(Options { cores: 2, limits, ..Options::default() }, AFTER);
    world.advance(AFTER);
    let (mut one, other) = (core(&kernel, 0), core(&kernel, 1));
    let other = Arc::new(Mutex::new(Some(other)));
    let (counts, (canary, ends)) = (Arc::new(Counts::default()), Canary::new());
    let (told, given, stands) = (counts.clone(), other.clone(), world.clone());
    let mut canary = Some(canary);
    let stuck = body(move |cx: &Cx<'_, Canary>| {
        read(cx, &told);
        let Some(canary) = canary.take() else { return BodyPoll::Wait };
        let Some(mut core) = given.lock().unwrap().take() else { return BodyPoll::Wait };
        let after = Duration::from_nanos(10);
        let mut canary = Some(canary);
        let mut timer = None;
        if matches!(what, Does::Cancels) {
            timer = canary.take().map(|canary| cx.send_after(cx.pid(), after, canary).unwrap());
        }
        // It sees the slice, and sees that it lasts.
        assert_ne!(core.run(1), RunOutcome::Worked);
        assert_ne!(core.run(1), RunOutcome::Worked);
        stands.advance(2 * AFTER);
        let rescues = thread::spawn(move || {
            let _ = core.run(1);
            core
        });
        match timer {
            None => drop(canary.take().map(|canary| cx.send_after(cx.pid(), after, canary).unwrap())),
            Some(timer) => {
                let in_time = cx.cancel_timer(timer).is_some();
                told.cancelled.fetch_add(usize::from(in_time), Ordering::Relaxed);
            }
        }
        *given.lock().unwrap() = Some(rescues.join().unwrap());
        BodyPoll::Wait
    });
    let ours = member(&kernel);
    let pid: Pid = Host::new(&kernel, &ours).spawn(&SpawnOptions::new().core(0), stuck).unwrap().pid;
    let _ = one.run(1);
    // The timer fired in the rescue already, or does not fire before this point.
    let fired_by_then = counts.got.load(Ordering::Relaxed);
    let mut core: Core = other.lock().unwrap().take().unwrap();
    world.advance(AFTER);
    for _ in 0..3 {
        let _ = (one.run(4), core.run(4));
    }
    let (got, cancelled) = (counts.got.load(Ordering::Relaxed), counts.cancelled.load(Ordering::Relaxed));
    assert_eq!(got + cancelled, 1, "delivered, or returned");
    assert_eq!(ends.load(Ordering::Relaxed), 1);
    assert!(Host::new(&kernel, &ours).exit(pid, Reason::KILL).unwrap());
    let _ = (one.run(4), core.run(4), one.run(4));
    assert_eq!(kernel.nodes_used(), 0, "freed");
    match what {
        Does::Starts => outcomes.saw(fired_by_then),
        Does::Cancels => outcomes.saw(cancelled),
    }
}

/// Issue 14, 10 and 21. Core 0 is in a slice whose body receives, and so handles a timer that was
/// started for it elsewhere: its core puts the timer on its wheel. At the same time another thread
/// cancels the timer by its reference, and core 1 settles the cancelled timers. The wheel holds
/// nothing of the timer afterwards (`kernel/core_local`, H4).
fn cancelled_ahead(mutation: Option<Mutation>) {
    let limits = Limits { processes: 2, names: 1, timers: 1, nodes: 16, kept: 0 };
    let (kernel, world): (Arc<Kernel>, Arc<VirtualPlatform>) =
        rescuing(Options { cores: 2, limits, mutation, ..Options::default() }, AFTER);
    world.advance(AFTER);
    let (mut one, other) = (core(&kernel, 0), core(&kernel, 1));
    let other = Arc::new(Mutex::new(Some(other)));
    let ((canary, ends), (next, next_ends)) = (Canary::new(), Canary::new());
    let (given, stands, in_body) = (other.clone(), world.clone(), kernel.clone());
    let (mut canary, mut next) = (Some(canary), Some(next));
    let stuck = body(move |cx: &Cx<'_, Canary>| {
        let pid = cx.pid();
        let Some(canary) = canary.take() else {
            while cx.receive().is_some() {}
            if let Some(next) = next.take() {
                // The wheel has space for one timer, so it holds nothing of the first.
                cx.send_after(pid, Duration::from_nanos(10), next).expect("the wheel is empty");
            }
            return BodyPoll::Wait;
        };
        let mut core = given.lock().unwrap().take().unwrap();
        let theirs = in_body.clone();
        let (ours, timer) = thread::spawn(move || {
            let ours = member(&theirs);
            let timer = Host::new(&theirs, &ours)
                .act_as(pid, |acting| acting.send_after(pid, Duration::from_nanos(TICKS), canary).unwrap());
            (ours, timer)
        })
        .join()
        .unwrap();
        // It sees the slice, and sees that it lasts.
        assert_ne!(core.run(1), RunOutcome::Worked);
        assert_ne!(core.run(1), RunOutcome::Worked);
        stands.advance(2 * AFTER);
        let theirs = in_body.clone();
        let rescues = thread::spawn(move || {
            let cancelled = Host::new(&theirs, &ours).act_as(pid, |acting| acting.cancel_timer(timer).unwrap());
            assert!(cancelled.is_some(), "the timer has not fired yet");
            let _ = core.run(1);
            core
        });
        assert!(cx.receive().is_none(), "nothing is due");
        *given.lock().unwrap() = Some(rescues.join().unwrap());
        BodyPoll::Yield
    });
    let ours = member(&kernel);
    let pid: Pid = Host::new(&kernel, &ours).spawn(&SpawnOptions::new().core(0), stuck).unwrap().pid;
    for _ in 0..3 {
        let _ = one.run(1);
    }
    assert_eq!(ends.load(Ordering::Relaxed), 1, "returned");
    let mut core: Core = other.lock().unwrap().take().unwrap();
    assert!(Host::new(&kernel, &ours).exit(pid, Reason::KILL).unwrap());
    let _ = (one.run(4), core.run(4), one.run(4));
    assert_eq!((next_ends.load(Ordering::Relaxed), kernel.nodes_used()), (1, 0), "freed");
}

#[test]
fn protocol() {
    Outcomes::model("custody: owner, rescuer", None, 4, one_rescuer::<Shipped>);
    atropos_loom::model("custody: owner, two rescuers", Some(3), two_rescuers::<Shipped>);
}

#[test]
fn timers() {
    Outcomes::model("custody: a stuck body cancels", Some(2), 2, |outcomes| stuck(outcomes, Does::Cancels));
    atropos_loom::model("custody: a timer is cancelled ahead of its wheel", Some(2), || cancelled_ahead(None));
    atropos_loom::model("custody: a stuck body starts", Some(2), || stuck(&Outcomes::default(), Does::Starts));
}

#[test]
fn mutants() {
    mutant("custody, no barriers", Some(2), || one_rescuer::<NoBarriers>(&Outcomes::default()));
    mutant("custody, the rescuer does not check", Some(2), || one_rescuer::<NeverLooks>(&Outcomes::default()));
    mutant("custody, a timer taken off ahead is not recorded", Some(2), || {
        cancelled_ahead(Some(Mutation::ForgetsTheRefused));
    });
    mutant("custody, the owner does not check", Some(2), || one_rescuer::<NeverHonours>(&Outcomes::default()));
}
