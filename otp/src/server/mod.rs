//! A process that handles calls and casts: [`Server`] (OTP's `gen_server`).
//!
//! A server is a value with a mailbox. Its message type is its own enum, and a request that expects
//! a reply carries a [`Reply`](atropos_kernel::Reply). Each request therefore has the type of its
//! reply, and no macro is needed. A handler may keep the `Reply` and send it later, also from
//! another process:
//!
//! ```
//! use atropos_otp::{Next, Reply, Server, ServerCx};
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! enum Request {
//!     Add(u64),
//!     Get(Reply<u64>),
//! }
//!
//! impl Server for Counter {
//!     type Message = Request;
//!
//!     async fn handle(&mut self, request: Request, _: ServerCx<'_, Self>) -> Next<Request> {
//!         match request {
//!             Request::Add(n) => self.0 += n,
//!             Request::Get(reply) => reply.send(self.0),
//!         }
//!         Next::Wait
//!     }
//! }
//!
//! async fn use_it(cx: &atropos_kernel::Context<()>) -> Result<u64, Box<dyn std::error::Error>> {
//!     let counter = Counter::default().start().start_link(cx).await?;
//!     counter.cast(cx, Request::Add(2)).map_err(|_| "it is gone")?;
//!     Ok(counter.call(cx, Request::Get).await?)
//! }
//! ```
//!
//! # Guarantees
//!
//! - The process that starts a server learns that `init` has returned, or why it failed; nothing of
//!   a failed server is left ([`crate::start`]).
//! - One callback runs at a time; what arrives during it waits in the mailbox, in order.
//! - If a callback panics, the server exits with that crash, after `terminate`. Alternatively the
//!   server restarts in place: it makes a new state in the same process, so that its address and
//!   its mail survive the crash ([`Start::restart_in_place`]).
//! - If a server traps exits ([`Start::trap_exit`]), its `terminate` is called when its parent dies
//!   or a supervisor shuts it down, and it exits with that reason. Other EXITs go to
//!   [`Server::exit`]. The host's exit signals count as the parent's.
//! - It can be inspected while it runs: [`ServerRef::with_state`], [`ServerRef::suspend`],
//!   [`ServerRef::statistics`], [`ServerRef::trace`] (OTP's `sys`).
//!
//! | topic | file |
//! | --- | --- |
//! | start | `builder` |
//! | receive loop | `serve` |
//! | new state after a crash | `restart_in_place` |
//! | client handles | `handle` |
//! | system requests to the loop | `system` |

mod builder;
mod handle;
mod restart_in_place;
mod serve;
mod system;

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::time::Duration;

use atropos_kernel::{Context, Down, DropCatcher, Exit, Pid, Reason, Reference, TimerError};

pub use builder::Start;
pub use handle::{ServerName, ServerRef};
pub use restart_in_place::MailboxPolicy;
pub(crate) use serve::serve;
pub use system::{Envelope, Event, Statistics};

/// The return value of a callback: what the server does next.
#[derive(Debug)]
pub enum Next<M> {
    /// Waits for the next message or signal.
    Wait,
    /// Waits; if nothing arrives in this time, [`Server::timeout`] is called.
    Timeout(Duration),
    /// Handles this message before any other (OTP's `{continue, _}`).
    Continue(M),
    /// Calls `terminate` and exits with this reason.
    Stop(Reason),
}

/// The reason why a server does not come up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InitError {
    /// There is nothing to serve, which is not an error (OTP's `ignore`).
    Ignore,
    /// The start failed with this reason.
    Stop(Reason),
}

/// A value that serves requests: the callbacks of a server process.
pub trait Server: Sized + Send + 'static {
    /// The type of its messages.
    type Message: Send + 'static;

    /// `true` if some messages are more urgent than others: then [`Server::is_urgent`] is called
    /// for each.
    const URGENT: bool = false;

    /// Returns `true` if this message goes before those that are not urgent, from any sender.
    /// Urgent messages keep their order among each other, and so do the rest. It is called once for
    /// each message, and again for the waiting ones after a callback has searched the mailbox (in a
    /// call, for example). It should be quick and not panic.
    fn is_urgent(message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// Initializes the server, in its own process. The process that starts the server waits for it.
    fn init(&mut self, cx: ServerCx<'_, Self>) -> impl Future<Output = Result<Next<Self::Message>, InitError>> + Send {
        let _ = cx;
        async { Ok(Next::Wait) }
    }

    /// Handles a message.
    fn handle(
        &mut self,
        message: Self::Message,
        cx: ServerCx<'_, Self>,
    ) -> impl Future<Output = Next<Self::Message>> + Send;

    /// Handles the DOWN of a process that the server monitors.
    fn down(&mut self, down: Down, cx: ServerCx<'_, Self>) -> impl Future<Output = Next<Self::Message>> + Send {
        let _ = (down, cx);
        async { Next::Wait }
    }

    /// Handles an exit signal of a process that is not its parent. It is called only if the server
    /// traps exits.
    fn exit(&mut self, exit: Exit, cx: ServerCx<'_, Self>) -> impl Future<Output = Next<Self::Message>> + Send {
        let _ = (exit, cx);
        async { Next::Wait }
    }

    /// Handles a timeout: nothing arrived in the time of [`Next::Timeout`].
    fn timeout(&mut self, cx: ServerCx<'_, Self>) -> impl Future<Output = Next<Self::Message>> + Send {
        let _ = cx;
        async { Next::Wait }
    }

    /// Cleans up before the server exits: after a [`Next::Stop`], after a panic of another callback
    /// (the state is as the panic left it), or, if the server traps exits, after its parent's exit.
    fn terminate(&mut self, reason: &Reason, cx: ServerCx<'_, Self>) -> impl Future<Output = ()> + Send {
        let _ = (reason, cx);
        async {}
    }

    /// Passes the platform's catch to the foreign values that the server was built with
    /// ([`CatchDrop::catch_with`](atropos_kernel::CatchDrop::catch_with)). It is called before the
    /// server's process is started, and for each state of a restart in place. The state itself is
    /// one such value already; a server that holds several needs this.
    fn catch_drops(&mut self, catcher: DropCatcher) {
        let _ = catcher;
    }

    /// Returns a builder that starts the server.
    fn start(self) -> Start<'static, Self> {
        Start::new(self)
    }
}

/// The context of a callback: the server's view of its process. It offers all of [`Context`] except
/// receiving, which is the loop's task.
pub struct ServerCx<'a, S: Server> {
    cx: &'a Context<Envelope<S>>,
    parent: Option<Pid>,
}

impl<S: Server> Clone for ServerCx<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Server> Copy for ServerCx<'_, S> {}

impl<S: Server> fmt::Debug for ServerCx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCx").field("cx", self.cx).field("parent", &self.parent).finish()
    }
}

impl<S: Server> Deref for ServerCx<'_, S> {
    type Target = Context<Envelope<S>>;

    fn deref(&self) -> &Self::Target {
        self.cx
    }
}

impl<'a, S: Server> ServerCx<'a, S> {
    /// Returns the address of this server, to give to other processes.
    pub fn me(&self) -> ServerRef<S> {
        ServerRef::new(self.cx.pid())
    }

    /// Returns the pid of the parent, i.e. the process that started the server; `None` is the host.
    pub fn parent(&self) -> Option<Pid> {
        self.parent
    }

    /// Returns the context of the process.
    pub fn context(&self) -> &'a Context<Envelope<S>> {
        self.cx
    }

    /// Sends the server a message after this time; `cancel_timer` cancels it.
    pub fn cast_after(&self, after: Duration, message: S::Message) -> Result<Reference, TimerError> {
        self.cx.send_after(self.cx.pid(), after, Envelope::<S>::message(message))
    }
}
