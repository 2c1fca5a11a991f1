//! Starts that are cancelled or take too long, and stops of many children: the findings of issue
//! 14.

mod common;

use std::future::Future;
use std::task::Poll;
use std::time::{Duration, Instant};

use atropos_kernel::{Context, Reason};
use atropos_otp::{
    Backoff, ChildSpec, ChildStarter, ChildState, DynamicRef, DynamicSupervisor, InitError, Intensity, Next, Restart,
    Server, ServerCx, StartError, StartedChild, Supervisor, SupervisorRef, TaskSupervisor,
};

use common::{Bed, Yard};

const SECOND: Duration = Duration::from_secs(1);

/// A server whose `init` takes a given time.
struct Slow(Duration);

impl Server for Slow {
    type Message = ();

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<()>, InitError> {
        cx.sleep(self.0).await;
        Ok(Next::Wait)
    }

    async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
        Next::Wait
    }
}

const FOR_EVER: Duration = Duration::from_secs(100_000);

/// Polls a future for a while, and drops it.
async fn given_up<M: Send + 'static>(cx: &Context<M>, after: Duration, future: impl Future) {
    let mut future = std::pin::pin!(future);
    let mut sleep = std::pin::pin!(cx.sleep(after));
    std::future::poll_fn(|task| {
        assert!(future.as_mut().poll(task).is_pending());
        sleep.as_mut().poll(task)
    })
    .await;
}

/// Asserts that nothing is left of the dropped futures: no signal, link or monitor.
async fn nothing_left(cx: &mut Context<()>) {
    let left = cx.recv_timeout(SECOND * 20).await;
    assert!(left.is_none(), "{left:?}");
    let info = cx.own_info().expect("memory").expect("alive");
    assert!(info.monitors.is_empty() && info.links.is_empty(), "{info:?}");
}

/// Issue 14, 26: a start that takes too long is an error to a starter that is linked and does not
/// trap exits.
#[test]
fn n26_a_start_that_takes_too_long_leaves_its_starter_alive() {
    let mut bed = Bed::new(2, 1);
    bed.run(|mut cx: Context<()>| async move {
        let late = Slow(FOR_EVER).start().name("late").init_timeout(SECOND).start_link(&cx).await;
        assert_eq!(late.err(), Some(StartError::TimedOut));
        assert_eq!(cx.whereis("late"), None);
        let late = Slow(FOR_EVER).start().trap_exit(true).init_timeout(SECOND).start_link_optional(&cx).await;
        assert_eq!(late.err(), Some(StartError::TimedOut));
        nothing_left(&mut cx).await;
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

/// Issue 14, 16 and 26: a start begins when it is awaited, and a dropped start leaves no process,
/// name, link, monitor or DOWN.
#[test]
fn n16_cancelled_start_is_undone() {
    for seed in 0..10 {
        let mut bed = Bed::new(2, seed);
        bed.run(|mut cx: Context<()>| async move {
            drop(Slow(FOR_EVER).start().name("unpolled").start(&cx));
            drop(Slow(FOR_EVER).start().name("unpolled").start_link(&cx));
            drop(Supervisor::one_for_one().name("unpolled").start_link(&cx));
            cx.sleep(SECOND).await;
            assert_eq!(cx.whereis("unpolled"), None);
            given_up(&cx, SECOND, Slow(FOR_EVER).start().name("slow").start(&cx)).await;
            assert_eq!(cx.whereis("slow"), None, "at once, because it sleeps");
            given_up(&cx, SECOND, Slow(FOR_EVER).start().name("slow").trap_exit(true).start_link(&cx)).await;
            assert_eq!(cx.whereis("slow"), None);
            given_up(&cx, SECOND, Slow(FOR_EVER).start().name("slow").start_link_optional(&cx)).await;
            given_up(&cx, SECOND, Slow(FOR_EVER).start().name("slow").start_or_find(&cx)).await;
            assert!(Slow(Duration::ZERO).start().name("slow").start_or_find(&cx).await.is_ok(), "the name is free");
            let slow = cx.whereis("slow").expect("up");
            cx.exit(slow, Reason::KILL).expect("a kill needs no memory");
            nothing_left(&mut cx).await;
        });
        bed.settle();
        assert_eq!(bed.processes(), 0);
    }
}

/// Issue 14, 16: if the start of a supervisor is dropped, its children are stopped by their rules,
/// and so is the child whose start is in progress, however deep.
#[test]
fn n16_cancelled_start_of_a_supervisor_stops_its_children() {
    for seed in 0..10 {
        let mut bed = Bed::new(2, seed);
        let yard = Yard::default();
        let workers = yard.clone();
        bed.run(move |mut cx: Context<()>| async move {
            for link in [false, true] {
                let (low, high) = (workers.clone(), workers.clone());
                let inner = move |starter: &mut ChildStarter<'_>| {
                    let never = |starter: &mut ChildStarter<'_>| starter.server(Slow(FOR_EVER).start().trap_exit(true));
                    starter.supervisor(
                        Supervisor::one_for_one().child(low.trapping("b")).child(ChildSpec::worker("never", never)),
                    )
                };
                let outer = Supervisor::one_for_one()
                    .name("outer")
                    .child(high.trapping("a"))
                    .child(ChildSpec::supervisor("inner", inner));
                if link {
                    given_up(&cx, SECOND, outer.start_link(&cx)).await;
                } else {
                    given_up(&cx, SECOND, outer.start(&cx)).await;
                }
                cx.sleep(SECOND).await;
                assert_eq!(cx.whereis("outer"), None);
                assert_eq!(workers.events(), ["+a", "+b", "-b", "-a"], "in reverse order");
            }
            nothing_left(&mut cx).await;
        });
        bed.settle();
        assert_eq!(bed.processes(), 0);
    }
}

/// Issue 14, 16: a starter that dies during a start takes the new process along.
#[test]
fn n16_a_starter_that_dies_leaves_nothing_behind() {
    let mut bed = Bed::new(2, 1);
    let starter = bed.spawn(false, |cx: Context<()>| async move {
        let _ = Slow(FOR_EVER).start().trap_exit(true).start(&cx).await;
    });
    bed.sleep(SECOND);
    assert_eq!(bed.processes(), 2);
    bed.exit(starter, Reason::KILL);
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

/// Issue 14, 16: a child whose starter has dropped the request is stopped when it is up, and
/// deleted; also if the supervisor's reply was on its way.
#[test]
fn n16_cancelled_start_of_a_child_is_undone() {
    for seed in 0..20 {
        let mut bed = Bed::new(2, seed);
        let (_, fixed) = bed.family(Supervisor::one_for_one());
        let dynamic =
            DynamicSupervisor::new(|starter: &mut ChildStarter<'_>, time: &mut Duration| starter.server(Slow(*time)));
        let (_, dynamic) = bed.family(dynamic.restart(Restart::Permanent).into());
        let dynamic = DynamicRef::<Duration>::new(dynamic);
        let (_, tasks) = bed.family(TaskSupervisor::builder().into());
        let tasks = TaskSupervisor::of(DynamicRef::new(tasks));
        bed.run(move |mut cx: Context<()>| async move {
            let slow = || ChildSpec::worker("slow", |starter: &mut ChildStarter<'_>| starter.server(Slow(SECOND * 2)));
            given_up(&cx, SECOND, fixed.start_child(&cx, slow())).await;
            given_up(&cx, SECOND, dynamic.start(&cx, SECOND * 2)).await;
            cx.sleep(SECOND * 9).await;
            // The reply has arrived and was not read.
            let mut quick =
                Box::pin(fixed.start_child(
                    &cx,
                    ChildSpec::of("quick", async |_: Context<()>| std::future::pending::<()>().await),
                ));
            let mut quicker = Box::pin(dynamic.start(&cx, Duration::ZERO));
            let mut task = Box::pin(tasks.spawn(&cx, |cx| async move { cx.sleep(FOR_EVER).await }));
            std::future::poll_fn(|task_cx| {
                assert!(quick.as_mut().poll(task_cx).is_pending());
                assert!(quicker.as_mut().poll(task_cx).is_pending());
                assert!(task.as_mut().poll(task_cx).is_pending());
                Poll::Ready(())
            })
            .await;
            cx.sleep(SECOND).await;
            assert_eq!(fixed.count_children(&cx).await.expect("alive").active, 1, "up, and its reply is unread");
            drop((quick, quicker, task));
            cx.sleep(SECOND).await;
            for supervisor in [fixed, *dynamic, *tasks.supervisor()] {
                assert_eq!(supervisor.which_children(&cx).await.expect("alive"), []);
            }
            nothing_left(&mut cx).await;
            assert!(fixed.start_child(&cx, slow()).await.expect("its id is free").is_some());
        });
    }
}

fn dynamic_that_fails_again() -> DynamicSupervisor<u32> {
    DynamicSupervisor::new(|starter: &mut ChildStarter<'_>, starts: &mut u32| {
        *starts += 1;
        match *starts {
            1 => starter.spawn(async |cx: Context<()>| _ = cx.recv().await),
            _ => Err::<StartedChild, _>(StartError::Refused(Reason::value("not again"))),
        }
    })
    .restart(Restart::Permanent)
    .intensity(Intensity::Unlimited)
}

/// Issue 14, 27: a dynamic child that is restarting, also during a back-off, is found by its last
/// pid, counted, and can be terminated.
#[test]
fn n27_a_dynamic_child_that_is_being_restarted_can_be_terminated() {
    for backs_off in [false, true] {
        let mut bed = Bed::new(2, 1);
        bed.run(move |cx: Context<()>| async move {
            let supervisor = dynamic_that_fails_again();
            let supervisor =
                if backs_off { supervisor.backoff(Backoff::new(SECOND * 9, SECOND * 9)) } else { supervisor };
            let supervisor = supervisor.start_link(&cx).await.expect("up");
            let mut children = Vec::new();
            for _ in 0..3 {
                children.push(supervisor.start(&cx, 0).await.expect("started").expect("a process"));
            }
            for child in &children {
                cx.exit(*child, Reason::KILL).expect("a kill needs no memory");
                assert!(!cx.is_alive(*child).await);
            }
            for left in [3, 2, 1, 0] {
                let counts = supervisor.count_children(&cx).await.expect("alive");
                assert_eq!((counts.active, counts.workers), (0, left));
                let infos = supervisor.which_children(&cx).await.expect("alive");
                assert!(infos.len() == left && infos.iter().all(|info| info.state == ChildState::Restarting));
                if let Some(child) = children.pop() {
                    assert_eq!(supervisor.terminate_process(&cx, child).await, Ok(()));
                    assert_eq!(supervisor.terminate_process(&cx, child).await, Ok(()), "it is dead already");
                }
            }
            cx.sleep(SECOND * 60).await;
            assert_eq!(supervisor.which_children(&cx).await.expect("alive"), []);
        });
    }
}

/// Issue 14, 12 and similar: a supervisor sends no query to a stranger. A busy stranger cannot
/// delay it, and a dead one counts as terminated.
#[test]
fn n12_supervisor_sends_no_query_to_a_stranger() {
    let mut bed = Bed::new(2, 1);
    let (_, supervisor) = bed.family(Supervisor::one_for_one());
    bed.run(move |cx: Context<()>| async move {
        let stranger = cx.spawn(async |cx: Context<()>| _ = cx.recv().await).expect("space").pid();
        assert!(supervisor.terminate_process(&cx, stranger).await.is_err());
        cx.exit(stranger, Reason::KILL).expect("a kill needs no memory");
        assert!(!cx.is_alive(stranger).await);
        assert_eq!(supervisor.terminate_process(&cx, stranger).await, Ok(()));
    });
}

const MANY: usize = 30_000;

fn many() -> impl Iterator<Item = ChildSpec> {
    (0..MANY).map(|n| ChildSpec::of(n.to_string(), async |cx: Context<()>| _ = cx.recv().await))
}

/// Returns the children's processes, and suspends the supervisor.
fn held(bed: &mut Bed, supervisor: SupervisorRef) -> Vec<atropos_kernel::Pid> {
    let children = bed.run(move |cx: Context<()>| async move { supervisor.which_children(&cx).await.expect("alive") });
    let _ = bed.host(|host| host.suspend(supervisor.pid()));
    bed.settle();
    children
        .into_iter()
        .filter_map(|child| match child.state {
            ChildState::Up(pid) => Some(pid),
            _ => None,
        })
        .collect()
}

/// Issue 14, 13: the shutdown of a supervisor takes time proportional to the number of its
/// children, also if all were killed before. (With a search of the mailbox for each, this takes
/// minutes.)
#[test]
fn n13_stop_of_many_dead_children_is_linear() {
    for supervisor in [Supervisor::one_for_one(), Supervisor::one_for_all()] {
        let begun = Instant::now();
        let mut bed = Bed::new(2, 1);
        // The intensity is 0, so the first exit makes it stop all children.
        let (parent, supervisor) = bed.family(supervisor.intensity(Intensity::within(0, SECOND)).children(many()));
        for child in held(&mut bed, supervisor) {
            bed.exit(child, Reason::KILL);
        }
        bed.settle();
        let _ = bed.host(|host| host.resume(supervisor.pid()));
        bed.settle();
        assert_eq!(bed.died_of(supervisor), Reason::SHUTDOWN);
        assert!(bed.is_alive(parent) && bed.processes() == 1);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }
}

/// Issue 14, 13: the same for a mailbox full of requests, and for many dynamic children.
#[test]
fn n13_stop_of_many_children_behind_many_requests_is_linear() {
    let begun = Instant::now();
    let mut bed = Bed::new(2, 1);
    let (_, fixed) = bed.family(Supervisor::one_for_one().children(many()));
    let dynamic = DynamicSupervisor::new(|starter: &mut ChildStarter<'_>, (): &mut ()| {
        starter.spawn(async |cx: Context<()>| _ = cx.recv().await)
    });
    let (_, dynamic) = bed.family(dynamic.into());
    bed.run(move |cx: Context<()>| async move {
        for _ in 0..MANY {
            DynamicRef::new(dynamic).start(&cx, ()).await.expect("started");
        }
    });
    for supervisor in [fixed, dynamic] {
        held(&mut bed, supervisor);
        bed.exit(supervisor, Reason::SHUTDOWN);
        for _ in 0..MANY {
            bed.spawn(false, move |cx: Context<()>| async move { _ = supervisor.count_children(&cx).await });
        }
        bed.settle();
        let _ = bed.host(|host| host.resume(supervisor.pid()));
        bed.settle();
        assert_eq!(bed.died_of(supervisor), Reason::SHUTDOWN);
    }
    assert_eq!(bed.processes(), 2, "their parents");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

/// Issue 14, 13: a one-for-all restart stops children that are dead already without a search, and
/// counts their exits as one.
#[test]
fn n13_restart_of_all_handles_dead_children_in_one_sweep() {
    let mut bed = Bed::new(2, 1);
    let yard = Yard::default();
    let workers = (0..50).map(|n| yard.worker(&n.to_string()));
    let (_, supervisor) =
        bed.family(Supervisor::one_for_all().intensity(Intensity::within(1, SECOND)).children(workers));
    for child in held(&mut bed, supervisor) {
        bed.exit(child, Reason::KILL);
    }
    bed.settle();
    let _ = bed.host(|host| host.resume(supervisor.pid()));
    bed.settle();
    assert!(bed.is_alive(supervisor), "one restart");
    assert_eq!((yard.live(), yard.starts("49"), yard.most_of_one()), (50, 2, 1));
}

/// One child is restarted while DOWNs of siblings wait: no DOWN of a child that is not stopped is
/// lost.
#[test]
fn n13_downs_of_children_that_are_not_stopped_are_handled_afterwards() {
    let mut bed = Bed::new(2, 1);
    let yard = Yard::default();
    let workers = ["a", "b", "c", "d"].map(|id| yard.worker(id));
    let (_, supervisor) =
        bed.family(Supervisor::rest_for_one().intensity(Intensity::within(3, SECOND)).children(workers));
    held(&mut bed, supervisor);
    for id in ["d", "b", "c", "a"] {
        bed.exit(yard.pid(id), Reason::KILL);
    }
    bed.settle();
    yard.events();
    let _ = bed.host(|host| host.resume(supervisor.pid()));
    bed.settle();
    assert!(bed.is_alive(supervisor));
    // For d: d. For b: b, c, d, and c's exit is among them. For a: all.
    assert_eq!(["a", "b", "c", "d"].map(|id| yard.starts(id)), [2, 3, 3, 4]);
    assert_eq!((yard.live(), yard.most_of_one()), (4, 1));
    let quiet = bed.run(move |cx: Context<()>| async move {
        let counts = supervisor.count_children(&cx).await;
        (counts.expect("alive").active, cx.recv_timeout(SECOND).await.is_none())
    });
    assert_eq!(quiet, (4, true));
}
