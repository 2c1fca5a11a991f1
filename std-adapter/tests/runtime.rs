//! A runtime as programs see it: its limits, what its processes may do, and its shutdown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atropos::kernel::Limits;
use atropos::otp::registry::Registry;
use atropos::prelude::*;
use atropos::{Body, BodyPoll, Cx};

fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("two threads")
}

#[test]
fn limits_are_errors_for_the_caller() {
    let limits = Limits { processes: 4, timers: 1, names: 1, ..Limits::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("a thread");
    let done = runtime.block_on(async |cx: Context<()>| {
        let sleeper = async |cx: Context<()>| {
            cx.recv().await;
        };
        for _ in 0..3 {
            cx.spawn(sleeper).expect("within the limit");
        }
        assert_eq!(cx.spawn(sleeper).map(|_| ()), Err(SpawnError::TooMany));
        let timer = cx.send_after(cx.pid(), Duration::from_secs(9), ()).expect("within the limit");
        assert_eq!(cx.send_after(cx.pid(), Duration::from_secs(9), ()), Err(atropos::TimerError::TooMany));
        assert!(cx.cancel_timer(timer).is_some());
        cx.send_after(cx.pid(), Duration::from_secs(9), ()).expect("there is room again");
        cx.register("one", cx.pid()).expect("within the limit");
        assert_eq!(cx.register("two", cx.pid()), Err(atropos::RegisterError::TableFull));
    });
    assert_eq!(done, Ok(()));
}

#[test]
fn a_limit_of_nodes_is_an_error_and_deaths_need_none() {
    let limits = Limits { nodes: 10, ..Limits::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("a thread");
    let done = runtime.block_on(async |cx: Context<()>| {
        let (waits, _) = cx
            .spawn_with(&SpawnOptions::new().link().monitor(), async |cx: Context<u32>| {
                cx.sleep(Duration::from_secs(3600)).await;
            })
            .expect("a process");
        cx.trap_exit(true);
        // The link, the monitor and, once it runs, the sleep are three nodes.
        cx.yield_now().await;
        for i in 0..7 {
            assert_eq!(cx.send(waits, i), Ok(()));
        }
        assert_eq!(cx.send(waits, 7), Err(SendError::NoMemory(7)));
        assert_eq!(cx.exit(waits, Reason::SHUTDOWN), Err(atropos::NoMemory));
        assert_eq!(cx.monitor(waits), Err(atropos::MonitorError::NoMemory));
        cx.unlink(waits);
    });
    assert_eq!(done, Ok(()));
    // Deaths release everything, and need nothing.
    let kernel = runtime.kernel().clone();
    // A kill needs nothing either.
    runtime.shutdown(Duration::from_secs(2)).expect("all end");
    assert_eq!(kernel.nodes_used(), 0);
}

#[test]
fn a_context_is_its_processs_own() {
    let runtime = runtime();
    let message = runtime.block_on(async |cx: Context<()>| {
        std::thread::spawn(move || cx.send(cx.pid(), ()))
            .join()
            .expect_err("it panicked there")
            .downcast_ref::<String>()
            .cloned()
    });
    assert!(message.expect("main lives").expect("a text").contains("outside its process"));
}

#[test]
fn blocking_work_keeps_no_core() {
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let handle = runtime.handle();
    let sum = runtime.block_on(async move |cx: Context<()>| {
        let slow = handle.blocking(|| {
            std::thread::sleep(Duration::from_millis(50));
            40
        });
        cx.sleep(Duration::from_millis(1)).await;
        slow.await.expect("it ran") + 2
    });
    assert_eq!(sum, Ok(42));
}

/// A body that does not yield until it is told so from outside.
struct Hog(Arc<AtomicUsize>);
impl Body for Hog {
    type Message = ();
    fn resume(&mut self, _: &Cx<'_, ()>) -> BodyPoll {
        while self.0.load(Ordering::Relaxed) == 0 {
            std::hint::spin_loop();
        }
        BodyPoll::Wait
    }
}

#[test]
fn a_body_that_occupies_its_core_is_reported() {
    let reported = Arc::new(AtomicUsize::new(0));
    let seen = reported.clone();
    let runtime = Runtime::builder()
        .cores(1)
        .on_long_slice(Duration::from_millis(10), move |slice| {
            seen.store(slice.pid.to_raw() as usize, Ordering::Relaxed);
        })
        .build()
        .expect("a thread");
    let hog = runtime.spawn_body(&SpawnOptions::new(), Hog(reported.clone())).expect("a process").pid;
    let end = Instant::now() + Duration::from_secs(60);
    while runtime.is_alive(hog) && reported.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end, "it was never reported");
        std::thread::yield_now();
    }
    assert_eq!(reported.load(Ordering::Relaxed), hog.to_raw() as usize);
}

#[test]
fn shutdown_leaves_no_process_and_no_thread() {
    let runtime = runtime();
    let handle = runtime.handle();
    // The threads on which processes have run, as files: other tests have threads as well.
    let threads: Arc<Mutex<BTreeSet<PathBuf>>> = Arc::default();
    let begun = Arc::new(AtomicUsize::new(0));
    for i in 0..1000 {
        let (threads, begun) = (threads.clone(), begun.clone());
        // Every third process ignores the request.
        runtime
            .spawn_with(&SpawnOptions::new().trap_exit(i % 3 == 0), async move |cx: Context<()>| {
                let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
                threads.lock().expect("not poisoned").insert(Path::new("/proc").join(thread));
                begun.fetch_add(1, Ordering::Relaxed);
                loop {
                    cx.recv().await;
                }
            })
            .expect("a process");
    }
    let end = Instant::now() + Duration::from_secs(60);
    while begun.load(Ordering::Relaxed) < 1000 {
        assert!(Instant::now() < end, "they run");
        std::thread::yield_now();
    }
    let threads: BTreeSet<PathBuf> = std::mem::take(&mut *threads.lock().expect("not poisoned"));
    assert!(!threads.is_empty() && threads.iter().all(|thread| thread.exists()), "{threads:?}");
    assert_eq!(runtime.shutdown(Duration::from_secs(2)), Ok(()));
    assert_eq!(handle.processes(), []);
    assert_eq!(handle.process_count(), 0);
    assert_eq!(handle.spawn(async |_: Context<()>| ()).map(|_| ()), Err(SpawnError::Closing));
    // A thread that has been joined may have its file for a moment more.
    while threads.iter().any(|thread| thread.exists()) {
        assert!(Instant::now() < end, "{threads:?}");
        std::thread::yield_now();
    }
}

#[test]
fn tokio_beside_and_inside() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
    let builder = Runtime::builder().cores(2);
    let runtime = builder.tokio(tokio.handle().clone()).build().expect("threads");
    let listener = tokio.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let at = listener.local_addr().expect("bound");
    // A body that uses Tokio's I/O and timers.
    let server = runtime
        .spawn(async move |cx: Context<u8>| {
            use tokio::io::AsyncWriteExt;
            let (mut socket, _) = listener.accept().await.expect("a client");
            tokio::time::sleep(Duration::from_millis(1)).await;
            let Received::Message(byte) = cx.recv().await else { panic!("a message") };
            socket.write_all(&[byte]).await.expect("written");
        })
        .expect("a process");
    // A Tokio task that sends to a process.
    let handle = runtime.handle();
    let read = tokio.block_on(async move {
        use tokio::io::AsyncReadExt;
        let mut socket = tokio::net::TcpStream::connect(at).await.expect("connected");
        handle.send(server, 7_u8).expect("alive");
        socket.read_u8().await.expect("read")
    });
    assert_eq!(read, 7);
}

/// The destructor of an unread message does not return. The shutdown does not wait for it beyond
/// its timeout, and reports that something is left.
#[test]
fn a_shutdown_keeps_its_deadline_beside_a_destructor() {
    struct Slow(std::sync::mpsc::Receiver<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }
    let runtime = runtime();
    let (end, ends) = std::sync::mpsc::channel();
    let process = runtime.spawn(async |cx: Context<Slow>| drop(cx.recv_match(|_| false).await)).expect("room");
    runtime.send(process, Slow(ends)).expect("it lives");
    // It returns while the destructor still waits for `end`: otherwise this test would hang.
    assert!(runtime.shutdown(Duration::from_millis(50)).is_err());
    drop(end);
}

/// The system's timer slack would double the time that waking a thread takes.
#[cfg(target_os = "linux")]
#[test]
fn workers_are_woken_without_slack() {
    let runtime = Runtime::builder().cores(1).build().expect("threads");
    let slack = runtime.block_on(async |_: Context<()>| {
        // SAFETY: the call only reads a number of the thread.
        unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }
    });
    assert_eq!(slack, Ok(1), "nanoseconds");
}

/// A process that has run to its end is gone when its caller goes on: dead, without a name, and out
/// of the registry. (The caller went on once the body was dropped, so the next process found the
/// name taken.)
#[test]
fn n17_nothing_is_left_of_a_process_when_its_caller_goes_on() {
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    let registry = runtime.start_server(Registry::<u8, ()>::unique()).expect("memory").expect("it serves");
    let work = async move |cx: Context<()>| {
        let named = cx.register("main", cx.pid());
        let keyed = registry.register(&cx, 1, ()).await;
        (cx.pid(), named.is_ok(), keyed.is_ok())
    };
    for round in 0..3_000 {
        let (pid, named, keyed) = runtime.block_on(work).expect("no crash");
        assert!(named && keyed, "round {round}: name {named}, key {keyed}");
        assert!(!runtime.is_alive(pid) && runtime.whereis("main").is_none(), "round {round}");
    }
    for round in 0..3_000 {
        let run = runtime.run(async |cx: Context<()>| (cx.pid(), cx.register("main", cx.pid()).is_ok()));
        let (pid, named) = atropos::block_on::wait(run).expect("no crash");
        assert!(named, "round {round} of `run`");
        assert!(!runtime.is_alive(pid) && runtime.whereis("main").is_none(), "round {round} of `run`");
    }
}
