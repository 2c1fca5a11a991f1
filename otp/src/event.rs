//! An event manager, which passes each event to a set of handlers: [`EventManager`] (OTP's
//! `gen_event`).
//!
//! Handlers are values that are added and removed while the manager runs; each has its own id. One
//! event is handled at a time, and the handlers are called newest first, as in OTP. A handler that
//! panics or returns `Leave` is removed, and its `terminate` is called; the manager and the other
//! handlers continue. If a process adds a handler *supervised*, it learns why the handler was
//! removed, and the handler is removed when the process dies.
//!
//! Notifying is a cast: the events of one sender arrive in order. [`EventManagerRef::sync_notify`]
//! waits until all handlers have handled the event.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

use atropos_kernel::{CatchDrop, Context, Down, Pid, Reason, Reference, Reply, ReplyFuture, SendError, reply};

use crate::call::CallError;
use crate::server::{Next, Server, ServerCx, ServerRef};
use crate::wait::{pid_of, yield_if_exhausted};

/// The result of an event handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandlerNext {
    /// The handler stays.
    Stay,
    /// The handler is done and is removed.
    Leave,
}

/// The reason why a handler was removed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RemovedHandler {
    /// The handler returned [`HandlerNext::Leave`].
    Left,
    /// A process called [`EventManagerRef::delete`].
    Deleted,
    /// Another handler replaced it ([`EventManagerRef::swap`]).
    Swapped,
    /// The handler panicked.
    Crashed(Reason),
    /// The process that had added it supervised has died.
    Orphaned(Reason),
    /// The manager stops.
    Stopped(Reason),
}

/// The callbacks of a handler of events of type `E`.
pub trait EventHandler<E>: Any + Send {
    /// Handles an event. It should be quick, because the other handlers wait.
    fn event(&mut self, event: &E) -> HandlerNext;

    /// Cleans up when the handler is removed.
    fn terminate(&mut self, why: &RemovedHandler) {
        let _ = why;
    }
}

/// The id of a handler, unique in its manager.
pub type HandlerId = Cow<'static, str>;

struct Entry<E> {
    id: HandlerId,
    handler: CatchDrop<Box<dyn EventHandler<E>>>,
    /// The process that supervises it, the manager's monitor of that process, and the reply handle
    /// for the reason of the removal.
    supervised: Option<(Pid, Reference, Reply<RemovedHandler>)>,
}

/// An event manager for events of type `E`. It is a server, started and supervised like one.
pub struct EventManager<E> {
    entries: Vec<Entry<E>>,
}

/// The message type of a manager.
pub struct Request<E>(Ask<E>);

type Inspect<E> = Box<dyn FnOnce(Option<&mut dyn EventHandler<E>>) + Send>;

enum Ask<E> {
    Notify(E),
    Sync(E, Reply<()>),
    Add(HandlerId, Box<dyn EventHandler<E>>, Option<(Pid, Reply<RemovedHandler>)>, Reply<Result<(), AddError>>),
    Delete(HandlerId, Reply<bool>),
    Swap(HandlerId, HandlerId, Box<dyn EventHandler<E>>, Reply<bool>),
    Which(Reply<Vec<HandlerId>>),
    Look(HandlerId, Inspect<E>),
}

/// The reason why a handler was not added.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AddError {
    /// A handler with this id exists already.
    Taken,
    /// The call got no reply.
    Call(CallError),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("a handler with this id exists already"),
            Self::Call(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for AddError {}

impl From<CallError> for AddError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl<E> fmt::Debug for EventManager<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.id)).finish()
    }
}

impl<E> fmt::Debug for Request<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl<E> Default for EventManager<E> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<E: Send + 'static> EventManager<E> {
    /// Creates a manager without handlers.
    pub fn new() -> Self {
        Self::default()
    }

    fn place(&self, id: &HandlerId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == *id)
    }

    async fn notify(&mut self, event: E, cx: ServerCx<'_, Self>) {
        let event = cx.with(|cx| cx.catch_drop(event));
        let mut place = 0;
        while let Some(entry) = self.entries.get_mut(place) {
            let why = match cx.with(|cx| cx.catch_panic(|| entry.handler.event(&event))) {
                Ok(HandlerNext::Stay) => {
                    place += 1;
                    // Other processes get their turns between two handlers, however many there are.
                    yield_if_exhausted(cx.context()).await;
                    continue;
                }
                Ok(HandlerNext::Leave) => RemovedHandler::Left,
                Err(crash) => RemovedHandler::Crashed(crash),
            };
            self.remove(place, why, cx);
        }
    }

    fn remove(&mut self, place: usize, why: RemovedHandler, cx: ServerCx<'_, Self>) {
        let Entry { mut handler, supervised, .. } = self.entries.remove(place);
        // A panic of its `terminate` or its destructor does not hit the manager: the handler is
        // removed in any case.
        let _ = cx.with(|cx| cx.catch_panic(|| handler.terminate(&why)));
        drop(handler);
        if let Some((_, _, told)) = supervised {
            told.send(why);
        }
    }

    fn forget_monitor(&self, place: usize, cx: ServerCx<'_, Self>) {
        if let Some((_, monitor, _)) = self.entries.get(place).and_then(|entry| entry.supervised.as_ref()) {
            cx.demonitor(*monitor, true);
        }
    }

    fn add(
        &mut self,
        id: HandlerId,
        handler: Box<dyn EventHandler<E>>,
        supervised: Option<(Pid, Reply<RemovedHandler>)>,
        cx: ServerCx<'_, Self>,
    ) -> Result<(), AddError> {
        // Held first, so that a handler that is refused is dropped inside `catch_panic`.
        let handler = cx.with(|cx| cx.catch_drop(handler));
        if self.place(&id).is_some() {
            return Err(AddError::Taken);
        }
        let supervised = match supervised {
            Some((pid, told)) => Some((pid, cx.monitor(pid).map_err(CallError::from)?, told)),
            None => None,
        };
        self.entries.insert(0, Entry { id, handler, supervised });
        Ok(())
    }

    fn remove_entry(&mut self, id: &HandlerId, why: RemovedHandler, cx: ServerCx<'_, Self>) -> bool {
        let Some(place) = self.place(id) else { return false };
        self.forget_monitor(place, cx);
        self.remove(place, why, cx);
        true
    }

    fn apply(&mut self, request: Ask<E>, cx: ServerCx<'_, Self>) {
        match request {
            Ask::Notify(_) | Ask::Sync(..) => unreachable!("`handle` notifies"),
            Ask::Add(id, handler, supervised, reply) => reply.send(self.add(id, handler, supervised, cx)),
            Ask::Delete(id, reply) => reply.send(self.remove_entry(&id, RemovedHandler::Deleted, cx)),
            Ask::Swap(old, new, handler, reply) => {
                let may =
                    (old == new || self.place(&new).is_none()) && self.remove_entry(&old, RemovedHandler::Swapped, cx);
                let swapped = if may {
                    self.add(new, handler, None, cx).is_ok()
                } else {
                    cx.with(|cx| cx.drop_caught(handler));
                    false
                };
                reply.send(swapped);
            }
            Ask::Which(reply) => reply.send(self.entries.iter().map(|entry| entry.id.clone()).collect()),
            Ask::Look(id, look) => {
                let entry = self.entries.iter_mut().find(|entry| entry.id == id);
                // If `look` panics, its caller is at fault: the reply in it is dropped, and the
                // caller gets an error.
                drop(cx.with(|cx| cx.catch_panic(|| look(entry.map(|entry| &mut **entry.handler)))));
            }
        }
    }
}

impl<E: Send + 'static> Server for EventManager<E> {
    type Message = Request<E>;

    async fn handle(&mut self, request: Request<E>, cx: ServerCx<'_, Self>) -> Next<Request<E>> {
        match request.0 {
            Ask::Notify(event) => self.notify(event, cx).await,
            Ask::Sync(event, reply) => {
                self.notify(event, cx).await;
                reply.send(());
            }
            other => self.apply(other, cx),
        }
        Next::Wait
    }

    fn down(&mut self, down: Down, cx: ServerCx<'_, Self>) -> impl Future<Output = Next<Request<E>>> + Send {
        let pid = pid_of(&down.target);
        let of = |entry: &Entry<E>| {
            entry.supervised.as_ref().is_some_and(|(who, monitor, _)| Some(*who) == pid && *monitor == down.reference)
        };
        if let Some(place) = self.entries.iter().position(of) {
            self.remove(place, RemovedHandler::Orphaned(down.reason), cx);
        }
        core::future::ready(Next::Wait)
    }

    async fn terminate(&mut self, reason: &Reason, cx: ServerCx<'_, Self>) {
        while !self.entries.is_empty() {
            self.remove(0, RemovedHandler::Stopped(reason.clone()), cx);
            yield_if_exhausted(cx.context()).await;
        }
    }
}

/// A handle to an event manager.
pub type EventManagerRef<E> = ServerRef<EventManager<E>>;

impl<E: Send + 'static> ServerRef<EventManager<E>> {
    /// Sends an event without waiting.
    pub fn notify<M: Send + 'static>(self, cx: &Context<M>, event: E) -> Result<(), SendError<()>> {
        self.cast(cx, Request(Ask::Notify(event))).map_err(|error| error.without_message())
    }

    /// Sends an event and waits until all handlers have handled it.
    pub async fn sync_notify<M: Send + 'static>(self, cx: &Context<M>, event: E) -> Result<(), CallError> {
        self.call_within(cx, None, |reply| Request(Ask::Sync(event, reply))).await
    }

    /// Adds a handler.
    pub async fn add<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<HandlerId>,
        handler: impl EventHandler<E>,
    ) -> Result<(), AddError> {
        let (id, handler) = (id.into(), Box::new(handler));
        self.call(cx, |reply| Request(Ask::Add(id, handler, None, reply))).await?
    }

    /// Adds a handler that is removed when the caller dies. The future resolves to the reason of
    /// its removal.
    pub async fn add_supervised<M: Send + 'static>(
        self,
        cx: &Context<M>,
        id: impl Into<HandlerId>,
        handler: impl EventHandler<E>,
    ) -> Result<ReplyFuture<RemovedHandler>, AddError> {
        let (id, handler, who) = (id.into(), Box::new(handler), cx.pid());
        let (told, removed) = reply().map_err(CallError::from)?;
        self.call(cx, |reply| Request(Ask::Add(id, handler, Some((who, told)), reply))).await??;
        Ok(removed)
    }

    /// Removes a handler. Returns `true` if it existed.
    pub async fn delete<M: Send + 'static>(self, cx: &Context<M>, id: impl Into<HandlerId>) -> Result<bool, CallError> {
        let id = id.into();
        self.call(cx, |reply| Request(Ask::Delete(id, reply))).await
    }

    /// Replaces a handler by another. Returns `false` if there is no handler `old`, or the id `new`
    /// is in use.
    pub async fn swap<M: Send + 'static>(
        self,
        cx: &Context<M>,
        old: impl Into<HandlerId>,
        new: impl Into<HandlerId>,
        handler: impl EventHandler<E>,
    ) -> Result<bool, CallError> {
        let (old, new, handler) = (old.into(), new.into(), Box::new(handler));
        self.call(cx, |reply| Request(Ask::Swap(old, new, handler, reply))).await
    }

    /// Returns the ids of the handlers, newest first.
    pub async fn which<M: Send + 'static>(self, cx: &Context<M>) -> Result<Vec<HandlerId>, CallError> {
        self.call(cx, |reply| Request(Ask::Which(reply))).await
    }

    /// Runs `look` on a handler of type `H`, which it may change; returns `None` if there is no
    /// handler of this id and type.
    pub async fn with_handler<M, H, R, F>(
        self,
        cx: &Context<M>,
        id: impl Into<HandlerId>,
        look: F,
    ) -> Result<Option<R>, CallError>
    where
        M: Send + 'static,
        H: EventHandler<E>,
        R: Send + 'static,
        F: FnOnce(&mut H) -> R + Send + 'static,
    {
        let id = id.into();
        self.call(cx, |reply| {
            let look: Inspect<E> = Box::new(move |handler| {
                let handler = handler.and_then(|handler| (handler as &mut dyn Any).downcast_mut::<H>());
                reply.send(handler.map(look));
            });
            Request(Ask::Look(id, look))
        })
        .await
    }
}
