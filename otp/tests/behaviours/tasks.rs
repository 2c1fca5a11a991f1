//! Tasks.

use std::time::Duration;

use atropos_kernel::{Context, Reason};
use atropos_otp::{CallError, DynamicRef, StartChildError, Task, TaskSupervisor};

use crate::common::{Bed, boom, crash};

const SECOND: Duration = Duration::from_secs(1);

async fn waits(mut cx: Context<()>) {
    cx.recv().await;
}

#[test]
fn a_task_brings_its_value_or_why_there_is_none() {
    let mut bed = Bed::new(2, 1);
    bed.run(|mut cx: Context<()>| async move {
        let task = Task::link(&cx, |cx| async move {
            cx.sleep(SECOND).await;
            42
        });
        assert_eq!(task.expect("room").join(&cx, SECOND * 2).await, Ok(42));
        let task: Task<u8> = Task::alone(&cx, |_| async { crash("no") }).expect("room");
        assert_eq!(task.join(&cx, None).await, Err(CallError::Down(Reason::crash("no"))));
        let task = Task::alone(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("room");
        let pid = task.pid();
        let task = task.join_or_wait(&cx, SECOND).await.expect_err("not yet");
        assert_eq!(task.join(&cx, SECOND).await, Err(CallError::TimedOut));
        assert!(!cx.is_alive(pid).await, "it was killed");
        let task = Task::link(&cx, |cx| async move { cx.sleep(SECOND * 60).await }).expect("room");
        assert_eq!(task.shutdown(&cx, SECOND).await, Some(Reason::SHUTDOWN));
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
            Task::alone(&cx, move |cx| async move {
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
    let starter = bed.spawn(false, |mut cx: Context<()>| async move {
        let _task = Task::link(&cx, waits).expect("room");
        cx.recv().await;
    });
    bed.settle();
    assert_eq!(bed.processes(), 2);
    bed.exit(starter, boom());
    bed.settle();
    assert_eq!(bed.processes(), 0);
    let starter = bed.spawn(false, |cx: Context<()>| async move {
        let task: Task<()> = Task::link(&cx, |_| async { crash("together") }).expect("room");
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
