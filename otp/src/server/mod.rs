//! A process that answers calls: [`Server`] (OTP's `gen_server`).
//!
//! A server is a value with a mailbox. Its message type is an enum of its own; a request that wants an answer carries a
//! [`Reply`](atropos_kernel::Reply), so each has its answer's type, a handler may keep it and answer later, from
//! another process too, and no macro is needed:
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
//!     let counter = Counter::default().start().link(cx).await?;
//!     counter.cast(cx, Request::Add(2)).map_err(|_| "it is gone")?;
//!     Ok(counter.call(cx, Request::Get).await?)
//! }
//! ```
//!
//! # What a server promises
//!
//! - Whoever starts it hears that `init` is done, or why not, and nothing of a failed one is left ([`crate::start`]).
//! - One callback runs at a time; what comes meanwhile waits in the mailbox, in its order.
//! - A callback that panics ends the server with that crash, after `terminate`; or its state is made anew in the same process,
//!   so that its address and its mail outlive the crash ([`Start::restart_in_place`]).
//! - One that traps exits ([`Start::trap_exit`]) is told of its parent's death, or of a supervisor's shutdown, by
//!   `terminate`, and ends with that reason; other EXITs come to [`Server::exit`]. The host's exits count as the parent's.
//! - It can be looked at while it runs: [`ServerRef::with_state`], [`ServerRef::suspend`], [`ServerRef::statistics`],
//!   [`ServerRef::trace`] (OTP's `sys`).
//!
//! | part | file |
//! | --- | --- |
//! | how one is started | `builder` |
//! | the loop | `serve` |
//! | a new state after a crash | `rebirth` |
//! | who sends to it | `handle` |
//! | what is asked of the loop itself | `system` |

mod builder;
mod handle;
mod rebirth;
mod serve;
mod system;

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::time::Duration;

use atropos_kernel::{Context, Down, Exit, Pid, Reason, Reference, TimerError};

pub use builder::{Start, Starting};
pub use handle::{ServerName, ServerRef};
pub use rebirth::MailPolicy;
pub(crate) use serve::serve;
pub use system::{Envelope, Event, Statistics};

/// What a server does after a callback.
#[derive(Debug)]
pub enum Next<M> {
    /// Waits for what comes.
    Wait,
    /// Waits; if nothing has come in this time, [`Server::timeout`] is called.
    Timeout(Duration),
    /// Handles this message before any other.
    Continue(M),
    /// Ends, after `terminate`.
    Stop(Reason),
}

/// Why a server does not come up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InitError {
    /// There is nothing to do for it, and that is no error.
    Ignore,
    /// It cannot.
    Stop(Reason),
}

/// A value that serves; see the module.
pub trait Server: Sized + Send + 'static {
    /// What it is sent.
    type Message: Send + 'static;

    /// Whether some messages are more urgent than others: then [`Server::is_urgent`] is asked of each.
    const URGENT: bool = false;

    /// Whether this message goes before those that are not urgent, whoever sent them. Urgent ones keep their order among
    /// each other, and so do the others. It is asked once for each message, or again for those that wait when a
    /// callback has looked for something in the mailbox (by a call, say); it should be quick and not panic.
    fn is_urgent(message: &Self::Message) -> bool {
        let _ = message;
        false
    }

    /// The first thing it does, in its own process; whoever starts it waits for it.
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

    /// Somebody whom it monitored has died.
    fn down(&mut self, down: Down, cx: ServerCx<'_, Self>) -> impl Future<Output = Next<Self::Message>> + Send {
        let _ = (down, cx);
        async { Next::Wait }
    }

    /// An exit signal of somebody who is not its parent; only while it traps exits.
    fn exit(&mut self, exit: Exit, cx: ServerCx<'_, Self>) -> impl Future<Output = Next<Self::Message>> + Send {
        let _ = (exit, cx);
        async { Next::Wait }
    }

    /// Nothing has come for as long as [`Next::Timeout`] said.
    fn timeout(&mut self, cx: ServerCx<'_, Self>) -> impl Future<Output = Next<Self::Message>> + Send {
        let _ = cx;
        async { Next::Wait }
    }

    /// The last thing it does: after a [`Next::Stop`], a panic of another callback (the state is as that left it), or,
    /// while it traps exits, the end of its parent.
    fn terminate(&mut self, reason: &Reason, cx: ServerCx<'_, Self>) -> impl Future<Output = ()> + Send {
        let _ = (reason, cx);
        async {}
    }

    /// How it is to be started.
    fn start(self) -> Start<'static, Self> {
        Start::new(self)
    }
}

/// A server's view of its process, for the time of a callback. All that a [`Context`] can do but receive, which is the
/// loop's.
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
        f.debug_struct("Serving").field("cx", self.cx).field("parent", &self.parent).finish()
    }
}

impl<S: Server> Deref for ServerCx<'_, S> {
    type Target = Context<Envelope<S>>;

    fn deref(&self) -> &Self::Target {
        self.cx
    }
}

impl<'a, S: Server> ServerCx<'a, S> {
    /// Itself, for others.
    pub fn me(&self) -> ServerRef<S> {
        ServerRef::new(self.cx.pid())
    }

    /// Who started it; `None` is the host.
    pub fn parent(&self) -> Option<Pid> {
        self.parent
    }

    /// The process.
    pub fn context(&self) -> &'a Context<Envelope<S>> {
        self.cx
    }

    /// Sends itself a message after a while; `cancel_timer` takes it back.
    pub fn cast_after(&self, after: Duration, message: S::Message) -> Result<Reference, TimerError> {
        self.cx.send_after(self.cx.pid(), after, Envelope::<S>::message(message))
    }
}
