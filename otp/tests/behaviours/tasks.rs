//! Tasks.

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
fn a_task_brings_its_value_or_why_there_is_none() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let task = Task::start_link(&cx, |cx| async move {
            cx.sleep(SECOND).await;
            42
        });
        assert_eq!(task.expect("room").join(&cx, SECOND * 2).await, Ok(42));
        let task: Task<u8> = Task::start(&cx, |_| async { crash("no") }).expect("room");
        assert_eq!(task.join(&cx, None).await, Err(CallError::Down(Reason::crash("no"))));
        let task = Task::start(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("room");
        let pid = task.pid();
        let task = task.join_or_wait(&cx, SECOND).await.expect_err("not yet");
        assert_eq!(task.join(&cx, SECOND).await, Err(CallError::TimedOut));
        assert!(!cx.is_alive(pid).await, "it was killed");
        let task = Task::start_link(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("room");
        assert_eq!(task.shutdown(&cx, SECOND).await, Some(Err(Reason::SHUTDOWN)));
        assert!(cx.recv_timeout(SECOND).await.is_none(), "nothing is left of any");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

#[test]
fn many_tasks_are_joined_in_their_places() {
    let mut bed = Bed::new(3, 5);
    let sums = bed.run(|cx: Context<()>| async move {
        let tasks = (0..1000_u64).map(|n| {
            Task::start(&cx, move |cx| async move {
                cx.sleep(Duration::from_millis(1000 - n)).await;
                if n == 500 { crash("one of them") } else { n * n }
            })
        });
        let tasks = tasks.collect::<Result<Vec<_>, _>>().expect("room");
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
        let _task = Task::start_link(&cx, waits).expect("room");
        cx.recv().await;
    });
    bed.settle();
    assert_eq!(bed.processes(), 2);
    bed.exit(starter, boom());
    bed.settle();
    assert_eq!(bed.processes(), 0);
    let starter = bed.spawn(false, |cx: Context<()>| async move {
        let task: Task<()> = Task::start_link(&cx, |_| async { crash("together") }).expect("room");
        task.join(&cx, None).await.expect("not reached");
    });
    bed.settle();
    assert_eq!(bed.died_of(starter), Reason::crash("together"));
}

#[test]
fn supervised_tasks_end_with_their_supervisor_and_are_not_started_again() {
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
        tasks.spawn(&cx, waits).await.expect("started").abandon(&cx);
        assert_eq!(tasks.supervisor().count_children(&cx).await.expect("alive").active, 2);
    });
    bed.exit(supervisor, Reason::SHUTDOWN);
    bed.settle();
    assert_eq!(bed.processes(), 1);
    let refused = bed.run(move |cx: Context<()>| async move { tasks.run(&cx, waits).await });
    assert!(matches!(refused, Err(StartChildError::Call(CallError::Down(_)))));
}

/// Issue 14, 29: a task tells whoever holds it, and not only the process that has started it.
#[test]
fn n29_a_task_that_dies_tells_another_holder() {
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
            .expect("room");
            let holder = Task::start(&cx, move |cx| async move { task.join(&cx, None).await }).expect("room");
            assert_eq!(holder.join(&cx, SECOND * 9).await, Ok(Err(CallError::Down(boom()))));
        }
        let task = Task::start(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("room");
        let pid = task.pid();
        let holder = Task::start(&cx, move |cx| async move { task.join(&cx, SECOND).await }).expect("room");
        assert_eq!(holder.join(&cx, None).await, Ok(Err(CallError::TimedOut)));
        assert!(!cx.is_alive(pid).await, "its holder has killed it");
        assert!(cx.recv_timeout(SECOND).await.is_none(), "nothing is left of any");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

/// Issue 14, 29: a value that has come is not lost to a shutdown, nor one that comes while the task shuts down.
#[test]
fn n29_shutdown_has_the_value() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let task = Task::start_link(&cx, |cx| async move {
            cx.sleep(SECOND).await;
            42
        });
        let Err(task) = task.expect("room").join_or_wait(&cx, SECOND / 2).await else { panic!("too quick") };
        cx.sleep(SECOND).await;
        assert_eq!(task.shutdown(&cx, SECOND).await, Some(Ok(42)), "it came between the two");
        let last = Task::start_link(&cx, |cx| async move {
            cx.trap_exit(true);
            cx.recv().await;
            7
        });
        cx.sleep(SECOND).await;
        assert_eq!(last.expect("room").shutdown(&cx, SECOND).await, Some(Ok(7)), "its last words");
        let dead: Task<u8> = Task::start(&cx, |_| async { crash("no") }).expect("room");
        cx.sleep(SECOND).await;
        assert_eq!(dead.shutdown(&cx, SECOND).await, Some(Err(Reason::crash("no"))));
        let deaf = Task::start(&cx, |cx| async move {
            cx.trap_exit(true);
            cx.sleep(SECOND * 60).await;
        });
        cx.sleep(SECOND).await;
        assert_eq!(deaf.expect("room").shutdown(&cx, SECOND).await, Some(Err(Reason::KILLED)));
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

/// Issue 14, 16: nothing of a task that is dropped, or of a join that is given up, comes to the process that had it.
#[test]
fn n16_what_is_dropped_of_a_task_leaves_nothing() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let sleeps = |cx: Context<()>| async move { cx.sleep(SECOND).await };
        let start = |cx: &Context<()>| Task::start_link(cx, sleeps).expect("room");
        let unwaited = start(&cx).pid();
        cx.sleep(SECOND / 2).await;
        assert!(cx.is_alive(unwaited).await, "a task that is dropped goes on");
        let mut given_up = Vec::new();
        let mut new = |cx: &Context<()>| {
            let task = start(cx);
            given_up.push(task.pid());
            task
        };
        polled_once(new(&cx).join(&cx, None)).await;
        polled_once(new(&cx).join(&cx, SECOND)).await;
        polled_once(new(&cx).join_or_wait(&cx, SECOND)).await;
        polled_once(new(&cx).shutdown(&cx, SECOND)).await;
        polled_once(Task::join_all(&cx, vec![new(&cx), new(&cx)], None)).await;
        polled_once(Task::try_join_all(&cx, vec![new(&cx), new(&cx)], None)).await;
        drop(new(&cx).join(&cx, None));
        let mut task = start(&cx);
        polled_once(task.wait()).await;
        assert_eq!(task.wait().await, Ok(()), "only borrowed");
        for pid in given_up {
            assert!(!cx.is_alive(pid).await, "nobody could have its value any more");
        }
        assert!(cx.recv_timeout(SECOND * 9).await.is_none(), "nothing is left of any");
        let info = cx.own_info().expect("memory").expect("alive");
        assert!(info.monitors.is_empty() && info.links.is_empty(), "{info:?}");
    });
    bed.settle();
    assert_eq!(bed.processes(), 0);
}

/// Issue 14, 16 and 27 of the kind: a join that ends with the first failure, at once, and takes the others along.
#[test]
fn n29_a_join_of_many_may_end_with_the_first_failure() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let task = |cx: &Context<()>, fails: bool, time: Duration| {
            Task::start(cx, move |cx| async move {
                cx.sleep(time).await;
                if fails { crash("one of them") } else { time }
            })
            .expect("room")
        };
        let good = (1..=9).rev().map(|n| task(&cx, false, SECOND * n)).collect();
        let values = Task::try_join_all(&cx, good, None).await;
        assert_eq!(values, Ok((1..=9).rev().map(|n| SECOND * n).collect()), "in their places");
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
