//! Code that takes messages for proxies in the thread of their sender (`Handle::add_forwarder`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use atropos::{AnyMessage, Context, ExitCause, Forward, Forwarded, Pid, Received, Runtime, SendError, SpawnOptions};

const PATIENCE: Duration = Duration::from_secs(10);

/// A message that was queued, in a box of the gate's own.
struct Queued(AnyMessage);

/// Takes strings, and queues everything else.
#[derive(Default)]
struct Gate {
    proxy: Mutex<Option<Pid>>,
    taken: Mutex<Vec<(Option<Pid>, String)>>,
    signals: AtomicUsize,
    returned: AtomicUsize,
}

impl Forward for Gate {
    fn forward(&self, proxy: Pid, sender: Option<Pid>, message: AnyMessage) -> Result<Forwarded, AnyMessage> {
        if *self.proxy.lock().unwrap() != Some(proxy) {
            return Err(message);
        }
        match message.downcast::<String>() {
            Ok(text) => {
                self.taken.lock().unwrap().push((sender, *text));
                Ok(Forwarded::Sent)
            }
            Err(message) => Ok(Forwarded::Queue(Box::new(Queued(message)))),
        }
    }

    fn on_proxy_signal(&self, _: Pid) {
        self.signals.fetch_add(1, Ordering::Relaxed);
    }

    fn not_queued(&self, _: Pid, message: AnyMessage) -> AnyMessage {
        match message.downcast::<Queued>() {
            Ok(queued) => {
                self.returned.fetch_add(1, Ordering::Relaxed);
                queued.0
            }
            Err(message) => message,
        }
    }
}

/// Starts a proxy that tells what it receives.
fn proxy(runtime: &Runtime, options: &SpawnOptions<'_>) -> (Pid, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let body = async move |cx: Context<AnyMessage>| {
        loop {
            let text = match cx.recv().await {
                Received::Message(message) if message.is::<Queued>() => "queued".to_owned(),
                Received::Message(message) if message.is::<()>() => "watch".to_owned(),
                Received::Message(_) => "message".to_owned(),
                Received::Exit(exit) if exit.from.is_none() => return,
                Received::Exit(exit) if exit.cause == ExitCause::Linked => "linked".to_owned(),
                other => format!("{other:?}"),
            };
            let _ = tell.send(text);
        }
    };
    (runtime.spawn_with(&options.clone().proxy(), body).expect("a process").pid(), told)
}

#[test]
fn messages_are_taken_where_they_are_sent() {
    let runtime = Runtime::builder().cores(1).build().expect("threads");
    let gate = Arc::new(Gate::default());
    // Another one, which has no proxies.
    runtime.add_forwarder(Arc::new(Gate::default()));
    runtime.add_forwarder(gate.clone());
    let (own, told) = proxy(&runtime, &SpawnOptions::new());
    let (others, told_others) = proxy(&runtime, &SpawnOptions::new());
    *gate.proxy.lock().unwrap() = Some(own);
    let taken = gate.clone();
    let sender = runtime.block_on(async move |cx: Context<()>| {
        cx.send(own, "first".to_owned()).expect("it lives");
        // It has been taken before the send returns, and the proxy has seen nothing.
        assert_eq!(*taken.taken.lock().unwrap(), [(Some(cx.pid()), "first".to_owned())]);
        cx.link(own).expect("it lives");
        assert_eq!(taken.signals.load(Ordering::Relaxed), 1);
        cx.send(own, 7_u8).expect("it lives");
        cx.send(others, "another's".to_owned()).expect("it lives");
        // A request is taken as well; its watch is in the mailbox.
        drop(cx.with(|cx| cx.request(own, |_: atropos::Reply<u8>| "request".to_owned())).expect("it lives"));
        cx.pid()
    });
    runtime.send(own, "host".to_owned()).expect("it lives");
    let texts = [(Some(sender.clone().expect("no panic")), "first"), (sender.ok(), "request"), (None, "host")];
    assert_eq!(*gate.taken.lock().unwrap(), texts.map(|(sender, text)| (sender, text.to_owned())));
    let seen: Vec<_> = (0..3).map(|_| told.recv_timeout(PATIENCE).expect("it is told")).collect();
    assert_eq!(seen, ["linked", "queued", "watch"]);
    assert_eq!(told_others.recv_timeout(PATIENCE).expect("it is told"), "message");
    runtime.shutdown(PATIENCE).expect("all processes end");
}

#[test]
fn a_message_that_cannot_be_queued_comes_back_as_it_was() {
    let runtime = Runtime::builder().cores(1).build().expect("threads");
    let gate = Arc::new(Gate::default());
    runtime.add_forwarder(gate.clone());
    let (own, _) = proxy(&runtime, &SpawnOptions::new().mailbox_limit(2));
    *gate.proxy.lock().unwrap() = Some(own);
    let refused = runtime.block_on(async move |cx: Context<()>| {
        // On the only core, the proxy cannot run in between.
        [1_u8, 2, 3].map(|number| cx.send(own, number))
    });
    assert_eq!(refused, Ok([Ok(()), Ok(()), Err(SendError::Full(3_u8))]));
    assert_eq!(gate.returned.load(Ordering::Relaxed), 1);
    runtime.shutdown(PATIENCE).expect("all processes end");
}
