//! [`Connection`]: one connection to a node, from the first attempt to make it until its end.
//!
//! A connection exists before its socket. What is sent before that waits in its queue: it goes out
//! in order when the socket is there, or is dropped when the attempt has failed. The connection
//! adopts the socket that results, no matter which of the two nodes dials.
//!
//! A connection that a peer replaces stops receiving before its end is reported
//! ([`Connection::stop_receiving`]): nothing that came over it is delivered after that, or after
//! what comes over the next one.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::{Notify, watch};

use crate::machine::{ConnectionId, ExternalOrLocal, LocalObject, Object, Signal};
use crate::term::{Atom, ErlPid, ErlReference, Term};
use crate::wire::{Control, Encoded, Flags, SpawnResult, Target, Unsupported, encode};

use super::inner::Node;
use super::queue::{NOBODY, Queue, Waiting};

/// What is sent to a peer.
#[derive(Debug)]
pub(super) enum Outgoing {
    Send { from: u64, to: ErlPid, message: Term },
    SendName { from: u64, name: Atom, message: Term },
    SendAlias { from: u64, alias: ErlReference, message: Term },
    Exit { from: u64, to: ErlPid, reason: Term },
    GroupLeader { leader: ErlPid, to: ErlPid },
    Signal(Signal),
}

/// A message of more bytes than this may go out in parts.
const CUT_AT: usize = 64 * 1024;
/// How many times the limit waits for a peer that does not read what services answer.
const HOPELESS: usize = 64;
/// What a message takes beside its term, about, in bytes.
const OVERHEAD: usize = 100;

impl Outgoing {
    /// Returns the process whose order the message keeps.
    fn sender(&self) -> u64 {
        match self {
            Self::Send { from, .. }
            | Self::SendName { from, .. }
            | Self::SendAlias { from, .. }
            | Self::Exit { from, .. } => *from,
            Self::GroupLeader { .. } => NOBODY,
            Self::Signal(signal) => match signal {
                Signal::Link { from, .. }
                | Signal::Unlink { from, .. }
                | Signal::Monitor { from, .. }
                | Signal::Demonitor { from, .. }
                | Signal::UnlinkAck { from: ExternalOrLocal::Local(from), .. }
                | Signal::Exit { from: ExternalOrLocal::Local(from), .. }
                | Signal::Down { from: LocalObject::Pid(ExternalOrLocal::Local(from)), .. }
                | Signal::DownOf { from, .. } => *from,
                Signal::Spawn { request, .. } => request.parent,
                Signal::SpawnReply { result: Ok(child), .. } => *child,
                Signal::UnlinkAck { .. } | Signal::Exit { .. } | Signal::Down { .. } | Signal::SpawnReply { .. } => {
                    NOBODY
                }
            },
        }
    }

    fn size(&self) -> usize {
        let term = match self {
            Self::Send { message, .. } | Self::SendName { message, .. } | Self::SendAlias { message, .. } => {
                message.as_bytes().len()
            }
            Self::Exit { reason, .. } => reason.as_bytes().len(),
            Self::Signal(Signal::Exit { reason, .. } | Signal::Down { reason, .. } | Signal::DownOf { reason, .. }) => {
                reason.as_bytes().len()
            }
            Self::Signal(Signal::Spawn { request, .. }) => {
                request.arguments.as_bytes().len() + request.options.as_bytes().len()
            }
            Self::GroupLeader { .. } | Self::Signal(_) => 0,
        };
        term + OVERHEAD
    }

    /// Appends the message in the form that was agreed on.
    pub(super) fn encode(&self, node: &Node, agreed: Flags, out: &mut bytes::BytesMut) -> Result<Encoded, Unsupported> {
        let own = |raw: u64| node.external_raw(raw);
        let control = |control: Control<'_>, out: &mut bytes::BytesMut| encode(&control, agreed, out);
        match self {
            Self::Send { from, to, message } => {
                let from = own(*from);
                control(Control::Send { from: Some(from.as_ref()), to: to.as_ref(), message: message.clone() }, out)
            }
            Self::SendName { from, name, message } => {
                let (from, name) = (own(*from), name.as_str());
                control(Control::SendName { from: from.as_ref(), name, message: message.clone() }, out)
            }
            Self::SendAlias { from, alias, message } => {
                let from = own(*from);
                let alias = alias.as_ref();
                control(Control::SendAlias { from: from.as_ref(), alias, message: message.clone() }, out)
            }
            Self::Exit { from, to, reason } => {
                let from = own(*from);
                control(Control::Exit2 { from: from.as_ref(), to: to.as_ref(), reason: reason.clone() }, out)
            }
            Self::GroupLeader { leader, to } => {
                control(Control::GroupLeader { leader: leader.as_ref(), to: to.as_ref() }, out)
            }
            Self::Signal(signal) => encode_signal(signal, node, agreed, out),
        }
    }
}

fn target(object: &Object) -> Target<'_> {
    match object {
        Object::Pid(pid) => Target::Pid(pid.as_ref()),
        Object::Name(name, _) => Target::Name(name.as_str()),
    }
}

fn encode_signal(
    signal: &Signal,
    node: &Node,
    agreed: Flags,
    out: &mut bytes::BytesMut,
) -> Result<Encoded, Unsupported> {
    let own = |raw: u64| node.external_raw(raw);
    let named = |from: &ExternalOrLocal| match from {
        ExternalOrLocal::Local(raw) => own(*raw),
        ExternalOrLocal::External(pid) => pid.clone(),
    };
    match signal {
        Signal::Link { from, to } => encode(&Control::Link { from: own(*from).as_ref(), to: to.as_ref() }, agreed, out),
        Signal::Unlink { id, from, to } => {
            encode(&Control::Unlink { id: *id, from: own(*from).as_ref(), to: to.as_ref() }, agreed, out)
        }
        Signal::UnlinkAck { id, from, to } => {
            encode(&Control::UnlinkAck { id: *id, from: named(from).as_ref(), to: to.as_ref() }, agreed, out)
        }
        Signal::Exit { from, to, reason } => {
            let reason = reason.clone();
            encode(&Control::Exit { from: named(from).as_ref(), to: to.as_ref(), reason }, agreed, out)
        }
        Signal::Monitor { from, object, reference } => {
            let (from, reference) = (own(*from), node.reference(*reference));
            let (target, reference) = (target(object), reference.as_ref());
            encode(&Control::Monitor { from: from.as_ref(), target, reference }, agreed, out)
        }
        Signal::Demonitor { from, object, reference } => {
            let (from, reference) = (own(*from), node.reference(*reference));
            let (target, reference) = (target(object), reference.as_ref());
            encode(&Control::Demonitor { from: from.as_ref(), target, reference }, agreed, out)
        }
        Signal::Down { from, to, reference, reason } => {
            let pid;
            let from = match from {
                LocalObject::Pid(from) => {
                    pid = named(from);
                    Target::Pid(pid.as_ref())
                }
                LocalObject::Name(name) => Target::Name(name.as_str()),
            };
            let (to, reference, reason) = (to.as_ref(), reference.as_ref(), reason.clone());
            encode(&Control::MonitorExit { from, to, reference, reason }, agreed, out)
        }
        Signal::DownOf { name, to, reference, reason, .. } => {
            let from = Target::Name(name.as_str());
            let (to, reference, reason) = (to.as_ref(), reference.as_ref(), reason.clone());
            encode(&Control::MonitorExit { from, to, reference, reason }, agreed, out)
        }
        Signal::Spawn { node: _, reference, request } => {
            let (id, from) = (node.reference(*reference), own(request.parent));
            let leader = request.leader.view().as_pid().unwrap_or(from.as_ref());
            let request = Control::SpawnRequest {
                id: id.as_ref(),
                from: from.as_ref(),
                leader,
                module: request.module.as_str(),
                function: request.function.as_str(),
                arity: request.arity,
                options: request.options.clone(),
                arguments: request.arguments.clone(),
            };
            encode(&request, agreed, out)
        }
        Signal::SpawnReply { reference, to, link, monitor, result } => {
            let child;
            let result = match result {
                Ok(raw) => {
                    child = own(*raw);
                    SpawnResult::Pid(child.as_ref())
                }
                Err(why) => SpawnResult::Error(why.as_str()),
            };
            let flags = u32::from(*link) | u32::from(*monitor) << 1;
            encode(&Control::SpawnReply { id: reference.as_ref(), to: to.as_ref(), flags, result }, agreed, out)
        }
    }
}

/// Where a connection is between its first attempt and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The socket is being made, by one of the two nodes.
    Pending,
    /// Messages go both ways.
    Up,
    /// It has ended, or could not be made.
    Closed,
}

/// One connection to a node; see the module.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) node: Atom,
    queue: Mutex<Queue<Outgoing>>,
    /// Wakes the writer.
    pub(super) work: Notify,
    /// Ends the reader, the writer and the attempt to dial.
    pub(super) end: Notify,
    ending: AtomicBool,
    pub(super) stage: watch::Sender<Stage>,
    limit: usize,
    /// Locked while a message that has arrived is handled; `false` once none may be.
    receiving: Mutex<bool>,
    /// Why this node has ended the connection; the first reason counts.
    why: Mutex<Option<Ending>>,
}

/// Why a connection is ended.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// For the log.
    pub(super) text: String,
    /// For those that monitor nodes.
    pub(super) reason: Term,
}

impl Connection {
    /// Creates a connection without a socket. `limit` is the number of bytes from which on senders
    /// are held back.
    pub(super) fn new(id: ConnectionId, node: Atom, limit: usize) -> Self {
        Self {
            id,
            node,
            queue: Mutex::new(Queue::new(CUT_AT)),
            work: Notify::new(),
            end: Notify::new(),
            ending: AtomicBool::new(false),
            stage: watch::Sender::new(Stage::Pending),
            limit,
            receiving: Mutex::new(true),
            why: Mutex::new(None),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue<Outgoing>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message. Returns `true` if its sender must be held back.
    pub(super) fn push(&self, message: Outgoing) -> bool {
        let waiting = Waiting { sender: message.sender(), size: message.size(), message };
        let mut queue = self.queue();
        let was_idle = queue.is_idle();
        queue.push(waiting);
        if queue.bytes() > self.limit {
            queue.hold_back();
        }
        let held_back = queue.is_busy();
        drop(queue);
        if was_idle {
            self.work.notify_one();
        }
        held_back
    }

    /// Returns `true` if a sender would be held back.
    pub(super) fn is_busy(&self) -> bool {
        self.queue().is_busy()
    }

    /// Returns `true` if so much waits that the peer is taken not to read.
    pub(super) fn is_hopeless(&self) -> bool {
        self.queue().bytes() / HOPELESS > self.limit
    }

    /// Waits until less than half of the limit waits, or the connection is closed.
    pub(super) async fn room(&self) {
        poll_fn(|task| {
            let mut queue = self.queue();
            if !queue.is_busy() {
                return Poll::Ready(());
            }
            queue.wait(task.waker());
            Poll::Pending
        })
        .await;
    }

    /// Reports written bytes, and lets senders go on.
    pub(super) fn written(&self, bytes: usize) {
        let woken = self.queue().written(bytes, self.limit / 2 + 1);
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// Handles a message that has arrived, unless the connection has stopped receiving.
    pub(super) fn receive<R>(&self, handle: impl FnOnce() -> R) -> Option<R> {
        let receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        receiving.then(handle)
    }

    /// Handles nothing more that arrives, and returns once what arrived before has been handled.
    pub(super) fn stop_receiving(&self) {
        *self.receiving.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Has the connection's tasks end it. The first reason counts.
    pub(super) fn close(&self, ending: Ending) {
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.get_or_insert(ending);
        drop(why);
        // Release: a task that sees the flag finds the reason. Pairs with `is_ending`.
        self.ending.store(true, Ordering::Release);
        self.end.notify_waiters();
        self.work.notify_one();
    }

    /// Returns `true` if the connection is to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Waits until the connection is to end.
    pub(super) async fn ended(&self) {
        let notified = self.end.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_ending() {
            notified.await;
        }
    }

    /// Returns why this node has ended the connection.
    pub(super) fn why(&self) -> Option<Ending> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the stage in which the socket is being made. Returns `false` if it has ended already.
    pub(super) fn becomes(&self, next: Stage) -> bool {
        self.stage.send_if_modified(|stage| {
            let is_pending = *stage == Stage::Pending;
            if is_pending {
                *stage = next;
            }
            is_pending
        })
    }

    /// Drops what waits, and lets everyone go on.
    pub(super) fn shut(&self) {
        let (left, woken) = self.queue().close();
        drop(left);
        self.stage.send_replace(Stage::Closed);
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// Waits until it is decided whether the connection comes up.
    pub(super) async fn decided(&self) -> bool {
        let mut stage = self.stage.subscribe();
        let stage = stage.wait_for(|stage| *stage != Stage::Pending).await;
        stage.is_ok_and(|stage| *stage == Stage::Up)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;
    use std::sync::mpsc::{self, RecvTimeoutError};
    use std::time::Duration;

    use atropos::Runtime;

    use super::*;
    use crate::node::Options;

    /// Has `stop` run while a message is being handled. Asserts that `stop` returns after that, and
    /// that nothing is handled then.
    fn stops_behind_a_message(connection: &Connection, stop: impl FnOnce() + Send) {
        let (begun, has_begun) = mpsc::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        let (stopped, has_stopped) = mpsc::channel();
        // With `move`, a failed assertion drops `finish`, which lets the first thread end.
        std::thread::scope(move |scope| {
            scope.spawn(move || {
                let handled = connection.receive(|| {
                    begun.send(()).expect("the test waits");
                    may_finish.recv().expect("the test tells");
                });
                assert!(handled.is_some());
            });
            has_begun.recv().expect("the message is being handled");
            scope.spawn(move || {
                stop();
                stopped.send(()).expect("the test waits");
            });
            let early = has_stopped.recv_timeout(Duration::from_millis(100));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "it stops while a message is being handled");
            finish.send(()).expect("the message waits");
            has_stopped.recv().expect("it stops");
        });
        assert_eq!(connection.receive(|| "late"), None);
    }

    #[test]
    fn nothing_is_handled_once_receiving_has_stopped() {
        let connection = Connection::new(ConnectionId(1), Atom::new("a@b").expect("short"), 1);
        stops_behind_a_message(&connection, || connection.stop_receiving());
    }

    #[test]
    fn a_connection_is_replaced_behind_what_came_over_it() {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let tokio = tokio.expect("threads");
        let runtimes = [(); 2].map(|()| Runtime::builder().cores(1).build().expect("threads"));
        let start = |runtime: &Runtime, name: &str, peers| {
            let options =
                Options { listen: Ipv4Addr::LOCALHOST.into(), epmd: false, hidden: true, peers, ..Options::default() };
            tokio.block_on(Node::builder(name).cookie("c").options(options).start(&runtime.handle())).expect("a port")
        };
        let first = start(&runtimes[0], "first@127.0.0.1", BTreeMap::new());
        let address = ("127.0.0.1".to_owned(), first.port());
        let peers = BTreeMap::from([(first.name().as_str().to_owned(), address)]);
        let second = start(&runtimes[1], "second@127.0.0.1", peers);
        assert!(tokio.block_on(second.connect(first.name())));
        let old = second.connection(first.name()).expect("it is up");
        let mut adopted = None;
        stops_behind_a_message(&old, || adopted = second.adopt(first.name(), Some(old.id)));
        // No socket comes for it.
        second.lose(&adopted.expect("it replaces the old one"), Term::atom("connection_closed"));
        tokio.block_on(async {
            second.stop().await;
            first.stop().await;
        });
    }
}
