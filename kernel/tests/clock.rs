//! Time, on a kernel whose clock stands still until the test advances it: timeouts, and idle cores.
#![cfg(feature = "epoch")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos_kernel::{Context, Options, Peek, Received, RunOutcome, SpawnOptions};
use common::Stage;

const SECOND: Duration = Duration::from_secs(1);

/// In other runtimes a message that did not match cancelled the receive's timer, which was then not
/// armed again.
#[test]
fn fault_2_2_q_what_does_not_match_does_not_stop_the_clock() {
    let mut stage = Stage::new(Options::default());
    let (ends, matched) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (ended, got) = (ends.clone(), matched.clone());
    let waits = async move |cx: Context<u32>| {
        let start = cx.cursor_at_end();
        let received = cx.recv_match_from(start, Some(SECOND * 10), |peek| matches!(peek, Peek::Message(0))).await;
        got.store(usize::from(received.is_some()), Ordering::Relaxed);
        ended.fetch_add(1, Ordering::Relaxed);
        // After a timeout, a new receive with the same timeout works as usual.
        let received = cx.recv_match_from(start, Some(SECOND * 10), |peek| matches!(peek, Peek::Message(0))).await;
        assert!(matches!(received, Some(Received::Message(0))));
        ended.fetch_add(1, Ordering::Relaxed);
    };
    let waiting = stage.host().spawn_async(&SpawnOptions::new(), waits).expect("a process").pid();
    stage.settle();
    for _ in 0..99 {
        stage.host().send(waiting, 1_u32).expect("it lives");
        stage.pass(SECOND / 10);
        assert_eq!(ends.load(Ordering::Relaxed), 0, "the receive has not timed out yet");
    }
    stage.host().send(waiting, 1_u32).expect("it lives");
    stage.pass(SECOND / 5);
    assert_eq!((ends.load(Ordering::Relaxed), matched.load(Ordering::Relaxed)), (1, 0), "the receive has timed out");
    stage.host().send(waiting, 0_u32).expect("it lives");
    stage.settle();
    assert_eq!(ends.load(Ordering::Relaxed), 2);
    assert!(!stage.host().is_alive(waiting));
}

/// In other runtimes idle workers polled every 5 ms, only one worker advanced timers between
/// slices, and every exit searched all waiting processes. Here an idle core reports when it must be
/// run again: at the next timer, or never.
#[test]
fn fault_2_2_r_a_the_idle_do_not_poll() {
    let mut stage = Stage::new(Options { cores: 2, ..Options::default() });
    let slices = Arc::new(AtomicUsize::new(0));
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let slices = slices.clone();
            let waits = async move |cx: Context<()>| {
                loop {
                    slices.fetch_add(1, Ordering::Relaxed);
                    cx.recv().await;
                }
            };
            stage.host().spawn_async(&SpawnOptions::new(), waits).expect("a process").pid()
        })
        .collect();
    stage.settle();
    let idle = |stage: &mut Stage| stage.cores.iter_mut().map(|core| core.run(1_000)).collect::<Vec<_>>();
    assert_eq!(idle(&mut stage), [RunOutcome::Idle { until: None }; 2]);
    let (woken, ran) = (stage.world.wakes(), slices.load(Ordering::Relaxed));
    stage.pass(SECOND * 3_600);
    assert_eq!(idle(&mut stage), [RunOutcome::Idle { until: None }; 2], "only a signal changes that");
    assert_eq!(stage.world.wakes(), woken);
    assert_eq!(slices.load(Ordering::Relaxed), ran);
    // One message resumes one process, and wakes one core.
    stage.host().send(waiting[7], ()).expect("it lives");
    assert_eq!(stage.world.wakes(), woken + 1);
    stage.settle();
    assert_eq!(slices.load(Ordering::Relaxed), ran + 1);
    // An exit resumes no other process.
    assert_eq!(stage.host().exit(waiting[8], atropos_kernel::Reason::KILL), Ok(true));
    stage.settle();
    assert_eq!(slices.load(Ordering::Relaxed), ran + 1);
    // A timer belongs to its own core, and only that core reports the deadline.
    let sleeps = async |cx: Context<()>| cx.sleep(SECOND).await;
    let sleeping = stage.host().spawn_async(&SpawnOptions::new(), sleeps).expect("a process").pid();
    stage.settle();
    let due = |ran: &RunOutcome| matches!(ran, RunOutcome::Idle { until: Some(_) });
    let both = idle(&mut stage);
    assert_eq!(both.iter().filter(|ran| due(ran)).count(), 1, "{both:?}");
    let at = both.iter().position(due).expect("one");
    stage.world.advance(SECOND.as_nanos() as u64 + (1 << 17));
    assert_eq!(stage.cores[1 - at].run(1_000), RunOutcome::Idle { until: None });
    assert!(stage.host().is_alive(sleeping));
    while stage.cores[at].run(1_000) == RunOutcome::Worked {}
    assert!(!stage.host().is_alive(sleeping), "the timer does not depend on the other core");
}

/// Other processes get their turns between the timers, and no timer is lost.
#[test]
fn many_due_timers_fire_in_portions() {
    const MANY: u32 = 3000;
    let mut stage = Stage::new(Options::default());
    let received = Arc::new(AtomicUsize::new(0));
    let counted = received.clone();
    let waits = async move |cx: Context<u32>| {
        for number in 0..MANY {
            cx.send_after(cx.pid(), SECOND, number).expect("memory for a timer");
        }
        for number in 0..MANY {
            // Timers of one tick fire in the order in which they were started.
            assert!(matches!(cx.recv().await, Received::Message(came) if came == number));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    stage.host().spawn_async(&SpawnOptions::new(), waits).expect("a process");
    stage.settle();
    stage.world.advance(2_000_000_000);
    assert_eq!(stage.cores[0].run(1), RunOutcome::Worked);
    let first = received.load(Ordering::Relaxed);
    assert!(0 < first && first < MANY as usize, "{first} at once");
    stage.settle();
    assert_eq!(received.load(Ordering::Relaxed), MANY as usize);
    assert_eq!(stage.kernel.process_count(), 0);
}

/// Timers due for dead targets: no process gets a turn, and the core does not report that it is
/// idle until all of them are gone.
#[test]
fn many_due_timers_without_a_target_are_gone_before_the_core_is_idle() {
    let mut stage = Stage::new(Options::default());
    let gone = Arc::new(());
    let kept = gone.clone();
    let starts = async move |cx: Context<Arc<()>>| {
        // Addressed by name, so that they do not end with the process that starts them.
        for _ in 0..3000 {
            cx.send_after("nobody", SECOND, kept.clone()).expect("memory for a timer");
        }
    };
    stage.host().spawn_async(&SpawnOptions::new(), starts).expect("a process");
    stage.settle();
    assert_eq!(Arc::strong_count(&gone), 3001);
    stage.world.advance(2_000_000_000);
    stage.settle();
    assert_eq!(Arc::strong_count(&gone), 1);
}
