//! Received signals, [`Received`], and a view of them before they are received, [`Peek`].

use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Slice;
use crate::pid::{Pid, Reference};
use crate::process::header::Header;
use crate::process::owned::Owned;
use crate::process::relation::link::LinkExit;
use crate::process::relation::monitor::{DownSignal, MonitorTarget};
use crate::process::request_message::Request;
use crate::process::timer_record::{self, TimerHead, TimerMessage};
use crate::reason::Reason;
use crate::signal::exit_signal::{ExitCause, ExitSignal};
use crate::signal::message::{AliasMessage, Mail, MailRef, Message, into_message};
use crate::signal::node::SignalKind;

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
    /// What sent the signal.
    pub cause: ExitCause,
}

/// The signal of a monitor whose target died.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Down {
    /// The reference that `monitor` returned.
    pub reference: Reference,
    /// The target of the monitor.
    pub target: MonitorTarget,
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

/// Returns the EXIT of a link, or the DOWN that its receiver gets in its place (`link`, K4). Each
/// is built directly in the return slot: copying a struct right after writing it stalls on store
/// forwarding.
#[inline(always)]
fn ended_of<R>(link: &LinkExit, owner: Pid, exit: impl FnOnce(Exit) -> R, down: impl FnOnce(Down) -> R) -> R {
    let (reason, end) = (link.reason(), link.end_of(owner));
    match link.down_to(owner) {
        Some(reference) => down(Down { reference, target: MonitorTarget::Pid(end.peer), reason }),
        None => exit(Exit { from: Some(end.peer), reason, cause: ExitCause::Link }),
    }
}

fn exit_of(signal: &ExitSignal) -> Exit {
    Exit { from: signal.from, reason: signal.reason.clone(), cause: signal.cause }
}

fn down_of(monitor: &DownSignal) -> Down {
    Down { reference: monitor.reference, target: monitor.monitor_target(), reason: monitor.reason() }
}

impl<'a, M: Send> Peek<'a, M> {
    /// Returns what a signal in the private queue of `process` will be received as.
    pub(crate) fn of(mail: &MailRef<'a, M>, process: &Header) -> Self {
        let node = mail.node();
        match node.kind() {
            SignalKind::Message => Self::Message(&mail.carrier::<Message<M>>().value),
            SignalKind::Request => Self::Message(&mail.carrier::<Request<M>>().value),
            SignalKind::AliasMessage => Self::Message(&mail.carrier::<AliasMessage<M>>().value),
            SignalKind::Timer => {
                let timer = node.record::<TimerHead>();
                // SAFETY: the signal has been fetched, and carries an `M` (`MailRef`).
                let message = unsafe { timer_record::peek(node.as_non_null().cast()) };
                if timer.tagged { Self::Timer { timer: timer.reference, message } } else { Self::Message(message) }
            }
            SignalKind::Down => Self::Down(down_of(node.record())),
            SignalKind::LinkExit => ended_of(node.record(), process.pid, Self::Exit, Self::Down),
            SignalKind::Exit => Self::Exit(exit_of(node.record())),
            _ => unreachable!("the kernel handles the other signals itself"),
        }
    }
}

/// Records that a message is received, which frees a slot of the mailbox limit.
#[inline(always)]
fn left(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
    if let Some(limit) = owned.limit() {
        limit.received(kernel_cx);
    }
}

/// Takes a message, or a request's message, out of its node, which has just been taken out of the
/// private queue.
#[inline(always)]
pub(crate) fn open_message<M: Send>(mail: Mail<M>, slice: &Slice<'_>) -> M {
    let kernel_cx = &slice.kernel_cx;
    if slice.process().bound().is_some() {
        slice.with_owned(|owned| left(owned, kernel_cx));
    }
    if mail.kind() == SignalKind::Message {
        return into_message(mail.into_carrier::<Message<M>>(), kernel_cx.pool());
    }
    let (watch, message) = Request::open(mail.into_carrier(), kernel_cx.pool());
    if let Some(watch) = watch {
        slice.state(|state| state.open.add(watch, kernel_cx.pool()));
    }
    message
}

impl<M: Send> Received<M> {
    /// Receives a signal that has just been taken out of the private queue.
    #[inline(always)]
    pub(crate) fn open(mail: Mail<M>, slice: &Slice<'_>) -> Self {
        if matches!(mail.kind(), SignalKind::Message | SignalKind::Request) {
            return Self::Message(open_message(mail, slice));
        }
        slice.with_owned(|owned| Self::open_other(mail, owned, &slice.kernel_cx))
    }

    /// Receives a signal as [`Received::open`] does, for every kind except plain messages and
    /// requests.
    #[inline(never)]
    pub(crate) fn open_other(mail: Mail<M>, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) -> Self {
        match mail.kind() {
            SignalKind::AliasMessage => {
                left(owned, kernel_cx);
                Self::Message(into_message(mail.into_carrier::<AliasMessage<M>>(), kernel_cx.pool()))
            }
            SignalKind::Timer => {
                let timer = mail.into_node().typed::<TimerHead>();
                let (tagged, reference) = (timer.tagged, timer.reference);
                // SAFETY: the signal has been fetched, and carries an `M` (`Mail`).
                let message = unsafe { TimerMessage::of_signal(timer).open(kernel_cx.pool()) };
                if tagged { Self::Timer { timer: reference, message } } else { Self::Message(message) }
            }
            SignalKind::Down => {
                let monitor = mail.into_node().typed::<DownSignal>();
                let down = down_of(&monitor);
                // SAFETY: the receiver of a DOWN is its watcher, so the monitor is in this set.
                if let Some(watcher) = owned.state(|state| unsafe { state.monitors.remove(&monitor) }) {
                    watcher.release(kernel_cx.pool());
                }
                monitor.release(kernel_cx.pool());
                Self::Down(down)
            }
            SignalKind::LinkExit => {
                let link = mail.into_node().typed::<LinkExit>();
                let ended = ended_of(&link, owned.pid, Self::Exit, Self::Down);
                link.release(kernel_cx.pool());
                ended
            }
            SignalKind::Exit => {
                let ExitSignal { from, reason, cause, .. } =
                    mail.into_node().typed::<ExitSignal>().into_box().into_inner(kernel_cx.pool());
                Self::Exit(Exit { from, reason, cause })
            }
            _ => unreachable!("the kernel handles the other signals itself"),
        }
    }
}
