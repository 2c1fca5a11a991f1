//! Timers, names and aliases for any caller: one that runs here, one that sleeps, one that is busy
//! on another core, one that is dead, and one that was never allocated.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use atropos::facility::mock::{MockAliases, MockNames, MockProcesses};
use atropos::facility::{
    AliasFacility, AliasMode, AliasRecord, Facilities, LinkFacility as _, NameError, NameFacility, NameRecord,
    RemainingTime, SpawnFacility as _, SpawnFlags, SupervisionError, SupervisionFacility as _, TimerError,
    TimerFacility, Unsupported,
};
use atropos::kernel::{Limits, Reference};
use atropos::{Alias, BodyPoll, MonitorTarget, Pid, Reason, Received, Runtime};
use common::{Order, Probe, native, next, nobody, run, runtime, spawner, until};

const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_secs(3_600);

/// Waits for a result as a host thread does.
fn answer(left: RemainingTime) -> Option<Duration> {
    let (mut left, mut answer) = (pin!(left), None);
    until("it replies", || match left.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(left) => {
            answer = Some(left);
            true
        }
        Poll::Pending => false,
    });
    answer.expect("ready")
}

#[test]
fn timer_of_a_sleeping_caller_and_of_one_on_another_core() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let timers: &dyn TimerFacility<Order> = &native;
    let (sleeps, runs, target) = (Probe::start(&runtime), Probe::start(&runtime), Probe::start(&runtime));
    let kept = runs.keep();
    for caller in [&sleeps, &runs] {
        for to in [caller, &target] {
            let (send, told) = channel();
            let timer = timers.start(caller.raw(), to.raw(), LATE, Order::Tell(send));
            let timer = timer.expect("both live");
            if caller.pid == sleeps.pid {
                let left = answer(timers.read(caller.raw(), timer).expect("alive")).expect("it has begun");
                assert!(left <= LATE && left > LATE / 2);
                assert!(answer(timers.cancel(caller.raw(), timer).expect("alive")).is_some());
                assert_eq!(answer(timers.cancel(caller.raw(), timer).expect("alive")), None, "it is over");
                assert!(told.recv().is_err(), "its message is dropped");
            }
        }
    }
    // The busy caller starts its timer when it next checks its mailbox, but the time counts from
    // here.
    let (send, heard) = channel();
    timers.start(runs.raw(), target.raw(), SOON, Order::Tell(send.clone())).expect("both live");
    timers.start(runs.raw(), runs.raw(), SOON, Order::Tell(send.clone())).expect("alive");
    timers.start(sleeps.raw(), target.raw(), SOON, Order::Tell(send.clone())).expect("both live");
    timers.start(sleeps.raw(), sleeps.raw(), SOON, Order::Tell(send)).expect("alive");
    assert_eq!((next(&heard), next(&heard)), (Vec::new(), Vec::new()), "the two timers of the sleeping caller");
    drop(kept);
    assert_eq!((next(&heard), next(&heard)), (Vec::new(), Vec::new()));
    // Started by a process that acts for another process, in its own slice.
    let (mine, caller, (send, heard)) = (native.clone(), sleeps.raw(), channel());
    let started = runs.ask(move |_| TimerFacility::start(&mine, caller, caller, SOON, Order::Tell(send)));
    assert!(started.is_ok());
    assert_eq!(next(&heard), []);
}

#[test]
fn timer_of_a_dead_or_unallocated_caller_is_no_caller() {
    let runtime = runtime(1);
    let native = native(&runtime);
    let timers: &dyn TimerFacility<Order> = &native;
    let (dead, alive) = (Probe::start(&runtime), Probe::start(&runtime));
    dead.kill();
    for caller in [dead.raw(), nobody(), 0, u64::MAX] {
        let message = Order::Stop(Reason::KILL);
        assert_eq!(timers.start(caller, alive.raw(), SOON, message), Err(TimerError::NoCaller));
        assert_eq!(timers.cancel(caller, 1).err(), Some(TimerError::NoCaller));
        assert_eq!(timers.read(caller, 1).err(), Some(TimerError::NoCaller));
    }
    for target in [nobody(), 0, u64::MAX] {
        let message = Order::Stop(Reason::KILL);
        assert_eq!(timers.start(alive.raw(), target, SOON, message), Err(TimerError::NoProc));
    }
    // The target existed, so the timer ends with it at once.
    let timer = timers.start(alive.raw(), dead.raw(), LATE, Order::Stop(Reason::KILL)).expect("it existed");
    until("it has ended", || answer(timers.read(alive.raw(), timer).expect("alive")).is_none());
    for timer in [0, u64::MAX] {
        assert_eq!(timers.cancel(alive.raw(), timer).ok().and_then(|left| left.known()), Some(None));
    }
    let wrong: &dyn TimerFacility<u8> = &native;
    assert_eq!(wrong.start(alive.raw(), alive.raw(), SOON, 1), Err(TimerError::WrongType));
}

/// A caller that dies before it has checked its mailbox: its timers to other processes continue,
/// those to itself do not, and a timer whose start is on its way can be cancelled.
#[test]
fn callers_death_cancels_only_timers_to_itself() {
    let limits = Limits { nodes: 10_000, ..Limits::default() };
    let runtime = Runtime::builder().cores(2).limits(limits).build().expect("threads");
    let (native, target) = (native(&runtime), Probe::start(&runtime));
    let timers: &dyn TimerFacility<Order> = &native;
    for _ in 0..500 {
        let caller = Probe::start(&runtime);
        let (kept, (send, heard)) = (caller.keep(), channel());
        native.exit_signal(target.raw(), caller.raw(), Reason::KILL).expect("both live");
        let (own, message) = (channel(), Order::Tell(send));
        timers.start(caller.raw(), target.raw(), SOON, message).expect("not dead yet");
        let timer = timers.start(caller.raw(), caller.raw(), Duration::ZERO, Order::Tell(own.0)).expect("not dead yet");
        let cancelled = timers.cancel(caller.raw(), timer).expect("not dead yet");
        drop(kept);
        assert_eq!(caller.ends(), Reason::KILLED);
        assert_eq!(next(&heard), []);
        assert_eq!(answer(cancelled), Some(Duration::ZERO), "cancelled on its way, without a query");
        assert!(own.1.recv().is_err(), "it ended with its caller");
    }
    target.kill();
    until("no node is left", || runtime.kernel().nodes_used() == 0);
}

/// Many threads start timers for processes that run, sleep, migrate and die: every message arrives
/// or is dropped, exactly once.
#[test]
fn every_timer_fires_once_or_is_dropped_once() {
    const CALLERS: usize = 50;
    const TIMERS: usize = 400;
    struct Counted(Arc<[AtomicUsize; 2]>, bool);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0[usize::from(self.1)].fetch_add(1, Ordering::Relaxed);
        }
    }
    let runtime = runtime(2);
    let (native, counts) = (native(&runtime), Arc::new([const { AtomicUsize::new(0) }; 2]));
    let callers: Vec<u64> = (0..CALLERS)
        .map(|number| {
            let body = async move |cx: atropos::Context<Counted>| {
                let mut left = if number % 5 == 0 { TIMERS / 2 } else { usize::MAX };
                while left > 0 {
                    if let Received::Message(mut counted) = cx.recv().await {
                        counted.1 = true;
                        left -= 1;
                    }
                    if left % 7 == 0 {
                        cx.yield_now().await;
                    }
                }
            };
            runtime.spawn(body).expect("a process").pid().to_raw()
        })
        .collect();
    let started = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (native, callers, counts, started) = (&native, &callers, &counts, &started);
            scope.spawn(move || {
                for round in 0..TIMERS {
                    for (at, caller) in callers.iter().enumerate() {
                        let target = callers[(at + thread * round) % CALLERS];
                        let after = Duration::from_micros((round * 37 % 500) as u64);
                        let message = Counted(counts.clone(), false);
                        started.fetch_add(1, Ordering::Relaxed);
                        match TimerFacility::start(native, *caller, target, after, message) {
                            Ok(timer) if round % 3 == 0 => {
                                let _ = TimerFacility::<Counted>::cancel(native, *caller, timer);
                            }
                            Ok(_) | Err(TimerError::NoCaller) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    for caller in &callers {
        native.exit_signal(callers[1], *caller, Reason::SHUTDOWN).expect("it existed");
    }
    let ends = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
    until("each has arrived or been dropped", || ends() == started.load(Ordering::Relaxed));
    assert!(counts[1].load(Ordering::Relaxed) > 0);
}

/// Starts a watcher that records the objects of its DOWNs, and the numbers that it receives.
fn writes(runtime: &Runtime) -> (Pid, std::sync::mpsc::Receiver<Result<u32, MonitorTarget>>) {
    let (send, receive) = channel();
    let body = async move |cx: atropos::Context<u32>| {
        loop {
            let _ = send.send(match cx.recv().await {
                Received::Message(number) => Ok(number),
                Received::Down(down) => Err(down.target),
                other => panic!("{other:?}"),
            });
        }
    };
    (runtime.spawn::<_, _, _>(body).expect("a process").pid(), receive)
}

#[test]
fn names_and_monitors_by_name() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let names: &dyn NameFacility = &native;
    let (watcher, told) = writes(&runtime);
    let (me, server, dead) = (watcher.to_raw(), Probe::start(&runtime), Probe::start(&runtime));
    dead.kill();
    assert_eq!(names.register(me, "server", server.raw()), Ok(()));
    assert_eq!(names.whereis("server"), Some(server.raw()));
    assert_eq!(names.register(me, "server", me), Err(NameError::InUse));
    assert_eq!(names.register(me, "other", server.raw()), Err(NameError::AlreadyNamed));
    assert_eq!(names.register(me, "other", dead.raw()), Err(NameError::NoProc));
    assert_eq!(names.register(me, "other", nobody()), Err(NameError::NoProc));
    for caller in [dead.raw(), nobody(), u64::MAX] {
        assert_eq!(names.register(caller, "other", me), Err(NameError::NoCaller));
        assert_eq!(names.unregister(caller, "server"), Err(NameError::NoCaller));
        assert_eq!(names.monitor_name(caller, "server"), Err(NameError::NoCaller));
    }
    let made = names.monitor_name(me, "server").expect("both live");
    let second = names.monitor_name(me, "server").expect("both live");
    assert!(!made.immediate_down && made.reference != second.reference);
    // It is an ordinary monitor.
    assert_eq!(native.demonitor_with(me, second.reference, true), Ok(None));
    assert!(names.monitor_name(me, "nobody").expect("memory").immediate_down);
    let by = |wanted: &str| matches!(next(&told), Err(MonitorTarget::Name(name)) if name.as_str() == wanted);
    assert!(by("nobody"));
    server.kill();
    assert!(by("server"), "the name, not the pid");
    assert_eq!(names.whereis("server"), None);
    assert_eq!(names.register(me, "server", me), Ok(()));
    assert_eq!((names.unregister(me, "server"), names.unregister(me, "server")), (Ok(true), Ok(false)));
    // A process acts for itself, in its own slice.
    let (probe, mine) = (Probe::start(&runtime), native.clone());
    let itself = probe.ask(move |cx| {
        let me = cx.pid().to_raw();
        mine.register(me, "self", me).and_then(|()| mine.monitor_name(me, "self"))
    });
    assert!(itself.is_ok_and(|made| !made.immediate_down));
    assert!(probe.events().is_empty() && told.try_recv().is_err());
}

#[test]
fn aliases_end_by_unalias_reply_or_monitor() {
    let runtime = runtime(2);
    let native = native(&runtime);
    let aliases: &dyn AliasFacility = &native;
    let (owner, told) = writes(&runtime);
    let (me, target) = (owner.to_raw(), Probe::start(&runtime));
    let send = |alias: u64, number: u32| {
        let alias = Alias::new(owner, Reference::from_raw(alias).expect("a reference"));
        assert!(runtime.send_alias(alias, number).is_ok());
    };
    let (lasts, once) = (aliases.alias(me, false).expect("alive"), aliases.alias(me, true).expect("alive"));
    for number in 0..3 {
        send(lasts, number);
        send(once, number + 10);
    }
    assert_eq!([next(&told), next(&told), next(&told), next(&told)], [Ok(0), Ok(10), Ok(1), Ok(2)]);
    // The alias of another process stays active.
    assert_eq!(aliases.unalias(target.raw(), lasts), Ok(None));
    send(lasts, 3);
    assert_eq!(next(&told), Ok(3));
    assert_eq!(aliases.unalias(me, lasts), Ok(None));
    send(lasts, 4);
    // An alias with a monitor.
    let made = aliases.monitor_alias(me, target.raw(), AliasMode::Demonitor).expect("both live");
    send(made.reference, 5);
    assert_eq!(next(&told), Ok(5), "the 4 was dropped");
    target.kill();
    assert_eq!(next(&told), Err(MonitorTarget::Pid(target.pid)));
    send(made.reference, 6);
    // The reply removes the monitor.
    let (server, mine) = (Probe::start(&runtime), native.clone());
    let made = aliases.monitor_alias(me, server.raw(), AliasMode::ReplyDemonitor).expect("both live");
    send(made.reference, 7);
    assert_eq!(next(&told), Ok(7), "the 6 was dropped");
    server.kill();
    // In the caller's own slice the result is known at once.
    let probe = Probe::start(&runtime);
    let known = probe.ask(move |cx| {
        let me = cx.pid().to_raw();
        let alias = mine.alias(me, false).expect("alive");
        (mine.unalias(me, alias), mine.unalias(me, alias))
    });
    assert_eq!(known, (Ok(Some(true)), Ok(Some(false))));
    probe.kill();
    assert!(aliases.alias(probe.raw(), false).is_ok(), "without effect, as a monitor by a dead caller");
    assert_eq!(aliases.unalias(probe.raw(), 1), Ok(Some(false)));
    for caller in [nobody(), 0, u64::MAX] {
        assert_eq!(aliases.alias(caller, false), Err(SupervisionError::NoCaller));
        assert_eq!(aliases.unalias(caller, 1), Err(SupervisionError::NoCaller));
        assert_eq!(aliases.monitor_alias(caller, me, AliasMode::Reply), Err(SupervisionError::NoCaller));
    }
    assert_eq!(aliases.monitor_alias(me, nobody(), AliasMode::Reply), Err(SupervisionError::NoProc));
    send(lasts, 8);
    runtime.send_alias(Alias::new(owner, Reference::from_raw(once).expect("a reference")), 9_u32).expect("alive");
    assert!(native.set_trap_exit(me, false).is_ok());
    assert!(told.recv_timeout(Duration::ZERO).is_err());
}

/// The alias of a busy process is active before anything that is sent through it, however soon.
#[test]
fn alias_is_active_from_the_call_on() {
    let runtime = runtime(2);
    let (native, spawner, parent) = (native(&runtime), spawner(&runtime), Probe::start(&runtime));
    let (send, heard) = channel();
    let body = run(move |cx| {
        while let Some(received) = cx.receive() {
            if matches!(received, Received::Message(_)) {
                let _ = send.send(());
            }
        }
        while cx.spend(1) {}
        BodyPoll::Yield
    });
    let busy = spawner.spawn(parent.raw(), body, SpawnFlags::default()).expect("a process").pid;
    let pid = Pid::from_raw(busy).expect("a pid");
    for _ in 0..1_000 {
        let alias = native.alias(busy, true).expect("alive");
        let alias = Alias::new(pid, Reference::from_raw(alias).expect("a reference"));
        assert!(runtime.send_alias(alias, Order::Stop(Reason::KILL)).is_ok());
        next(&heard);
    }
}

#[test]
fn mocks_record_names_and_aliases() {
    let cast = MockProcesses::new(&[1, 2, 3], &[4]);
    let (names, aliases) = (MockNames::new(cast.clone(), &[("shell", 2)]), MockAliases::new(cast));
    let bundle = Facilities::<()> { names: Some(&names), aliases: Some(&aliases), ..Facilities::default() };
    let asked = bundle.names().expect("it is there");
    assert_eq!(asked.whereis("shell"), Some(2));
    assert_eq!(asked.register(1, "shell", 3), Err(NameError::InUse));
    assert_eq!(asked.register(1, "init", 2), Err(NameError::AlreadyNamed));
    assert_eq!(asked.register(1, "init", 4), Err(NameError::NoProc));
    assert_eq!(asked.register(4, "init", 1), Err(NameError::NoCaller));
    assert_eq!(asked.register(1, "init", 3), Ok(()));
    assert_eq!(asked.unregister(1, "shell"), Ok(true));
    assert_eq!(asked.monitor_name(1, "shell").map(|made| made.immediate_down), Ok(false));
    let (name, caller) = (|name: &str| name.to_owned(), 1);
    let records = names.drain();
    assert_eq!(records.len(), 7);
    assert_eq!(records[4], NameRecord::Register { caller, name: name("init"), pid: 3 });
    assert_eq!(records[5], NameRecord::Unregister { caller, name: name("shell") });
    assert_eq!(records[6], NameRecord::Monitor { caller, name: name("shell") });
    let asked = bundle.aliases().expect("it is there");
    let alias = asked.alias(1, true).expect("alive");
    assert_eq!(asked.unalias(1, alias), Ok(None));
    assert!(asked.monitor_alias(1, 4, AliasMode::Demonitor).is_ok_and(|made| made.immediate_down));
    assert_eq!(asked.monitor_alias(1, 5, AliasMode::Demonitor), Err(SupervisionError::NoProc));
    assert_eq!(asked.alias(5, true), Err(SupervisionError::NoCaller));
    let mode = AliasMode::Demonitor;
    let first = [
        AliasRecord::Alias { caller, reply: true },
        AliasRecord::Unalias { caller, alias },
        AliasRecord::Monitor { caller, target: 4, mode },
    ];
    assert_eq!(aliases.drain()[..3], first);
    assert_eq!(Facilities::<()>::default().names().err(), Some(Unsupported::Names));
}
