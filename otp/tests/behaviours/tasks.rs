//! Tests of tasks.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use atropos_kernel::{Context, Reason};
use atropos_otp::{CallError, DynamicRef, StartChildError, Task, TaskSupervisor};

use crate::common::{Bed, boom, crash};

const SECOND: Duration = Duration::from_secs(1);

async fn waits(cx: Context<()>) {
    cx.recv().await;
}

#[test]
fn task_returns_its_value_or_its_exit_reason() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let task = Task::start_link(&cx, |cx| async move {
            cx.sleep(SECOND).await;
            42
        });
        assert_eq!(task.expect("space").join(&cx, SECOND * 2).await, Ok(42));
        let task: Task<u8> = Task::start(&cx, |_| async { crash("no") }).expect("space");
        assert_eq!(task.join(&cx, None).await, Err(CallError::Down(Reason::crash("no"))));
        let task = Task::start(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("space");
        let pid = task.pid();
        let task = task.try_join(&cx, SECOND).await.expect_err("not yet");
        assert_eq!(task.join(&cx, SECOND).await, Err(CallError::TimedOut));
        assert!(!cx.is_alive(pid).await, "it was killed");
        let task = Task::start_link(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("space");
        assert_eq!(task.shutdown(&cx, SECOND).await, Some(Err(Reason::SHUTDOWN)));
        assert!(cx.recv_timeout(SECOND).await.is_none(), "no message of any task is left");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

#[test]
fn join_all_returns_results_in_order() {
    let mut bed = Bed::new(3, 5);
    let sums = bed.run(|cx: Context<()>| async move {
        let tasks = (0..1000_u64).map(|n| {
            Task::start(&cx, move |cx| async move {
                cx.sleep(Duration::from_millis(1000 - n)).await;
                if n == 500 { crash("one of them") } else { n * n }
            })
        });
        let tasks = tasks.collect::<Result<Vec<_>, _>>().expect("space");
        Task::join_all(&cx, tasks, SECOND * 2).await
    });
    for (n, sum) in sums.into_iter().enumerate() {
        match n {
            500 => assert!(matches!(sum, Err(CallError::Down(_)))),
            _ => assert_eq!(sum, Ok((n * n) as u64)),
        }
    }
    assert_eq!(bed.processes(), 0);
}

#[test]
fn a_linked_task_dies_with_its_starter_and_takes_it_along() {
    let mut bed = Bed::new(2, 1);
    let starter = bed.spawn(false, |cx: Context<()>| async move {
        let _task = Task::start_link(&cx, waits).expect("space");
        cx.recv().await;
    });
    bed.settle();
    assert_eq!(bed.processes(), 2);
    bed.exit(starter, boom());
    bed.settle();
    assert_eq!(bed.processes(), 0);
    let starter = bed.spawn(false, |cx: Context<()>| async move {
        let task: Task<()> = Task::start_link(&cx, |_| async { crash("together") }).expect("space");
        task.join(&cx, None).await.expect("not reached");
    });
    bed.settle();
    assert_eq!(bed.died_of(starter), Reason::crash("together"));
}

#[test]
fn supervised_tasks_end_with_their_supervisor_and_are_not_restarted() {
    let mut bed = Bed::new(2, 1);
    let (_, supervisor) = bed.family(TaskSupervisor::builder().into());
    let tasks = TaskSupervisor::of(DynamicRef::new(supervisor));
    bed.run(move |cx: Context<()>| async move {
        let task = tasks.spawn(&cx, |_| async { 7 }).await.expect("started");
        assert_eq!(task.join(&cx, None).await, Ok(7));
        let task: Task<()> = tasks.spawn(&cx, |_| async { crash("once") }).await.expect("started");
        assert!(matches!(task.join(&cx, None).await, Err(CallError::Down(_))));
        assert_eq!(tasks.supervisor().count_children(&cx).await.expect("alive").active, 0);
        tasks.run(&cx, waits).await.expect("started");
        tasks.spawn(&cx, waits).await.expect("started").detach(&cx);
        assert_eq!(tasks.supervisor().count_children(&cx).await.expect("alive").active, 2);
    });
    bed.exit(supervisor, Reason::SHUTDOWN);
    bed.settle();
    assert_eq!(bed.processes(), 1);
    let refused = bed.run(move |cx: Context<()>| async move { tasks.run(&cx, waits).await });
    assert!(matches!(refused, Err(StartChildError::Call(CallError::Down(_)))));
}

/// Issue 14, 29: a task reports to its holder, and not only to the process that has started it.
#[test]
fn n29_task_exit_is_reported_to_another_holder() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        for seed in 0..2 {
            let task: Task<u8> = Task::start(&cx, move |cx| async move {
                if seed == 0 {
                    cx.sleep(SECOND).await;
                }
                cx.stop(boom()).await;
                1
            })
            .expect("space");
            let holder = Task::start(&cx, move |cx| async move { task.join(&cx, None).await }).expect("space");
            assert_eq!(holder.join(&cx, SECOND * 9).await, Ok(Err(CallError::Down(boom()))));
        }
        let task = Task::start(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("space");
        let pid = task.pid();
        let holder = Task::start(&cx, move |cx| async move { task.join(&cx, SECOND).await }).expect("space");
        assert_eq!(holder.join(&cx, None).await, Ok(Err(CallError::TimedOut)));
        assert!(!cx.is_alive(pid).await, "its holder killed it");
        assert!(cx.recv_timeout(SECOND).await.is_none(), "no message of any task is left");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

/// Issue 14, 29: neither a value that has arrived nor one that arrives during the shutdown is lost
/// to it.
#[test]
fn n29_shutdown_returns_the_value() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let task = Task::start_link(&cx, |cx| async move {
            cx.sleep(SECOND).await;
            42
        });
        let Err(task) = task.expect("space").try_join(&cx, SECOND / 2).await else { panic!("too quick") };
        cx.sleep(SECOND).await;
        assert_eq!(task.shutdown(&cx, SECOND).await, Some(Ok(42)), "it arrived between the two");
        let last = Task::start_link(&cx, |cx| async move {
            cx.trap_exit(true);
            cx.recv().await;
            7
        });
        cx.sleep(SECOND).await;
        assert_eq!(last.expect("space").shutdown(&cx, SECOND).await, Some(Ok(7)), "its final value");
        let dead: Task<u8> = Task::start(&cx, |_| async { crash("no") }).expect("space");
        cx.sleep(SECOND).await;
        assert_eq!(dead.shutdown(&cx, SECOND).await, Some(Err(Reason::crash("no"))));
        let deaf = Task::start(&cx, |cx| async move {
            cx.trap_exit(true);
            cx.sleep(SECOND * 60).await;
        });
        cx.sleep(SECOND).await;
        assert_eq!(deaf.expect("space").shutdown(&cx, SECOND).await, Some(Err(Reason::KILLED)));
    });
}

/// Polls a future once, and drops it.
async fn polled_once<F: Future>(future: F) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|task| {
        assert!(future.as_mut().poll(task).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Issue 14, 16: no signal of a dropped task or a cancelled join reaches the process that had it.
#[test]
fn n16_dropped_task_or_join_leaves_nothing() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let sleeps = |cx: Context<()>| async move { cx.sleep(SECOND).await };
        let start = |cx: &Context<()>| Task::start_link(cx, sleeps).expect("space");
        let unwaited = start(&cx).pid();
        cx.sleep(SECOND / 2).await;
        assert!(cx.is_alive(unwaited).await, "a dropped task keeps running");
        let mut given_up = Vec::new();
        let mut new = |cx: &Context<()>| {
            let task = start(cx);
            given_up.push(task.pid());
            task
        };
        polled_once(new(&cx).join(&cx, None)).await;
        polled_once(new(&cx).join(&cx, SECOND)).await;
        polled_once(new(&cx).try_join(&cx, SECOND)).await;
        polled_once(new(&cx).shutdown(&cx, SECOND)).await;
        polled_once(Task::join_all(&cx, vec![new(&cx), new(&cx)], None)).await;
        polled_once(Task::try_join_all(&cx, vec![new(&cx), new(&cx)], None)).await;
        drop(new(&cx).join(&cx, None));
        let mut task = start(&cx);
        polled_once(task.wait()).await;
        assert_eq!(task.wait().await, Ok(()), "`wait` only borrows");
        for pid in given_up {
            assert!(!cx.is_alive(pid).await, "its value would be unreachable");
        }
        assert!(cx.recv_timeout(SECOND * 9).await.is_none(), "no message of any task is left");
        let info = cx.own_info().expect("memory").expect("alive");
        assert!(info.monitors.is_empty() && info.links.is_empty(), "{info:?}");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

/// Issue 14, 16 and 27 and similar: `try_join_all` returns at the first failure and kills the
/// remaining tasks.
#[test]
fn n29_try_join_all_ends_with_the_first_failure() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let task = |cx: &Context<()>, fails: bool, time: Duration| {
            Task::start(cx, move |cx| async move {
                cx.sleep(time).await;
                if fails { crash("one of them") } else { time }
            })
            .expect("space")
        };
        let good = (1..=9).rev().map(|n| task(&cx, false, SECOND * n)).collect();
        let values = Task::try_join_all(&cx, good, None).await;
        assert_eq!(values, Ok((1..=9).rev().map(|n| SECOND * n).collect()), "in order");
        let before = cx.with(|cx| cx.now());
        let bad = vec![task(&cx, false, SECOND * 60), task(&cx, true, SECOND), task(&cx, false, SECOND * 60)];
        let pids: Vec<_> = bad.iter().map(Task::pid).collect();
        let failed = Task::try_join_all(&cx, bad, None).await;
        assert_eq!(failed, Err(CallError::Down(Reason::crash("one of them"))));
        assert!(Duration::from_nanos(cx.with(|cx| cx.now()) - before) < SECOND * 2);
        for pid in pids {
            assert!(!cx.is_alive(pid).await);
        }
        let late = Task::try_join_all(&cx, vec![task(&cx, false, SECOND * 60)], SECOND).await;
        assert_eq!(late, Err(CallError::TimedOut));
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}
