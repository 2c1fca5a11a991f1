//! Tests of process groups.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atropos_kernel::{Context, Reason, Received};
use atropos_otp::Server;
use atropos_otp::group::{MembershipChange, ProcessGroups};

use crate::common::{Bed, lock};

const SECOND: Duration = Duration::from_secs(1);

async fn waits(cx: Context<()>) {
    cx.recv().await;
}

#[test]
fn joins_are_counted_and_death_leaves_all_groups() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        let scope = ProcessGroups::new().start().start(&cx).await.expect("up");
        let a = cx.spawn(waits).expect("space").pid();
        let b = cx.spawn(waits).expect("space").pid();
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
        // A process that is dead already is removed again.
        scope.join(&cx, "z", [a]).await.expect("alive");
        cx.sleep(Duration::from_millis(1)).await;
        assert_eq!(scope.which_groups(&cx).await, Ok(vec!["x"]));
        assert_eq!(scope.leave(&cx, "x", [b]).await, Ok(true));
        assert!(cx.info(scope).await.expect("memory").expect("alive").monitors.is_empty());
    });
}

#[test]
fn scope_monitor_gets_a_snapshot_and_misses_no_change() {
    for seed in 0..20 {
        let mut bed = Bed::new(3, seed);
        let scope =
            bed.run(|cx: Context<()>| async move { ProcessGroups::new().start().start(&cx).await.expect("up") });
        // Members join and leave while a watcher counts.
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
        bed.spawn(false, move |cx: Context<MembershipChange<u32>>| async move {
            cx.yield_now().await;
            let (watching, members) = scope.monitor_group(&cx, None, |change| change).await.expect("alive");
            let mut count: i64 = members.iter().map(|(_, pids)| pids.len() as i64).sum();
            while let Some(Received::Message(change)) = cx.recv_timeout(SECOND).await {
                count += match change {
                    MembershipChange::Joined(_, pids) => pids.len() as i64,
                    MembershipChange::Left(_, pids) => -(pids.len() as i64),
                };
            }
            assert_eq!(scope.demonitor_group(&cx, watching).await, Ok(true));
            assert_eq!(scope.demonitor_group(&cx, watching).await, Ok(false));
            *lock(&slot) = Some(count);
        });
        bed.sleep(SECOND * 10);
        assert_eq!(*lock(&seen), Some(25), "five members stay, five times each");
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

/// Issue 14, 12: a member learns that its scope has crashed, unless the scope is set not to link.
#[test]
fn n12_members_go_with_their_scope() {
    let mut bed = Bed::new(2, 1);
    bed.run(|cx: Context<()>| async move {
        for links in [true, false] {
            let groups = if links { ProcessGroups::new() } else { ProcessGroups::new().unlinked() };
            let scope = groups.start().start(&cx).await.expect("up");
            let stays = cx.spawn(waits).expect("space").pid();
            let leaves = cx.spawn(waits).expect("space").pid();
            scope.join(&cx, "x", [stays, leaves, leaves]).await.expect("alive");
            assert_eq!(scope.leave(&cx, "x", [leaves]).await, Ok(true));
            assert_eq!(scope.members(&cx, "x").await, Ok(vec![stays, leaves]));
            assert_eq!(scope.leave(&cx, "x", [leaves]).await, Ok(true));
            let crashes = cx.spawn(waits).expect("space").pid();
            scope.join(&cx, "x", [crashes]).await.expect("alive");
            cx.exit(crashes, Reason::value("its own")).expect("memory");
            cx.sleep(Duration::from_millis(1)).await;
            assert_eq!(scope.members(&cx, "x").await, Ok(vec![stays]), "the scope is alive");
            cx.exit(scope, Reason::KILL).expect("a kill");
            cx.sleep(Duration::from_millis(1)).await;
            assert_eq!(cx.is_alive(stays).await, !links);
            assert!(cx.is_alive(leaves).await, "it had left all groups");
        }
    });
}

/// Issue 14, 12: members that die together leave a group in time proportional to their number, also
/// while watchers subscribe and die.
#[test]
fn n12_mass_leaving_is_linear() {
    const MANY: usize = 20_000;
    let mut bed = Bed::new(2, 1);
    let begun = std::time::Instant::now();
    let scope =
        bed.run(|cx: Context<()>| async move { ProcessGroups::<u8>::new().start().start(&cx).await.expect("up") });
    let pids = bed.run(move |cx: Context<()>| async move {
        let pids: Vec<_> = (0..MANY).map(|_| cx.spawn(waits).expect("space").pid()).collect();
        scope.join(&cx, 7, pids.clone()).await.expect("alive");
        pids
    });
    // Each watcher monitors one group, and dies.
    bed.run(move |cx: Context<()>| async move {
        for n in 0..MANY {
            let watches = move |cx: Context<MembershipChange<u8>>| async move {
                let _ = scope.monitor_group(&cx, Some((n % 5) as u8), |change| change).await;
            };
            cx.spawn(watches).expect("space");
            if n % 100 == 0 {
                cx.sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for pid in pids.into_iter().rev() {
        bed.exit(pid, Reason::KILL);
    }
    bed.settle();
    let left = bed.run(move |cx: Context<()>| async move { scope.members(&cx, 7).await });
    assert_eq!(left, Ok(vec![]));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
