//! What a program sees of a runtime.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use atropos::kernel::Limits;
use atropos::prelude::*;
use atropos::{Alias, AliasMode, Body, Cx, Peek, Resumed};

fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("two threads")
}

/// What a process that is spawned and monitored ends with.
fn reason_of<S, F>(start: S) -> Reason
where
    S: FnOnce(Context<u32>) -> F + Send + 'static,
    F: Future<Output: atropos::kernel::task::Exit> + Send + 'static,
{
    let down = runtime().block_on(async move |mut cx: Context<()>| {
        let (_, monitor) = cx.spawn_monitor(start).expect("a process");
        match cx.recv().await {
            Received::Down(down) if down.reference == monitor => down.reason,
            other => panic!("expected the DOWN, got {other:?}"),
        }
    });
    down.expect("the main process returned")
}

struct PanicsWhenDropped;
impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn a_body_ends_with_what_it_returns() {
    assert_eq!(reason_of(async |_| ()), Reason::NORMAL);
    assert_eq!(reason_of(async |_| Reason::value(7)), Reason::value(7));
    assert_eq!(reason_of(async |_| Err::<(), _>("no")), Reason::crash("no"));
    assert_eq!(reason_of(async |_| Err::<(), _>(Reason::SHUTDOWN)), Reason::SHUTDOWN);
    assert_eq!(
        reason_of(async |cx: Context<u32>| {
            cx.stop(Reason::value("here")).await;
        }),
        Reason::value("here")
    );
}

#[test]
fn a_panic_is_a_crash_with_its_text() {
    assert_eq!(
        reason_of(async |_| {
            std::hint::black_box(None::<u8>).expect("nothing there");
        }),
        Reason::crash("nothing there")
    );
    // Before its first poll: in the closure that makes the future.
    let before = |_: Context<u32>| -> std::future::Ready<()> { panic!("too early") };
    assert_eq!(reason_of(before), Reason::crash("too early"));
}

#[test]
fn a_panic_in_a_destructor_hurts_nobody_else() {
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    let runtime = Runtime::builder()
        .cores(1)
        .on_lost_panic(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .expect("a thread");
    let reason = runtime.block_on(async |mut cx: Context<()>| {
        let (child, _) = cx
            .spawn_monitor(async |mut cx: Context<PanicsWhenDropped>| {
                let _held = PanicsWhenDropped;
                cx.recv().await;
            })
            .expect("a process");
        // Let it wait; then its body, which holds one, is dropped by the kill.
        cx.sleep(Duration::from_millis(5)).await;
        cx.exit(child, Reason::KILL).expect("memory");
        let Received::Down(down) = cx.recv().await else { panic!("expected the DOWN") };
        down.reason
    });
    assert_eq!(reason, Ok(Reason::KILLED));
    assert_eq!(lost.load(Ordering::Relaxed), 1);
}

#[test]
fn block_on_gives_the_reason_of_a_main_that_dies() {
    let runtime = runtime();
    assert_eq!(runtime.block_on(async |_: Context<()>| 5), Ok(5));
    let died = runtime.block_on(async |cx: Context<()>| {
        cx.stop(Reason::value("early")).await;
    });
    assert_eq!(died, Err(Reason::value("early")));
}

#[test]
fn a_wrong_message_comes_back() {
    let runtime = runtime();
    let process = runtime
        .spawn(async |mut cx: Context<u32>| {
            cx.recv().await;
        })
        .expect("a process");
    assert_eq!(runtime.send(process.pid(), "text"), Err(SendError::WrongType("text")));
    assert_eq!(runtime.send(process, 1), Ok(()));
    while runtime.is_alive(process) {
        std::thread::yield_now();
    }
    assert_eq!(runtime.send(process, 2), Err(SendError::NoProc(2)));
}

#[test]
fn a_full_mailbox_gives_the_message_back_and_takes_exits() {
    let runtime = runtime();
    let done = runtime.block_on(async |mut cx: Context<()>| {
        let options = SpawnOptions::new().monitor().mailbox_limit(2);
        let (busy, _) = cx
            .spawn_with(&options, async |cx: Context<u32>| cx.sleep(Duration::from_secs(3600)).await)
            .expect("a process");
        assert_eq!(cx.send(busy, 1_u32), Ok(()));
        assert_eq!(cx.send(busy, 2_u32), Ok(()));
        assert_eq!(cx.send(busy, 3_u32), Err(SendError::Full(3)));
        cx.exit(busy, Reason::value("enough")).expect("memory");
        matches!(cx.recv().await, Received::Down(down) if down.reason == Reason::value("enough"))
    });
    assert_eq!(done, Ok(true));
}

#[test]
fn a_kill_keeps_its_place_behind_what_was_sent_before() {
    let runtime = Runtime::builder().cores(1).build().expect("a thread");
    let reasons = runtime.block_on(async |mut cx: Context<Waker>| {
        cx.trap_exit(true);
        let me = cx.address();
        let mut reasons = Vec::new();
        for round in 0..3 {
            let target = cx.spawn(async move |cx: Context<()>| {
                let waker = poll_fn(|task| Poll::Ready(task.waker().clone())).await;
                cx.send(me, waker).expect("alive");
                std::future::pending::<()>().await;
            });
            let target = target.expect("a process").pid();
            let Received::Message(waker) = cx.recv().await else { unreachable!() };
            // It has a signal to meet when the others come.
            waker.wake();
            match round {
                0 => drop(cx.monitor(target).expect("memory")),
                1 => cx.link(target).expect("alive"),
                _ => {
                    cx.monitor(target).expect("memory");
                    cx.exit(target, Reason::SHUTDOWN).expect("memory");
                }
            }
            cx.exit(target, Reason::KILL).expect("memory");
            match cx.recv().await {
                Received::Down(down) => reasons.push(down.reason),
                Received::Exit(exit) => reasons.push(exit.reason),
                other => panic!("unexpected: {other:?}"),
            }
        }
        reasons
    });
    assert_eq!(reasons, Ok(vec![Reason::KILLED, Reason::KILLED, Reason::SHUTDOWN]));
}

#[test]
fn late_replies_do_not_fill_a_bounded_mailbox() {
    let runtime = runtime();
    let done = runtime.block_on(async |mut cx: Context<Alias>| {
        let me = cx.address();
        let options = SpawnOptions::new().mailbox_limit(2);
        let server = async move |mut cx: Context<u32>| {
            let alias = cx.alias(false).expect("memory");
            cx.unalias(alias);
            cx.send(me, alias).expect("alive");
            assert!(matches!(cx.recv().await, Received::Message(7)));
        };
        let (server, _) = cx.spawn_with(&options, server).expect("a process");
        let Received::Message(spent) = cx.recv().await else { unreachable!() };
        for _ in 0..10 {
            // Swallowed, two at a time: the server meets them before it answers.
            for late in 0..2_u32 {
                assert_eq!(cx.send_alias(spent, late), Ok(()));
            }
            assert!(cx.info(server).await.expect("memory").is_some());
        }
        cx.send(server, 7_u32)
    });
    assert_eq!(done, Ok(Ok(())));
}

#[test]
fn limits_are_errors_to_who_asked() {
    let limits = Limits { processes: 4, timers: 1, names: 1, ..Limits::default() };
    let runtime = Runtime::builder().cores(1).limits(limits).build().expect("a thread");
    let done = runtime.block_on(async |cx: Context<()>| {
        let sleeper = async |mut cx: Context<()>| {
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
        // The link, the monitor and, once it runs, the sleep are three.
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
    // Everything is given back by deaths, which ask for nothing.
    let kernel = runtime.kernel().clone();
    // And a kill needs nothing either.
    runtime.shutdown(Duration::from_secs(2)).expect("all end");
    assert_eq!(kernel.nodes_used(), 0);
}

#[test]
fn a_selective_receive_looks_at_each_message_once() {
    let runtime = runtime();
    let looks = runtime.block_on(async |mut cx: Context<u32>| {
        let me = cx.address();
        for i in 0..1000 {
            cx.send(me, i).expect("alive");
        }
        cx.spawn(async move |cx: Context<()>| {
            for i in 0..100 {
                cx.sleep(Duration::from_micros(100)).await;
                cx.send(me, 10_000 + i).expect("alive");
            }
        })
        .expect("a process");
        let mut looks = 0;
        let wanted = |peek: Peek<'_, u32>| {
            looks += 1;
            matches!(peek, Peek::Message(10_099))
        };
        assert!(matches!(cx.recv_match(wanted).await, Some(Received::Message(10_099))));
        looks
    });
    assert_eq!(looks, Ok(1100));
}

#[test]
fn a_call_through_an_alias_drops_late_replies() {
    let runtime = runtime();
    let done = runtime.block_on(async |mut cx: Context<u32>| {
        let server = cx
            .spawn(async |mut cx: Context<atropos::Alias>| {
                while let Received::Message(reply_to) = cx.recv().await {
                    cx.send_alias(reply_to, 1_u32).expect("alive");
                    cx.send_alias(reply_to, 2_u32).expect("alive");
                }
            })
            .expect("a process");
        let call = cx.monitor_alias(server, AliasMode::ReplyDemonitor).expect("memory");
        cx.send(server, call).expect("alive");
        assert!(matches!(cx.recv().await, Received::Message(1)));
        // The second reply, and the DOWN, never come: the first reply ended both.
        cx.exit(server, Reason::KILL).expect("memory");
        cx.recv_timeout(Duration::from_millis(50)).await.is_none()
    });
    assert_eq!(done, Ok(true));
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

/// Never lets go until it is told, from outside.
struct Hog(Arc<AtomicUsize>);
impl Body for Hog {
    type Message = ();
    fn resume(&mut self, _: &Cx<'_, ()>) -> Resumed {
        while self.0.load(Ordering::Relaxed) == 0 {
            std::hint::spin_loop();
        }
        Resumed::Wait
    }
}

#[test]
fn a_body_that_keeps_its_core_is_reported() {
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
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while runtime.is_alive(hog) && reported.load(Ordering::Relaxed) == 0 {
        assert!(std::time::Instant::now() < end, "it was never reported");
        std::thread::yield_now();
    }
    assert_eq!(reported.load(Ordering::Relaxed), hog.to_raw() as usize);
}

#[test]
fn shutdown_leaves_no_process_and_no_thread() {
    let threads = || {
        std::fs::read_dir("/proc/self/task")
            .expect("Linux")
            .filter(|task| {
                let comm = task.as_ref().expect("a thread").path().join("comm");
                std::fs::read_to_string(comm).is_ok_and(|name| name.trim() == "shut-me-down")
            })
            .count()
    };
    let runtime = runtime();
    let handle = runtime.handle();
    for i in 0..1000 {
        // Every third ignores what it is asked.
        runtime
            .spawn_with(&SpawnOptions::new().trap_exit(i % 3 == 0), async |mut cx: Context<()>| {
                loop {
                    cx.recv().await;
                }
            })
            .expect("a process");
    }
    assert_eq!(runtime.shutdown(Duration::from_secs(2)), Ok(()));
    assert_eq!(handle.processes(), []);
    assert_eq!(handle.process_count(), 0);
    assert_eq!(handle.spawn(async |_: Context<()>| ()).map(|_| ()), Err(SpawnError::Closing));
    assert_eq!(threads(), 0);
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
        .spawn(async move |mut cx: Context<u8>| {
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

#[test]
fn why_the_main_process_ended_is_known_while_it_is_still_dying() {
    // Its sender goes with its body, long before its 20,000 links have fired.
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    for _ in 0..100 {
        let ended = runtime.block_on(async |cx: Context<()>| -> () {
            for _ in 0..20_000 {
                let child = cx.spawn_link(|mut cx: Context<()>| async move {
                    cx.recv().await;
                });
                child.expect("room");
            }
            std::panic::resume_unwind(Box::new("a reason"))
        });
        assert_eq!(ended, Err(Reason::crash("a reason")));
    }
}

#[test]
fn what_is_contained_panics_and_the_body_goes_on() {
    let runtime = runtime();
    let said = runtime.block_on(async |mut cx: Context<u32>| {
        cx.send(cx.address(), 1).expect("itself");
        let crash = |text: &str| -> u32 { std::panic::resume_unwind(Box::new(text.to_owned())) };
        let contained = cx.with(|cx| cx.contain(|| crash("contained")));
        assert_eq!(contained, Err(Reason::crash("contained")));
        assert_eq!(cx.with(|cx| cx.contain(|| 2)), Ok(2));
        // Also out of a look at the mailbox, and from inside another.
        let looked = cx.with(|cx| {
            cx.contain(|| {
                assert!(cx.contain(|| crash("inner")).is_err());
                let mut cursor = atropos::Cursor::new();
                cx.receive_match(&mut cursor, |_| crash("a look") == 0).is_some()
            })
        });
        assert_eq!(looked, Err(Reason::crash("a look")));
        cx.recv().await
    });
    assert!(matches!(said, Ok(Received::Message(1))), "{said:?}");
}

/// The destructor of an unread message does not come to its end: the shutdown does not wait for it longer than it was
/// told to, and says that something is left.
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
    let process = runtime.spawn(async |mut cx: Context<Slow>| drop(cx.recv_match(|_| false).await)).expect("room");
    runtime.send(process, Slow(ends)).expect("it lives");
    // It returns while the destructor still waits for `end`: else this test would hang.
    assert!(runtime.shutdown(Duration::from_millis(50)).is_err());
    drop(end);
}
