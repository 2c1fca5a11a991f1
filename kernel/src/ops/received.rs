//! Received signals, [`Received`], and a view of them before they are received, [`Peek`].

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::relation::link::Link;
use crate::process::relation::monitor::{Monitor, MonitorTarget};
use crate::process::request_message::Request;
use crate::process::timer_record::TimerHead;
use crate::reason::Reason;
use crate::signal::exit_signal::ExitSignal;
use crate::signal::message::{AliasMessage, Message};
use crate::signal::node::{Node, SignalKind};

/// A signal as the process receives it.
#[derive(Debug)]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// A linked process died, or `exit` was called; only while trapping exits.
    Exit(Exit),
    /// A monitored process died.
    Down(Down),
    /// The message of a timer that was started with `start_timer`.
    Timer {
        /// The timer's reference.
        timer: Reference,
        /// Its message.
        message: M,
    },
}

/// An exit signal as a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// The sending process; `None` is the host.
    pub from: Option<Pid>,
    /// The exit reason.
    pub reason: Reason,
}

/// The signal of a monitor whose target died.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Down {
    /// The reference that `monitor` returned.
    pub reference: Reference,
    /// The target of the monitor.
    pub object: MonitorTarget,
    /// The exit reason of the target.
    pub reason: Reason,
}

/// A view of a signal that waits in the mailbox.
#[derive(Debug)]
pub enum Peek<'a, M> {
    /// A message.
    Message(&'a M),
    /// An exit signal; see [`Received::Exit`].
    Exit(Exit),
    /// The signal of a monitor; see [`Received::Down`].
    Down(Down),
    /// The message of a timer; see [`Received::Timer`].
    Timer {
        /// The timer's reference.
        timer: Reference,
        /// Its message.
        message: &'a M,
    },
}

/// Returns an EXIT, or the DOWN that its receiver gets in its place (`link`, K4). Each is built
/// directly in the return slot: copying a struct right after writing it stalls on store forwarding.
///
/// # Safety
/// `node` is in the private queue of the owned process, or was until now, and is of one of the two
/// kinds of exit.
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
        // SAFETY: the owner fetched the exit node.
        let (from, reason) = unsafe { Link::read_exit(link, owner) };
        // SAFETY: the signal's reference keeps the record live.
        let half = unsafe { Link::half_of(link, owner).as_ref() };
        // SAFETY: the signal's reference keeps the record live.
        return match unsafe { link.as_ref() }.down_to(half) {
            Some(reference) => down(Down { reference, object: MonitorTarget::Pid(from), reason }),
            None => exit(Exit { from: Some(from), reason }),
        };
    }
    // SAFETY: N1: the owner holds the node, which is of this kind.
    let signal = unsafe { node.cast::<ExitSignal>().as_ref() };
    exit(Exit { from: signal.from, reason: signal.reason.clone() })
}

fn down_of(monitor: &Monitor) -> Down {
    Down { reference: monitor.reference, object: monitor.object(), reason: monitor.reason() }
}

impl<M> Peek<'_, M> {
    /// Returns what `node` will be received as.
    ///
    /// # Safety
    /// `node` is in the private queue of `process`, which the caller owns and which takes `M`. It
    /// stays there while the result is used.
    pub(crate) unsafe fn of(node: NonNull<Node>, process: &Header) -> Self {
        // SAFETY: N1: the node is in the private queue, so the owner holds it.
        match unsafe { Node::kind(node) } {
            // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
            SignalKind::Message => Self::Message(unsafe { Message::peek(node) }),
            // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
            SignalKind::Request => Self::Message(unsafe { Request::peek(node) }),
            // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
            SignalKind::AliasMessage => Self::Message(unsafe { AliasMessage::peek(node) }),
            SignalKind::Timer => {
                let timer = node.cast::<TimerHead>();
                // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
                let message = unsafe { TimerHead::peek(timer) };
                // SAFETY: the signal's reference keeps the record live.
                let fields = unsafe { timer.as_ref() };
                if fields.tagged { Self::Timer { timer: fields.reference, message } } else { Self::Message(message) }
            }
            // SAFETY: of this kind; the signal's reference keeps the record live.
            SignalKind::Down => Self::Down(down_of(unsafe { node.cast::<Monitor>().as_ref() })),
            // SAFETY: the node is in the private queue, and of one of the two kinds of exit.
            kind => unsafe { ended_of(node, kind, process.pid, Self::Exit, Self::Down) },
        }
    }
}

/// Records that a message is received, which frees a slot of the mailbox limit.
#[inline(always)]
fn left(process: &Header, kernel_cx: &KernelCx<'_>) {
    if let Some(bound) = process.bound() {
        bound.received(kernel_cx);
    }
}

/// Takes a message, or a request's message, out of its node.
///
/// # Safety
/// As for [`Received::open`], of one of the two kinds.
#[inline(always)]
pub(crate) unsafe fn open_message<M>(
    node: NonNull<Node>,
    process: &Header,
    kernel_cx: &KernelCx<'_>,
    kind: SignalKind,
) -> M {
    left(process, kernel_cx);
    if kind == SignalKind::Message {
        // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
        return unsafe { Message::open(node, kernel_cx.pool()) };
    }
    // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
    let (head, message) = unsafe { Request::open(node, kernel_cx.pool()) };
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    // SAFETY: Q1: the watch came with the node.
    unsafe { private.open.add(head, kernel_cx.pool()) };
    message
}

impl<M> Received<M> {
    /// Receives `node`, which has just been taken out of the private queue.
    ///
    /// # Safety
    /// The caller owns `process`, which takes `M`. `node` came from its private queue and is not
    /// used again.
    #[inline(always)]
    pub(crate) unsafe fn open(node: NonNull<Node>, process: &Header, kernel_cx: &KernelCx<'_>) -> Self {
        // SAFETY: N1: removed from the private queue, so the owner holds it.
        let kind = unsafe { Node::kind(node) };
        if matches!(kind, SignalKind::Message | SignalKind::Request) {
            // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
            return Self::Message(unsafe { open_message(node, process, kernel_cx, kind) });
        }
        // SAFETY: P1, N1: the caller owns the process and holds the node (this function's
        // contract).
        unsafe { Self::open_other(node, process, kernel_cx, kind) }
    }

    /// Receives `node` as [`Received::open`] does, for every kind except plain messages and
    /// requests.
    #[inline(never)]
    pub(crate) unsafe fn open_other(
        node: NonNull<Node>,
        process: &Header,
        kernel_cx: &KernelCx<'_>,
        kind: SignalKind,
    ) -> Self {
        match kind {
            SignalKind::AliasMessage => {
                left(process, kernel_cx);
                // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
                Self::Message(unsafe { AliasMessage::open(node, kernel_cx.pool()) })
            }
            SignalKind::Timer => {
                let timer = node.cast::<TimerHead>();
                // SAFETY: the signal's reference keeps the record live.
                let fields = unsafe { timer.as_ref() };
                let (tagged, reference) = (fields.tagged, fields.reference);
                // SAFETY: N1: the owner holds the node, which is of this kind, with an `M`.
                let message = unsafe { TimerHead::open(timer, kernel_cx.pool()) };
                if tagged { Self::Timer { timer: reference, message } } else { Self::Message(message) }
            }
            SignalKind::Down => {
                let monitor = node.cast::<Monitor>();
                // SAFETY: the signal's reference keeps the record live.
                let down = down_of(unsafe { monitor.as_ref() });
                // SAFETY: P1: the caller owns the process.
                let private = unsafe { process.private() };
                // SAFETY: a delivered monitor stays in the set until now.
                unsafe { private.monitors.remove(monitor) };
                for _share in 0..2 {
                    // SAFETY: the signal's reference, and the set's; not used again.
                    unsafe { Monitor::release(monitor, kernel_cx.pool()) };
                }
                Self::Down(down)
            }
            _ => {
                // SAFETY: the node is of one of the two kinds of exit, and was in the private queue
                // until now.
                let ended = unsafe { ended_of(node, kind, process.pid, Self::Exit, Self::Down) };
                // SAFETY: N1: the owner holds the node; not used again.
                unsafe { Node::release(node, kernel_cx.pool()) };
                ended
            }
        }
    }
}
