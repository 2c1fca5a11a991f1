//! Sending a message: [`SendError`], and the one path that all senders share.

use alloc::boxed::Box;
use core::any::TypeId;
use core::fmt;

use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::platform::Forwarded;
use crate::kernel_ptr::KernelPtr;
use crate::mailbox::limit::{Admission, Overflow};
use crate::memory::pool_box::PoolBox;
use crate::memory::{NoMemory, try_box_with};
use crate::ops::message::RequestBlock;
use crate::ops::waker;
use crate::pid::{Alias, Pid};
use crate::process::process_ref::ProcessRef;
use crate::process::request_message::Request;
use crate::process::request_watch::DeathWatch;
use crate::signal::held::{BoxedSignal, HeldNode};
use crate::signal::message::{AliasMessage, AnyMessage, Message, into_message};

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

    /// Applies a function to the message.
    pub(crate) fn map<N>(self, map: impl FnOnce(M) -> N) -> SendError<N> {
        match self {
            Self::NoProc(m) => SendError::NoProc(map(m)),
            Self::WrongType(m) => SendError::WrongType(map(m)),
            Self::Full(m) => SendError::Full(map(m)),
            Self::NoMemory(m) => SendError::NoMemory(map(m)),
            Self::NoName(m) => SendError::NoName(map(m)),
            Self::Dying(m) => SendError::Dying(map(m)),
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
pub(crate) enum Attachment {
    /// No attachment.
    Nothing,
    /// The alias that the message goes through.
    Alias(Alias),
    /// The watch of a request. A message that is not sent, or that is dropped, releases it.
    Watch(DeathWatch),
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

/// Allocates the message of a request to a process that was found. Returns `None` if the process
/// counts its messages, or does not take messages of this type: then [`send_request`] sends a
/// message that was made elsewhere, or reports the error.
///
/// # Errors
/// A [`SendError`], if a request cannot be sent.
#[inline(always)]
pub(crate) fn request_block<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
) -> Result<Option<RequestBlock<M>>, SendError<()>> {
    if process.mailbox.is_closed() {
        return Err(SendError::NoProc(()));
    }
    if process.vtable.takes != TypeId::of::<M>() || process.bound().is_some() {
        return Ok(None);
    }
    RequestBlock::try_new(kernel_cx).map(Some).ok_or(SendError::NoMemory(()))
}

/// Sends a request whose message was made in its block. Lock-free.
///
/// # Errors
/// The message, if the receiver is dead.
#[inline(always)]
pub(crate) fn send_filled<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    request: PoolBox<Request<M>>,
) -> Result<(), PoolBox<Request<M>>> {
    put(kernel_cx, process, request)
}

/// Sends a request to a process for which [`request_block`] returns `None`. Lock-free.
#[inline(never)]
pub(crate) fn send_request<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    watch: DeathWatch,
    message: M,
) -> Result<(), SendError<M>> {
    send_with(kernel_cx, process, message, Attachment::Watch(watch))
}

/// Sends to a process that was found. Lock-free.
// Inlined into its callers, which are the functions of the senders: it would be a second call.
#[inline(always)]
pub(crate) fn send_to<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    message: M,
) -> Result<(), SendError<M>> {
    send_with(kernel_cx, process, message, Attachment::Nothing)
}

// Inlined into each caller, which knows the message's attachment.
#[inline(always)]
fn send_with<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    message: M,
    with: Attachment,
) -> Result<(), SendError<M>> {
    if process.vtable.takes != TypeId::of::<M>() {
        return send_boxed(kernel_cx, process, message, with);
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
                    watch.release(kernel_cx.pool());
                }
                discard_without_core(kernel_cx, message);
                return Ok(());
            }
        }
    }
    deliver(kernel_cx, process, message, with)
}

/// Puts a message into a box, for a process that takes messages of all types.
///
/// # Errors
/// The message, if the process takes messages of another type, or there is no memory.
pub(crate) fn boxed<M: Send + 'static>(takes: TypeId, message: M) -> Result<AnyMessage, SendError<M>> {
    if takes != TypeId::of::<AnyMessage>() || takes == TypeId::of::<M>() {
        return Err(SendError::WrongType(message));
    }
    let mut message = Some(message);
    let mut take = || message.take().unwrap_or_else(|| unreachable!("it is taken once"));
    match try_box_with(&mut take) {
        Ok(message) => Ok(message),
        Err(NoMemory) => Err(SendError::NoMemory(take())),
    }
}

/// Takes a message out of the box that [`boxed`] made.
fn unboxed<M: 'static>(message: AnyMessage) -> M {
    match message.downcast() {
        Ok(message) => *message,
        Err(_) => unreachable!("the box was made of such a message"),
    }
}

/// Sends a message that is not of the type that the process takes: in a box, if it takes all types.
#[cold]
#[inline(never)]
fn send_boxed<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    message: M,
    with: Attachment,
) -> Result<(), SendError<M>> {
    let message = boxed(process.vtable.takes, message)?;
    if !process.proxy {
        return send_with(kernel_cx, process, message, with).map_err(|error| error.map(unboxed));
    }
    forward(kernel_cx, process, message, with).map_err(|error| error.map(unboxed))
}

/// Sends a message to a proxy: the platform takes it, or the mailbox.
fn forward(
    kernel_cx: &KernelCx<'_>,
    proxy: ProcessRef<'_>,
    message: AnyMessage,
    with: Attachment,
) -> Result<(), SendError<AnyMessage>> {
    if proxy.mailbox.is_closed() {
        return Err(SendError::NoProc(message));
    }
    let with = match with {
        // The watch is in the proxy's mailbox before the message is on its way: the requester
        // learns of the proxy's end by a request without a message.
        Attachment::Watch(_) => {
            let nothing: AnyMessage = Box::new(());
            if let Err(error) = send_with(kernel_cx, proxy, nothing, with) {
                return Err(error.map(|_| message));
            }
            Attachment::Nothing
        }
        with => with,
    };
    let kernel = kernel_cx.kernel;
    let sender =
        kernel.current_slot.with_slice_of(KernelPtr::of(kernel), |slice| slice.map(|slice| slice.process().pid));
    let queued = match kernel.world().forward(proxy.pid, sender, message) {
        Forwarded::Queue(message) => send_with(kernel_cx, proxy, message, with),
        Forwarded::Sent => return Ok(()),
    };
    queued.map_err(|error| error.map(|message| kernel.world().not_queued(proxy.pid, message)))
}

/// Delivers a message that has its slot reserved, in the type that the process takes.
///
/// # Errors
/// The message, if the receiver is dead, or takes messages of another type.
pub(crate) fn deliver_reserved<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    message: M,
) -> Result<(), SendError<M>> {
    if process.vtable.takes == TypeId::of::<M>() {
        return deliver(kernel_cx, process, message, Attachment::Nothing);
    }
    match boxed(process.vtable.takes, message) {
        Ok(message) => {
            let delivered = deliver(kernel_cx, process, message, Attachment::Nothing);
            delivered.map_err(|error| error.map(unboxed))
        }
        Err(error) => {
            retract(process, kernel_cx);
            Err(error)
        }
    }
}

/// Puts a message or a request where its receiver finds it. A receiver that waits gets it straight
/// into the private queue, unless its messages are counted. Lock-free.
///
/// # Errors
/// The message, if the receiver is dead.
#[inline(always)]
fn put<T: BoxedSignal>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    message: PoolBox<T>,
) -> Result<(), PoolBox<T>> {
    if process.bound().is_none()
        && let Some(mut owned) = process.claim()
    {
        owned.state(|state| {
            state.queue.push_back(HeldNode::of(message));
            state.resume = true;
        });
        kernel_cx.schedule(owned);
        return Ok(());
    }
    kernel_cx.push_box(process, message)
}

/// Delivers a message that has its slot reserved, if the process counts its messages. Lock-free.
#[inline(always)]
fn deliver<M: Send + 'static>(
    kernel_cx: &KernelCx<'_>,
    process: ProcessRef<'_>,
    message: M,
    with: Attachment,
) -> Result<(), SendError<M>> {
    let no_memory = |message| {
        retract(process, kernel_cx);
        SendError::NoMemory(message)
    };
    let refused = match with {
        Attachment::Nothing => {
            let message = Message::try_new(kernel_cx, message).map_err(no_memory)?;
            put(kernel_cx, process, message).map_err(|message| into_message(message, kernel_cx.pool()))
        }
        // The receiver accepts it only if the alias is in force when the signal is handled.
        Attachment::Alias(alias) => {
            let message = AliasMessage::try_new(kernel_cx, alias.reference, message).map_err(no_memory)?;
            kernel_cx.push_box(process, message).map_err(|message| into_message(message, kernel_cx.pool()))
        }
        Attachment::Watch(watch) => {
            let message = Request::try_new(kernel_cx, watch, message).map_err(no_memory)?;
            put(kernel_cx, process, message).map_err(|message| Request::open(message, kernel_cx.pool()).1)
        }
    };
    refused.map_err(|message| {
        retract(process, kernel_cx);
        SendError::NoProc(message)
    })
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
fn retract(process: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) {
    if let Some(bound) = process.bound() {
        bound.room.unreserve();
        // A waiting sender may have been rejected because of that slot.
        if bound.overflow == Overflow::Reject {
            waker::request_wake(process, kernel_cx);
        }
    }
}
