//! Rules of OTP that implementations often miss (requirements, part 3, 17 to 30), one test each.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Reason, Received, SpawnOptions};
use atropos_otp::{
    AutoShutdown, CallError, ChildKind, ChildSpec, ChildStarter, ChildState, DynamicSupervisor, InitError, InitSender,
    Intensity, Next, Reply, Report, Restart, Server, ServerCx, Shutdown, SpecError, StartChildError, StartError,
    StartedChild, Supervisor,
};
use common::{Bed, Told, Yard, boom, lock};

#[test]
fn r17_one_restart_in_five_seconds_and_added_before_it_is_compared() {
    assert_eq!(Intensity::default(), Intensity::within(1, Duration::from_secs(5)));
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let two = Intensity::within(2, Duration::from_secs(5));
    let (_, supervisor) = bed.family(Supervisor::one_for_one().intensity(two).child(yard.worker("a")));
    for alive in [true, true, false] {
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.settle();
        assert_eq!(bed.is_alive(supervisor), alive);
    }
}

#[test]
fn r18_transient_counts_normal_and_shutdown_reasons_as_normal() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let names = ["normal", "shutdown", "shutdown with", "boom"];
    let children = names.map(|id| yard.worker(id).transient());
    bed.family(Supervisor::one_for_one().children(children));
    let reasons = [Reason::NORMAL, Reason::SHUTDOWN, Reason::shutdown_with(3), boom()];
    for (name, reason) in names.into_iter().zip(reasons) {
        bed.tell(yard.pid(name), Told::End(reason));
        bed.settle();
    }
    assert_eq!(names.map(|name| yard.starts(name)), [1, 1, 1, 2]);
}

#[test]
fn r19_temporary_children_are_deleted_and_their_arguments_dropped() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let argument = Arc::new(());
    let (held, inner) = (argument.clone(), yard.clone());
    let temporary = ChildSpec::worker("t", move |starter: &mut ChildStarter<'_>| {
        let _ = &held;
        inner.start(starter, "t", false)
    });
    let supervisor = Supervisor::one_for_all().child(temporary.temporary()).child(yard.worker("a"));
    let (_, supervisor) = bed.family(supervisor);
    assert_eq!(Arc::strong_count(&argument), 1, "not kept after it is up");
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    let children = bed.run(move |cx| async move { supervisor.which_children(&cx).await }).expect("alive");
    assert_eq!((children.len(), yard.live()), (1, 1), "a sibling's restart has stopped and deleted it");
}

#[test]
fn r20_failed_restart_is_retried_by_a_message_and_each_attempt_counts() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let five = Intensity::within(5, Duration::from_secs(60));
    let (_, supervisor) = bed.family(Supervisor::one_for_one().intensity(five).child(yard.worker("a")));
    yard.fail("a", 4);
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    assert_eq!((bed.is_alive(supervisor), yard.live()), (true, 1), "the fifth attempt succeeds");
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    assert!(!bed.is_alive(supervisor), "the sixth restart is one too many");

    // A shutdown is handled in between: the attempts do not go on for ever.
    let (_, supervisor) = bed.family(Supervisor::one_for_one().intensity(Intensity::Unlimited).child(yard.worker("b")));
    yard.fail("b", usize::MAX);
    bed.tell(yard.pid("b"), Told::End(boom()));
    for _ in 0..20 {
        bed.step();
    }
    assert!(bed.is_alive(supervisor));
    bed.exit(supervisor, Reason::SHUTDOWN);
    bed.settle();
    assert!(!bed.is_alive(supervisor));
}

#[test]
fn r21_default_limits_five_seconds_for_workers_and_none_for_supervisors() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let inner = yard.clone();
    let below = ChildSpec::supervisor("below", move |starter: &mut ChildStarter<'_>| {
        starter.supervisor(Supervisor::one_for_one().child(inner.trapping("deep").shutdown(Shutdown::Infinity)))
    });
    let (_, supervisor) = bed.family(Supervisor::one_for_one().child(below).child(yard.worker("ignores")));
    bed.tell(yard.pid("ignores"), Told::Ignore);
    bed.tell(yard.pid("deep"), Told::Slow(Duration::from_secs(3600)));
    bed.settle();
    bed.exit(supervisor, Reason::SHUTDOWN);
    bed.sleep(Duration::from_millis(4999));
    assert_eq!(yard.live_of("ignores"), 1);
    bed.sleep(Duration::from_millis(2));
    assert_eq!((yard.live_of("ignores"), yard.live_of("deep")), (0, 1), "killed");
    bed.sleep(Duration::from_secs(3598));
    assert_eq!((bed.is_alive(supervisor), yard.live_of("deep")), (true, 1), "the supervisor waits for it");
    bed.sleep(Duration::from_secs(3));
    assert_eq!((bed.is_alive(supervisor), yard.live()), (false, 0));
}

#[test]
fn r22_dynamic_children_stop_together_under_one_timer() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let inner = yard.clone();
    let template = move |starter: &mut ChildStarter<'_>, name: &mut String| inner.start(starter, name, true);
    let second = Shutdown::Within(Duration::from_secs(1));
    let (parent, supervisor) = bed.family(DynamicSupervisor::new(template).shutdown(second).into());
    let supervisor = atropos_otp::DynamicRef::<String>::new(supervisor);
    bed.run(move |cx: Context<()>| async move {
        for n in 0..100 {
            supervisor.start(&cx, format!("w{n}")).await.expect("started");
        }
    });
    for n in 0..100 {
        let slow = Duration::from_millis(if n < 50 { 900 } else { 1100 });
        bed.tell(yard.pid(&format!("w{n}")), Told::Slow(slow));
    }
    bed.settle();
    bed.exit(parent, Reason::KILL);
    bed.sleep(Duration::from_millis(950));
    assert_eq!(yard.live(), 50, "their 0.9 s ran at the same time");
    bed.sleep(Duration::from_millis(60));
    assert_eq!((yard.live(), bed.processes()), (0, 0), "the rest were killed at 1 s");
}

#[test]
fn r23_failed_start_stops_started_children_and_fails_the_supervisor() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    yard.fail("c", 1);
    let supervisor = Supervisor::one_for_one().children(["a", "b", "c", "d"].map(|id| yard.worker(id)));
    let (_, started) = bed.try_family(supervisor);
    let Err(StartError::Refused(reason)) = started else { panic!("{started:?}") };
    assert!(reason.is_orderly(), "a shutdown: {reason}");
    assert_eq!(yard.events(), ["+a", "+b", "-b", "-a"]);
    assert_eq!(bed.processes(), 1, "the parent, which traps exits, gets only the error");
}

#[test]
fn r24_only_the_parents_exit_ends_it() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let (parent, supervisor) = bed.family(Supervisor::one_for_one().child(yard.worker("a")));
    for reason in [Reason::NORMAL, Reason::SHUTDOWN, boom()] {
        bed.exit_from_a_stranger(supervisor, reason);
    }
    bed.settle();
    assert!(bed.is_alive(supervisor));
    bed.exit(parent, Reason::KILL);
    bed.settle();
    assert_eq!((bed.is_alive(supervisor), yard.live()), (false, 0));
    assert_eq!(bed.died_of(supervisor), Reason::KILLED, "with the parent's reason");
}

#[test]
fn r25_ignore_keeps_the_specification_but_not_a_temporary_ones() {
    let (mut bed, _) = (Bed::new(1, 1), ());
    let ignore = |id: &'static str| ChildSpec::worker(id, |_: &mut ChildStarter<'_>| Ok(StartedChild::IGNORE));
    let (_, supervisor) = bed.family(Supervisor::one_for_one().child(ignore("a")).child(ignore("t").temporary()));
    let added = ignore("t2").temporary();
    let children = bed.run(move |cx: Context<()>| async move {
        assert_eq!(supervisor.start_child(&cx, added).await, Ok(None));
        supervisor.which_children(&cx).await.expect("alive")
    });
    assert_eq!(children.len(), 1);
    assert_eq!((children[0].id.as_ref().map(|id| id.as_str()), children[0].state), (Some("a"), ChildState::Down));
}

#[test]
fn r26_significant_and_auto_shutdown_have_forbidden_combinations() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let permanent = Supervisor::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
    let (_, started) = bed.try_family(permanent.child(yard.worker("a").significant(true)));
    assert_eq!(started, Err(StartError::Spec(SpecError::SignificantPermanent(Some("a".into())))));
    let (_, started) = bed.try_family(Supervisor::one_for_one().child(yard.worker("a").transient().significant(true)));
    assert_eq!(started, Err(StartError::Spec(SpecError::SignificantNever(Some("a".into())))));
    let twice = Supervisor::one_for_one().child(yard.worker("a")).child(yard.worker("a"));
    let (_, started) = bed.try_family(twice);
    assert_eq!(started, Err(StartError::Spec(SpecError::DuplicateId("a".into()))));
    assert_eq!(yard.starts("a"), 0);
    let (_, supervisor) = bed.family(Supervisor::one_for_one());
    let added = yard.worker("a").temporary().significant(true);
    let refused = bed.run(move |cx: Context<()>| async move { supervisor.start_child(&cx, added).await });
    assert_eq!(refused, Err(StartChildError::Spec(SpecError::SignificantNever(Some("a".into())))));
}

#[test]
fn r27_dynamic_restarts_keep_each_childs_arguments() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let inner = yard.clone();
    let template = move |starter: &mut ChildStarter<'_>, name: &mut String| inner.start(starter, name, false);
    let dynamic = DynamicSupervisor::new(template).restart(Restart::Permanent).kind(ChildKind::Worker);
    let (_, supervisor) = bed.family(dynamic.intensity(Intensity::Unlimited).into());
    let dynamic = atropos_otp::DynamicRef::<String>::new(supervisor);
    bed.run(move |cx: Context<()>| async move {
        dynamic.start(&cx, "x".into()).await.expect("started");
        dynamic.start(&cx, "y".into()).await.expect("started");
    });
    bed.tell(yard.pid("x"), Told::End(boom()));
    bed.settle();
    bed.tell(yard.pid("y"), Told::End(boom()));
    bed.settle();
    assert_eq!((yard.starts("x"), yard.starts("y"), yard.live()), (2, 2, 2));
    // Arguments of another type, and child specifications, are refused.
    let spec = yard.worker("z");
    bed.run(move |cx: Context<()>| async move {
        let wrong = atropos_otp::DynamicRef::<u32>::new(supervisor);
        assert_eq!(wrong.start(&cx, 1).await, Err(StartChildError::KindMismatch));
        assert_eq!(supervisor.start_child(&cx, spec).await, Err(StartChildError::KindMismatch));
    });
}

#[test]
fn r28_reports_name_the_event_and_the_child() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let supervisor =
        Supervisor::one_for_one().on_report(yard.hook()).intensity(Intensity::within(2, Duration::from_secs(5)));
    let brutal = yard.worker("b").shutdown(Shutdown::Within(Duration::from_secs(1)));
    let (_, supervisor) = bed.family(supervisor.child(yard.worker("a")).child(brutal));
    bed.tell(yard.pid("b"), Told::Ignore);
    yard.fail("a", 1);
    let first = yard.pid("a");
    bed.tell(first, Told::End(boom()));
    bed.settle();
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.sleep(Duration::from_secs(10));
    assert!(!bed.is_alive(supervisor));
    let seen: Vec<String> = yard
        .reports()
        .into_iter()
        .map(|report| {
            let (what, child) = match report {
                Report::Progress { child, .. } => ("progress", child),
                Report::ChildTerminated { child, reason, .. } => {
                    assert_eq!(reason, boom());
                    ("terminated", child)
                }
                Report::StartError { child, .. } => ("start_error", child),
                Report::ShutdownError { child, reason, .. } => {
                    assert_eq!(reason, Reason::KILLED);
                    ("shutdown_error", child)
                }
                Report::GaveUp { supervisor: who, child } => {
                    assert_eq!(who, supervisor.pid());
                    ("gave_up", child)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!((child.restart, child.kind, child.significant), (Restart::Permanent, ChildKind::Worker, false));
            format!("{what} {}", child.id.expect("an id"))
        })
        .collect();
    let expected = [
        "progress a",
        "progress b",
        "terminated a",
        "start_error a",
        "progress a",
        "terminated a",
        "gave_up a",
        "shutdown_error b",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn r29_a_start_is_up_failed_or_dead_and_never_hangs() {
    #[derive(Clone, Copy)]
    enum How {
        Up,
        Ignore,
        Fail,
        Return,
        Panic,
        Killed,
        Hang,
    }
    async fn child(cx: Context<()>, ready: InitSender, how: How) {
        match how {
            How::Up => ready.up(),
            How::Ignore => return ready.ignore(&cx),
            How::Fail => return ready.fail(&cx, boom()),
            How::Return => return,
            How::Panic => common::crash("in its start"),
            How::Killed => {
                cx.exit(cx.pid(), Reason::KILL).expect("memory");
            }
            How::Hang => {
                cx.sleep(Duration::from_secs(3600)).await;
            }
        }
        loop {
            cx.recv().await;
        }
    }
    let crash = |text: &str| Err(StartError::Crashed(Reason::crash(text.to_owned())));
    let cases = [
        (How::Up, Ok(true)),
        (How::Ignore, Ok(false)),
        (How::Fail, Err(StartError::Refused(boom()))),
        (How::Return, Err(StartError::Crashed(Reason::NORMAL))),
        (How::Panic, crash("in its start")),
        (How::Killed, Err(StartError::Crashed(Reason::KILLED))),
        (How::Hang, Err(StartError::TimedOut)),
    ];
    for seed in 0..10 {
        for (how, expected) in cases.clone() {
            let mut bed = Bed::new(2, seed);
            let (_, supervisor) = bed.family(Supervisor::one_for_one());
            let spec = ChildSpec::worker("child", move |starter: &mut ChildStarter<'_>| {
                starter.init_timeout(Duration::from_secs(10));
                starter.spawn_ready(&SpawnOptions::new(), move |cx, ready| child(cx, ready, how))
            });
            let said = bed.run(move |cx: Context<()>| async move { supervisor.start_child(&cx, spec).await });
            let said = match said {
                Ok(pid) => Ok(pid.is_some()),
                Err(StartChildError::Start(error)) => Err(error),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(said, expected);
            bed.settle();
            assert_eq!(bed.processes(), 2 + usize::from(expected == Ok(true)), "nothing of a failed start is left");
        }
    }
}

#[test]
fn r29_a_caller_that_does_not_trap_survives_a_failed_start() {
    struct Fails;
    impl Server for Fails {
        type Message = ();
        async fn init(&mut self, _: ServerCx<'_, Self>) -> Result<Next<()>, InitError> {
            Err(InitError::Stop(boom()))
        }
        async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
            Next::Wait
        }
    }
    let mut bed = Bed::new(2, 1);
    let error = bed.run(|cx: Context<()>| async move {
        let error = Fails.start().name("the name").start_link(&cx).await.expect_err("it fails");
        assert_eq!(cx.whereis("the name"), None);
        error
    });
    assert_eq!(error, StartError::Refused(boom()));
}

#[test]
fn r30_a_call_notices_death_at_once_and_late_replies_vanish() {
    struct Odd;
    enum Ask {
        Die(#[allow(dead_code, reason = "it never gets a reply")] Reply<()>),
        Slow(Reply<u32>),
        Drop(#[allow(dead_code, reason = "it never gets a reply")] Reply<()>),
    }
    impl Server for Odd {
        type Message = Ask;
        async fn handle(&mut self, ask: Ask, cx: ServerCx<'_, Self>) -> Next<Ask> {
            match ask {
                Ask::Die(_) => Next::Stop(boom()),
                Ask::Slow(reply) => {
                    cx.sleep(Duration::from_secs(10)).await;
                    reply.send(7);
                    Next::Wait
                }
                Ask::Drop(_) => Next::Wait,
            }
        }
    }
    let mut bed = Bed::new(2, 1);
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    bed.run(move |cx: Context<()>| async move {
        let odd = Odd.start().start(&cx).await.expect("up");
        let began = cx.with(|cx| cx.now());
        assert_eq!(odd.call_within(&cx, Duration::from_secs(1), Ask::Slow).await, Err(CallError::TimedOut));
        assert_eq!(odd.call_within(&cx, None, Ask::Drop).await, Err(CallError::NoReply));
        assert_eq!(odd.call(&cx, Ask::Die).await, Err(CallError::Down(boom())));
        assert_eq!(odd.call(&cx, Ask::Die).await, Err(CallError::Down(Reason::NOPROC)));
        let took = Duration::from_nanos(cx.with(|cx| cx.now()) - began);
        assert!(took < Duration::from_secs(11), "{took:?}");
        // Neither the late reply nor a DOWN is left.
        let nothing: Option<Received<()>> = cx.recv_timeout(Duration::from_secs(60)).await;
        assert!(nothing.is_none(), "{nothing:?}");
        lock(&seen).push("done");
    });
    assert_eq!(*lock(&log), ["done"]);
}
