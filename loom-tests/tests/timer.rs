//! Models of timers. A message fires or is returned, once, and everything is freed once, even if
//! another thread cancels, dies or drops the core at the same time (`process/timer_record`).
#![cfg(loom)]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::counted::Ref;
use atropos_kernel::internals::handle::Embedded;
use atropos_kernel::internals::kernel_cx::{self, KernelCx};
use atropos_kernel::internals::name;
use atropos_kernel::internals::signal::node::BudgetPermit;
use atropos_kernel::internals::timer::record::{
    NewTimer, Settled, StarterShare, Steps, Target, TimerHead, ToWheel, cancel, cancel_named, cancel_named_by, deliver,
    read_named, read_named_by,
};
use atropos_kernel::internals::timer::wheel::{TimerNode, Wheel};
use atropos_kernel::internals::watcher::Watcher;
use atropos_kernel::{BodyPoll, Core, Cx, Host, Kernel, Limits, Options, Pid, Reason, Received, SpawnOptions};
use atropos_loom::host::{Canary, Outcomes, body, core, member, spawn, with};
use atropos_loom::{model, mutant};
use atropos_sim::VirtualPlatform;
use loom::thread;

/// More than a tick of the wheel, in nanoseconds: a timer that starts at 0 is due by then.
const TICK: u64 = 1 << 17;

/// A message to a timer's process.
enum Letter {
    /// The process goes on: it starts, cancels, or dies.
    Go,
    /// The timer's message.
    Due(Canary),
}

/// The outcome of a timer.
#[derive(Default)]
struct Counts {
    got: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Counts {
    fn got(&self) -> usize {
        self.got.load(Ordering::Relaxed)
    }

    fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Reads all that waits. Returns how many messages were `Go`.
fn read(cx: &Cx<'_, Letter>, counts: &Counts) -> usize {
    let mut told = 0;
    while let Some(received) = cx.receive() {
        match received {
            Received::Message(Letter::Go) => told += 1,
            Received::Message(Letter::Due(canary)) => {
                counts.got.fetch_add(1, Ordering::Relaxed);
                if !canary.is_alive() {
                    // It was returned as well: the count is wrong and fails the model.
                    std::mem::forget(canary);
                }
            }
            _ => unreachable!("the process is attached to no other"),
        }
    }
    told
}

/// A timer on its way to another thread.
struct ToThread<T>(T);
// SAFETY: the thread that gets the timer plays the party that has the wheel.
unsafe impl<T> Send for ToThread<T> {}

/// Creates a timer with a message to `target`.
fn new(kernel_cx: &KernelCx<'_>, target: Pid, canary: Canary, due: u64, permit: Option<BudgetPermit>) -> NewTimer {
    let timer = NewTimer::message(kernel_cx, Target::Pid(target), due, false, permit, Letter::Due(canary)).unwrap();
    was_on_a_wheel(&timer);
    timer
}

/// Creates a timer with a message to `target`, as if it had just been taken off the wheel of core
/// 0.
fn record(kernel_cx: &KernelCx<'_>, target: Pid, canary: Canary) -> (ToWheel, StarterShare) {
    due_at(kernel_cx, target, canary, 0)
}

/// Creates a timer as [`record`] does, which is due at `due`.
fn due_at(kernel_cx: &KernelCx<'_>, target: Pid, canary: Canary, due: u64) -> (ToWheel, StarterShare) {
    match new(kernel_cx, target, canary, due, None).settle(0, false) {
        Settled::Armed(wheel, starter, None) => (wheel, starter),
        _ => panic!("no other thread knows the timer"),
    }
}

/// Puts a new timer on a wheel, and takes it off.
fn was_on_a_wheel(timer: &TimerHead) {
    let mut wheel = Wheel::new(0);
    // SAFETY: the pointer leads to a timer.
    let node = unsafe { TimerNode::of(NonNull::from(timer)) };
    // SAFETY: the timer is new, and the next statement removes it.
    unsafe { wheel.insert(node, FIRST) };
    // SAFETY: the statement above put the timer on this wheel.
    unsafe { wheel.remove(node) };
}

/// Plays the wheel's core: fires a timer that it has taken off.
fn fire_by<S: Steps>(timer: ToWheel, kernel_cx: &KernelCx<'_>) {
    timer.fire::<S>().into_iter().for_each(|timer| deliver(timer, kernel_cx));
}

/// Checks the record alone: it fires on one thread and is cancelled on another.
fn fire_or_cancel<S: Steps>(outcomes: &Outcomes) {
    let (kernel, _) = limited(1);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let mut core = core(&kernel, 0);
    let (counts, (canary, ends)) = (Arc::new(Counts::default()), Canary::new());
    let told = counts.clone();
    let target = spawn(&kernel, &ours, 0, move |cx: &Cx<'_, Letter>| {
        read(cx, &told);
        BodyPoll::Wait
    });
    let _ = core.run(1);
    let (wheel, starter) = record(&kernel_cx::of(&kernel, &ours.pin()), target, canary);
    // The model's own references: they keep a record that a mutant releases twice.
    let kept = [ManuallyDrop::new(starter.share()), ManuallyDrop::new(starter.share())];
    let fires = ToThread(wheel);
    let firing = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let ToThread(timer) = { fires };
            let guard = theirs.pin();
            fire_by::<S>(timer, &kernel_cx::of(&kernel, &guard));
            drop(guard);
            theirs
        })
    };
    let guard = ours.pin();
    let cancelled = cancel(&starter, &kernel_cx::of(&kernel, &guard));
    starter.release(None);
    drop(guard);
    drop(firing.join().unwrap());
    let _ = core.run(4);
    assert_eq!(counts.got() + usize::from(cancelled), 1, "delivered, or returned");
    outcomes.saw(counts.got());
    assert_eq!((ends.load(Ordering::Relaxed), kernel.nodes_used()), (1, 1));
    kept.into_iter().map(ManuallyDrop::into_inner).for_each(|kept| kept.release(None));
    assert_eq!(kernel.nodes_used(), 0, "freed: all other references have been released");
}

/// Checks the record alone: it is cancelled, while its core takes off cancelled timers and is
/// dropped.
fn cancel_or_drop_core() {
    let (kernel, _) = limited(1);
    let theirs = member(&kernel);
    let core = core(&kernel, 0);
    let (canary, ends) = Canary::new();
    let nobody = Pid::new(0, 1).unwrap();
    let (_on_its_wheel, starter) = record(&kernel_cx::of(&kernel, &theirs.pin()), nobody, canary);
    let cancelling = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let guard = theirs.pin();
            assert!(cancel(&starter, &kernel_cx::of(&kernel, &guard)));
            starter.release(None);
            drop(guard);
            theirs
        })
    };
    drop(core);
    drop(cancelling.join().unwrap());
    assert_eq!((ends.load(Ordering::Relaxed), kernel.nodes_used()), (1, 0), "freed by the core, or by the canceller");
}

fn limited(cores: usize) -> (Arc<Kernel>, Arc<VirtualPlatform>) {
    let limits = Limits { processes: 2, names: 1, timers: 1, nodes: 16, kept: 0 };
    with(Options { cores, limits, ..Options::default() })
}

/// Starts a process that starts a timer to itself in its first slice, and cancels it on a message.
fn starter(kernel: &Kernel, canary: Canary, counts: &Arc<Counts>) -> Pid {
    let (mut canary, mut timer, counts) = (Some(canary), None, counts.clone());
    let starts = body(move |cx: &Cx<'_, Letter>| {
        if let Some(canary) = canary.take() {
            let after = Duration::from_nanos(10);
            timer = Some(cx.send_after(cx.pid(), after, Letter::Due(canary)).unwrap());
        }
        if read(cx, &counts) > 0 && cx.cancel_timer(timer.unwrap()).is_some() {
            counts.cancelled.fetch_add(1, Ordering::Relaxed);
        }
        BodyPoll::Wait
    });
    Host::new(kernel, &member(kernel)).spawn(&SpawnOptions::new(), starts).unwrap().pid
}

/// Lets both cores run until they are idle.
fn settle(cores: [&mut Core; 2]) {
    let [one, other] = cores;
    let _ = (one.run(4), other.run(4), one.run(4));
}

/// Ends the starter, and checks that nothing is left of it and its timer.
fn nothing_is_left(kernel: &Kernel, starter: Pid, cores: [&mut Core; 2]) {
    let ours = member(kernel);
    let _ = Host::new(kernel, &ours).exit(starter, Reason::KILL).unwrap();
    settle(cores);
    assert_eq!(kernel.nodes_used(), 0, "freed");
}

/// The starter has moved to another core and cancels there, while the timer's core finds it due.
fn cancel_elsewhere(outcomes: &Outcomes) {
    let (kernel, world) = limited(2);
    let (mut one, mut other) = (core(&kernel, 0), core(&kernel, 1));
    let (counts, (canary, ends)) = (Arc::new(Counts::default()), Canary::new());
    let starter = starter(&kernel, canary, &counts);
    let _ = one.run(1);
    Host::new(&kernel, &member(&kernel)).send(starter, Letter::Go).unwrap();
    world.advance(TICK);
    let elsewhere = thread::spawn(move || {
        let _ = other.run(1);
        other
    });
    let _ = one.run(1);
    let mut other = elsewhere.join().unwrap();
    settle([&mut one, &mut other]);
    assert_eq!(counts.got() + counts.cancelled(), 1, "delivered, or returned");
    outcomes.saw(counts.got());
    assert_eq!(ends.load(Ordering::Relaxed), 1);
    nothing_is_left(&kernel, starter, [&mut one, &mut other]);
}

/// Checks the record alone, with a target that dies on its core while another core fires the timer:
/// the target reads the message, or it is dropped.
fn target_dies(outcomes: &Outcomes) {
    let (kernel, _) = limited(2);
    let (ours, counts) = (member(&kernel), Arc::new(Counts::default()));
    let mut core = core(&kernel, 0);
    let told = counts.clone();
    let target =
        spawn(
            &kernel,
            &ours,
            0,
            move |cx: &Cx<'_, Letter>| {
                if read(cx, &told) > 0 { BodyPoll::Exit(Reason::NORMAL) } else { BodyPoll::Wait }
            },
        );
    let _ = core.run(1);
    let (canary, ends) = Canary::new();
    let timer = new(&kernel_cx::of(&kernel, &ours.pin()), target, canary, 0, None);
    let Settled::Armed(wheel, starter, Some(listed)) = timer.settle(1, true) else {
        panic!("no other thread knows the timer")
    };
    {
        let host = Host::new(&kernel, &ours);
        let guard = ours.pin();
        let pushed = name::find(&kernel, target, &guard).unwrap().watchers.push(Watcher::Timer(listed));
        assert!(pushed.is_ok(), "the target lives");
        host.send(target, Letter::Go).unwrap();
    }
    let dying = thread::spawn(move || {
        let _ = core.run(1);
        core
    });
    let guard = ours.pin();
    fire_by::<Shipped>(wheel, &kernel_cx::of(&kernel, &guard));
    starter.release(None);
    drop(guard);
    let mut core = dying.join().unwrap();
    let _ = core.run(1);
    // The timer's core takes off timers that were cancelled in between.
    let _ = Core::new(kernel.clone(), 1).run(1);
    assert!(!Host::new(&kernel, &ours).is_alive(target));
    assert_eq!((ends.load(Ordering::Relaxed), kernel.nodes_used()), (1, 0), "read, or dropped, and freed");
    outcomes.saw(counts.got());
}

/// The action of a thread that knows only a timer's name.
#[derive(Clone, Copy, PartialEq)]
enum ByName {
    Cancels,
    Reads,
}

const FIRST: u64 = 10;
const SECOND: u64 = 1 << 40 | 99;

/// Issue 14, 21: a thread knows only a timer's name, and cancels or reads the timer. At the same
/// time the timer fires, its record is freed by the last holder, and its slot is reused for another
/// timer. The first timer is fired or cancelled, once; the second is unchanged.
fn by_name<S: Steps>(does: ByName, outcomes: &Outcomes) {
    let (kernel, _) = limited(1);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let mut core = core(&kernel, 0);
    // When it fires, its message is dropped, and its slot is free at once.
    let nobody = Pid::new(0, 1).unwrap();
    let ((first, ends), (second, ends_too)) = (Canary::new(), Canary::new());
    let (wheel, starter) = due_at(&kernel_cx::of(&kernel, &ours.pin()), nobody, first, FIRST);
    let name = starter.reference;
    // The wheel's reference is the only one then.
    starter.release(None);
    let knows = {
        let kernel = kernel.clone();
        thread::spawn(move || {
            let guard = theirs.pin();
            let kernel_cx = kernel_cx::of(&kernel, &guard);
            let due = match does {
                ByName::Cancels => cancel_named_by::<S>(name, &kernel_cx),
                ByName::Reads => read_named_by::<S>(name, &kernel_cx),
            };
            drop(guard);
            (theirs, due)
        })
    };
    let guard = ours.pin();
    let kernel_cx = kernel_cx::of(&kernel, &guard);
    fire_by::<Shipped>(wheel, &kernel_cx);
    let (_on_its_wheel, next) = due_at(&kernel_cx, nobody, second, SECOND);
    let (theirs, due) = knows.join().unwrap();
    assert!(due.is_none_or(|due| due == FIRST), "the answer is about the first timer: {due:?}");
    assert_ne!(next.reference, name, "a name is never reused");
    assert!(next.is_armed(), "the second timer is unchanged");
    assert_eq!(read_named(next.reference, &kernel_cx), Some(SECOND));
    assert_eq!(cancel_named(next.reference, &kernel_cx), Some(SECOND));
    next.release(None);
    drop(guard);
    // The wheel's core takes off the cancelled timer.
    let _ = core.run(2);
    assert_eq!((ends.load(Ordering::Relaxed), ends_too.load(Ordering::Relaxed)), (1, 1), "fired, or cancelled");
    assert_eq!(kernel.nodes_used(), 0, "freed");
    drop(theirs);
    outcomes.saw(usize::from(due.is_some()));
}

/// A timer is in transit to a wheel, where another thread puts it, and is cancelled by its name at
/// the same time. In the mutant, the thread that finds it cancelled releases the wheel's reference
/// too.
fn cancel_on_the_way(gives_up_both: bool, outcomes: &Outcomes) {
    let (kernel, _) = limited(1);
    let (ours, theirs) = (member(&kernel), member(&kernel));
    let core = core(&kernel, 0);
    let (canary, ends) = Canary::new();
    let nobody = Pid::new(0, 1).unwrap();
    let guard = ours.pin();
    let timer = new(&kernel_cx::of(&kernel, &guard), nobody, canary, FIRST, Some(BudgetPermit::NOT));
    drop(guard);
    let name = timer.reference;
    let meeting = thread::spawn(move || {
        let (starter, armed) = match timer.settle(0, false) {
            Settled::Armed(_on_its_wheel, starter, _) => (starter, true),
            Settled::Cancelled(starter) => (starter, false),
        };
        if !armed && gives_up_both {
            // SAFETY: none. The mutant releases the wheel's reference, which it does not hold.
            unsafe { Ref::from_raw(starter.as_ptr()) }.release(None);
        }
        starter.release(None);
        armed
    });
    let guard = theirs.pin();
    let due = cancel_named(name, &kernel_cx::of(&kernel, &guard));
    assert_eq!(due, Some(FIRST), "the timer has not fired yet, on a wheel or in transit");
    assert_eq!(cancel_named(name, &kernel_cx::of(&kernel, &guard)), None, "once");
    drop(guard);
    let armed = meeting.join().unwrap();
    assert_eq!(ends.load(Ordering::Relaxed), 1, "the message is dropped once");
    drop(core);
    assert_eq!(kernel.nodes_used(), 0, "freed");
    outcomes.saw(usize::from(armed));
}

struct AnyGeneration;
impl Steps for AnyGeneration {
    const HEEDS_THE_GENERATION: bool = false;
}

struct LooksOnce;
impl Steps for LooksOnce {
    const LOOKS_AGAIN: bool = false;
}

struct NotAsked;
impl Steps for NotAsked {
    const ASKS: bool = false;
}

#[test]
fn protocol() {
    Outcomes::model("timer: fire, cancel", None, 2, fire_or_cancel::<Shipped>);
    model("timer: cancel, its core is dropped", Some(2), cancel_or_drop_core);
    Outcomes::model("timer: fire, cancel on another core", Some(2), 2, cancel_elsewhere);
    Outcomes::model("timer: fire, its target dies", Some(2), 2, target_dies);
    let cancels = |outcomes: &Outcomes| by_name::<Shipped>(ByName::Cancels, outcomes);
    Outcomes::model("timer: cancel by name, fire, start another", Some(3), 2, cancels);
    let reads = |outcomes: &Outcomes| by_name::<Shipped>(ByName::Reads, outcomes);
    Outcomes::model("timer: read by name, fire, start another", Some(3), 2, reads);
    Outcomes::model("timer: cancel by name in transit", None, 2, |outcomes| cancel_on_the_way(false, outcomes));
}

#[test]
fn mutants() {
    mutant("timer, fires without a check", Some(2), || fire_or_cancel::<NotAsked>(&Outcomes::default()));
    mutant("timer, cancels whatever is in the slot", Some(3), || {
        by_name::<AnyGeneration>(ByName::Cancels, &Outcomes::default());
    });
    mutant("timer, reads without a second check", Some(3), || {
        by_name::<LooksOnce>(ByName::Reads, &Outcomes::default())
    });
    mutant("timer, the canceller's reference is released", Some(3), || cancel_on_the_way(true, &Outcomes::default()));
}
