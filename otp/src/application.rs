//! Named supervision trees with dependencies, started and stopped in order: [`Applications`] (OTP's
//! applications).
//!
//! An application is a supervision tree with a name, and the names of the applications that it
//! depends on. The manager starts the requested application after all its dependencies, and stops
//! applications in reverse order. A tree is made by a function, so a stopped application can be
//! started again.
//!
//! The kind of an application says what its termination means, as in OTP. If a *permanent* one
//! terminates, all applications are stopped, whatever the reason; if a *transient* one does, all
//! are stopped unless the reason was `normal`; if a *temporary* one does, it is only recorded.
//! Applications that depend on one that terminated keep running: their own supervisors handle what
//! is missing.
//!
//! A failed start leaves the state of before: the dependencies that it started are stopped again.
//!
//! The manager is a server that traps exits; supervise it, or start it from the host. When it has
//! exited it has stopped all applications, the last started first, each with its whole tree.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{CatchDrop, Context, Down, DropCatcher, Exit, Pid, Reason, Reference, Reply};

use crate::call::CallError;
use crate::server::{InitError, Next, Server, ServerCx, ServerRef, Start};
use crate::start::StartError;
use crate::supervisor::{Supervisor, SupervisorRef};
use crate::wait::{Deadline, end_of, pid_of};

/// The name of an application.
pub type ApplicationName = Cow<'static, str>;

/// The meaning of the termination of an application.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Kind {
    /// All other applications are stopped.
    Permanent,
    /// All other applications are stopped, unless the reason was `normal`.
    Transient,
    /// No other application is stopped.
    #[default]
    Temporary,
}

type StartTree = Box<dyn FnMut() -> Supervisor + Send>;

/// A named supervision tree.
#[must_use = "give it to `Applications`"]
pub struct Application {
    name: ApplicationName,
    depends_on: Vec<ApplicationName>,
    kind: Kind,
    /// The catch of the platform is set when the manager is started.
    tree: CatchDrop<StartTree>,
    /// Its top supervisor, and the manager's monitor of it.
    top: Option<(Pid, Reference)>,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("name", &self.name).field("needs", &self.depends_on).finish_non_exhaustive()
    }
}

impl Application {
    /// Creates an application whose tree is made by `tree`, for each start. It is temporary by
    /// default.
    pub fn new(name: impl Into<ApplicationName>, tree: impl FnMut() -> Supervisor + Send + 'static) -> Self {
        let tree = CatchDrop::<StartTree>::new(Box::new(tree));
        Self { name: name.into(), depends_on: Vec::new(), kind: Kind::default(), tree, top: None }
    }

    /// Adds a dependency: the application `name` must be up before this one starts.
    pub fn depends_on(mut self, name: impl Into<ApplicationName>) -> Self {
        self.depends_on.push(name.into());
        self
    }

    /// Sets what its termination means.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

/// The reason why an application is not up.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ApplicationError {
    /// The manager does not have this application.
    Unknown(ApplicationName),
    /// The application depends on itself, directly or indirectly.
    Circular(ApplicationName),
    /// Its tree did not start. The dependencies that were started for it have been stopped.
    Start(ApplicationName, StartError),
    /// This running application depends on it.
    Needed(ApplicationName),
    /// The call got no reply.
    Call(CallError),
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "the application {name} is unknown"),
            Self::Circular(name) => write!(f, "{name} depends on itself"),
            Self::Start(name, error) => write!(f, "{name} did not start: {error}"),
            Self::Needed(name) => write!(f, "{name} depends on it"),
            Self::Call(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ApplicationError {}

impl From<CallError> for ApplicationError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// The application manager.
#[derive(Default, Debug)]
pub struct Applications {
    known: Vec<Application>,
    /// The applications that are up, in start order.
    running: Vec<ApplicationName>,
    on_boot: Vec<ApplicationName>,
}

/// The message type of the manager.
pub struct Request(Ask);

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

enum Ask {
    Start(ApplicationName, Reply<Result<Vec<ApplicationName>, ApplicationError>>),
    Stop(ApplicationName, Reply<Result<(), ApplicationError>>),
    Which(Reply<Vec<(ApplicationName, SupervisorRef)>>),
}

impl Applications {
    /// Creates a manager without applications.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an application.
    pub fn with(mut self, application: Application) -> Self {
        self.known.push(application);
        self
    }

    /// Starts this application and its dependencies when the manager starts. If one of them fails,
    /// so does the manager's start.
    pub fn start_on_boot(mut self, name: impl Into<ApplicationName>) -> Self {
        self.on_boot.push(name.into());
        self
    }

    /// Returns a builder that starts the manager, as a server that traps exits.
    pub fn manager(self) -> Start<'static, Self> {
        Start::new(self).trap_exit(true)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.known.iter().position(|application| application.name == name)
    }

    /// Computes the applications to start for `name`, in order.
    fn plan(
        &self,
        name: &ApplicationName,
        path: &mut Vec<ApplicationName>,
        plan: &mut Vec<usize>,
    ) -> Result<(), ApplicationError> {
        let place = self.place(name).ok_or_else(|| ApplicationError::Unknown(name.clone()))?;
        if self.known[place].top.is_some() || plan.contains(&place) {
            return Ok(());
        }
        if path.contains(name) {
            return Err(ApplicationError::Circular(name.clone()));
        }
        path.push(name.clone());
        for needed in &self.known[place].depends_on {
            self.plan(needed, path, plan)?;
        }
        path.pop();
        plan.push(place);
        Ok(())
    }

    async fn start(
        &mut self,
        name: ApplicationName,
        cx: ServerCx<'_, Self>,
    ) -> Result<Vec<ApplicationName>, ApplicationError> {
        let mut plan = Vec::new();
        self.plan(&name, &mut Vec::new(), &mut plan)?;
        let mut started = Vec::new();
        for place in plan {
            match self.start_one(place, cx).await {
                Ok(name) => started.push((place, name)),
                Err(error) => {
                    // Restores the state of before: the dependencies that this start has started
                    // are stopped, the last one first.
                    while let Some((place, _)) = started.pop() {
                        self.stop_application(place, cx).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(started.into_iter().map(|(_, name)| name).collect())
    }

    /// Starts an application whose dependencies are up.
    async fn start_one(&mut self, place: usize, cx: ServerCx<'_, Self>) -> Result<ApplicationName, ApplicationError> {
        let application = &mut self.known[place];
        let name = application.name.clone();
        let failed = |error| ApplicationError::Start(name.clone(), error);
        let tree = cx.with(|cx| cx.catch_panic(|| (application.tree)()));
        let tree = tree.map_err(|crash| failed(StartError::Crashed(crash)))?;
        let top = tree.start_link(cx.context()).await.map_err(failed)?;
        let monitor = cx.monitor(top).map_err(|error| {
            // A tree without a monitor must not keep running. Without memory for a shutdown signal
            // it is killed, which needs no memory.
            cx.unlink(top);
            if cx.exit(top, Reason::SHUTDOWN).is_err() {
                let _ = cx.exit(top, Reason::KILL);
            }
            CallError::from(error)
        })?;
        self.known[place].top = Some((top.pid(), monitor));
        self.running.push(name.clone());
        Ok(name)
    }

    async fn stop(&mut self, name: &ApplicationName, cx: ServerCx<'_, Self>) -> Result<(), ApplicationError> {
        let place = self.place(name).ok_or_else(|| ApplicationError::Unknown(name.clone()))?;
        let needing = self.known.iter().find(|other| other.top.is_some() && other.depends_on.contains(name));
        if let Some(other) = needing {
            return Err(ApplicationError::Needed(other.name.clone()));
        }
        self.stop_application(place, cx).await;
        Ok(())
    }

    async fn stop_application(&mut self, place: usize, cx: ServerCx<'_, Self>) {
        let application = &mut self.known[place];
        let Some((top, monitor)) = application.top.take() else { return };
        let name = &application.name;
        self.running.retain(|other| other != name);
        if cx.exit(top, Reason::SHUTDOWN).is_err() {
            // Without memory for a shutdown signal it is killed, which needs no memory.
            let _ = cx.exit(top, Reason::KILL);
        }
        // A supervisor may take as long as its children may.
        end_of(cx.context(), top, monitor, &Deadline::never(cx.context())).await;
    }

    async fn stop_all(&mut self, cx: ServerCx<'_, Self>) {
        while let Some(name) = self.running.pop() {
            if let Some(place) = self.place(&name) {
                self.stop_application(place, cx).await;
            }
        }
    }
}

impl Server for Applications {
    type Message = Request;

    fn catch_drops(&mut self, catcher: DropCatcher) {
        self.known.iter_mut().for_each(|application| application.tree.catch_with(catcher));
    }

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<Request>, InitError> {
        for name in core::mem::take(&mut self.on_boot) {
            if let Err(error) = self.start(name, cx).await {
                self.stop_all(cx).await;
                return Err(InitError::Stop(Reason::value(error)));
            }
        }
        Ok(Next::Wait)
    }

    async fn handle(&mut self, request: Request, cx: ServerCx<'_, Self>) -> Next<Request> {
        match request.0 {
            Ask::Start(name, reply) => {
                let started = self.start(name, cx).await;
                reply.send(started);
            }
            Ask::Stop(name, reply) => {
                let stopped = self.stop(&name, cx).await;
                reply.send(stopped);
            }
            Ask::Which(reply) => {
                let top = |name: &ApplicationName| {
                    let (pid, _) = self.known[self.place(name)?].top?;
                    Some((name.clone(), SupervisorRef::new(pid)))
                };
                reply.send(self.running.iter().filter_map(top).collect());
            }
        }
        Next::Wait
    }

    async fn down(&mut self, down: Down, _: ServerCx<'_, Self>) -> Next<Request> {
        let ended = |application: &&mut Application| {
            application.top.is_some_and(|(top, monitor)| pid_of(&down.target) == Some(top) && monitor == down.reference)
        };
        let Some(application) = self.known.iter_mut().find(ended) else { return Next::Wait };
        application.top = None;
        let (name, kind) = (application.name.clone(), application.kind);
        self.running.retain(|other| *other != name);
        match kind {
            Kind::Permanent => Next::Stop(down.reason),
            Kind::Transient if !down.reason.is_normal() => Next::Stop(down.reason),
            Kind::Transient | Kind::Temporary => Next::Wait,
        }
    }

    /// Ignores the EXIT of a tree, because its DOWN is handled.
    async fn exit(&mut self, _: Exit, _: ServerCx<'_, Self>) -> Next<Request> {
        Next::Wait
    }

    async fn terminate(&mut self, _: &Reason, cx: ServerCx<'_, Self>) {
        self.stop_all(cx).await;
    }
}

/// A handle to the application manager. Starts and stops wait without a limit.
pub type ApplicationsRef = ServerRef<Applications>;

impl ServerRef<Applications> {
    /// Starts an application and its dependencies (OTP's `ensure_all_started`). Returns the
    /// applications that it started, in order. An application that is up already is no error.
    ///
    /// # Errors
    ///
    /// If one does not start, the dependencies that were started for it are stopped again; those
    /// that were up before stay up.
    pub async fn ensure_started<M: Send + 'static>(
        self,
        cx: &Context<M>,
        name: impl Into<ApplicationName>,
    ) -> Result<Vec<ApplicationName>, ApplicationError> {
        let name = name.into();
        self.call_within(cx, None, |reply| Request(Ask::Start(name, reply))).await?
    }

    /// Stops an application.
    ///
    /// # Errors
    ///
    /// [`ApplicationError::Needed`] if a running application depends on it.
    pub async fn stop_application<M: Send + 'static>(
        self,
        cx: &Context<M>,
        name: impl Into<ApplicationName>,
    ) -> Result<(), ApplicationError> {
        let name = name.into();
        self.call_within(cx, None, |reply| Request(Ask::Stop(name, reply))).await?
    }

    /// Returns the applications that are up with their top supervisors, in start order.
    pub async fn which_applications<M: Send + 'static>(
        self,
        cx: &Context<M>,
    ) -> Result<Vec<(ApplicationName, SupervisorRef)>, CallError> {
        self.call_within(cx, None, |reply| Request(Ask::Which(reply))).await
    }
}
