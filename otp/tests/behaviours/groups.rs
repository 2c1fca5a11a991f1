//! Groups.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Reason, Received};
use atropos_otp::Server;
use atropos_otp::group::{Change, Groups};

use crate::common::{Bed, lock};

const SECOND: Duration = Duration::from_secs(1);

async fn waits(mut cx: Context<()>) {
    cx.recv().await;
}

#[test]
fn joins_count_and_death_leaves_all_groups() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let scope = Groups::new().start().alone(&cx).await.expect("up");
        let a = cx.spawn(waits).expect("room").pid();
        let b = cx.spawn(waits).expect("room").pid();
        scope.join(&cx, "x", [a, a, b]).await.expect("alive");
        scope.join(&cx, "y", [a]).await.expect("alive");
        assert_eq!(scope.members(&cx, "x").await, Ok(vec![a, a, b]));
        assert_eq!(scope.leave(&cx, "x", [a]).await, Ok(true));
        assert_eq!(scope.members(&cx, "x").await, Ok(vec![a, b]));
        assert_eq!(scope.leave(&cx, "y", [b]).await, Ok(false));
        assert_eq!(scope.which_groups(&cx).await, Ok(vec!["x", "y"]));
        cx.exit(a, Reason::KILL).expect("a kill");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(scope.members(&cx, "x").await, Ok(vec![b]));
        assert_eq!(scope.which_groups(&cx).await, Ok(vec!["x"]));
        // One that is dead already does not stay.
        scope.join(&cx, "z", [a]).await.expect("alive");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(scope.which_groups(&cx).await, Ok(vec!["x"]));
        assert_eq!(scope.leave(&cx, "x", [b]).await, Ok(true));
        assert!(cx.info(scope).await.expect("memory").expect("alive").monitors.is_empty());
    });
}

#[test]
fn a_monitor_of_a_scope_has_a_snapshot_and_misses_no_change() {
    for seed in 0..20 {
        let mut bed = Bed::new(3, seed);
        let scope = bed.run(|cx: Context<()>| async move { Groups::new().start().alone(&cx).await.expect("up") });
        // Members that come and go while a watcher counts.
        let seen = Arc::new(Mutex::new(None));
        let slot = seen.clone();
        for n in 0..10_u32 {
            bed.spawn(false, move |cx: Context<()>| async move {
                for _ in 0..5 {
                    scope.join(&cx, n % 3, [cx.pid()]).await.expect("alive");
                    cx.yield_now().await;
                    if n % 2 == 0 {
                        scope.leave(&cx, n % 3, [cx.pid()]).await.expect("alive");
                    }
                }
                waits(cx).await;
            });
        }
        bed.spawn(false, move |mut cx: Context<Change<u32>>| async move {
            cx.yield_now().await;
            let (watching, members) = scope.monitor_group(&cx, None, |change| change).await.expect("alive");
            let mut count: i64 = members.iter().map(|(_, pids)| pids.len() as i64).sum();
            while let Some(Received::Message(change)) = cx.recv_timeout(SECOND).await {
                count += match change {
                    Change::Joined(_, pids) => pids.len() as i64,
                    Change::Left(_, pids) => -(pids.len() as i64),
                };
            }
            assert_eq!(scope.demonitor_group(&cx, watching).await, Ok(true));
            assert_eq!(scope.demonitor_group(&cx, watching).await, Ok(false));
            *lock(&slot) = Some(count);
        });
        bed.sleep(SECOND * 10);
        assert_eq!(*lock(&seen), Some(25), "five stay, five times each");
        let (watchers, members) = bed.run(move |cx: Context<()>| async move {
            let mut members = 0;
            for group in 0..3 {
                members += scope.members(&cx, group).await.expect("alive").len();
            }
            (scope.with_state(&cx, |groups| format!("{groups:?}")).await, members)
        });
        assert!(watchers.is_ok());
        assert_eq!(members, 25);
    }
}
