//! Sending a message: [`SendError`], and the one path that all senders share.

use core::any::TypeId;
use core::fmt;
use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::mailbox::limit::{Admission, Overflow};
use crate::ops::request::RequestHead;
use crate::ops::waker;
use crate::pid::{Alias, Pid};
use crate::process::header::Header;
use crate::process::request_message::Request;
use crate::process::request_watch::{DeathWatch, let_go};
use crate::signal::message::{AliasMessage, Message};
use crate::signal::node::Node;

/// The reason why a message was not sent, with the message.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// The receiver is dead.
    NoProc(M),
    /// The receiver takes messages of another type.
    WrongType(M),
    /// The receiver's mailbox holds its limit of messages.
    Full(M),
    /// There is no memory for the message.
    NoMemory(M),
    /// No process has the name.
    NoName(M),
    /// The sender is dying.
    Dying(M),
}

impl<M> SendError<M> {
    /// Returns the message.
    pub fn into_message(self) -> M {
        match self {
            Self::NoProc(m)
            | Self::WrongType(m)
            | Self::Full(m)
            | Self::NoMemory(m)
            | Self::NoName(m)
            | Self::Dying(m) => m,
        }
    }

    /// Returns the same error without the message.
    pub fn without_message(&self) -> SendError<()> {
        match self {
            Self::NoProc(_) => SendError::NoProc(()),
            Self::WrongType(_) => SendError::WrongType(()),
            Self::Full(_) => SendError::Full(()),
            Self::NoMemory(_) => SendError::NoMemory(()),
            Self::NoName(_) => SendError::NoName(()),
            Self::Dying(_) => SendError::Dying(()),
        }
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProc(_) => "there is no such process",
            Self::WrongType(_) => "the process takes messages of another type",
            Self::Full(_) => "the process's mailbox is full",
            Self::NoMemory(_) => "out of memory",
            Self::NoName(_) => "no process has the name",
            Self::Dying(_) => "the sender is dying",
        })
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<M> core::error::Error for SendError<M> {}

/// The attachment of a message.
#[derive(Clone, Copy)]
pub(crate) enum Attachment {
    /// No attachment.
    Nothing,
    /// The alias that the message goes through.
    Alias(Alias),
    /// The watch of a request.
    Watch(NonNull<RequestHead>),
}

/// Sends to the process with this pid. Lock-free.
pub(crate) fn send<M: Send + 'static>(kernel_cx: &KernelCx<'_>, pid: Pid, message: M) -> Result<(), SendError<M>> {
    match kernel_cx.find(pid) {
        Some(process) => send_to(kernel_cx, process, message),
        None => Err(SendError::NoProc(message)),
    }
}

/// Sends through an alias. A spent alias drops the message. Lock-free.
///
/// # Errors
/// [`SendError::NoProc`] if the process is dead, and the other errors of a send.
pub(crate) fn send_alias<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    alias: Alias,
    message: M,
) -> Result<(), SendError<M>> {
    match kernel_cx.find(alias.pid) {
        Some(process) => send_with(kernel_cx, process, message, Attachment::Alias(alias)),
        None => Err(SendError::NoProc(message)),
    }
}

/// Sends a request to a process that was found. Lock-free.
// Inlined into its caller, which builds the message: it is written directly to its final place.
#[inline(always)]
pub(crate) fn send_request<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: &Header,
    watch: DeathWatch,
    message: M,
) -> Result<(), SendError<M>> {
    let watch = watch.travels();
    let sent = send_with(kernel_cx, process, message, Attachment::Watch(watch));
    if sent.is_err() {
        // SAFETY: the message was not sent, so the watch is still here; not used again.
        unsafe { let_go(watch, kernel_cx.pool()) };
    }
    sent
}

/// Sends to a process that was found. Lock-free.
pub(crate) fn send_to<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: &Header,
    message: M,
) -> Result<(), SendError<M>> {
    send_with(kernel_cx, process, message, Attachment::Nothing)
}

// Inlined into each caller, which knows the message's attachment.
#[inline(always)]
fn send_with<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: &Header,
    message: M,
    with: Attachment,
) -> Result<(), SendError<M>> {
    if process.vtable.takes != TypeId::of::<M>() {
        return Err(SendError::WrongType(message));
    }
    // Before the allocation: sending to a dead process or a full mailbox costs nothing.
    if process.mailbox.is_closed() {
        return Err(SendError::NoProc(message));
    }
    if let Some(bound) = process.bound() {
        match bound.admit() {
            Admission::Accepted => {}
            Admission::Rejected => return Err(SendError::Full(message)),
            Admission::Dropped => {
                if let Attachment::Watch(watch) = with {
                    // SAFETY: the message was not sent, so the watch is still here; not used again.
                    unsafe { let_go(watch, kernel_cx.pool()) };
                }
                discard_without_core(kernel_cx, message);
                return Ok(());
            }
        }
    }
    deliver(kernel_cx, process, message, with)
}

/// Puts a message or a request where its receiver finds it. Returns `false` if the receiver is
/// dead; the node then still belongs to the caller. A receiver that waits gets it straight into the
/// private queue, unless its messages are counted. Lock-free.
///
/// # Safety
/// The caller holds `node`; after `true` the receiver owns it.
#[inline(always)]
unsafe fn put(kernel_cx: &KernelCx<'_>, process: &Header, node: NonNull<Node>) -> bool {
    if process.bound().is_none() && process.mailbox.claim() {
        // SAFETY: P1: claimed, so the caller owns the process until it queues it.
        let private = unsafe { process.private() };
        // SAFETY: N1, N2: the caller holds the node, which is in no queue (this function's
        // contract).
        unsafe { private.queue.push_back(node) };
        private.resume = true;
        kernel_cx.schedule(process);
        return true;
    }
    // SAFETY: N1: the caller holds the node (this function's contract).
    unsafe { kernel_cx.push(process, node) }
}

/// Delivers a message that has its slot reserved, if the process counts its messages. Lock-free.
#[inline(always)]
pub(crate) fn deliver<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: &Header,
    message: M,
    with: Attachment,
) -> Result<(), SendError<M>> {
    let node = match with {
        Attachment::Nothing => Message::try_new(kernel_cx, message),
        Attachment::Alias(alias) => AliasMessage::try_new(kernel_cx, alias.reference, message),
        Attachment::Watch(watch) => Request::try_new(kernel_cx, watch, message),
    };
    let node = node.map_err(|message| {
        retract(process, kernel_cx);
        SendError::NoMemory(message)
    })?;
    let arrived = match with {
        // The receiver accepts it only if the alias is in force when the signal is handled.
        // SAFETY: N1: the node is new, so ours.
        Attachment::Alias(_) => unsafe { kernel_cx.push(process, node) },
        // SAFETY: N1: the node is new, so ours.
        Attachment::Nothing | Attachment::Watch(_) => unsafe { put(kernel_cx, process, node) },
    };
    if arrived {
        return Ok(());
    }
    retract(process, kernel_cx);
    Err(SendError::NoProc(match with {
        // SAFETY: N1: not delivered, so still ours, of the kind that it was made.
        Attachment::Nothing => unsafe { Message::open(node, kernel_cx.pool()) },
        // SAFETY: N1: not delivered, so still ours, of the kind that it was made.
        Attachment::Alias(_) => unsafe { AliasMessage::open(node, kernel_cx.pool()) },
        // SAFETY: N1: not delivered, so still ours, of the kind that it was made.
        Attachment::Watch(_) => unsafe { Request::open(node, kernel_cx.pool()).1 },
    }))
}

/// Drops a message for a full mailbox. Its destructor is foreign, and its sender no longer needs
/// it.
// Always inlined: passed as an argument, the message would have to lie in memory on every path.
#[inline(always)]
fn discard_without_core<M>(kernel_cx: &KernelCx<'_>, message: M) {
    let mut message = Some(message);
    kernel_cx.catch_panic(&mut || drop(message.take()));
}

/// Releases the slot of a counted message that was not delivered.
#[cold]
fn retract(process: &Header, kernel_cx: &KernelCx<'_>) {
    if let Some(bound) = process.bound() {
        bound.room.unreserve();
        // A waiting sender may have been rejected because of that slot.
        if bound.overflow == Overflow::Reject {
            waker::request_wake(process, kernel_cx);
        }
    }
}
