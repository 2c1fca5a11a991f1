//! `Kernel::dump`: a snapshot of a kernel, read from outside.

mod common;

use std::sync::{Arc, Mutex};

use atropos_kernel::{BodyPoll, Context, CoreActivity, Cx, Options, Priority, Received, SpawnOptions};

use common::{Stage, does, yields};

/// Issue 14, check 3: the dump shows a process that waits, one that is queued, and one with a
/// pending signal, without a query to any of them.
#[test]
fn dump_shows_waiting_and_queued_processes() {
    let mut stage = Stage::new(Options::default());
    let waits = |cx: &Cx<'_, u32>| {
        while let Some(Received::Message(_)) = cx.receive() {}
        BodyPoll::Wait
    };
    let sleeper = stage.host().spawn(&SpawnOptions::new().name("sleeper"), does(waits)).unwrap().pid;
    let told = stage.host().spawn(&SpawnOptions::new().mailbox_limit(3), does(waits)).unwrap().pid;
    let _ = stage.cores[0].run(64);
    let busy = stage.host().spawn(&SpawnOptions::new(), yields(Arc::default())).unwrap().pid;
    stage.host().send(busy, ()).map_err(|_| "another type").unwrap_or_default();
    stage.host().send(told, 1_u32).unwrap();
    stage.host().send(told, 2_u32).unwrap();

    let dump = stage.host().dump().unwrap();
    let of = |pid| dump.processes.iter().find(|process| process.pid == pid).unwrap();
    assert_eq!(of(sleeper).doing, CoreActivity::Waits);
    assert_eq!(of(sleeper).name.as_ref().map(|name| name.as_str()), Some("sleeper"));
    assert!(matches!(of(told).doing, CoreActivity::Runnable | CoreActivity::RunnableWithSignals));
    assert_eq!(of(told).room, Some((2, 3)));
    assert_ne!(of(busy).doing, CoreActivity::Waits);
    assert!(dump.cores[0].has_work && dump.cores[0].running.is_none());
    // `busy` and `told` wait for the core, and `sleeper` does not.
    assert_eq!((dump.queued, dump.cores[0].pinned, of(sleeper).wakers), (2, 0, 0));
    let text = dump.to_string();
    assert!(text.contains("\"sleeper\" waits") && text.contains("2 of 3 messages"), "{text}");
}

/// The dump has the length of each queue of a core, also of one whose processes do not fit into its
/// ring.
#[test]
fn dump_counts_the_queues_of_a_core() {
    let mut stage = Stage::new(Options::default());
    let many = does(|cx: &Cx<'_, ()>| {
        for priority in [Priority::High, Priority::Low] {
            for _ in 0..3 {
                cx.spawn(&SpawnOptions::new().priority(priority), yields(Arc::default())).expect("a process");
            }
        }
        for _ in 0..1_000 {
            cx.spawn(&SpawnOptions::new(), yields(Arc::default())).expect("a process");
        }
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), many).unwrap();
    let _ = stage.cores[0].run(1);
    let dump = stage.host().dump().unwrap();
    let queues = dump.cores[0].queues;
    assert_eq!((queues.total(), dump.queued), (1_006, 1_006), "{dump}");
    assert_eq!((queues.ready[0], queues.ready[2]), (3, 3), "{dump}");
    assert!(queues.newborns > 0 && queues.ready[1] > 500, "{dump}");
    let text = dump.to_string();
    assert!(text.contains("1006 queued (") && text.contains("3 high"), "{text}");
}

/// A waker that another thread holds is a reason for waiting, and the dump counts it.
#[test]
fn dump_counts_wakers_and_pinned_processes() {
    let mut stage = Stage::new(Options::default());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let wakers = kept.clone();
    let awaits = async move |_: Context<()>| {
        std::future::poll_fn(|task| {
            wakers.lock().unwrap().extend([task.waker().clone(), task.waker().clone()]);
            std::task::Poll::<()>::Pending
        })
        .await;
    };
    let awaits = stage.host().spawn_async(&SpawnOptions::new(), awaits).unwrap().pid();
    let _ = stage.cores[0].run(64);
    let pinned = stage.host().spawn(&SpawnOptions::new().core(0), yields(Arc::default())).unwrap().pid;
    let dump = stage.host().dump().unwrap();
    let of = |pid| dump.processes.iter().find(|process| process.pid == pid).unwrap();
    assert_eq!((of(awaits).doing, of(awaits).wakers, of(pinned).wakers), (CoreActivity::Waits, 2, 0));
    assert_eq!((dump.queued, dump.cores[0].pinned, dump.cores[0].has_woken), (1, 1, true));
    let text = dump.to_string();
    assert!(text.contains("waits for a signal or one of 2 wakers"), "{text}");
    assert!(text.contains("is runnable, waits for core 0, pinned"), "{text}");
    kept.lock().unwrap().pop();
    assert_eq!(stage.host().dump().unwrap().processes[0].wakers, 1);
    kept.lock().unwrap().clear();
}
