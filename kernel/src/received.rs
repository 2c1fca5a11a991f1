//! What a process receives: [`Received`], and what it can look at before it does: [`Peek`].

use core::ptr::NonNull;

use crate::hand::KernelCx;
use crate::link::Link;
use crate::monitor::{Monitor, MonitorTarget};
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::reason::Reason;
use crate::signal::exit_signal::ExitSignal;
use crate::signal::message::{AliasMessage, Message, Request};
use crate::signal::node::{SignalKind, Node};
use crate::timer::record::TimerHead;

/// What a process receives.
#[derive(Debug)]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// Somebody died, or called `exit`; only while trapping.
    Exit(Exit),
    /// A monitored process died.
    Down(Down),
    /// The message of a timer that was started with `start_timer`.
    Timer {
        /// Which.
        timer: Reference,
        /// Its message.
        message: M,
    },
}

/// An exit signal as a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// From whom; `None` is the host.
    pub from: Option<Pid>,
    /// Why.
    pub reason: Reason,
}

/// The answer of a monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Down {
    /// What `monitor` returned.
    pub reference: Reference,
    /// What was monitored.
    pub object: MonitorTarget,
    /// Why it died.
    pub reason: Reason,
}

/// A look at what waits in the mailbox.
#[derive(Debug)]
pub enum Peek<'a, M> {
    /// A message.
    Message(&'a M),
    /// See [`Received::Exit`].
    Exit(Exit),
    /// See [`Received::Down`].
    Down(Down),
    /// See [`Received::Timer`].
    Timer {
        /// Which.
        timer: Reference,
        /// Its message.
        message: &'a M,
    },
}

/// An EXIT; or the DOWN that its receiver wants in its place (`link`, K4). Each made where it is to be: a move would wait.
///
/// # Safety
/// `node` is in the private queue of the owned process, or was until now, and of one of the two kinds of exit.
#[inline(always)]
unsafe fn ended_of<R>(
    node: NonNull<Node>,
    kind: SignalKind,
    owner: Pid,
    exit: impl FnOnce(Exit) -> R,
    down: impl FnOnce(Down) -> R,
) -> R {
    if kind == SignalKind::LinkExit {
        let link = node.cast::<Link>();
        // SAFETY: fetched by the owner.
        let (from, reason) = unsafe { Link::opened(link, owner) };
        // SAFETY: the signal's share keeps the record.
        let half = unsafe { Link::half_of(link, owner).as_ref() };
        // SAFETY: likewise.
        return match unsafe { link.as_ref() }.down_to(half) {
            Some(reference) => down(Down { reference, object: MonitorTarget::Pid(from), reason }),
            None => exit(Exit { from: Some(from), reason }),
        };
    }
    // SAFETY: in the queue, of this kind.
    let signal = unsafe { node.cast::<ExitSignal>().as_ref() };
    exit(Exit { from: signal.from, reason: signal.reason.clone() })
}

fn down_of(monitor: &Monitor) -> Down {
    Down { reference: monitor.reference, object: monitor.object(), reason: monitor.reason() }
}

impl<M> Peek<'_, M> {
    /// What `node` will be received as.
    ///
    /// # Safety
    /// `node` is in the private queue of `process`, whose owner the caller is and which takes `M`;
    /// it stays there while the result is used.
    pub(crate) unsafe fn of(node: NonNull<Node>, process: &Header) -> Self {
        // SAFETY: in the queue, so the owner's.
        match unsafe { Node::kind(node) } {
            // SAFETY: of this kind, with an `M`.
            SignalKind::Message => Self::Message(unsafe { Message::peek(node) }),
            // SAFETY: of this kind, with an `M`.
            SignalKind::Request => Self::Message(unsafe { Request::peek(node) }),
            // SAFETY: of this kind, with an `M`.
            SignalKind::AliasMessage => Self::Message(unsafe { AliasMessage::peek(node) }),
            SignalKind::Timer => {
                let timer = node.cast::<TimerHead>();
                // SAFETY: of this kind, with an `M`.
                let message = unsafe { TimerHead::peek(timer) };
                // SAFETY: the signal's share keeps it.
                let fields = unsafe { timer.as_ref() };
                if fields.labelled { Self::Timer { timer: fields.reference, message } } else { Self::Message(message) }
            }
            // SAFETY: of this kind; the signal's share keeps it.
            SignalKind::Down => Self::Down(down_of(unsafe { node.cast::<Monitor>().as_ref() })),
            // SAFETY: of one of the two kinds of exit.
            kind => unsafe { ended_of(node, kind, process.pid, Self::Exit, Self::Down) },
        }
    }
}

/// A message is received: there is room for another.
#[inline(always)]
fn left(process: &Header, hand: &KernelCx<'_>) {
    if let Some(bound) = process.bound() {
        bound.received(hand);
    }
}

/// Takes a message, or a request's, out of its node.
///
/// # Safety
/// As for [`Received::open`], of one of the two kinds.
#[inline(always)]
pub(crate) unsafe fn open_message<M>(node: NonNull<Node>, process: &Header, hand: &KernelCx<'_>, kind: SignalKind) -> M {
    left(process, hand);
    if kind == SignalKind::Message {
        // SAFETY: of this kind, with an `M`.
        return unsafe { Message::open(node, hand.pool()) };
    }
    // SAFETY: of this kind, with an `M`.
    let (head, message) = unsafe { Request::open(node, hand.pool()) };
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    // SAFETY: the watch came with the node.
    unsafe { private.open.add(head, hand.pool()) };
    message
}

impl<M> Received<M> {
    /// Receives `node`, which has just been taken out of the private queue.
    ///
    /// # Safety
    /// The caller owns `process`, which takes `M`; `node` came from its private queue and is not
    /// used again.
    #[inline(always)]
    pub(crate) unsafe fn open(node: NonNull<Node>, process: &Header, hand: &KernelCx<'_>) -> Self {
        // SAFETY: taken out, so the owner's.
        let kind = unsafe { Node::kind(node) };
        if matches!(kind, SignalKind::Message | SignalKind::Request) {
            // SAFETY: of this kind, with an `M`.
            return Self::Message(unsafe { open_message(node, process, hand, kind) });
        }
        // SAFETY: by contract.
        unsafe { Self::open_other(node, process, hand, kind) }
    }

    /// [`Received::open`] for all but plain messages and requests.
    #[inline(never)]
    pub(crate) unsafe fn open_other(node: NonNull<Node>, process: &Header, hand: &KernelCx<'_>, kind: SignalKind) -> Self {
        match kind {
            SignalKind::AliasMessage => {
                left(process, hand);
                // SAFETY: of this kind, with an `M`.
                Self::Message(unsafe { AliasMessage::open(node, hand.pool()) })
            }
            SignalKind::Timer => {
                let timer = node.cast::<TimerHead>();
                // SAFETY: the signal's share keeps it.
                let fields = unsafe { timer.as_ref() };
                let (labelled, reference) = (fields.labelled, fields.reference);
                // SAFETY: of this kind, with an `M`.
                let message = unsafe { TimerHead::open(timer, hand.pool()) };
                if labelled { Self::Timer { timer: reference, message } } else { Self::Message(message) }
            }
            SignalKind::Down => {
                let monitor = node.cast::<Monitor>();
                // SAFETY: the signal's share keeps it.
                let down = down_of(unsafe { monitor.as_ref() });
                // SAFETY: the owner.
                let private = unsafe { process.private() };
                // SAFETY: a delivered monitor stays in the set until now.
                unsafe { private.monitors.remove(monitor) };
                for _share in 0..2 {
                    // SAFETY: the signal's, and the set's.
                    unsafe { Monitor::give_up(monitor, hand.pool()) };
                }
                Self::Down(down)
            }
            _ => {
                // SAFETY: of one of the two kinds of exit.
                let ended = unsafe { ended_of(node, kind, process.pid, Self::Exit, Self::Down) };
                // SAFETY: the owner's.
                unsafe { Node::release(node, hand.pool()) };
                ended
            }
        }
    }
}
