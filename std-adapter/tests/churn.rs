//! A server that is linked, monitored and given up a million times holds a bounded list, and a watcher's death leaves no trace at what it watched.

mod common;

use atropos::kernel::Limits;
use atropos::prelude::*;

const ROUNDS: usize = 1_000_000;

/// What a few hundred records take, and the runtime's own comings and goings.
const BOUND: isize = 128 * 1024;

/// Does something to a waiting process, again and again, and sees that memory does not grow.
fn churn(what: impl Fn(&Context<()>, Pid) + Send + Sync + 'static) {
    // What cores keep of freed memory is no record's: how much it is depends on where the target runs.
    let limits = Limits { kept: 0, ..Limits::default() };
    let runtime = Runtime::builder().cores(2).limits(limits).build().expect("threads");
    let most = runtime.block_on(async move |cx: Context<()>| {
        let target = cx
            .spawn(async |cx: Context<()>| {
                cx.recv().await;
            })
            .expect("a process");
        // On a server there are others that stay.
        for _ in 0..10 {
            cx.spawn(async move |cx: Context<()>| {
                cx.monitor(target).expect("memory");
                cx.link(target).expect("alive");
                cx.sleep(std::time::Duration::from_secs(3600)).await;
            })
            .expect("a process");
        }
        let (before, mut most) = (common::bytes(), 0);
        for round in 0..ROUNDS {
            what(&cx, target.pid());
            if round % 100 == 0 {
                most = most.max(common::bytes() - before);
            }
            // The target gets a turn, whatever the operating system does with its core's thread: a list of
            // links is its owner's to take, when it is told that many are cut.
            if round % 500 == 0 {
                assert!(cx.info(target).await.expect("memory").is_some());
            }
        }
        let info = cx.info(target).await.expect("memory").expect("it lives");
        assert_eq!((info.links.len(), info.monitored_by.len()), (10, 10));
        most
    });
    let most = most.expect("main returned");
    assert!(most < BOUND, "memory grew by {most} bytes");
}

// One test, because the allocator counts for all.
#[test]
fn lists_stay_bounded() {
    churn(|cx, target| {
        let monitor = cx.monitor(target).expect("memory");
        assert!(cx.demonitor(monitor, true));
    });
    churn(|cx, target| {
        cx.link(target).expect("alive");
        cx.unlink(target);
    });
    a_watchers_death_leaves_no_trace();
}

fn a_watchers_death_leaves_no_trace() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let done = runtime.block_on(async |cx: Context<()>| {
        let target = cx
            .spawn(async |cx: Context<()>| {
                cx.recv().await;
            })
            .expect("a process");
        for _ in 0..1000 {
            cx.spawn_monitor(async move |cx: Context<()>| {
                cx.monitor(target).expect("memory");
            })
            .expect("a process");
        }
        for _ in 0..1000 {
            assert!(matches!(cx.recv().await, Received::Down(down) if down.reason == Reason::NORMAL));
        }
        let info = cx.info(target).await.expect("memory").expect("it lives");
        assert_eq!(info.monitored_by, []);
        assert_eq!(info.message_queue_len, 0);
    });
    assert_eq!(done, Ok(()));
}
