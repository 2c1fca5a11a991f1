//! A server that is linked, monitored and released a million times keeps its lists bounded, and a
//! watcher's death leaves no record at its target.

mod common;

use atropos::kernel::Limits;
use atropos::prelude::*;

const ROUNDS: usize = 1_000_000;

/// The size of a few hundred records, and of the runtime's own varying allocations, in bytes.
const BOUND: isize = 128 * 1024;

/// Applies an operation to a waiting process repeatedly, and checks that memory does not grow.
fn churn(what: impl Fn(&Context<()>, Pid) + Send + Sync + 'static) {
    // Freed memory that cores keep in their pools is not a record's: its amount depends on where
    // the target runs.
    let limits = Limits { kept: 0, ..Limits::default() };
    let runtime = Runtime::builder().cores(2).limits(limits).build().expect("threads");
    let most = runtime.block_on(async move |cx: Context<()>| {
        let target = cx
            .spawn(async |cx: Context<()>| {
                cx.recv().await;
            })
            .expect("a process");
        // A real server has other links and monitors, which stay.
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
            // Lets the target run, however the operating system schedules its core's thread. The
            // owner removes dead entries from its list of links, once it learns that many are
            // unlinked.
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

// One test only, because the counting allocator counts for the whole program.
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
