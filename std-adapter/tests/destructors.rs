//! Issue 14, 5: values that the library keeps for its users have destructors that panic, several at
//! once among them. No other process dies, the program does not abort, and the requested operation
//! is carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use atropos::otp::event::{EventHandler, EventManager, HandlerNext};
use atropos::otp::registry::{Registry, RegistryRef};
use atropos::otp::server::MailPolicy;
use atropos::prelude::*;

const EVER: Duration = Duration::from_secs(60);

/// A value that panics when it is dropped.
#[derive(Clone, Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}

fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload_as_str() != Some("bomb") && panic.payload_as_str() != Some("crash") {
            eprintln!("{panic}");
        }
    }));
}

/// A server whose state is a bomb, and which is told to keep another one from a message.
struct Fuse(#[allow(dead_code, reason = "dropped")] Bomb);

enum Ask {
    Crash,
    Births(Reply<usize>),
}

static BIRTHS: AtomicUsize = AtomicUsize::new(0);

impl Server for Fuse {
    type Message = Ask;

    async fn handle(&mut self, message: Ask, _: ServerCx<'_, Self>) -> Next<Ask> {
        match message {
            Ask::Crash => panic!("crash"),
            Ask::Births(reply) => reply.send(BIRTHS.load(Ordering::Relaxed)),
        }
        Next::Wait
    }
}

#[test]
fn n05_server_restarts_although_its_destructors_panic() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let make = || {
        BIRTHS.fetch_add(1, Ordering::Relaxed);
        Fuse(Bomb)
    };
    let start = Fuse(Bomb).start().restart_in_place(make, MailPolicy::SkipPoison, Intensity::within(9, EVER));
    let server = runtime.start_server(start).expect("it starts").expect("it is up");
    for births in 1..=3 {
        runtime.cast(server, Ask::Crash).map_err(|_| ()).expect("it lives");
        let seen = runtime.block_on(async move |cx: Context<()>| server.call_within(&cx, EVER, Ask::Births).await);
        assert_eq!(seen.expect("no crash"), Ok(births), "restarted in place although its destructors panic");
    }
    runtime.exit(server, Reason::KILL).expect("memory");
    assert_eq!(runtime.wait_blocking(server, EVER).expect("it ends").reason, Some(Reason::KILLED));
    assert_eq!(runtime.block_on(async |_: Context<()>| 7), Ok(7));
    runtime.shutdown(EVER).expect("all end");
}

struct Handler(#[allow(dead_code, reason = "dropped")] Bomb, Arc<AtomicUsize>);

impl EventHandler<u8> for Handler {
    fn event(&mut self, event: &u8) -> HandlerNext {
        self.1.fetch_add(1, Ordering::Relaxed);
        if *event == 1 { HandlerNext::Leave } else { HandlerNext::Stay }
    }
}

#[test]
fn n05_event_handlers_may_panic_when_dropped() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let heard: Arc<AtomicUsize> = Arc::default();
    let counts = heard.clone();
    let ended = runtime.block_on(async move |cx: Context<()>| {
        let events = EventManager::<u8>::new().start().start(&cx).await.expect("it starts");
        for id in ["a", "b", "c"] {
            events.add(&cx, id, Handler(Bomb, counts.clone())).await.expect("it is new");
        }
        events.add(&cx, "a", Handler(Bomb, counts.clone())).await.expect_err("it is taken");
        events.sync_notify(&cx, 0).await.expect("it lives");
        assert_eq!(events.delete(&cx, "a").await, Ok(true));
        events.sync_notify(&cx, 1).await.expect("it lives");
        assert_eq!(events.which(&cx).await.map(|ids| ids.len()), Ok(0), "all have left");
        for id in ["d", "e"] {
            events.add(&cx, id, Handler(Bomb, counts.clone())).await.expect("it is new");
        }
        cx.exit(events, Reason::KILL).expect("memory");
        events.pid()
    });
    let pid = ended.expect("no crash");
    assert_eq!(runtime.wait_blocking(pid, EVER).expect("it ends").reason, Some(Reason::KILLED));
    assert_eq!(heard.load(Ordering::Relaxed), 5);
    runtime.shutdown(EVER).expect("all end");
}

/// A value that panics when it is dropped, once it is armed. Lookups before that forget their
/// clones.
#[derive(Clone)]
struct Armed(Arc<AtomicBool>);

impl Drop for Armed {
    fn drop(&mut self) {
        assert!(!self.0.load(Ordering::Relaxed), "bomb");
    }
}

#[test]
fn n05_a_registry_outlives_its_values() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let armed: Arc<AtomicBool> = Arc::default();
    let arms = armed.clone();
    let left = runtime.block_on(async move |cx: Context<()>| {
        let registry: RegistryRef<u8, Armed> = Registry::duplicate().start().start(&cx).await.expect("it starts");
        let owner = cx.spawn(async |cx: Context<()>| drop(cx.recv().await)).expect("a process");
        for key in [1, 1, 2] {
            registry.register_other(&cx, owner.pid(), key, Armed(arms.clone())).await.expect("it lives");
        }
        registry.register(&cx, 3, Armed(arms.clone())).await.expect("it lives");
        registry.register(&cx, 4, Armed(arms.clone())).await.expect("it lives");
        arms.store(true, Ordering::Relaxed);
        cx.exit(owner, Reason::KILL).expect("memory");
        while registry.count(&cx).await.expect("it lives on") > 2 {
            cx.yield_now().await;
        }
        // The registry ends with two of them in it.
        cx.exit(registry, Reason::KILL).expect("memory");
        registry.pid()
    });
    let pid = left.expect("no crash");
    assert_eq!(runtime.wait_blocking(pid, EVER).expect("it ends").reason, Some(Reason::KILLED));
    armed.store(false, Ordering::Relaxed);
    assert_eq!(runtime.block_on(async |_: Context<()>| 7), Ok(7));
    runtime.shutdown(EVER).expect("all end");
}

/// Issue 14, 5: delayed messages are dropped one by one, when their runtime ends and when they are
/// cancelled. (Two of them aborted the program: the second panicked during the unwind of the
/// first.)
#[test]
fn n05_unsent_messages_may_panic_when_dropped() {
    quiet();
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let gets = runtime.spawn(async |cx: Context<Bomb>| cx.sleep(EVER).await).expect("a process");
    let late: Vec<_> = (0..5).map(|_| runtime.send_after(gets, EVER, Bomb).expect("a thread")).collect();
    assert!(late[..2].iter().all(|late| late.cancel().is_some() && late.cancel().is_none()));
    runtime.shutdown(EVER).expect("all end");
    assert!(late.iter().all(|late| late.left().is_none()));
}
