//! The stream of all exits: complete while the ring has free slots, marked where it was full, and
//! never blocking a core.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atropos::prelude::*;
use atropos::{ExitEvent, ExitStream, WithResult};

const LONG: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("threads")
}

fn exited(event: Option<ExitEvent>) -> (Pid, Reason) {
    match event {
        Some(ExitEvent::Exited { pid, reason }) => (pid, reason),
        other => panic!("an exit: {other:?}"),
    }
}

#[test]
fn all_exits_come_with_their_reasons_to_every_subscriber() {
    let runtime = runtime();
    // Before there is a subscriber.
    runtime.block_on(async |_: Context<()>| ()).expect("it ends");
    while runtime.process_count() > 0 && !runtime.is_quiescent() {
        thread::yield_now();
    }
    let mut subscribers: Vec<ExitStream> = (0..3).map(|_| runtime.exits(2000)).collect();
    let mut ends = HashMap::new();
    for number in 0..1000_u32 {
        let pid = match number % 3 {
            0 => runtime.spawn(async move |_: Context<()>| WithResult(number)),
            1 => runtime.spawn(async move |_: Context<()>| Err::<(), _>(Reason::value(number))),
            _ => runtime.spawn(async |_: Context<()>| panic!("a bad day")),
        };
        ends.insert(pid.expect("a process").pid(), number);
    }
    for exits in &mut subscribers {
        let mut ends = ends.clone();
        while !ends.is_empty() {
            let (pid, reason) = exited(exits.next_blocking(LONG));
            let number = ends.remove(&pid).expect("each once");
            match number % 3 {
                0 => assert_eq!((reason.is_normal(), reason.result()), (true, Some(&number))),
                1 => assert_eq!(reason, Reason::value(number)),
                _ => assert!(reason.to_string().contains("a bad day"), "{reason}"),
            }
        }
        assert_eq!(exits.try_next(), None);
    }
    // A dropped subscriber gets no events, and delays no other.
    subscribers.truncate(1);
    let pid = runtime.spawn(async |_: Context<()>| ()).expect("a process").pid();
    assert_eq!(exited(subscribers[0].next_blocking(LONG)), (pid, Reason::NORMAL));
}

#[test]
fn a_slow_subscriber_gets_the_count_of_missed_exits() {
    // One core: a death is complete before the next begins.
    let runtime = Runtime::builder().cores(1).build().expect("threads");
    let mut exits = runtime.exits(10);
    let end = |count: usize| -> Vec<Pid> {
        let end_one = |_| {
            let pid = runtime.spawn(async |_: Context<()>| ()).expect("a process").pid();
            runtime.wait_blocking(pid, LONG).expect("it ends");
            pid
        };
        let pids = (0..count).map(end_one).collect();
        while !runtime.is_quiescent() {
            thread::yield_now();
        }
        pids
    };
    let first = end(25);
    for pid in &first[..3] {
        assert_eq!(exited(exits.next_blocking(LONG)).0, *pid);
    }
    let second = end(5);
    for pid in &first[3..10] {
        assert_eq!(exited(exits.next_blocking(LONG)).0, *pid);
    }
    assert_eq!(exits.next_blocking(LONG), Some(ExitEvent::Missed(15)), "where they would have been");
    for pid in &second[..3] {
        assert_eq!(exited(exits.next_blocking(LONG)).0, *pid);
    }
    assert_eq!(exits.try_next(), Some(ExitEvent::Missed(2)), "no later exit carries the last count");
    assert_eq!(exits.try_next(), None);
}

#[test]
fn every_exit_is_delivered_or_counted() {
    const EXITS: usize = 100_000;
    let runtime = runtime();
    let mut exits = [1, 2, 7, 64, 4096].map(|capacity| runtime.exits(capacity));
    let handle = runtime.handle();
    let spawner = thread::spawn(move || {
        for _ in 0..EXITS {
            handle.spawn(async |_: Context<()>| ()).expect("a process");
        }
    });
    let mut sums = [(0, 0); 5];
    let start = Instant::now();
    while sums.iter().any(|(told, missed)| told + missed < EXITS) && start.elapsed() < LONG {
        for (exits, (told, missed)) in exits.iter_mut().zip(&mut sums) {
            match exits.try_next() {
                Some(ExitEvent::Exited { .. }) => *told += 1,
                Some(ExitEvent::Missed(count)) => *missed += usize::try_from(count).expect("a few"),
                None => {}
            }
        }
    }
    spawner.join().expect("no panic");
    println!("delivered and missed: {sums:?}");
    for (exits, (told, missed)) in exits.iter_mut().zip(sums) {
        assert_eq!((told + missed, exits.try_next()), (EXITS, None));
    }
}

/// Issue 14, 19: any capacity is valid, just as any duration is. (A capacity beyond memory
/// panicked.)
#[test]
fn n19_any_capacity_is_valid() {
    let runtime = runtime();
    for places in [0, usize::MAX >> 8, usize::MAX] {
        let mut exits = runtime.exits(places);
        let pid = runtime.spawn(async |_: Context<()>| ()).expect("a process").pid();
        assert_eq!(exited(exits.next_blocking(LONG)).0, pid);
    }
}

#[test]
fn a_process_waits_for_exits_and_an_end_of_the_runtime_ends_the_stream() {
    let runtime = runtime();
    let handle = runtime.handle();
    let seen = Arc::new(AtomicUsize::new(0));
    let counts = seen.clone();
    let mut exits = handle.exits(100);
    runtime
        .spawn(async move |_: Context<()>| {
            while let Some(ExitEvent::Exited { .. }) = exits.next().await {
                counts.fetch_add(1, Ordering::SeqCst);
            }
        })
        .expect("a process");
    // The ring is empty when each exit comes, so the watcher must be woken.
    for round in 1..=200 {
        handle.spawn(async |_: Context<()>| ()).expect("a process");
        let start = Instant::now();
        while seen.load(Ordering::SeqCst) < round {
            assert!(start.elapsed() < LONG, "a lost wake-up in round {round}");
            thread::yield_now();
        }
    }
    let mut exits = handle.exits(100);
    let waits = thread::spawn(move || {
        let mut count = 0;
        while let Some(event) = exits.next_blocking(LONG) {
            assert!(matches!(event, ExitEvent::Exited { .. }));
            count += 1;
        }
        (count, exits.try_next())
    });
    runtime.shutdown(LONG).expect("all end");
    assert_eq!(waits.join().expect("no panic"), (1, None), "the one that was there, and then the end");
    assert_eq!(handle.exits(1).next_blocking(LONG), None, "of a runtime that has ended");
}

/// Elsewhere there was one subscriber for ever.
#[test]
fn fault_2_3_h_subscribers_come_and_go_and_leave_nothing() {
    let runtime = runtime();
    let handle = runtime.handle();
    let deaths = thread::spawn(move || {
        for _ in 0..50_000 {
            handle.spawn(async |_: Context<()>| WithResult(vec![0_u8; 100])).expect("a process");
        }
    });
    let mut events = 0;
    for round in 0..500 {
        let mut exits = [runtime.exits(round % 50), runtime.exits(2)];
        for _ in 0..5 {
            events += usize::from(exits[0].next_blocking(Duration::from_millis(1)).is_some());
        }
    }
    deaths.join().expect("no panic");
    assert!(events > 0, "some came");
}
