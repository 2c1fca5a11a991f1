//! The faults of section 2.4.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use atropos::prelude::*;
use atropos::{BodyPoll, Outcome, WithResult};

use crate::ground::{LONG, STARVED, kill, runtime, waiter, watched};

#[test]
fn fault_2_4_b_a_result_is_there_for_every_watcher() {
    let runtime = runtime();
    let pid = runtime
        .spawn(async |cx: Context<()>| {
            cx.recv().await;
            WithResult(vec![1, 2, 3])
        })
        .expect("a process");
    let watches: Vec<_> = (0..10).map(|_| watched(&runtime, pid.pid())).collect();
    let waits: Vec<_> = (0..10).map(|_| runtime.wait(pid)).collect();
    runtime.send(pid, ()).expect("it lives");
    for (_, told) in watches {
        assert_eq!(told.recv_timeout(LONG).expect("it ran").result(), Some(&vec![1, 2, 3]));
    }
    for wait in waits {
        assert_eq!(atropos::block_on::wait(wait).expect("it ran").result(), Some(&vec![1, 2, 3]));
    }
    assert_eq!(runtime.wait_blocking(pid, LONG).expect("remembered").result(), Some(&vec![1, 2, 3]));
}

#[test]
fn fault_2_4_c_what_is_withdrawn_in_time_never_runs_and_else_runs_once() {
    let runtime = runtime();
    let (withdrawn, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for round in 0..20_000 {
        let pid = waiter(&runtime);
        let ran = ran.clone();
        let flag = Arc::new(AtomicBool::new(false));
        let ended = flag.clone();
        let counts = move |_| {
            assert!(!flag.swap(true, Ordering::SeqCst), "once, and not after it was withdrawn");
            ran.fetch_add(1, Ordering::SeqCst);
        };
        let watch = runtime.on_exit(pid, counts).expect("a watch");
        kill(&runtime, pid);
        for _ in 0..round % 64 {
            std::hint::spin_loop();
        }
        if watch.cancel() {
            assert!(!ended.swap(true, Ordering::SeqCst), "in time means that it has not run");
            withdrawn.fetch_add(1, Ordering::SeqCst);
        }
    }
    runtime.shutdown(LONG).expect("all end");
    let (withdrawn, ran) = (withdrawn.load(Ordering::SeqCst), ran.load(Ordering::SeqCst));
    println!("{withdrawn} withdrawn in time, {ran} ran");
    assert_eq!(withdrawn + ran, 20_000);
    assert!(ran > 0);
}

#[test]
fn fault_2_4_d_a_process_can_be_watched_from_before_its_birth() {
    let runtime = runtime();
    let (send, told) = channel();
    let prepared = runtime.prepare_on_exit(move |outcome| send.send(outcome).expect("waits")).expect("ready");
    // From here on nothing can fail: the thread is started, and the record is allocated.
    let pid = runtime.spawn(async |_: Context<()>| WithResult(1)).expect("a process");
    STARVED.set(true);
    let installed = prepared.install(pid);
    STARVED.set(false);
    installed.expect("watched");
    assert_eq!(told.recv_timeout(LONG).expect("it ran").result(), Some(&1));
}

#[test]
fn fault_2_4_e_a_panic_is_contained_and_reported_and_the_others_run() {
    let (send, reports) = channel();
    let send = Mutex::new(send);
    let report = move |panic: &atropos::CallbackPanic| {
        send.lock().unwrap().send(panic.clone()).expect("the test waits");
        panic!("even this one does");
    };
    let runtime = Runtime::builder().cores(2).on_callback_panic(report).build().expect("threads");
    let pids: Vec<Pid> = (0..10).map(|_| waiter(&runtime)).collect();
    let ran = Arc::new(AtomicUsize::new(0));
    for (number, pid) in pids.iter().enumerate() {
        let ran = ran.clone();
        let panics = move |_| {
            ran.fetch_add(1, Ordering::SeqCst);
            assert!(number % 2 == 1, "a bad day");
        };
        runtime.on_exit(*pid, panics).expect("a watch");
    }
    pids.iter().for_each(|pid| kill(&runtime, *pid));
    let reports: Vec<_> = (0..5).map(|_| reports.recv_timeout(LONG).expect("reported")).collect();
    assert!(reports.iter().all(|report| report.text.contains("a bad day")));
    let even: HashSet<_> = pids.iter().copied().step_by(2).map(Some).collect();
    assert_eq!(reports.iter().map(|report| report.pid).collect::<HashSet<_>>(), even);
    runtime.shutdown(LONG).expect("all end");
    assert_eq!(ran.load(Ordering::SeqCst), 10);
}

#[test]
fn fault_2_4_f_a_shutdown_fires_what_is_outstanding_and_waits_for_it() {
    let runtime = runtime();
    let told = Arc::new(AtomicUsize::new(0));
    for number in 0..1000 {
        let told = told.clone();
        let slow = move |outcome: Outcome| {
            if number % 100 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(outcome.reason, Some(Reason::SHUTDOWN));
            told.fetch_add(1, Ordering::SeqCst);
        };
        // Processes that never end by themselves.
        runtime.on_exit(waiter(&runtime), slow).expect("a watch");
    }
    runtime.shutdown(LONG).expect("all end");
    assert_eq!(told.load(Ordering::SeqCst), 1000);

    // A callback that never returns does not hold the shutdown for ever, and is reported.
    let runtime = self::runtime();
    let pid = waiter(&runtime);
    let (go, gone) = channel::<()>();
    runtime.on_exit(pid, move |_| assert!(gone.recv().is_err())).expect("a watch");
    let left = runtime.shutdown(Duration::from_millis(10)).expect_err("it is busy");
    assert_eq!((left.processes, left.blocking, left.callbacks), (0, 0, true), "{left}");
    drop(go);

    // A callback that shuts the runtime down does not wait for itself.
    let runtime = self::runtime();
    let (pid, (send, ended)) = (waiter(&runtime), channel());
    let handle = runtime.handle();
    let ends = move |_| send.send(runtime.shutdown(LONG)).expect("the test waits");
    handle.on_exit(pid, ends).expect("a watch");
    kill(&handle, pid);
    ended.recv_timeout(LONG).expect("ended").expect("all end");
}

#[test]
fn fault_2_4_g_a_watch_waits_through_any_number_of_other_exits() {
    let runtime = runtime();
    let pid = waiter(&runtime);
    let (watch, told) = watched(&runtime, pid);
    runtime
        .block_on(async |cx: Context<()>| {
            for _ in 0..100_000 {
                cx.spawn_monitor(async |_: Context<()>| ()).expect("room");
                assert!(matches!(cx.recv().await, Received::Down(_)));
            }
        })
        .expect("it ends");
    assert!(watch.is_installed() && told.try_recv().is_err());
    kill(&runtime, pid);
    assert_eq!(told.recv_timeout(LONG).expect("it ran").reason, Some(Reason::KILLED));
}

#[test]
fn a_dropped_runtime_fires_the_watches_of_stuck_processes() {
    struct Stubborn(Arc<AtomicBool>, Arc<AtomicBool>);
    impl atropos::Body for Stubborn {
        type Message = ();
        fn resume(&mut self, _: &atropos::Cx<'_, ()>) -> BodyPoll {
            self.1.store(true, Ordering::SeqCst);
            while !self.0.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            BodyPoll::Yield
        }
    }
    let runtime = Runtime::builder().cores(1).build().expect("threads");
    let (lets_go, runs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let stubborn = Stubborn(lets_go.clone(), runs.clone());
    let pid = runtime.spawn_body(&SpawnOptions::new(), stubborn).expect("a process").pid;
    while !runs.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    let (watch, told) = watched(&runtime, pid);
    drop(watch);
    assert_eq!(runtime.shutdown(Duration::from_millis(10)).expect_err("stubborn").processes, 1);
    assert!(told.try_recv().is_err(), "it is not over");
    lets_go.store(true, Ordering::SeqCst);
    assert_eq!(told.recv_timeout(LONG).expect("it ran").reason, Some(Reason::SHUTDOWN), "what came first");
}
