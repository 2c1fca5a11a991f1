//! The exit reasons of processes, and which observers get them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos::prelude::*;

fn runtime() -> Runtime {
    Runtime::builder().cores(2).build().expect("two threads")
}

/// Returns the exit reason of a process that is spawned and monitored.
fn reason_of<S, F>(start: S) -> Reason
where
    S: FnOnce(Context<u32>) -> F + Send + 'static,
    F: Future<Output: atropos::kernel::task::IntoReason> + Send + 'static,
{
    let down = runtime().block_on(async move |cx: Context<()>| {
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
fn a_panic_in_a_destructor_affects_no_other_process() {
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    let runtime = Runtime::builder()
        .cores(1)
        .on_unhandled_panic(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .expect("a thread");
    let reason = runtime.block_on(async |cx: Context<()>| {
        let (child, _) = cx
            .spawn_monitor(async |cx: Context<PanicsWhenDropped>| {
                let _held = PanicsWhenDropped;
                cx.recv().await;
            })
            .expect("a process");
        // The child waits; then the kill drops its body, which holds one of these values.
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
fn exit_reason_of_main_is_known_while_it_is_dying() {
    // Its reply sender is dropped with its body, long before its 20,000 links have fired. In each
    // round the reason could be asked for too early during some milliseconds. So a few rounds are
    // enough to show the error, and more only cost time.
    let runtime = Runtime::builder().cores(2).build().expect("threads");
    for _ in 0..20 {
        let ended = runtime.block_on(async |cx: Context<()>| -> () {
            for _ in 0..20_000 {
                let child = cx.spawn_link(|cx: Context<()>| async move {
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
fn a_caught_panic_lets_the_body_go_on() {
    let runtime = runtime();
    let said = runtime.block_on(async |cx: Context<u32>| {
        cx.send(cx.address(), 1).expect("itself");
        let crash = |text: &str| -> u32 { std::panic::resume_unwind(Box::new(text.to_owned())) };
        let contained = cx.with(|cx| cx.catch_panic(|| crash("contained")));
        assert_eq!(contained, Err(Reason::crash("contained")));
        assert_eq!(cx.with(|cx| cx.catch_panic(|| 2)), Ok(2));
        // Also out of a scan of the mailbox, and from inside another catch.
        let looked = cx.with(|cx| {
            cx.catch_panic(|| {
                assert!(cx.catch_panic(|| crash("inner")).is_err());
                let mut cursor = atropos::Cursor::new();
                cx.receive_match(&mut cursor, |_| crash("a look") == 0).is_some()
            })
        });
        assert_eq!(looked, Err(Reason::crash("a look")));
        cx.recv().await
    });
    assert!(matches!(said, Ok(Received::Message(1))), "{said:?}");
}
