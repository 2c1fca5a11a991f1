//! The operations that a host thread or an external task may use, and those that it must not.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use atropos::block_on::wait;
use atropos::otp::group::ProcessGroups;
use atropos::otp::registry::Registry;
use atropos::otp::{CallError, ChildState, ControlError, TaskSupervisor};
use atropos::prelude::*;
use atropos::{ExitEvent, Handle, SpawnError};

/// A timeout far longer than anything here takes, on any machine.
const LONG: Duration = Duration::from_secs(60);

fn runtime(cores: usize) -> Runtime {
    Runtime::builder().cores(cores).build().expect("threads")
}

enum Ask {
    Double(u32, Reply<u32>),
    Never(Reply<u32>),
    Drop(Reply<u32>),
    Die(Reply<u32>),
}

#[derive(Default)]
struct Doubles(Vec<Reply<u32>>);

impl Server for Doubles {
    type Message = Ask;

    async fn handle(&mut self, ask: Ask, _: ServerCx<'_, Self>) -> Next<Ask> {
        match ask {
            Ask::Double(n, reply) => reply.send(2 * n),
            Ask::Never(reply) => self.0.push(reply),
            Ask::Drop(reply) => drop(reply),
            Ask::Die(_reply) => panic!("as it was asked to"),
        }
        Next::Wait
    }
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Issue 14, 7: a process that calls a `Handle` again and again lets other processes run, and can
/// be killed.
#[test]
fn n07_what_the_host_asks_lets_go_inside_a_process() {
    type Try = for<'a> fn(&'a Handle, ServerRef<Doubles>) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    let tries: [(&str, Try); 5] = [
        ("process_info", |handle, dead| {
            Box::pin(async move { assert!(matches!(handle.process_info(dead).await, Ok(None))) })
        }),
        ("call_async", |handle, dead| {
            Box::pin(async move { assert!(handle.call_async(dead, LONG, |to| Ask::Double(1, to)).await.is_err()) })
        }),
        ("timeout", |handle, _| {
            Box::pin(async move { assert_eq!(handle.timeout(Duration::ZERO, async { 1 }).await, Some(1)) })
        }),
        ("wait", |handle, dead| Box::pin(async move { drop(handle.wait(dead).await) })),
        ("suspend", |handle, dead| Box::pin(async move { assert_eq!(handle.suspend(dead).await, Ok(None)) })),
    ];
    for (what, again) in tries {
        let runtime = runtime(1);
        let handle = runtime.handle();
        let dead = runtime.start_server(Doubles::default()).expect("up").expect("it serves");
        runtime.terminate(dead, LONG).expect("it ends");
        let asks = runtime.spawn(async move |_: Context<()>| {
            loop {
                again(&handle, dead).await;
            }
        });
        let asks = asks.expect("a process").pid();
        let other = runtime.spawn(async |_: Context<()>| {}).expect("a process");
        assert!(runtime.wait_blocking(other, LONG).is_ok(), "{what}: the other has not run");
        assert!(runtime.is_alive(asks), "{what}");
        assert!(runtime.terminate(asks, LONG).is_ok(), "{what}: it cannot be killed");
    }
}

/// Issue 14, 17: a Tokio task starts a server, calls it and awaits the reply, and blocks no thread.
/// (There were blocking forms only.)
#[test]
fn n17_tasks_start_servers_and_call_them() {
    let runtime = runtime(1);
    let handle = runtime.handle();
    tokio().block_on(async move {
        let server = handle.start_server_async(Doubles::default()).await.expect("up").expect("it serves");
        assert_eq!(handle.call_async(server, LONG, |reply| Ask::Double(21, reply)).await, Ok(42));
        let request = handle.request(server, |reply| Ask::Double(4, reply)).expect("sent");
        assert_eq!(request.await, Ok(8));
        // Many calls at a time, each with its own reply.
        let calls: Vec<_> =
            (0..100).map(|n| handle.call_async(server, LONG, move |reply| Ask::Double(n, reply))).collect();
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await, Ok(2 * n as u32));
        }
        let late = handle.call_async(server, Duration::from_millis(5), Ask::Never).await;
        assert_eq!(late, Err(CallError::TimedOut));
        assert_eq!(handle.call_async(server, Duration::MAX, |reply| Ask::Double(1, reply)).await, Ok(2));
        assert_eq!(handle.call_async(server, None, Ask::Drop).await, Err(CallError::NoReply));
        let down = handle.call_async(server, None, Ask::Die).await;
        assert!(matches!(&down, Err(CallError::Down(reason)) if reason.to_string().contains("asked to")), "{down:?}");
        let dead = handle.call_async(server, None, Ask::Die).await;
        assert_eq!(dead, Err(CallError::Down(Reason::NOPROC)));
        let supervisor = handle.start_supervisor_async(Supervisor::one_for_one()).await.expect("up");
        assert_eq!(handle.count_children(supervisor).await.map(|counts| counts.active), Ok(0));
        assert_eq!(handle.timeout(Duration::from_millis(1), std::future::pending::<()>()).await, None);
        assert_eq!(handle.timeout(LONG, async { 3 }).await, Some(3));
    });
    runtime.shutdown(LONG).expect("all end");
}

/// Issue 14, 17: the timeout of a call fires although the server's process occupies the only core.
#[test]
fn n17_a_call_times_out_while_the_core_is_occupied() {
    let runtime = runtime(1);
    let server = runtime.start_server(Doubles::default()).expect("up").expect("it serves");
    let (go, gone) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    runtime
        .spawn(async move |_: Context<()>| {
            tell.send(()).expect("the test waits");
            let _ = gone.recv();
        })
        .expect("a process");
    told.recv().expect("it runs");
    let call = runtime.call_async(server, Duration::from_millis(20), |reply| Ask::Double(1, reply));
    assert_eq!(wait(call), Err(CallError::TimedOut));
    drop(go);
}

/// A server whose start completes when it is released.
struct Slow(Mutex<Option<mpsc::Receiver<()>>>);

impl Server for Slow {
    type Message = ();

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<()>, InitError> {
        let receiver = self.0.lock().expect("no panic").take().expect("once");
        while receiver.try_recv().is_err() {
            cx.sleep(Duration::from_millis(1)).await;
        }
        Ok(Next::Wait)
    }

    async fn handle(&mut self, (): (), _: ServerCx<'_, Self>) -> Next<()> {
        Next::Wait
    }
}

/// Issue 14, 16 and 17: a cancelled start stops what it started, and a cancelled run kills its
/// process.
#[test]
fn n17_a_cancelled_request_leaves_nothing() {
    let runtime = runtime(1);
    let ends = |what: &str| {
        let end = std::time::Instant::now() + LONG;
        while runtime.process_count() > 0 {
            assert!(std::time::Instant::now() < end, "{what} still exists");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let (_go, gone) = mpsc::channel();
    let start = runtime.start_server_async(Slow(Mutex::new(Some(gone))));
    assert_eq!(runtime.process_count(), 1);
    drop(start);
    ends("the server");
    let run = runtime.run(async |cx: Context<()>| drop(cx.recv().await));
    drop(run);
    ends("the process");
}

/// Issue 14, 17: the exits of a runtime are a stream, for any executor.
#[test]
fn n17_exits_are_a_stream() {
    fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> impl Future<Output = Option<S::Item>> {
        std::future::poll_fn(|task| std::pin::Pin::new(&mut *stream).poll_next(task))
    }
    let runtime = runtime(2);
    let mut exits = runtime.exits(16);
    let handle = runtime.handle();
    tokio().block_on(async {
        let pid = handle.spawn(async |_: Context<()>| ()).expect("a process").pid();
        assert_eq!(next(&mut exits).await, Some(ExitEvent::Exited { pid, reason: Reason::NORMAL }));
    });
    runtime.shutdown(LONG).expect("all end");
    assert_eq!(wait(next(&mut exits)), None, "it ends with the runtime");
}

/// Issue 14, 17: a main process borrows from the thread that waits for it; nothing of it is left
/// when the call returns, however it ends. (It had to own everything.)
#[test]
fn n17_block_on_borrows() {
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            // Long enough for a caller that did not wait to have returned.
            std::thread::sleep(Duration::from_millis(5));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for cores in [1, 2] {
        let runtime = runtime(cores);
        for round in 0..20 {
            let dropped = AtomicUsize::new(0);
            let mut texts = vec![String::from("a")];
            // It returns a value that borrows.
            let longest = runtime.block_on(async |_: Context<()>| {
                let _counts = Counts(&dropped);
                texts.push("bcd".into());
                texts.iter().max_by_key(|text| text.len()).map(String::as_str)
            });
            assert_eq!((longest, dropped.load(Ordering::SeqCst)), (Ok(Some("bcd")), 1));
            // It panics, before its first await or after.
            let reason = runtime.block_on(async |cx: Context<()>| {
                let _counts = Counts(&dropped);
                cx.sleep(Duration::from_micros(round % 2)).await;
                assert!(dropped.load(Ordering::SeqCst) > 5, "{}", texts[0]);
            });
            assert!(reason.is_err_and(|reason| reason.to_string().contains('a')));
            assert_eq!(dropped.load(Ordering::SeqCst), 2);
            // Its start panics.
            let held = Counts(&dropped);
            let start = |_: Context<()>| -> std::future::Ready<()> {
                let _held = held;
                panic!("{}", texts[1]);
            };
            assert_eq!(runtime.block_on(start), Err(Reason::crash("bcd")));
            assert_eq!(dropped.load(Ordering::SeqCst), 3);
            // It is killed, before its first slice or later.
            let handle = runtime.handle();
            let reason = runtime.block_on(async |cx: Context<()>| {
                let _counts = Counts(&dropped);
                let (handle, me) = (handle.clone(), cx.pid());
                std::thread::spawn(move || handle.exit(me, Reason::KILL));
                cx.sleep(LONG).await;
                texts.len()
            });
            assert_eq!((reason, dropped.load(Ordering::SeqCst)), (Err(Reason::KILLED), 4));
            // A destructor panics, and the next one runs nevertheless.
            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    panic!("a bomb");
                }
            }
            let _ = runtime.block_on(async |cx: Context<()>| {
                let _counts = Counts(&dropped);
                let _bomb = Bomb;
                cx.stop(Reason::SHUTDOWN).await;
            });
            assert_eq!(dropped.load(Ordering::SeqCst), 5);
        }
    }
}

/// Issue 14, 17: a main process that cannot be started is dropped before the error is returned.
#[test]
fn n17_block_on_that_cannot_start_leaves_nothing() {
    let limits = atropos::kernel::Limits { processes: 1, ..Default::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("a thread");
    runtime.spawn(async |cx: Context<()>| cx.sleep(Duration::MAX).await).expect("the one");
    let held = Arc::new(());
    let refused = catch_unwind(AssertUnwindSafe(|| {
        let held = held.clone();
        runtime.block_on(async move |_: Context<()>| drop(held))
    }));
    assert!(refused.is_err());
    assert_eq!(Arc::strong_count(&held), 1);
}

/// Issue 14, 17: consecutive main processes find a slot even if there is only one, because the
/// earlier process is gone. (The earlier slot was freed some microseconds after `block_on` had
/// returned, and the next one panicked.)
#[test]
fn n17_block_on_reuses_the_slot_of_the_last_one() {
    for cores in [1, 2] {
        let limits = atropos::kernel::Limits { processes: 1, ..Default::default() };
        let runtime = Runtime::builder().cores(cores).limits(limits).build().expect("threads");
        for round in 0..500 {
            let lent = Box::new(round);
            let full = runtime.block_on(async |cx: Context<()>| (cx.spawn(async |_: Context<()>| {}).is_err(), *lent));
            assert_eq!(full, Ok((true, round)), "on {cores}");
        }
    }
}

fn ignore<T>(_: T) {}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("")
}

/// Issue 14, 17: every blocking call panics inside a process, on any number of cores, and in a task
/// of a current-thread Tokio runtime. The process could catch the panic, and all others go on.
/// (They waited for ever, on one core.)
#[test]
fn n17_a_call_that_would_block_a_worker_panics() {
    type Blocks = fn(&Runtime, atropos::otp::ServerRef<Doubles>, Pid);
    let all: [(&str, Blocks); 13] = [
        ("block_on", |runtime, _, _| ignore(runtime.block_on(async |_: Context<()>| ()))),
        ("start_server", |runtime, _, _| ignore(runtime.start_server(Doubles::default()))),
        ("start_supervisor", |runtime, _, _| ignore(runtime.start_supervisor(Supervisor::one_for_one()))),
        ("call", |runtime, server, _| ignore(runtime.call(server, LONG, |reply| Ask::Double(1, reply)))),
        ("info", |runtime, _, me| ignore(runtime.process_info_blocking(me))),
        ("suspend", |runtime, _, me| ignore(runtime.suspend_blocking(me))),
        ("resume", |runtime, _, me| ignore(runtime.resume_blocking(me))),
        ("wait", |runtime, _, me| ignore(runtime.wait_blocking(me, LONG))),
        ("terminate", |runtime, _, me| ignore(runtime.terminate(me, LONG))),
        ("exits", |runtime, _, _| ignore(runtime.exits(2).next_blocking(LONG))),
        ("count", |runtime, server, _| {
            ignore(runtime.count_children_blocking(atropos::otp::SupervisorRef::new(server.pid())));
        }),
        ("join", |_, _, _| wait(std::future::pending::<()>())),
        ("join until", |_, _, _| ignore(atropos::block_on::wait_until(std::future::ready(1), None))),
    ];
    for cores in [1, 2] {
        let runtime = Arc::new(runtime(cores));
        let server = runtime.start_server(Doubles::default()).expect("up").expect("it serves");
        for (name, blocks) in all {
            let inner = runtime.clone();
            let said = runtime.block_on(async move |cx: Context<()>| {
                let said = catch_unwind(AssertUnwindSafe(|| blocks(&inner, server, cx.pid())));
                said.map_err(|panic| text_of(&*panic).to_owned())
            });
            let said = said.expect("it lives").expect_err("it panics");
            assert!(said.contains("Cannot block a worker") && said.contains("Handle::blocking"), "{name}: {said}");
            let said =
                tokio().block_on(async { catch_unwind(AssertUnwindSafe(|| blocks(&runtime, server, server.pid()))) });
            let said = said.expect_err("it panics");
            assert!(text_of(&*said).contains("current-thread Tokio"), "{name}: {}", text_of(&*said));
        }
        assert_eq!(runtime.call(server, LONG, |reply| Ask::Double(3, reply)), Ok(6), "the other processes go on");
    }
}

/// Issue 14, 17: a call blocks where it may: in a blocking job, in a callback, on a thread of
/// Tokio's blocking pool, on a worker of Tokio's multi-threaded runtime.
#[test]
fn n17_a_call_blocks_where_it_may() {
    let runtime = Arc::new(runtime(1));
    let server = runtime.start_server(Doubles::default()).expect("up").expect("it serves");
    let asks = {
        let handle = runtime.handle();
        move || handle.call(server, LONG, |reply| Ask::Double(3, reply))
    };
    assert_eq!(wait(runtime.blocking(asks.clone())), Ok(Ok(6)));
    let (tell, told) = mpsc::channel();
    let pid = runtime.spawn(async |_: Context<()>| ()).expect("a process");
    let in_callback = asks.clone();
    runtime.on_exit(pid, move |_| tell.send(in_callback()).expect("the test waits")).expect("a watch");
    assert_eq!(told.recv(), Ok(Ok(6)));
    let in_pool = asks.clone();
    assert_eq!(tokio().block_on(async { tokio::task::spawn_blocking(in_pool).await.expect("it ran") }), Ok(6));
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("threads");
    assert_eq!(many.block_on(async { tokio::spawn(async move { asks() }).await.expect("it ran") }), Ok(6));
}

/// Issue 14, 31: the requests of processes to supervisors, registries, groups and tasks, and
/// operations on names and timers, from a thread and from a task. (A process had to be written for
/// each.)
#[test]
fn n31_a_host_thread_makes_the_requests_of_a_process() {
    let runtime = runtime(1);
    let handle = runtime.handle();
    let sleeper = || async |cx: Context<()>| cx.sleep(Duration::MAX).await;
    let child =
        move |id: &'static str| ChildSpec::worker(id, move |starter: &mut ChildStarter<'_>| starter.spawn(sleeper()));
    let supervisor = handle.start_supervisor(Supervisor::one_for_one().child(child("a"))).expect("up");
    let started = handle.start_child_blocking(supervisor, child("b")).expect("started").expect("it has a process");
    assert!(handle.is_alive(started));
    let children = handle.which_children_blocking(supervisor).expect("it answers");
    assert_eq!(children.len(), 2);
    assert!(matches!(children[1].state, ChildState::Up(pid) if pid == started), "{children:?}");
    assert_eq!(handle.count_children_blocking(supervisor).map(|counts| counts.active), Ok(2));
    handle.terminate_child_blocking(supervisor, "b".into()).expect("it ends");
    assert!(!handle.is_alive(started));
    let again = handle.restart_child_blocking(supervisor, "b".into()).expect("it starts").expect("it has a process");
    handle.terminate_process_blocking(supervisor, again).expect("it ends");
    handle.delete_child_blocking(supervisor, "b".into()).expect("it is forgotten");
    let unknown = handle.restart_child_blocking(supervisor, "b".into());
    assert_eq!(unknown, Err(ControlError::NotFound));

    tokio().block_on(async {
        let who = handle.spawn(sleeper()).expect("a process").pid();
        let registry = handle.start_server_async(Registry::<&str, u8>::unique()).await.expect("up").expect("it serves");
        handle.register_in(registry, who, "key", 7).await.expect("it is free");
        assert_eq!(handle.lookup_in(registry, "key").await, Ok(vec![(who, 7)]));
        assert_eq!(handle.whereis_in(registry, "key").await, Ok(Some(who)));
        assert_eq!(handle.keys_in(registry, who).await, Ok(vec!["key"]));
        assert_eq!(handle.count_in(registry).await, Ok(1));
        assert_eq!(handle.unregister_in(registry, who, "key").await, Ok(true));
        let groups = handle.start_server_async(ProcessGroups::<u8>::default()).await.expect("up").expect("it serves");
        handle.join_group(groups, 1, vec![who, who]).await.expect("it lives");
        assert_eq!(handle.group_members(groups, 1).await, Ok(vec![who, who]));
        assert_eq!(handle.which_groups(groups).await, Ok(vec![1]));
        assert_eq!(handle.leave_group(groups, 1, vec![who, who]).await, Ok(true));
        let tasks = handle.start_supervisor_async(TaskSupervisor::builder()).await.expect("up");
        let tasks = TaskSupervisor::of(atropos::otp::DynamicRef::new(tasks));
        assert_eq!(handle.spawn_task(tasks, async |_| 6 * 7).await, Ok(42));
        let crash = handle.spawn_task(tasks, async |_| -> u8 { panic!("it crashes") }).await;
        assert!(crash.is_err_and(|error| error.to_string().contains("it crashes")));
        assert!(handle.run(async |cx: Context<()>| cx.pid()).await.is_ok());
        let died = handle.run(async |cx: Context<()>| cx.stop(Reason::value(3)).await).await;
        assert_eq!(died.map(|_: std::convert::Infallible| ()), Err(Reason::value(3)));
        // A request to a dead process returns an error.
        handle.terminate_blocking_for_tests(who);
        let dead = handle.count_children(atropos::otp::SupervisorRef::new(who)).await;
        assert_eq!(dead, Err(CallError::Down(Reason::NOPROC)));
    });

    let (tell, told) = mpsc::channel();
    let gets = handle.spawn(async move |cx: Context<u8>| {
        while let Received::Message(message) = cx.recv().await {
            tell.send(message).expect("the test waits");
        }
    });
    let gets = gets.expect("a process");
    handle.register("gets", gets).expect("it is free");
    assert_eq!(handle.whereis("gets"), Some(gets.pid()));
    assert!(handle.register("gets", gets).is_err());
    assert!(handle.unregister("gets") && !handle.unregister("gets"));
    let late = handle.send_after(gets, LONG, 1).expect("a thread");
    let never = handle.send_after(gets, Duration::MAX, 2).expect("a thread");
    let soon = handle.send_after(gets, Duration::from_millis(2), 3).expect("a thread");
    assert_eq!(told.recv(), Ok(3));
    assert_eq!((soon.left(), soon.cancel(), never.cancel()), (None, None, Some(Duration::MAX)));
    assert_eq!((never.left(), never.cancel()), (None, None), "it has been cancelled");
    assert!(late.left().is_some() && late.cancel().is_some() && late.cancel().is_none());
    runtime.shutdown(LONG).expect("all end");
}

trait Kills {
    fn terminate_blocking_for_tests(&self, pid: Pid);
}

impl Kills for atropos::Handle {
    fn terminate_blocking_for_tests(&self, pid: Pid) {
        self.exit(pid, Reason::KILL).expect("a kill needs no memory");
        while self.is_alive(pid) {
            std::thread::yield_now();
        }
    }
}

/// Issue 14, 31: an async body is spawned on behalf of another process.
#[test]
fn n31_async_bodies_for_another_parent() {
    let runtime = runtime(2);
    let (tell, told) = mpsc::channel();
    let parent = runtime.spawn(async move |cx: Context<()>| {
        while let Received::Down(down) = cx.recv().await {
            tell.send(down).expect("the test waits");
        }
    });
    let parent = parent.expect("a process");
    let options = SpawnOptions::new().monitor();
    let (child, monitor) =
        runtime.spawn_child_of(parent, &options, async |_: Context<()>| Reason::value(5)).expect("a process");
    let down = told.recv_timeout(LONG).expect("the parent gets a DOWN");
    assert_eq!((Some(down.reference), down.reason), (monitor, Reason::value(5)));
    let linked = SpawnOptions::new().link();
    let (child2, _) = runtime
        .spawn_child_of(parent, &linked, async |cx: Context<()>| cx.sleep(Duration::MAX).await)
        .expect("a process");
    assert_ne!(child.pid(), child2.pid());
    runtime.exit(parent, Reason::KILL).expect("a kill needs no memory");
    assert_eq!(runtime.wait_blocking(child2, LONG).expect("it ends").reason, Some(Reason::KILLED));
    let late = runtime.spawn_child_of(parent, &linked, async |_: Context<()>| ());
    assert_eq!(late.map(drop), Err(SpawnError::Dying));
}

#[inline(never)]
fn touch(bytes: &mut [u8]) -> usize {
    bytes[0] = 1;
    bytes.iter().filter(|byte| **byte == 1).count()
}

/// Issue 14, 17: futures of megabytes, made by each way to start a process, also in an unoptimized
/// build. (From 400 KiB on the program aborted.)
#[test]
fn n17_large_futures_do_not_overflow_the_stack() {
    const LARGE: usize = 3 << 20;
    let large = || {
        async |cx: Context<()>| {
            let mut bytes = [0_u8; LARGE];
            cx.sleep(Duration::from_millis(1)).await;
            assert_eq!(touch(&mut bytes), 1);
        }
    };
    let runtime = runtime(1);
    assert_eq!(runtime.block_on(large()), Ok(()));
    let pid = runtime.spawn(large()).expect("a process");
    assert_eq!(runtime.wait_blocking(pid, LONG).expect("it ends").reason, Some(Reason::NORMAL));
    let child = runtime.block_on(async |cx: Context<()>| {
        cx.spawn_monitor(large()).expect("a process");
        let Received::Down(down) = cx.recv().await else { panic!("nothing else comes") };
        down.reason
    });
    assert_eq!(child, Ok(Reason::NORMAL));
    // A small stack is enough for small bodies.
    let small = Runtime::builder().cores(1).stack_size(256 << 10).build().expect("a thread");
    assert_eq!(small.block_on(async |_: Context<()>| 1), Ok(1));
}

/// Issue 14, 17: a child process made by `fork` has no threads. Using its parent's runtime panics
/// with an explanation, dropping it returns, and a runtime of its own works. (It waited for ever.)
#[cfg(target_os = "linux")]
#[test]
fn n17_use_after_fork_panics() {
    let runtime = runtime(1);
    let server = runtime.start_server(Doubles::default()).expect("up").expect("it serves");
    let wait_for = runtime.wait(server);
    let exits = runtime.exits(4);
    // SAFETY: the child consists of this thread alone. It uses memory of this thread and of threads
    // that it starts (an allocator supports that), and leaves by `_exit`, or by the alarm's signal.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the call only sets a timer, which ends the child if it hangs.
        unsafe { libc::alarm(60) };
        std::panic::set_hook(Box::new(|_| {}));
        let says = |asks: &dyn Fn()| {
            catch_unwind(AssertUnwindSafe(asks)).is_err_and(|panic| text_of(&*panic).contains("fork"))
        };
        let all = [
            says(&|| ignore(runtime.block_on(async |_: Context<()>| ()))),
            says(&|| ignore(runtime.spawn(async |_: Context<()>| ()).map(|_| ()))),
            says(&|| ignore(runtime.call(server, LONG, |reply| Ask::Double(1, reply)))),
            says(&|| ignore(runtime.start_server(Doubles::default()))),
            says(&|| ignore(runtime.blocking(|| 1))),
            says(&|| ignore(runtime.on_exit(server, |_| ()).map(drop))),
            says(&|| ignore(runtime.process_info_blocking(server))),
            says(&|| ignore(runtime.exits(2))),
            says(&|| ignore(wait(runtime.timeout(LONG, std::future::pending::<()>())))),
            says(&|| ignore(runtime.send_after(server.pid(), LONG, 1))),
        ];
        drop((wait_for, exits));
        let shut = catch_unwind(AssertUnwindSafe(|| runtime.shutdown(LONG)));
        let own = self::runtime(1);
        let works = shut.is_err() && own.block_on(async |_: Context<()>| 7) == Ok(7) && own.shutdown(LONG).is_ok();
        let code = all.iter().position(|says| !says).map_or(if works { 0 } else { 100 }, |which| 1 + which as i32);
        // SAFETY: the call ends the child here, and takes only a number.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the call waits for the child made above, and writes its status to a live variable.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0), "the use that did not panic");
    assert_eq!(runtime.call(server, LONG, |reply| Ask::Double(3, reply)), Ok(6), "the parent goes on");
    drop((wait_for, exits));
}
