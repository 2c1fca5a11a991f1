//! Acting for a process that somebody else runs: a thread that is no core monitors and links in its name, while it runs,
//! dies, or the other side dies. Exactly one DOWN or EXIT, or none where the call says so, and no record left over.
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{MaybeReady, ActAsError, Cx, MonitorOutcome, Reason, Received, Resumed, TimerError};
use atropos_loom::mutant;
use atropos_loom::seen::Log;
use atropos_loom::world::{Known, Mutation, Stage, act, ends, explore};

const WHY: Reason = Reason::SHUTDOWN;

fn nothing(_: &Cx<'_, u8>) {}

/// What a process has received, counted: the DOWNs, and those of them with their target's reason.
#[derive(Clone, Default)]
struct Got(Arc<[AtomicUsize; 2]>);

impl Got {
    /// A body that receives all that comes, from its second slice on.
    fn receives(&self) -> impl FnMut(&Cx<'_, u8>) -> Resumed + Send + 'static {
        let (got, mut ran) = (self.clone(), false);
        move |cx| {
            if !std::mem::replace(&mut ran, true) {
                return Resumed::Yield;
            }
            while let Some(received) = cx.receive() {
                let Received::Down(down) = received else { panic!("only DOWNs come") };
                got.0[0].fetch_add(1, Ordering::Relaxed);
                got.0[1].fetch_add(usize::from(down.reason == WHY), Ordering::Relaxed);
            }
            Resumed::Wait
        }
    }

    fn counts(&self) -> [usize; 2] {
        [0, 1].map(|at| self.0[at].load(Ordering::Relaxed))
    }
}

/// A monitor is made for a watcher that runs meanwhile and receives, while its target dies.
fn monitor_and_exit(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (got, placed) = (Got::default(), Known::<MonitorOutcome>::new());
    let watcher = stage.start(0, got.receives());
    let target = stage.start(1, ends(WHY));
    stage.run(0, 1);
    stage.run(1, 1);
    let makes = placed.clone();
    stage.race_host(&[1, 1], move |host| {
        makes.set(host.act_as(watcher, |behalf| behalf.monitor(target)).expect("both have lived"));
    });
    stage.settle();
    let [downs, with_its_reason] = got.counts();
    assert_eq!(downs, 1, "exactly one DOWN");
    let at_once = placed.get().unwrap().immediate_down;
    assert!(!at_once || with_its_reason == 0, "a DOWN at once is noproc");
    stage.end();
    if at_once { "at once" } else { "later" }
}

/// A monitor is made for a watcher that dies meanwhile; with `target_dies` its target does as well.
fn monitor_and_death(target_dies: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let watcher = stage.start(0, ends(WHY));
    let target =
        if target_dies { stage.start(1, ends(WHY)) } else { stage.start(1, act(&Log::new(), nothing, nothing)) };
    stage.run(0, 1);
    stage.run(1, 1);
    stage.race_host(&[1, 1], move |host| {
        host.act_as(watcher, |behalf| behalf.monitor(target)).expect("both have lived");
    });
    stage.settle();
    assert_eq!(stage.died_of(watcher), Some(WHY));
    if target_dies {
        assert_eq!(stage.kernel.nodes_used(), 0, "with both of them the monitor is gone");
    }
    stage.end();
    "gone"
}

/// A link is made for a process that traps exits, while the other side dies.
fn link_and_exit(as_otp: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, said) = (Log::new(), Known::new());
    let maker = stage.start_trapping(0, act(&log, nothing, nothing));
    let other = stage.start(1, ends(WHY));
    stage.run(0, 1);
    stage.run(1, 1);
    let links = said.clone();
    stage.race_host(&[1, 1], move |host| {
        links.set(host.act_as(maker, |behalf| behalf.link(other, as_otp)));
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

/// A link is made for a process that dies meanwhile: the other side, which traps exits, is told, or nothing has happened.
fn link_and_death(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (log, said) = (Log::new(), Known::new());
    let maker = stage.start(0, ends(WHY));
    let other = stage.start_trapping(1, act(&log, nothing, nothing));
    stage.run(0, 1);
    stage.run(1, 1);
    let links = said.clone();
    stage.race_host(&[1, 1], move |host| {
        links.set(host.act_as(maker, |behalf| behalf.link(other, false)));
    });
    stage.settle();
    let outcome = match (said.get().unwrap(), &log.exits(maker)[..]) {
        (Ok(()), [why]) if *why == WHY => "linked",
        (Ok(()), [why]) if *why == Reason::NOPROC => "linked on its way",
        (Err(ActAsError::NoCaller), []) => "refused",
        (said, exits) => panic!("{said:?}, and the EXITs {exits:?}"),
    };
    stage.end();
    outcome
}

/// Two threads of execution link the same two: the maker itself, and one that acts for it. One link, one EXIT.
fn link_twice(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let log = Log::new();
    let other = stage.start(1, ends(WHY));
    let maker = stage.start_trapping(0, act(&log, nothing, move |cx| assert!(cx.link(other).is_ok())));
    stage.run(1, 1);
    stage.run(0, 1);
    stage.race_host(&[1, 0], move |host| {
        host.act_as(maker, |behalf| behalf.link(other, true)).expect("both live");
    });
    stage.settle();
    assert_eq!(log.exits(other).len(), 1, "one link, one EXIT");
    stage.end();
    "one"
}

/// A timer for another is started for a process that dies meanwhile: its message comes once, or the call says that there is no
/// caller.
fn timer_and_death(mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let (came, said) = (Arc::new(AtomicUsize::new(0)), Known::new());
    let count = came.clone();
    let caller = stage.start(0, ends(WHY));
    let target = stage.start(1, move |cx| {
        while let Some(received) = cx.receive() {
            let Received::Message(7) = received else { panic!("only the timer's comes") };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Resumed::Wait
    });
    stage.run(0, 1);
    stage.run(1, 1);
    let starts = said.clone();
    stage.race_host(&[1, 1], move |host| {
        starts.set(host.act_as(caller, |behalf| behalf.send_after(target, Duration::ZERO, 7_u8)));
    });
    // What is due at once is fired when its core is run again.
    stage.settle();
    stage.settle();
    let outcome = match (said.get().unwrap(), came.load(Ordering::Relaxed)) {
        (Ok(_), 1) => "comes",
        (Err(TimerError::Dying), 0) => "refused",
        (said, came) => panic!("{said:?}, and {came} messages"),
    };
    stage.end();
    outcome
}

/// A timer to itself is started for a process that runs, and cancelled, on its way or on the wheel: at once, and nobody is asked.
fn timer_and_cancel() -> &'static str {
    let mut stage = Stage::new(1, None);
    let (came, said) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None)));
    let (count, mut ran) = (came.clone(), false);
    let caller = stage.start(0, move |cx| {
        if !std::mem::replace(&mut ran, true) {
            return Resumed::Yield;
        }
        while let Some(received) = cx.receive() {
            let Received::Message(7) = received else { panic!("only the timer's comes") };
            count.fetch_add(1, Ordering::Relaxed);
        }
        Resumed::Wait
    });
    stage.run(0, 1);
    let starts = said.clone();
    stage.race_host(&[2], move |host| {
        let timer = host.act_as(caller, |behalf| behalf.send_after(caller, Duration::ZERO, 7_u8)).expect("it lives");
        *starts.lock().unwrap() = Some(host.act_as(caller, |behalf| behalf.cancel_timer(timer)).expect("it lives"));
    });
    stage.settle();
    stage.settle();
    let outcome = match (said.lock().unwrap().take(), came.load(Ordering::Relaxed)) {
        (Some(MaybeReady::Ready(Some(_))), 0) => "cancelled",
        (answer, came) => panic!("{answer:?}, and {came} messages"),
    };
    stage.end();
    outcome
}

#[test]
fn protocol() {
    let bound = Some(2);
    explore("proxy monitor || exit || watcher", bound, &["at once", "later"], || monitor_and_exit(None));
    explore("proxy monitor || watcher's death", bound, &["gone"], || monitor_and_death(false, None));
    explore("proxy monitor || both deaths", bound, &["gone"], || monitor_and_death(true, None));
    let outcomes = ["its reason", "noproc"];
    explore("proxy link || exit, as OTP", bound, &outcomes, || link_and_exit(true, None));
    let outcomes = ["its reason", "refused"];
    explore("proxy link || exit", bound, &outcomes, || link_and_exit(false, None));
    explore("proxy link || maker's death", bound, &["linked", "refused"], || link_and_death(None));
    explore("proxy link || maker's own", bound, &["one"], || link_twice(None));
    explore("proxy timer || caller's death", bound, &["comes", "refused"], || timer_and_death(None));
    explore("proxy timer || cancel", bound, &["cancelled"], timer_and_cancel);
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("proxy monitor, a refusal not looked at", Mutation::RefusedIsPlaced, monitor_and_exit);
    wrong("proxy monitor, placed before the proxy", Mutation::PlacedFirst, monitor_and_exit);
    wrong("proxy monitor, a refused DOWN is kept", Mutation::RefusedIsKept, |m| monitor_and_death(true, m));
    wrong("proxy link, a refusal not looked at", Mutation::RefusedIsPlaced, |m| link_and_exit(false, m));
    wrong("proxy link, not met by the death", Mutation::ProxiesUnmet, link_and_death);
    wrong("proxy timer, not met by the death", Mutation::ProxiesUnmet, timer_and_death);
}
