//! Sending a message: [`SendError`], and the one way that all senders take.

use core::any::TypeId;
use core::fmt;

use crate::bound::{Admitted, Overflow};
use crate::hand::Hand;
use crate::pid::{Alias, Pid};
use crate::process::header::Header;
use crate::signal::message::{AliasMessage, Message};
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

/// Sends to whoever `pid` names. Lock-free.
pub(crate) fn send<M: Send + 'static>(hand: &Hand<'_>, pid: Pid, message: M) -> Result<(), SendError<M>> {
    match hand.find(pid) {
        Some(process) => send_to(hand, process, message, None),
        None => Err(SendError::NoProc(message)),
    }
}

/// Sends through an alias: to a dead process or a spent alias nothing happens. Lock-free.
pub(crate) fn send_alias<M: Send + 'static>(hand: &Hand<'_>, alias: Alias, message: M) -> Result<(), SendError<M>> {
    match hand.find(alias.pid) {
        Some(process) => send_to(hand, process, message, Some(alias)),
        None => Err(SendError::NoProc(message)),
    }
}

/// Sends to a process that was found. Lock-free.
pub(crate) fn send_to<M: Send + 'static>(
    hand: &Hand<'_>,
    process: &Header,
    message: M,
    via: Option<Alias>,
) -> Result<(), SendError<M>> {
    if process.vtable.takes != TypeId::of::<M>() {
        return Err(SendError::WrongType(message));
    }
    // Before it is allocated: the dead and the full cost nothing.
    if process.mailbox.is_closed() {
        return Err(SendError::NoProc(message));
    }
    if let Some(bound) = process.bound.get() {
        match bound.admit() {
            Admitted::In => {}
            Admitted::Refused => return Err(SendError::Full(message)),
            Admitted::Dropped => {
                discard(hand, message);
                return Ok(());
            }
        }
    }
    if via.is_none() && process.bound.get().is_none() {
        return deliver_plain(hand, process, message);
    }
    deliver(hand, process, message, via)
}

/// Delivers a message that nobody counts: to who waits, straight into the private queue. Lock-free.
#[inline(always)]
fn deliver_plain<M: Send + 'static>(hand: &Hand<'_>, process: &Header, message: M) -> Result<(), SendError<M>> {
    let node = Message::try_new(hand, message).map_err(SendError::NoMemory)?;
    if process.mailbox.wake() {
        // SAFETY: woken, so the caller owns it until it is queued (P1).
        let private = unsafe { process.private() };
        // SAFETY: new, so ours.
        unsafe { private.queue.push_back(node) };
        private.resume = true;
        hand.schedule(process);
        return Ok(());
    }
    // SAFETY: new, so ours.
    if unsafe { hand.push(process, node) } {
        return Ok(());
    }
    // SAFETY: not delivered, so still ours, of the kind that it was made.
    Err(SendError::NoProc(unsafe { Message::open(node, hand.pool()) }))
}

/// Delivers a message that has its place, if the process counts them. Lock-free.
#[inline(always)]
pub(crate) fn deliver<M: Send + 'static>(
    hand: &Hand<'_>,
    process: &Header,
    message: M,
    via: Option<Alias>,
) -> Result<(), SendError<M>> {
    let node = match via {
        None => Message::try_new(hand, message),
        Some(alias) => AliasMessage::try_new(hand, alias.reference, message),
    };
    let node = node.map_err(|message| {
        retract(process, hand);
        SendError::NoMemory(message)
    })?;
    // SAFETY: new, so ours.
    if unsafe { hand.push(process, node) } {
        return Ok(());
    }
    retract(process, hand);
    Err(SendError::NoProc(match via {
        // SAFETY: not delivered, so still ours, of the kind that it was made.
        None => unsafe { Message::open(node, hand.pool()) },
        // SAFETY: likewise.
        Some(_) => unsafe { AliasMessage::open(node, hand.pool()) },
    }))
}

/// A full mailbox drops a message. Its destructor is foreign, and its sender has done with it.
#[cold]
fn discard<M>(hand: &Hand<'_>, message: M) {
    let mut message = Some(message);
    hand.kernel.contain(&mut || drop(message.take()));
}

/// A message that was counted has not arrived.
#[cold]
fn retract(process: &Header, hand: &Hand<'_>) {
    if let Some(bound) = process.bound.get() {
        bound.room.retract();
        // Who is in line may have been refused for it.
        if bound.overflow == Overflow::Refuse {
            waker::nudge(process, hand);
        }
    }
}
