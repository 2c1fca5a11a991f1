//! What a host does to a running process: it waits for its exit, terminates it, completes its
//! request, suspends and resumes it, and inspects it (promise 1.2.25, each of its parts).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atropos::prelude::*;
use atropos::{Body, BodyPoll, Cx, Handle, NoReply, WaitError, WatchError, WithResult, block_on, reply};

const LONG: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("threads")
}

/// Spawns a process that is always running or ready, and counts its slices.
fn busy(handle: &Handle) -> (Pid, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let slices = count.clone();
    let runs = async move |cx: Context<u32>| {
        loop {
            slices.fetch_add(1, Ordering::SeqCst);
            if let Some(Received::Message(result)) = cx.try_recv() {
                return WithResult(result);
            }
            cx.yield_now().await;
        }
    };
    (handle.spawn(runs).expect("a process").pid(), count)
}

fn goes_on(count: &AtomicUsize) {
    let (before, start) = (count.load(Ordering::SeqCst), Instant::now());
    while count.load(Ordering::SeqCst) == before {
        assert!(start.elapsed() < LONG, "it does not run");
        thread::yield_now();
    }
}

fn stands_still(count: &AtomicUsize) {
    let before = count.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(count.load(Ordering::SeqCst), before, "it runs");
}

#[test]
fn promise_1_2_25_block_until_exit_with_reason_and_result() {
    let runtime = runtime();
    let (pid, count) = busy(&runtime);
    goes_on(&count);
    assert_eq!(runtime.wait_blocking(pid, Duration::from_millis(20)), Err(WaitError::TimedOut(pid)), "it runs");
    let handle = runtime.handle();
    let waits = thread::spawn(move || handle.wait_blocking(pid, LONG));
    let in_a_process = runtime.handle();
    let wait = runtime.wait(pid);
    runtime.send(atropos::Address::new(pid), 42_u32).expect("it lives");
    let outcome = waits.join().expect("no panic").expect("it ends");
    assert_eq!((outcome.pid, outcome.reason.clone(), outcome.result()), (pid, Some(Reason::NORMAL), Some(&42_u32)));
    assert_eq!(block_on::wait(wait), Ok(outcome.clone()), "as a future as well");
    let seen = runtime.block_on(async move |_: Context<()>| in_a_process.wait(pid).await);
    assert_eq!(seen, Ok(Ok(outcome)), "and in a process");
    // A dropped wait leaves nothing on the process's list.
    let (pid, _) = busy(&runtime);
    for _ in 0..1000 {
        drop(runtime.wait(pid));
    }
    let never = Pid::from_raw(pid.to_raw() + (1 << 33)).expect("a pid");
    let error = runtime.wait_blocking(never, LONG).expect_err("no such process");
    assert_eq!(error, WaitError::Watch(WatchError::NoSuchProcess(never)));
}

#[test]
fn promise_1_2_25_external_terminate() {
    let runtime = runtime();
    let (pid, count) = busy(&runtime);
    goes_on(&count);
    assert_eq!(runtime.terminate(pid, LONG).expect("it dies").reason, Some(Reason::KILLED));
    assert_eq!(runtime.terminate(pid, LONG).expect("it is dead").reason, Some(Reason::KILLED));
    // Trapping exits does not help; an earlier exit reason stays.
    let traps = async |cx: Context<()>| {
        cx.trap_exit(true);
        loop {
            cx.recv().await;
        }
    };
    let pid = runtime.spawn(traps).expect("a process").pid();
    assert_eq!(runtime.terminate(pid, LONG).expect("it dies").reason, Some(Reason::KILLED));
    let ends = runtime.spawn(async |_: Context<()>| WithResult(1)).expect("a process").pid();
    runtime.wait_blocking(ends, LONG).expect("it ends");
    assert_eq!(runtime.terminate(ends, LONG).expect("it is dead").result(), Some(&1));
    // A process that never yields is not dead in time.
    let (lets_go, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (stuck, running) = (lets_go.clone(), go.clone());
    let stubborn = async move |_: Context<()>| {
        running.store(true, Ordering::SeqCst);
        while !stuck.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        std::future::pending::<()>().await;
    };
    let pid = runtime.spawn(stubborn).expect("a process").pid();
    while !go.load(Ordering::SeqCst) {
        thread::yield_now();
    }
    assert_eq!(runtime.terminate(pid, Duration::from_millis(20)), Err(WaitError::TimedOut(pid)));
    lets_go.store(true, Ordering::SeqCst);
    assert_eq!(runtime.wait_blocking(pid, LONG).expect("it dies").reason, Some(Reason::KILLED));
}

#[test]
fn promise_1_2_25_wake_with_a_result() {
    let runtime = runtime();
    for round in 0..2000_u32 {
        let (complete, completion) = reply::<u32>().expect("memory");
        let pid = runtime.spawn(async move |_: Context<()>| WithResult(completion.await)).expect("a process").pid();
        for _ in 0..round % 128 {
            std::hint::spin_loop();
        }
        assert!(complete.is_wanted());
        assert_eq!(complete.try_send(round), Ok(()), "it waits, or will");
        let outcome = runtime.wait_blocking(pid, LONG).expect("it ends");
        assert_eq!(outcome.result(), Some(&Ok::<u32, NoReply>(round)));
    }
    // The value is returned when the process is gone.
    let (complete, completion) = reply::<String>().expect("memory");
    let pid = runtime.spawn(async move |_: Context<()>| drop(completion.await)).expect("a process").pid();
    runtime.terminate(pid, LONG).expect("it dies");
    assert!(!complete.is_wanted());
    assert_eq!(complete.try_send("too late".into()), Err("too late".into()));
    // If the completer is dropped without a value, the process is woken nevertheless.
    let (complete, completion) = reply::<u8>().expect("memory");
    let pid = runtime.spawn(async move |_: Context<()>| WithResult(completion.await)).expect("a process").pid();
    drop(complete);
    assert_eq!(runtime.wait_blocking(pid, LONG).expect("it ends").result(), Some(&Err::<u8, _>(NoReply)));
}

#[test]
fn promise_1_2_25_a_completion_races_with_a_death_and_is_given_or_given_back() {
    let runtime = runtime();
    let (mut given, mut back) = (0, 0);
    for round in 0..5000_usize {
        let (complete, completion) = reply::<Arc<()>>().expect("memory");
        let pid = runtime.spawn(async move |_: Context<()>| WithResult(completion.await)).expect("a process").pid();
        let value = Arc::new(());
        assert!(runtime.exit(pid, Reason::KILL).is_ok());
        for _ in 0..round % 32 {
            thread::yield_now();
        }
        match complete.try_send(value.clone()) {
            Ok(()) => given += 1,
            Err(value) => {
                back += 1;
                assert_eq!(Arc::strong_count(&value), 2, "the one that was given");
            }
        }
        runtime.wait_blocking(pid, LONG).expect("it ends");
        // The value is in the dead process's result, dropped with its future, or here.
        assert!(Arc::strong_count(&value) <= 2);
    }
    println!("{given} given, {back} given back");
    assert_eq!(given + back, 5000);
}

#[test]
fn promise_1_2_25_suspend_and_resume_are_counted_and_messages_wait() {
    let runtime = runtime();
    let (pid, count) = busy(&runtime);
    goes_on(&count);
    assert_eq!(runtime.suspend_blocking(pid), Ok(Some(1)));
    stands_still(&count);
    assert_eq!(runtime.suspend_blocking(pid), Ok(Some(2)));
    assert_eq!(runtime.process_info_blocking(pid).expect("memory").expect("it lives").suspended, 2, "it answers");
    runtime.send(atropos::Address::new(pid), 7_u32).expect("it lives");
    assert_eq!(runtime.resume_blocking(pid), Ok(Some(1)));
    stands_still(&count);
    let info = runtime.process_info_blocking(pid).expect("memory").expect("it lives");
    assert_eq!(info.message_queue_len, 1, "the message waits");
    assert_eq!(runtime.resume_blocking(pid), Ok(Some(0)));
    assert_eq!(runtime.wait_blocking(pid, LONG).expect("it ends").result(), Some(&7_u32), "and is there");
    assert_eq!((runtime.suspend_blocking(pid), runtime.resume_blocking(pid)), (Ok(None), Ok(None)), "it is dead");
    // An extra resume has no effect, and is not remembered.
    let (pid, count) = busy(&runtime);
    assert_eq!(runtime.resume_blocking(pid), Ok(Some(0)));
    assert_eq!(runtime.suspend_blocking(pid), Ok(Some(1)));
    stands_still(&count);
    assert_eq!(runtime.resume_blocking(pid), Ok(Some(0)));
    goes_on(&count);
    // A suspended process costs nothing.
    assert_eq!(runtime.suspend_blocking(pid), Ok(Some(1)));
    while !runtime.is_quiescent() {
        thread::yield_now();
    }
}

#[test]
fn promise_1_2_25_exits_and_kills_act_on_who_is_suspended() {
    let runtime = runtime();
    for reason in [Reason::KILL, Reason::SHUTDOWN, Reason::value("boom")] {
        let (pid, _) = busy(&runtime);
        assert_eq!(runtime.suspend_blocking(pid), Ok(Some(1)));
        let wait = runtime.wait(pid);
        assert_eq!(runtime.exit(pid, reason.clone()), Ok(true));
        let died_of = if reason == Reason::KILL { Reason::KILLED } else { reason };
        assert_eq!(block_on::wait(wait).expect("it dies").reason, Some(died_of));
    }
    // The same over a link; a `normal` exit has no effect. A process that traps exits gets the
    // signal as a message, when it is resumed.
    let (handle, seen) = (runtime.handle(), Arc::new(AtomicUsize::new(0)));
    let counts = seen.clone();
    let outcome = runtime.block_on(async move |cx: Context<()>| {
        cx.trap_exit(true);
        let linked = cx.spawn_link(async |_: Context<()>| std::future::pending::<()>().await).expect("room");
        assert_eq!(handle.suspend(linked).await, Ok(Some(1)));
        cx.exit(linked, Reason::NORMAL).expect("memory");
        assert_eq!(handle.suspend(linked).await, Ok(Some(2)), "it lives");
        let trapping = cx
            .spawn(async move |cx: Context<()>| {
                cx.trap_exit(true);
                cx.link(linked).expect("it lives");
                while let Received::Exit(_) = cx.recv().await {
                    counts.fetch_add(1, Ordering::SeqCst);
                }
            })
            .expect("room");
        while handle.process_info(trapping).await.expect("memory").expect("it lives").links.is_empty() {
            cx.yield_now().await;
        }
        assert_eq!(handle.suspend(trapping).await, Ok(Some(1)));
        cx.exit(linked, Reason::SHUTDOWN).expect("memory");
        let Received::Exit(exit) = cx.recv().await else { panic!("the link's") };
        assert_eq!((exit.from, exit.reason), (Some(linked.pid()), Reason::SHUTDOWN));
        while handle.process_info(trapping).await.expect("memory").expect("it lives").message_queue_len == 0 {
            cx.yield_now().await;
        }
        let before = seen.load(Ordering::SeqCst);
        assert_eq!(handle.resume(trapping).await, Ok(Some(0)));
        while seen.load(Ordering::SeqCst) == 0 {
            cx.yield_now().await;
        }
        before
    });
    assert_eq!(outcome, Ok(0));
}

/// An interpreter that calls a hook each time that it has spent a number of reductions.
struct Metered<H> {
    left: u32,
    hook: H,
}

impl<H: FnMut(Pid) + Send + 'static> Body for Metered<H> {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        while cx.spend(1) {
            self.left -= 1;
            if self.left == 0 {
                self.left = 10_000;
                // The hook's request takes effect when the slice is over.
                (self.hook)(cx.pid());
                return BodyPoll::Yield;
            }
        }
        BodyPoll::Yield
    }
}

#[test]
fn promise_1_2_25_a_reduction_hook_may_suspend() {
    let runtime = runtime();
    let (handle, hooks) = (runtime.handle(), Arc::new(AtomicUsize::new(0)));
    let counts = hooks.clone();
    let hook = move |pid| {
        let mut suspends = std::pin::pin!(handle.suspend(pid));
        let asked = suspends.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(asked.is_pending(), "it is running: it handles the signal when it yields");
        // Only now, so that the test's next request comes after it.
        counts.fetch_add(1, Ordering::SeqCst);
    };
    let pid = runtime.spawn_body(&SpawnOptions::new(), Metered { left: 10_000, hook }).expect("a process").pid;
    for round in 1..=10 {
        let start = Instant::now();
        while hooks.load(Ordering::SeqCst) < round {
            assert!(start.elapsed() < LONG, "the hook is asked");
            thread::yield_now();
        }
        let info = runtime.process_info_blocking(pid).expect("memory").expect("it lives");
        assert_eq!(info.suspended, 1);
        assert!(info.reductions >= 10_000 * round as u64, "{info:?}");
        stands_still(&hooks);
        assert_eq!(runtime.resume_blocking(pid), Ok(Some(0)));
    }
    runtime.terminate(pid, LONG).expect("it dies");
}

#[test]
fn promise_1_2_25_is_linked_and_trap_exit_of_a_running_process() {
    let runtime = runtime();
    let ties = async |cx: Context<()>| {
        cx.trap_exit(true);
        cx.spawn_link(async |_: Context<()>| std::future::pending::<()>().await).expect("room");
        loop {
            cx.yield_now().await;
        }
    };
    let pid = runtime.spawn(ties).expect("a process").pid();
    let start = Instant::now();
    let info = loop {
        let info = runtime.process_info_blocking(pid).expect("memory").expect("it runs");
        if !info.links.is_empty() {
            break info;
        }
        assert!(start.elapsed() < LONG, "it links itself");
    };
    assert!(info.trap_exit);
    let child = runtime.process_info_blocking(info.links[0]).expect("memory").expect("it lives");
    assert_eq!((child.links, child.trap_exit), (vec![pid], false), "from both sides");
}
