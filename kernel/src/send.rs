//! Sending a message: [`SendError`], and the one way that all senders take.

use core::any::TypeId;
use core::fmt;
use core::ptr::NonNull;

use crate::bound::{Admission, Overflow};
use crate::hand::KernelCx;
use crate::pid::{Alias, Pid};
use crate::process::header::Header;
use crate::reply::RequestHead;
use crate::reply::watch::{DeathWatch, let_go};
use crate::signal::message::{AliasMessage, Message, Request};
use crate::signal::node::Node;
use crate::task::waker;

/// Why a message was not sent; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<M> {
    /// The receiver is dead.
    NoProc(M),
    /// The receiver takes messages of another type.
    WrongType(M),
    /// As many messages wait at the receiver as it allows.
    Full(M),
    /// There is no memory for it.
    NoMemory(M),
    /// Nobody has the name.
    NoName(M),
    /// The sender is dying.
    Dying(M),
}

impl<M> SendError<M> {
    /// The message.
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

    /// What went wrong, without the message.
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
            Self::NoName(_) => "nobody has the name",
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

/// What a message has with it.
#[derive(Clone, Copy)]
pub(crate) enum Attachment {
    /// Nothing.
    Nothing,
    /// It goes through an alias.
    Alias(Alias),
    /// The watch of a request.
    Watch(NonNull<RequestHead>),
}

/// Sends to whoever `pid` names. Lock-free.
pub(crate) fn send<M: Send + 'static>(hand: &KernelCx<'_>, pid: Pid, message: M) -> Result<(), SendError<M>> {
    match hand.find(pid) {
        Some(process) => send_to(hand, process, message),
        None => Err(SendError::NoProc(message)),
    }
}

/// Sends through an alias: to a dead process or a spent alias nothing happens. Lock-free.
pub(crate) fn send_alias<M: Send + 'static>(hand: &KernelCx<'_>, alias: Alias, message: M) -> Result<(), SendError<M>> {
    match hand.find(alias.pid) {
        Some(process) => send_with(hand, process, message, Attachment::Alias(alias)),
        None => Err(SendError::NoProc(message)),
    }
}

/// Sends a request to a process that was found. Lock-free.
// In the code of its caller, which makes the message: it is written where it goes at once.
#[inline(always)]
pub(crate) fn send_request<M: Send + 'static>(
    hand: &KernelCx<'_>,
    process: &Header,
    watch: DeathWatch,
    message: M,
) -> Result<(), SendError<M>> {
    let watch = watch.travels();
    let sent = send_with(hand, process, message, Attachment::Watch(watch));
    if sent.is_err() {
        // SAFETY: not sent: the watch has stayed here.
        unsafe { let_go(watch, hand.pool()) };
    }
    sent
}

/// Sends to a process that was found. Lock-free.
pub(crate) fn send_to<M: Send + 'static>(hand: &KernelCx<'_>, process: &Header, message: M) -> Result<(), SendError<M>> {
    send_with(hand, process, message, Attachment::Nothing)
}

// In the code of each of its callers, which know what is with the message.
#[inline(always)]
fn send_with<M: Send + 'static>(hand: &KernelCx<'_>, process: &Header, message: M, with: Attachment) -> Result<(), SendError<M>> {
    if process.vtable.takes != TypeId::of::<M>() {
        return Err(SendError::WrongType(message));
    }
    // Before it is allocated: the dead and the full cost nothing.
    if process.mailbox.is_closed() {
        return Err(SendError::NoProc(message));
    }
    if let Some(bound) = process.bound() {
        match bound.admit() {
            Admission::Accepted => {}
            Admission::Rejected => return Err(SendError::Full(message)),
            Admission::Dropped => {
                if let Attachment::Watch(watch) = with {
                    // SAFETY: it has stayed here.
                    unsafe { let_go(watch, hand.pool()) };
                }
                discard(hand, message);
                return Ok(());
            }
        }
    }
    deliver(hand, process, message, with)
}

/// Puts a message, or a request, where its receiver finds it; false when it is dead, and the node still the caller's. Who
/// waits gets it straight into the private queue, if nobody counts its messages. Lock-free.
///
/// # Safety
/// The caller holds `node`; after `true` it is the receiver's.
#[inline(always)]
unsafe fn put(hand: &KernelCx<'_>, process: &Header, node: NonNull<Node>) -> bool {
    if process.bound().is_none() && process.mailbox.claim() {
        // SAFETY: woken, so the caller owns it until it is queued (P1).
        let private = unsafe { process.private() };
        // SAFETY: by contract in no queue.
        unsafe { private.queue.push_back(node) };
        private.resume = true;
        hand.schedule(process);
        return true;
    }
    // SAFETY: by contract.
    unsafe { hand.push(process, node) }
}

/// Delivers a message that has its place, if the process counts them. Lock-free.
#[inline(always)]
pub(crate) fn deliver<M: Send + 'static>(
    hand: &KernelCx<'_>,
    process: &Header,
    message: M,
    with: Attachment,
) -> Result<(), SendError<M>> {
    let node = match with {
        Attachment::Nothing => Message::try_new(hand, message),
        Attachment::Alias(alias) => AliasMessage::try_new(hand, alias.reference, message),
        Attachment::Watch(watch) => Request::try_new(hand, watch, message),
    };
    let node = node.map_err(|message| {
        retract(process, hand);
        SendError::NoMemory(message)
    })?;
    let arrived = match with {
        // It counts only if the alias does when it is met.
        // SAFETY: new, so ours.
        Attachment::Alias(_) => unsafe { hand.push(process, node) },
        // SAFETY: likewise.
        Attachment::Nothing | Attachment::Watch(_) => unsafe { put(hand, process, node) },
    };
    if arrived {
        return Ok(());
    }
    retract(process, hand);
    Err(SendError::NoProc(match with {
        // SAFETY: not delivered, so still ours, of the kind that it was made.
        Attachment::Nothing => unsafe { Message::open(node, hand.pool()) },
        // SAFETY: likewise.
        Attachment::Alias(_) => unsafe { AliasMessage::open(node, hand.pool()) },
        // SAFETY: likewise.
        Attachment::Watch(_) => unsafe { Request::open(node, hand.pool()).1 },
    }))
}

/// A full mailbox drops a message. Its destructor is foreign, and its sender has done with it.
// Always in the code of its caller: passed on, the message would have to lie in memory on every path.
#[inline(always)]
fn discard<M>(hand: &KernelCx<'_>, message: M) {
    let mut message = Some(message);
    hand.catch_panic(&mut || drop(message.take()));
}

/// A message that was counted has not arrived.
#[cold]
fn retract(process: &Header, hand: &KernelCx<'_>) {
    if let Some(bound) = process.bound() {
        bound.room.retract();
        // Who is in line may have been refused for it.
        if bound.overflow == Overflow::Reject {
            waker::nudge(process, hand);
        }
    }
}
