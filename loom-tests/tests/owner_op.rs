//! Models of operations on behalf of a process that runs elsewhere. A host thread monitors and
//! links in the process's name, while the process runs or dies, or the other side dies. Exactly one
//! DOWN or EXIT arrives, or none where the call's result says so, and no record is left over.
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{ActAsError, BodyPoll, Cx, MonitorOutcome, Reason, Received, TimerError};
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, act, ends, explore};
use atropos_loom::seen::Log;

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

/// A count of the DOWNs that a process has received, and of those with their target's reason.
#[derive(Clone, Default)]
struct Got(Arc<[AtomicUsize; 2]>);

impl Got {
    /// Returns a body that receives all that arrives, from its second slice on.
    fn receives(&self) -> impl FnMut(&Cx<'_, u8>) -> BodyPoll + Send + 'static {
        let (got, mut ran) = (self.clone(), false);
        move |cx| {
            if !std::mem::replace(&mut ran, true) {
                return BodyPoll::Yield;
            }
            while let Some(received) = cx.receive() {
                let Received::Down(down) = received else { panic!("only DOWNs arrive") };
                got.0[0].fetch_add(1, Ordering::Relaxed);
                got.0[1].fetch_add(usize::from(down.reason == WHY), Ordering::Relaxed);
            }
            BodyPoll::Wait
        }
    }

    fn counts(&self) -> [usize; 2] {
        [0, 1].map(|at| self.0[at].load(Ordering::Relaxed))
    }
}

/// A host thread makes a monitor for a watcher that runs and receives at the same time, while its
/// target dies.
fn monitor_and_exit(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (got, placed) = (Got::default(), Known::<MonitorOutcome>::new());
    let watcher = stage.start(0, got.receives());
    let target = stage.start(1, ends(WHY));
    stage.run(0, 1);
    stage.run(1, 1);
    let makes = placed.clone();
    stage.race_host(&[1, 1], move |host| {
        makes.set(host.act_as(watcher, |acting| acting.monitor(target)).expect("both processes were alive"));
    });
    stage.settle();
    let [downs, with_its_reason] = got.counts();
    assert_eq!(downs, 1, "exactly one DOWN");
    let at_once = placed.get().unwrap().immediate_down;
    assert!(!at_once || with_its_reason == 0, "an immediate DOWN reports noproc");
    assert_eq!(stage.nodes(), 0, "a monitor whose DOWN was received is in no set");
    stage.end();
    if at_once { "immediate" } else { "later" }
}

/// A host thread makes a monitor for a watcher that dies at the same time. With `target_dies` its
/// target dies as well.
fn monitor_and_death(target_dies: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let watcher = stage.start(0, ends(WHY));
    let target =
        if target_dies { stage.start(1, ends(WHY)) } else { stage.start(1, act(&Log::new(), nothing, nothing)) };
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race_host(&[1, 1], move |host| {
        host.act_as(watcher, |acting| acting.monitor(target)).expect("both processes were alive");
    });
    stage.settle();
    assert_eq!(stage.died_of(watcher), Some(WHY));
    if target_dies {
        assert_eq!(stage.kernel.nodes_used(), 0, "the monitor is released with both processes");
    }
    stage.end();
    "released"
}

/// A host thread makes a link for a process that traps exits, while the other side dies.
fn link_and_exit(as_otp: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, said) = (Log::new(), Known::new());
    let maker = stage.start_trapping(0, act(&log, nothing, nothing));
    let other = stage.start(1, ends(WHY));
    stage.run(0, 1);
    stage.run(1, 1);
    let links = said.clone();
    stage.race_host(&[1, 1], move |host| {
        links.set(host.act_as(maker, |acting| acting.link(other, as_otp)));
    });
    stage.settle();
    let exits = log.exits(other);
    let outcome = match (said.get().unwrap(), &exits[..]) {
        (Ok(()), [why]) if *why == WHY => "its reason",
        (Ok(()), [why]) if *why == Reason::NOPROC => "noproc",
        (Err(ActAsError::NoProc), []) if !as_otp => "refused",
        (said, exits) => panic!("{said:?}, and the EXITs {exits:?}"),
    };
    stage.end();
    outcome
}

/// A host thread makes a link for a process that dies at the same time. The other side, which traps
/// exits, receives an EXIT, or the call has no effect.
fn link_and_death(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, said) = (Log::new(), Known::new());
    let maker = stage.start(0, ends(WHY));
    let other = stage.start_trapping(1, act(&log, nothing, nothing));
    stage.run(0, 1);
    stage.run(1, 1);
    let links = said.clone();
    stage.race_host(&[1, 1], move |host| {
        links.set(host.act_as(maker, |acting| acting.link(other, false)));
    });
    stage.settle();
    let outcome = match (said.get().unwrap(), &log.exits(maker)[..]) {
        (Ok(()), [why]) if *why == WHY => "linked",
        (Ok(()), [why]) if *why == Reason::NOPROC => "linked in transit",
        (Err(ActAsError::NoCaller), []) => "refused",
        (said, exits) => panic!("{said:?}, and the EXITs {exits:?}"),
    };
    stage.end();
    outcome
}

/// Two threads link the same two processes: the initiator itself, and a host thread that acts for
/// it. One link, one EXIT.
fn link_twice(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let log = Log::new();
    let other = stage.start(1, ends(WHY));
    let maker = stage.start_trapping(0, act(&log, nothing, move |cx| assert!(cx.link(other).is_ok())));
    stage.run(1, 1);
    stage.run(0, 1);
    stage.race_host(&[1, 0], move |host| {
        host.act_as(maker, |acting| acting.link(other, true)).expect("both processes live");
    });
    stage.settle();
    assert_eq!(log.exits(other).len(), 1, "one link, one EXIT");
    stage.end();
    "one"
}

/// A host thread starts a timer to another process, for a caller that dies at the same time. The
/// timer's message arrives once, or the call reports that the caller is dying.
fn timer_and_death(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (came, said) = (Arc::new(AtomicUsize::new(0)), Known::new());
    let count = came.clone();
    let caller = stage.start(0, ends(WHY));
    let target = stage.start(1, move |cx| {
        while let Some(received) = cx.receive() {
            let Received::Message(7) = received else { panic!("only the timer's message arrives") };
            count.fetch_add(1, Ordering::Relaxed);
        }
        BodyPoll::Wait
    });
    stage.run(0, 1);
    stage.run(1, 1);
    let starts = said.clone();
    stage.race_host(&[1, 1], move |host| {
        starts.set(host.act_as(caller, |acting| acting.send_after(target, Duration::ZERO, 7_u8)));
    });
    // A timer that is due at once fires when its core runs again.
    stage.settle();
    stage.settle();
    let outcome = match (said.get().unwrap(), came.load(Ordering::Relaxed)) {
        (Ok(_), 1) => "fires",
        (Err(TimerError::Dying), 0) => "refused",
        (said, came) => panic!("{said:?}, and {came} messages"),
    };
    stage.end();
    outcome
}

/// A host thread starts a timer to a running process, and cancels it, in transit or on the wheel.
/// The cancellation answers immediately, without a query.
fn timer_and_cancel() -> &'static str {
    let mut stage = Stage::new(1, None);
    let (came, said) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let (count, mut ran) = (came.clone(), false);
    let caller = stage.start(0, move |cx| {
        if !std::mem::replace(&mut ran, true) {
            return BodyPoll::Yield;
        }
        while let Some(received) = cx.receive() {
            let Received::Message(7) = received else { panic!("only the timer's message arrives") };
            count.fetch_add(1, Ordering::Relaxed);
        }
        BodyPoll::Wait
    });
    stage.run(0, 1);
    let starts = said.clone();
    stage.race_host(&[2], move |host| {
        let timer =
            host.act_as(caller, |acting| acting.send_after(caller, Duration::ZERO, 7_u8)).expect("the process lives");
        *starts.lock().unwrap() =
            Some(host.act_as(caller, |acting| acting.cancel_timer(timer)).expect("the process lives"));
    });
    stage.settle();
    stage.settle();
    let outcome = match (said.lock().unwrap().take(), came.load(Ordering::Relaxed)) {
        (Some(Some(_)), 0) => "cancelled",
        (answer, came) => panic!("{answer:?}, and {came} messages"),
    };
    stage.end();
    outcome
}

#[test]
fn protocol() {
    let bound = Some(2);
    explore("op monitor || exit || watcher", bound, &["immediate", "later"], || monitor_and_exit(None));
    explore("op monitor || watcher's death", bound, &["released"], || monitor_and_death(false, None));
    explore("op monitor || both deaths", bound, &["released"], || monitor_and_death(true, None));
    let outcomes = ["its reason", "noproc"];
    explore("op link || exit, as OTP", bound, &outcomes, || link_and_exit(true, None));
    let outcomes = ["its reason", "refused"];
    explore("op link || exit", bound, &outcomes, || link_and_exit(false, None));
    explore("op link || initiator's death", bound, &["linked", "refused"], || link_and_death(None));
    explore("op link || initiator's own link", bound, &["one"], || link_twice(None));
    explore("op timer || caller's death", bound, &["fires", "refused"], || timer_and_death(None));
    explore("op timer || cancel", bound, &["cancelled"], timer_and_cancel);
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("op monitor, a refusal ignored", Mutation::RefusedIsPlaced, monitor_and_exit);
    wrong("op monitor, placed before the operation", Mutation::PlacedFirst, monitor_and_exit);
    wrong("op monitor, a refused DOWN is kept", Mutation::RefusedIsKept, |m| monitor_and_death(true, m));
    wrong("op link, a refusal ignored", Mutation::RefusedIsPlaced, |m| link_and_exit(false, m));
    wrong("op link, not handled by the death", Mutation::ProxiesUnmet, link_and_death);
    wrong("op timer, not handled by the death", Mutation::ProxiesUnmet, timer_and_death);
}
