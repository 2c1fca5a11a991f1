//! Issue 14, 4: the caller's end of a request is used off the calling process, which sleeps. A host
//! thread uses it, in a race with the reply. The waiting thread is woken, and an unclaimed reply is
//! dropped.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use atropos::kernel::RequestFuture;
use atropos::otp::PendingCall;
use atropos::prelude::*;

/// A timeout longer than any machine is busy.
const EVER: Duration = Duration::from_secs(60);

struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A reply that counts its live instances.
struct Answer(Arc<AtomicI64>);

impl Answer {
    fn new(alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self(alive.clone())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A process that sends a request at each message, passes its end of the request on, and sleeps.
fn requester(runtime: &Runtime, alive: &Arc<AtomicI64>) -> (Address<()>, mpsc::Receiver<RequestFuture<Answer>>) {
    let counts = alive.clone();
    let server = runtime.spawn(async move |cx: Context<Reply<Answer>>| {
        loop {
            if let Received::Message(reply) = cx.recv().await {
                reply.send(Answer::new(&counts));
            }
        }
    });
    let server = server.expect("a process");
    let (give, take) = mpsc::channel();
    let requester = runtime.spawn(async move |cx: Context<()>| {
        loop {
            let Received::Message(()) = cx.recv().await else { continue };
            let asked = cx.with(|cx| cx.request(server.pid(), |reply: Reply<Answer>| reply)).expect("it lives");
            let _ = give.send(asked);
        }
    });
    (requester.expect("a process"), take)
}

fn spin(round: u64) {
    for _ in 0..round * 7919 % 400 {
        std::hint::spin_loop();
    }
}

/// Waits for a reply on this thread, with its own waker.
fn wait(requested: &mut RequestFuture<Answer>, waker: &Waker) -> bool {
    let end = Instant::now() + EVER;
    while Instant::now() < end {
        if let Poll::Ready(answer) = requested.poll(&mut Task::from_waker(waker)) {
            return answer.is_ok();
        }
        thread::park_timeout(EVER);
    }
    false
}

#[test]
fn n04_a_request_used_off_its_process() {
    for cores in [1, 2] {
        let runtime = Runtime::builder().cores(cores).build().expect("a runtime");
        let alive = Arc::default();
        let (requester, take) = requester(&runtime, &alive);
        let waker = Waker::from(Arc::new(Unparks(thread::current())));
        for round in 0..20_000 {
            runtime.send(requester, ()).expect("it lives");
            let mut requested = take.recv_timeout(EVER).expect("it asks");
            spin(round);
            match round % 3 {
                0 => drop(requested),
                1 => assert!(wait(&mut requested, &waker), "round {round}: woken, and answered"),
                _ => {
                    let _ = requested.poll(&mut Task::from_waker(&waker));
                    drop(requested);
                }
            }
        }
        runtime.shutdown(EVER).expect("all end");
        assert_eq!(alive.load(Ordering::Relaxed), 0, "{cores} cores: replies were leaked");
    }
}

struct Answers(Arc<AtomicI64>);

impl Server for Answers {
    type Message = Reply<Answer>;

    async fn handle(&mut self, reply: Reply<Answer>, _: ServerCx<'_, Self>) -> Next<Reply<Answer>> {
        reply.send(Answer::new(&self.0));
        Next::Wait
    }
}

#[test]
fn n04_a_pending_call_dropped_off_its_process() {
    let runtime = Runtime::builder().cores(1).build().expect("a runtime");
    let alive: Arc<AtomicI64> = Arc::default();
    let (give, take) = mpsc::channel::<PendingCall<Answer>>();
    let counts = alive.clone();
    let requester = runtime.spawn(async move |cx: Context<()>| {
        let server = Answers(counts).start().start_link(&cx).await.expect("a server");
        loop {
            if let Received::Message(()) = cx.recv().await {
                let _ = give.send(server.request(&cx, |reply| reply).expect("it lives"));
            }
        }
    });
    let requester = requester.expect("a process");
    for round in 0..30_000 {
        runtime.send(requester, ()).expect("it lives");
        let pending = take.recv_timeout(EVER).expect("it asks");
        spin(round);
        drop(pending);
    }
    runtime.shutdown(EVER).expect("all end");
    assert_eq!(alive.load(Ordering::Relaxed), 0, "replies were leaked");
}
