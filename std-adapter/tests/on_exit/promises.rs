//! The promises of section 1.3.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use atropos::prelude::*;
use atropos::{
    NoReply, Outcome, PrepareError, ResultUnavailable, TypedOutcome, WatchError, WatchStatus, WithResult, reply,
};

use crate::ground::{LONG, STARVED, kill, runtime, waiter, watched};

#[test]
fn promise_1_3_01_a_cloneable_handle_tells_whether_it_is_installed() {
    let runtime = runtime();
    let pid = waiter(&runtime);
    let (send, told) = channel();
    let prepared = runtime.prepare_on_exit(move |outcome| send.send(outcome).expect("waits")).expect("a thread");
    let watch = prepared.watch();
    let other = watch.clone();
    assert_eq!((other.is_installed(), other.status(), other.pid()), (false, WatchStatus::Prepared, None));
    let installed = prepared.install(pid).expect("it lives");
    for watch in [&watch, &other, &installed] {
        assert_eq!((watch.is_installed(), watch.status(), watch.pid()), (true, WatchStatus::Installed, Some(pid)));
    }
    kill(&runtime, pid);
    assert_eq!(told.recv_timeout(LONG).expect("it ran").reason, Some(Reason::KILLED));
    assert_eq!((watch.is_installed(), other.status()), (false, WatchStatus::Fired), "false again when it has fired");
    assert!(!watch.cancel(), "too late");
    assert_eq!(watch.status(), WatchStatus::Fired);

    let pid = waiter(&runtime);
    let (watch, told) = watched(&runtime, pid);
    assert!(watch.is_installed() && watch.clone().cancel());
    assert_eq!((watch.is_installed(), watch.status()), (false, WatchStatus::Cancelled), "and when it is withdrawn");
    assert!(!watch.cancel(), "once");
    kill(&runtime, pid);
    assert!(told.recv_timeout(LONG).is_err(), "its callback was dropped, and never ran");

    let dropped = runtime.prepare_on_exit(|_| unreachable!("never installed")).expect("a thread");
    let watch = dropped.watch();
    drop(dropped);
    assert_eq!((watch.status(), watch.cancel()), (WatchStatus::Cancelled, false));
}

#[test]
fn promise_1_3_02_ten_thousand_monitors_ten_thousand_callbacks() {
    let runtime = runtime();
    let told = Arc::new(Mutex::new(Vec::new()));
    let pids: Vec<Pid> = (0..10_000).map(|_| waiter(&runtime)).collect();
    for pid in &pids {
        let told = told.clone();
        runtime.on_exit(*pid, move |outcome| told.lock().unwrap().push(outcome.pid)).expect("a watch");
    }
    for pid in &pids {
        runtime.send(atropos::Address::new(*pid), ()).expect("it lives");
    }
    runtime.shutdown(LONG).expect("all end");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), pids.len());
    assert_eq!(told.iter().copied().collect::<HashSet<_>>(), pids.into_iter().collect(), "each once");
}

#[test]
fn promise_1_3_03_a_callback_that_blocks_delays_no_process() {
    let runtime = runtime();
    let (go, gone) = channel::<()>();
    let ((send, began), (end, ended)) = (channel(), channel());
    let pid = waiter(&runtime);
    let blocks = move |_| {
        send.send(thread::current().name().map(str::to_owned)).expect("the test waits");
        end.send(gone.recv_timeout(LONG)).expect("the test waits");
    };
    runtime.on_exit(pid, blocks).expect("a watch");
    kill(&runtime, pid);
    assert_eq!(began.recv_timeout(LONG).expect("runs").as_deref(), Some("atropos-exits"), "on no worker");
    // While the callback blocks, processes are spawned, exchange messages, monitor each other and
    // die.
    for _ in 0..200 {
        let answer = runtime.block_on(async |cx: Context<u32>| {
            let me = cx.address();
            cx.spawn_monitor(async move |cx: Context<()>| cx.send(me, 1).expect("it lives")).expect("room");
            let one = cx.recv().await;
            let down = cx.recv().await;
            matches!((one, down), (Received::Message(1), Received::Down(_)))
        });
        assert_eq!(answer, Ok(true));
        // A waiting thread is woken too, since that does not involve the callbacks.
        let pid = waiter(&runtime);
        assert_eq!(runtime.terminate(pid, LONG).expect("it dies").reason, Some(Reason::KILLED));
    }
    drop(go);
    assert_eq!(ended.recv_timeout(LONG), Ok(Err(RecvTimeoutError::Disconnected)), "the test released it");
    runtime.shutdown(LONG).expect("all end");
}

#[test]
fn promise_1_3_04_the_runtime_waits_and_the_callback_names_no_type_of_a_machine() {
    let runtime = runtime();
    let pid = runtime.spawn(async |_: Context<()>| WithResult(String::from("done"))).expect("a process").pid();
    let (send, told) = channel();
    // Everything that a host must know: the pid's number, and what the process returned.
    let callback: Box<dyn FnOnce(Outcome) + Send> = Box::new(move |outcome| {
        let text = outcome.result::<String>().cloned();
        send.send((outcome.pid.to_raw(), text)).expect("the test waits");
    });
    runtime.on_exit(pid, callback).expect("a watch");
    assert_eq!(told.recv_timeout(LONG).expect("it ran"), (pid.to_raw(), Some("done".into())));
}

#[test]
fn promise_1_3_05_a_pid_never_given_out_is_an_error_that_says_so() {
    let (here, there) = (runtime(), runtime());
    waiter(&here);
    let many: Vec<Pid> = (0..100).map(|_| waiter(&there)).collect();
    let foreign = many[99];
    let future = Pid::from_raw(foreign.to_raw() + (1 << 32)).expect("the slot's next");
    for pid in [foreign, future] {
        let refused = here.on_exit(pid, |_| unreachable!("no such process")).expect_err("a foreign pid");
        assert_eq!((refused, refused.pid()), (WatchError::NoSuchProcess(pid), pid));
        assert!(refused.to_string().contains("no process of this runtime"), "{refused}");
        assert!(refused.to_string().contains(&pid.to_string()), "it names the pid: {refused}");
    }
}

#[test]
fn promise_1_3_06_one_that_has_ended_already_fires_at_once_with_reason_and_result() {
    let runtime = runtime();
    let pid = runtime.spawn(async |_: Context<()>| WithResult(42_u64)).expect("a process").pid();
    let start = Instant::now();
    while runtime.is_alive(pid) {
        assert!(start.elapsed() < LONG, "it ends");
        thread::yield_now();
    }
    for _ in 0..3 {
        let (watch, told) = watched(&runtime, pid);
        let outcome = told.recv_timeout(LONG).expect("at once");
        assert_eq!((outcome.pid, outcome.reason.clone(), outcome.result()), (pid, Some(Reason::NORMAL), Some(&42_u64)));
        assert_eq!((watch.status(), watch.pid()), (WatchStatus::Fired, Some(pid)));
    }
}

#[test]
fn promise_1_3_07_no_spurious_failure_between_spawn_and_monitor() {
    const ROUNDS: usize = 100_000;
    let runtime = runtime();
    let (right, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for round in 0..ROUNDS {
        let pid = runtime.spawn(async move |_: Context<()>| WithResult(round)).expect("a process");
        let (right, told) = (right.clone(), told.clone());
        let counts = move |outcome: Outcome| {
            right.fetch_add(usize::from(outcome.result() == Some(&round)), Ordering::SeqCst);
            told.fetch_add(1, Ordering::SeqCst);
        };
        runtime.on_exit(pid, counts).expect("no failure");
    }
    // A shutdown would become the exit reason of a process that has not run yet.
    let start = Instant::now();
    while told.load(Ordering::SeqCst) < ROUNDS && start.elapsed() < LONG {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(right.load(Ordering::SeqCst), ROUNDS, "outcomes with their results");
}

/// A value that sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);
impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn promise_1_3_08_the_callback_finds_everything_gone() {
    let runtime = runtime();
    for round in 0..1000 {
        let (body, message) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (complete, completion) = reply::<u8>().expect("memory");
        let (flag, (send, ready)) = (Flag(body.clone()), channel());
        let pid = runtime
            .spawn(async move |cx: Context<Flag>| {
                let _flag = flag;
                cx.register("the one", cx.pid()).expect("the name is free");
                send.send(()).expect("the test waits");
                assert_eq!(completion.await, Err(NoReply), "no completion arrives");
            })
            .expect("a process")
            .pid();
        ready.recv_timeout(LONG).expect("it runs");
        runtime.send(atropos::Address::new(pid), Flag(message.clone())).expect("it lives");
        let (handle, (send, found)) = (runtime.handle(), channel());
        let looks = move |outcome: Outcome| {
            let gone = [
                body.load(Ordering::SeqCst),
                message.load(Ordering::SeqCst),
                handle.whereis("the one").is_none(),
                !handle.is_alive(pid),
                !handle.processes().contains(&pid),
                handle.tombstone(pid) == atropos::kernel::Tombstone::Known(Reason::KILLED),
                handle.send(atropos::Address::<u8>::new(pid), 1).is_err(),
                complete.try_send(7) == Err(7),
            ];
            send.send((outcome.reason, gone)).expect("the test waits");
        };
        runtime.on_exit(pid, looks).expect("a watch");
        kill(&runtime, pid);
        let (reason, gone) = found.recv_timeout(LONG).expect("it ran");
        assert_eq!((reason, gone), (Some(Reason::KILLED), [true; 8]), "round {round}");
    }
}

#[test]
fn promise_1_3_09_a_refusal_is_an_error_and_leaves_nobody_unwatched() {
    // No thread: more stack than there are addresses.
    let runtime = Runtime::builder().cores(1).callback_stack_size(1 << 47).build().expect("threads");
    let refused = runtime.prepare_on_exit(|_| unreachable!("refused")).expect_err("no thread");
    assert!(matches!(refused, PrepareError::NoThread(_)), "{refused}");
    let pid = waiter(&runtime);
    let refused = runtime.on_exit(pid, |_| unreachable!("refused")).expect_err("no thread");
    assert!(matches!(refused, WatchError::Refused(named, PrepareError::NoThread(_)) if named == pid), "{refused}");
    assert!(refused.to_string().contains(&pid.to_string()), "it names the pid: {refused}");
    assert!(runtime.wait_blocking(pid, Duration::ZERO).is_err(), "it lives on, and can be waited for without a thread");

    // No memory.
    let runtime = self::runtime();
    let pid = waiter(&runtime);
    watched(&runtime, pid).0.cancel();
    let prepared = runtime.prepare_on_exit(|_| ()).expect("memory");
    STARVED.set(true);
    let refused = runtime.on_exit(pid, move |_| assert_ne!(pid.to_raw(), 0));
    let waits = runtime.wait_blocking(pid, LONG);
    // The watch prepared earlier needs no memory.
    let installed = prepared.install(pid);
    STARVED.set(false);
    let no_memory = WatchError::Refused(pid, PrepareError::NoMemory);
    assert_eq!(refused.expect_err("no memory"), no_memory);
    assert_eq!(waits.expect_err("no memory"), atropos::WaitError::Watch(no_memory));
    assert!(installed.expect("prepared").is_installed(), "the process is not left unwatched");

    // After the shutdown: no process is left to watch, and no thread to run a callback.
    let handle = runtime.handle();
    runtime.shutdown(LONG).expect("all end");
    let refused = handle.on_exit(pid, |_| unreachable!("refused")).expect_err("shut down");
    assert_eq!(refused, WatchError::Refused(pid, PrepareError::Closed));
    assert_eq!(handle.wait_blocking(pid, LONG).expect("remembered").reason, Some(Reason::SHUTDOWN));
}

#[test]
fn promise_1_3_10_three_processes_three_arms() {
    let runtime = runtime();
    let completes = runtime.spawn(async |_: Context<()>| WithResult(7_u32)).expect("a process").pid();
    let fails = runtime.spawn(async |_: Context<()>| Err::<WithResult<u32>, _>("no luck")).expect("a process").pid();
    let other = runtime.spawn(async |_: Context<()>| WithResult("seven")).expect("a process").pid();
    let outcomes = [completes, fails, other].map(|pid| watched(&runtime, pid).1.recv_timeout(LONG).expect("it ran"));
    assert_eq!(outcomes[0].fate::<u32>(), TypedOutcome::Completed(&7));
    assert_eq!(outcomes[1].fate::<u32>(), TypedOutcome::Failed(&Reason::crash("no luck")));
    assert_eq!(outcomes[2].fate::<u32>(), TypedOutcome::Unreadable(ResultUnavailable::OtherType));

    // The other ways in which a result is not available.
    let nothing = runtime.spawn(async |_: Context<()>| ()).expect("a process").pid();
    let nothing = runtime.wait_blocking(nothing, LONG).expect("it ends");
    assert_eq!(nothing.fate::<u32>(), TypedOutcome::Unreadable(ResultUnavailable::NoResult));
    assert_eq!(nothing.fate::<()>(), TypedOutcome::Completed(&()));
    let starved = async |_: Context<()>| {
        STARVED.set(true);
        let lost = atropos::kernel::task::IntoReason::into_reason(WithResult([0_u64; 32]));
        STARVED.set(false);
        lost
    };
    let lost = runtime.spawn(starved).expect("a process").pid();
    let lost = runtime.wait_blocking(lost, LONG).expect("it ends");
    assert_eq!(lost.fate::<[u64; 32]>(), TypedOutcome::Unreadable(ResultUnavailable::Lost));
    // A slot that is reused often forgets its dead process.
    let gone = runtime.spawn(async |_: Context<()>| WithResult(1_u32)).expect("a process").pid();
    while matches!(runtime.tombstone(gone), atropos::kernel::Tombstone::Known(_)) || runtime.is_alive(gone) {
        for _ in 0..1000 {
            runtime.spawn(async |_: Context<()>| ()).expect("a process");
        }
        runtime.block_on(async |_: Context<()>| ()).expect("it ends");
    }
    let gone = watched(&runtime, gone).1.recv_timeout(LONG).expect("it ran even so");
    assert_eq!((gone.fate::<u32>(), &gone.reason), (TypedOutcome::Unreadable(ResultUnavailable::Forgotten), &None));
}
