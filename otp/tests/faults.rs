//! Faults of other supervisor implementations (requirements 2.5), one regression test each.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Pid, Reason};
use atropos_otp::{
    Backoff, ChildKind, ChildSpec, ChildStarter, ChildState, InitError, Intensity, Next, Report, Server, ServerCx,
    Shutdown, StartError, Supervisor,
};
use common::{Bed, Told, Yard, boom, crash, lock};

#[test]
fn a_the_down_of_a_sibling_that_dies_during_a_wait_is_kept() {
    for seed in 0..20 {
        let (mut bed, yard) = (Bed::new(2, seed), Yard::default());
        let supervisor = Supervisor::rest_for_one().intensity(Intensity::Unlimited);
        let supervisor = supervisor.children(["a", "b"].map(|id| yard.worker(id))).child(yard.trapping("c"));
        bed.family(supervisor);
        bed.tell(yard.pid("c"), Told::Slow(Duration::from_secs(1)));
        bed.settle();
        bed.tell(yard.pid("b"), Told::End(boom()));
        bed.settle();
        // The supervisor waits for c; a dies during the wait.
        bed.tell(yard.pid("a"), Told::End(boom()));
        bed.settle();
        assert_eq!(yard.live(), 1);
        bed.sleep(Duration::from_secs(10));
        assert_eq!(yard.live(), 3);
        assert_eq!((yard.starts("a"), yard.starts("b")), (2, 3));
    }
}

#[test]
fn b_the_owners_death_during_a_wait_is_kept() {
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let (parent, _) = bed.family(Supervisor::rest_for_one().child(yard.worker("b")).child(yard.trapping("c")));
    bed.tell(yard.pid("c"), Told::Slow(Duration::from_secs(1)));
    bed.settle();
    bed.tell(yard.pid("b"), Told::End(boom()));
    bed.settle();
    bed.exit(parent, Reason::KILL);
    bed.sleep(Duration::from_secs(10));
    assert_eq!((bed.processes(), yard.live()), (0, 0));
}

#[test]
fn c_a_killed_supervisor_leaves_no_orphan() {
    struct Trapping;
    impl Server for Trapping {
        type Message = ();
        async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
            Next::Wait
        }
    }
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let inner = yard.clone();
    let supervisor = Supervisor::one_for_one()
        .child(yard.worker("plain"))
        .child(yard.trapping("trapping"))
        .child(ChildSpec::worker("server", |starter: &mut ChildStarter<'_>| {
            starter.server(Trapping.start().trap_exit(true))
        }))
        .child(ChildSpec::supervisor("below", move |starter: &mut ChildStarter<'_>| {
            starter.supervisor(Supervisor::one_for_one().child(inner.worker("deep")))
        }));
    let (parent, supervisor) = bed.family(supervisor);
    assert_eq!(bed.processes(), 7);
    bed.exit(supervisor, Reason::KILL);
    bed.settle();
    assert!(bed.is_alive(parent));
    assert_eq!((bed.processes(), yard.live()), (1, 0));
}

#[test]
fn d_a_normal_end_is_judged_by_the_restart_type() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let supervisor = Supervisor::one_for_one().intensity(Intensity::within(1, Duration::from_secs(5)));
    let supervisor = supervisor.child(yard.worker("transient").transient()).child(yard.worker("temporary").temporary());
    let (_, supervisor) = bed.family(supervisor);
    for id in ["transient", "temporary"] {
        bed.tell(yard.pid(id), Told::End(Reason::NORMAL));
        bed.settle();
        assert_eq!(yard.starts(id), 1);
    }
    assert!(bed.is_alive(supervisor));
    let children = bed.run(move |cx| async move { supervisor.which_children(&cx).await }).expect("alive");
    assert_eq!(children.len(), 1, "the temporary child is deleted");
    assert_eq!(children[0].state, ChildState::Down);
}

#[test]
fn e_restarts_are_bounded_and_can_wait() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let starts = Arc::new(AtomicUsize::new(0));
    let crashing = |starts: Arc<AtomicUsize>| {
        ChildSpec::worker("crashing", move |starter: &mut ChildStarter<'_>| {
            starts.fetch_add(1, Ordering::Relaxed);
            starter.spawn(|_: Context<()>| async { boom() })
        })
    };
    // Without a wait the restart budget is used up at once, and the supervisor exits.
    let supervisor = Supervisor::one_for_one().intensity(Intensity::FORGIVING).child(crashing(starts.clone()));
    let (_, supervisor) = bed.family(supervisor);
    bed.settle();
    assert_eq!((starts.load(Ordering::Relaxed), bed.is_alive(supervisor)), (4, false));

    // With a back-off the restarts are spread, requests are handled in between, and the wait grows.
    starts.store(0, Ordering::Relaxed);
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10)).jitter(0);
    let supervisor = Supervisor::one_for_one().intensity(Intensity::Unlimited).backoff(backoff);
    let (_, supervisor) = bed.family(supervisor.child(crashing(starts.clone())).child(yard.worker("other")));
    bed.sleep(Duration::from_millis(50));
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    let children = bed.run(move |cx| async move { supervisor.which_children(&cx).await }).expect("it replies");
    assert_eq!(children[0].state, ChildState::Restarting);
    bed.tell(yard.pid("other"), Told::End(boom()));
    bed.sleep(Duration::from_secs(60));
    assert_eq!(yard.live_of("other"), 1);
    // The waits: 0.2 s, 0.4 s, ... 6.4 s, then 10 s each.
    let made = starts.load(Ordering::Relaxed);
    assert!((9..=13).contains(&made), "{made} starts in a minute");
    // A stop does not wait for the end of the back-off.
    bed.exit(supervisor, Reason::SHUTDOWN);
    bed.settle();
    assert!(!bed.is_alive(supervisor));
}

#[test]
fn f_exit_of_a_linked_stranger_does_not_end_the_supervisor() {
    let (mut bed, yard) = (Bed::new(1, 1), Yard::default());
    let (_, supervisor) = bed.family(Supervisor::one_for_one().child(yard.worker("a")));
    for reason in [Reason::NORMAL, boom()] {
        bed.run(move |cx| async move {
            let stranger = cx.spawn(move |cx: Context<()>| async move {
                cx.link(supervisor).expect("alive");
                reason
            });
            let monitor = cx.monitor(stranger.expect("space")).expect("memory");
            let _ = monitor;
            cx.sleep(Duration::from_millis(1)).await;
        });
        bed.settle();
        assert_eq!((bed.is_alive(supervisor), yard.live(), yard.starts("a")), (true, 1, 1));
    }
}

#[test]
fn g_child_that_does_not_die_blocks_no_other_process() {
    // A body that never yields is tested in std-adapter/tests/supervisor.rs. Here: a child that
    // ignores `shutdown`, and one that unlinks.
    let (mut bed, yard) = (Bed::new(2, 1), Yard::default());
    let second = Shutdown::Within(Duration::from_secs(1));
    let supervisor = Supervisor::one_for_all().on_report(yard.hook());
    let supervisor = supervisor
        .child(yard.worker("a"))
        .child(yard.worker("ignores").shutdown(second))
        .child(yard.worker("unlinked").shutdown(second));
    let (parent, supervisor) = bed.family(supervisor);
    bed.tell(yard.pid("ignores"), Told::Ignore);
    bed.tell(yard.pid("unlinked"), Told::Unlink(supervisor.pid()));
    bed.settle();
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.sleep(Duration::from_secs(5));
    assert_eq!(yard.live(), 3);
    assert_eq!(yard.starts("ignores"), 2);
    let killed = |report: &Report| matches!(report, Report::ShutdownError { reason, .. } if *reason == Reason::KILLED);
    assert_eq!(yard.reports().iter().filter(|report| killed(report)).count(), 1);
    // An unlinked child dies by itself: its supervisor still gets the DOWN.
    bed.tell(yard.pid("unlinked"), Told::Unlink(supervisor.pid()));
    bed.sleep(Duration::from_secs(60));
    bed.tell(yard.pid("unlinked"), Told::End(boom()));
    bed.settle();
    assert_eq!(yard.starts("unlinked"), 3);
    bed.exit(parent, Reason::KILL);
    bed.sleep(Duration::from_secs(5));
    assert_eq!((bed.processes(), yard.live()), (0, 0));
}

#[test]
fn h_a_supervisor_that_gives_up_stops_its_children_in_reverse_and_waits() {
    let (mut bed, yard) = (Bed::new(2, 4), Yard::default());
    let none = Intensity::within(0, Duration::from_secs(1));
    let supervisor = Supervisor::one_for_one().intensity(none).child(yard.worker("a"));
    let supervisor = supervisor.child(yard.trapping("slow")).child(yard.worker("c"));
    let (_, supervisor) = bed.family(supervisor);
    bed.tell(yard.pid("slow"), Told::Slow(Duration::from_secs(1)));
    bed.settle();
    yard.events();
    bed.tell(yard.pid("a"), Told::End(boom()));
    bed.settle();
    assert!(bed.is_alive(supervisor), "it waits for the slow one");
    bed.sleep(Duration::from_secs(2));
    assert_eq!(yard.events(), ["-a", "-c", "-slow"]);
    assert_eq!(bed.died_of(supervisor), Reason::SHUTDOWN);
}

#[test]
fn i_a_start_function_that_panics_is_a_failed_start() {
    let (mut bed, yard) = (Bed::new(2, 4), Yard::default());
    let panics = ChildSpec::worker("panics", |starter: &mut ChildStarter<'_>| {
        // It has spawned a process already, which must not be left.
        let _ = starter.spawn(|cx: Context<()>| async move {
            cx.recv().await;
        })?;
        crash("no such file")
    });
    let (_, started) = bed.try_family(Supervisor::one_for_one().child(yard.worker("a")).child(panics));
    let Err(StartError::Refused(reason)) = started else { panic!("{started:?}") };
    assert!(reason.to_string().contains("no such file"), "{reason}");
    bed.settle();
    assert_eq!((bed.processes(), yard.live()), (1, 0));

    // Also, `start` returns when the children are initialized, not before.
    struct Slow(Arc<Mutex<Vec<&'static str>>>);
    impl Server for Slow {
        type Message = ();
        async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<()>, InitError> {
            cx.sleep(Duration::from_secs(1)).await;
            lock(&self.0).push("init");
            Ok(Next::Wait)
        }
        async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
            Next::Wait
        }
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let shared = order.clone();
    let slow = ChildSpec::worker("slow", move |starter: &mut ChildStarter<'_>| starter.server(Slow(shared.clone())));
    bed.family(Supervisor::one_for_one().child(slow));
    lock(&order).push("up");
    assert_eq!(*lock(&order), ["init", "up"]);
}

#[test]
fn j_children_have_ids_and_can_be_asked_for_added_and_removed() {
    let (mut bed, yard) = (Bed::new(2, 4), Yard::default());
    let (_, supervisor) = bed.family(Supervisor::one_for_one().child(yard.worker("a")));
    let added = yard.worker("b");
    let (states, counts) = bed.run(move |cx: Context<()>| async move {
        supervisor.start_child(&cx, added).await.expect("added");
        supervisor.terminate_child(&cx, "a").await.expect("terminated");
        let states = supervisor.which_children(&cx).await.expect("alive");
        let counts = supervisor.count_children(&cx).await.expect("alive");
        supervisor.delete_child(&cx, "a").await.expect("deleted");
        (states, counts)
    });
    let ids: Vec<_> = states.iter().map(|child| child.id.as_ref().expect("an id").as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(states[0].state, ChildState::Down);
    assert_eq!(states[1].state, ChildState::Up(yard.pid("b")));
    assert!(states.iter().all(|child| child.kind == ChildKind::Worker));
    assert_eq!((counts.specs, counts.active, counts.workers, counts.supervisors), (2, 1, 2, 0));
    let children = bed.run(move |cx| async move { supervisor.which_children(&cx).await }).expect("alive");
    assert_eq!(children.len(), 1);
}

#[test]
fn k_monitors_of_calls_to_a_supervisor_are_removed() {
    // Its runtime kept 1,000 dead watchers in the target's list.
    let (mut bed, yard) = (Bed::new(1, 4), Yard::default());
    let (_, supervisor) = bed.family(Supervisor::one_for_one().child(yard.worker("a")));
    bed.run(move |cx: Context<()>| async move {
        for _ in 0..1000 {
            supervisor.count_children(&cx).await.expect("alive");
        }
        let watchers: Vec<Pid> = cx.info(supervisor).await.expect("memory").expect("alive").monitored_by;
        assert!(watchers.is_empty(), "{}", watchers.len());
    });
    // Also, no message of a call is left in the caller's mailbox.
    bed.run(move |cx: Context<()>| async move {
        supervisor.count_children(&cx).await.expect("alive");
        assert!(cx.recv_timeout(Duration::from_secs(1)).await.is_none());
    });
}

#[test]
fn l_arguments_whose_destructors_panic_are_not_the_supervisors_fault() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                crash("in a destructor");
            }
        }
    }
    let (mut bed, yard) = (Bed::new(1, 4), Yard::default());
    let (_, supervisor) = bed.family(Supervisor::one_for_one().child(yard.worker("a")));
    for n in 0..4 {
        let (bomb, inner) = (Bomb, yard.clone());
        let child = ChildSpec::worker("bomb", move |starter: &mut ChildStarter<'_>| {
            let _ = &bomb;
            inner.start(starter, "bomb", false)
        });
        let child = if n % 2 == 0 { child.temporary() } else { child };
        bed.run(move |cx: Context<()>| async move {
            supervisor.start_child(&cx, child).await.expect("started");
            supervisor.terminate_child(&cx, "bomb").await.expect("terminated");
            let _ = supervisor.delete_child(&cx, "bomb").await;
        });
    }
    assert_eq!((bed.is_alive(supervisor), yard.live()), (true, 1));
}
