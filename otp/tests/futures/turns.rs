//! Futures that are always ready let other processes run.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::common::Bed;
use atropos_kernel::{Context, Peek, Pid, Reason};
use atropos_otp::statem::MachineMessage;
use atropos_otp::{
    ChildSpec, DynamicRef, EnterActions, Event, InitError, MachineCx, Next, RequestSet, Server, ServerCx, ServerName,
    ServerRef, StateMachine, Supervisor, SupervisorRef, Task, TaskSupervisor, Transition,
};

use crate::{Ask, Slow};

/// Runs a body that yields only at its awaits on one core: another process runs, and a kill ends
/// the body.
fn must_let_go(what: &str, start: impl FnOnce(&mut Bed) -> Pid) {
    let mut bed = Bed::new(1, 3);
    let busy = start(&mut bed);
    for _ in 0..50 {
        bed.step();
    }
    let other = bed.spawn(false, async |_: Context<()>| {});
    // Each step is one slice: if a slice never ended, neither would this loop.
    for _ in 0..500 {
        bed.step();
    }
    assert!(!bed.is_alive(other), "{what}: the other process has not run");
    assert!(bed.is_alive(busy), "{what}");
    bed.exit(busy, Reason::KILL);
    for _ in 0..500 {
        bed.step();
    }
    assert!(!bed.is_alive(busy), "{what}: it cannot be killed");
}

/// Issue 14, 7: callers whose calls fail at once, in every way a call can fail.
#[test]
fn n07_callers_that_retry_for_ever_let_other_processes_run() {
    type Try = for<'a> fn(&'a Context<()>, ServerRef<Slow>) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
    let tries: [(&str, Try); 11] = [
        ("name call", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").call(cx, Ask::Never).await.is_err() })
        }),
        ("name call_within", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").call_within(cx, None, Ask::Never).await.is_err() })
        }),
        ("name call_waiting", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").call_wait(cx, None, Ask::Never).await.is_err() })
        }),
        ("name cast_waiting", |cx, _| {
            Box::pin(async move { ServerName::<Slow>::new("nobody").cast_wait(cx, Ask::Die, None).await.is_err() })
        }),
        ("call", |cx, dead| Box::pin(async move { dead.call(cx, Ask::Never).await.is_err() })),
        ("call_waiting", |cx, dead| Box::pin(async move { dead.call_wait(cx, None, Ask::Never).await.is_err() })),
        ("cast_waiting", |cx, dead| Box::pin(async move { dead.cast_wait(cx, Ask::Die, None).await.is_err() })),
        ("stop", |cx, dead| {
            Box::pin(async move {
                let _ = dead.stop(cx, Reason::NORMAL, None).await;
                true
            })
        }),
        ("suspend", |cx, dead| Box::pin(async move { dead.suspend(cx).await.is_err() })),
        ("statistics", |cx, dead| Box::pin(async move { dead.statistics(cx).await.is_err() })),
        ("no calls", |cx, _| Box::pin(async move { RequestSet::<u8, u64>::new().next(cx, None).await.is_none() })),
    ];
    for (what, again) in tries {
        must_let_go(what, |bed| {
            let dead = bed.run(async |cx: Context<()>| {
                let dead = Slow.start().start(&cx).await.unwrap();
                dead.stop(&cx, Reason::NORMAL, None).await.unwrap();
                dead
            });
            bed.spawn(false, async move |cx: Context<()>| while again(&cx, dead).await {})
        });
    }
}

/// Issue 14, 7: starts that fail at once, requests to dead supervisors, and tasks that are over.
#[test]
fn n07_starts_that_fail_at_once_and_tasks_that_are_over_let_the_others_run() {
    type Try = for<'a> fn(&'a Context<()>, SupervisorRef) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
    fn child() -> ChildSpec {
        ChildSpec::of("child", async |_: Context<()>| {})
    }
    let tries: [(&str, Try); 11] = [
        ("start_child", |cx, dead| Box::pin(async move { dead.start_child(cx, child()).await.is_err() })),
        ("which_children", |cx, dead| Box::pin(async move { dead.which_children(cx).await.is_err() })),
        ("restart_child", |cx, dead| Box::pin(async move { dead.restart_child(cx, "child").await.is_err() })),
        ("a dynamic start", |cx, dead| {
            Box::pin(async move { DynamicRef::<u8>::new(dead).start(cx, 1).await.is_err() })
        }),
        ("a supervised task", |cx, dead| {
            Box::pin(async move {
                let tasks = TaskSupervisor::of(DynamicRef::new(dead));
                tasks.run(cx, async |_: Context<()>| {}).await.is_err()
            })
        }),
        ("a name that is taken", |cx, _| Box::pin(async move { Slow.start().name("taken").start(cx).await.is_err() })),
        ("a name that is found", |cx, _| {
            Box::pin(async move { Slow.start().name("taken").start_or_find(cx).await.is_ok() })
        }),
        ("a specification that is refused", |cx, _| {
            Box::pin(
                async move { Supervisor::one_for_one().child(child()).child(child()).start_link(cx).await.is_err() },
            )
        }),
        ("no tasks", |cx, _| Box::pin(async move { Task::<u8>::join_all(cx, Vec::new(), None).await.is_empty() })),
        ("none of no tasks", |cx, _| {
            Box::pin(async move { Task::<u8>::try_join_all(cx, Vec::new(), None).await.is_ok() })
        }),
        ("a task whose value is taken", |cx, _| {
            Box::pin(async move {
                let mut task = Task::start(cx, async |_: Context<()>| 1_u8).unwrap();
                assert_eq!(task.wait().await, Ok(1));
                while task.wait().await.is_err() {}
                false
            })
        }),
    ];
    for (what, again) in tries {
        must_let_go(what, |bed| {
            let dead = bed.run(async |cx: Context<()>| {
                Slow.start().name("taken").start(&cx).await.unwrap();
                let dead = Supervisor::one_for_one().start(&cx).await.unwrap();
                let monitor = cx.monitor(dead).unwrap();
                cx.exit(dead, Reason::SHUTDOWN).unwrap();
                cx.recv_match(|peek| matches!(peek, Peek::Down(down) if down.reference == monitor)).await;
                dead
            });
            bed.spawn(false, async move |cx: Context<()>| while again(&cx, dead).await {})
        });
    }
}

/// A server that continues for ever.
struct Continues;

impl Server for Continues {
    type Message = bool;

    async fn handle(&mut self, by_continue: bool, _: ServerCx<'_, Self>) -> Next<bool> {
        if by_continue { Next::Continue(true) } else { Next::Timeout(Duration::ZERO) }
    }

    async fn timeout(&mut self, _: ServerCx<'_, Self>) -> Next<bool> {
        Next::Timeout(Duration::ZERO)
    }
}

/// A machine that inserts an event for each one that it handles, or postpones one and changes its
/// state, for ever.
struct Inserts;

impl StateMachine for Inserts {
    type State = u64;
    type Message = u8;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<u64, InitError> {
        Ok(0)
    }

    async fn handle(&mut self, state: &u64, happened: Event<Self>, _: MachineCx<'_, Self>) -> Transition<Self> {
        match happened {
            Event::Message(0) | Event::Internal(0) => Transition::keep().next(0),
            Event::Message(1) | Event::StateTimeout => Transition::to(state + 1).state_timeout(Duration::ZERO),
            happened => Transition::to(state + 1).postpone(happened),
        }
    }

    async fn enter(&mut self, _: &u64, _: &u64, _: MachineCx<'_, Self>) -> EnterActions<Self> {
        EnterActions::new()
    }
}

/// Issue 14, 8: between two callbacks the library's own loop runs.
#[test]
fn n08_loops_between_callbacks_let_other_processes_run() {
    // Sent from the host, because the test bed never becomes idle here.
    for by_continue in [true, false] {
        must_let_go("a server", |bed| {
            let server = bed.run(async |cx: Context<()>| Continues.start().start(&cx).await.unwrap());
            bed.host(|host| server.cast_from(host, by_continue)).unwrap();
            server.pid()
        });
    }
    for event in [0, 1, 2] {
        must_let_go("a machine", |bed| {
            let machine = bed.run(async |cx: Context<()>| Inserts.start().start(&cx).await.unwrap());
            bed.host(|host| machine.cast_from(host, MachineMessage::event(event))).map_err(|_| ()).unwrap();
            machine.pid()
        });
    }
}
