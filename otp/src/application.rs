//! Named trees with dependencies, started and stopped in order: [`Applications`] (OTP's applications).
//!
//! An application is a supervision tree with a name, and the names of those that must be up before it. The manager starts
//! what is asked for and all that it needs, those first; it stops in the reverse order. What starts a tree is a function, so
//! a stopped one can be started again.
//!
//! A tree that ends by itself is judged by its kind, as in OTP: the end of a *permanent* application ends all, whatever
//! its reason; of a *transient* one, unless the reason was `normal`; of a *temporary* one is noted. Those that depend on
//! an application which ended are left running: they have their own supervisors to judge what is missing.
//!
//! A start that fails leaves what was up before: those that were started for it are stopped again.
//!
//! The manager is a server that traps exits; supervise it, or start it from the host. When it ends, it has stopped all, the last
//! started first, each by its whole tree.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{Context, Down, Exit, Pid, Reason, Reference, Reply};

use crate::call::CallError;
use crate::server::{Next, InitError, Server, ServerRef, ServerCx, Start};
use crate::start::StartError;
use crate::supervisor::{Supervisor, SupervisorRef};
use crate::wait::{Alarm, end_of, pid_of};

/// What an application is called.
pub type ApplicationName = Cow<'static, str>;

/// What the end of an application means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Kind {
    /// The end of all.
    Permanent,
    /// The end of all, unless it was `normal`.
    Transient,
    /// Nothing.
    #[default]
    Temporary,
}

type MakeTree = Box<dyn FnMut() -> Supervisor + Send>;

/// A named tree.
#[must_use = "give it to `Applications`"]
pub struct Application {
    name: ApplicationName,
    needs: Vec<ApplicationName>,
    kind: Kind,
    tree: MakeTree,
    /// Its top, and the manager's monitor of it.
    top: Option<(Pid, Reference)>,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

impl Application {
    /// A tree that `tree` makes, for each start. Temporary unless told otherwise.
    pub fn new(name: impl Into<ApplicationName>, tree: impl FnMut() -> Supervisor + Send + 'static) -> Self {
        Self { name: name.into(), needs: Vec::new(), kind: Kind::default(), tree: Box::new(tree), top: None }
    }

    /// It needs this one to be up.
    pub fn needs(mut self, name: impl Into<ApplicationName>) -> Self {
        self.needs.push(name.into());
        self
    }

    /// What its end means.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

/// Why an application is not up.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ApplicationError {
    /// Nobody knows it.
    Unknown(ApplicationName),
    /// It needs itself, by way of others.
    Circular(ApplicationName),
    /// Its tree did not start. What had been started for it before has been stopped.
    Start(ApplicationName, StartError),
    /// Others that are up need it.
    Needed(ApplicationName),
    /// There was no answer.
    Call(CallError),
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "nobody knows the application {name}"),
            Self::Circular(name) => write!(f, "{name} needs itself"),
            Self::Start(name, error) => write!(f, "{name} did not start: {error}"),
            Self::Needed(name) => write!(f, "{name} needs it"),
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

/// The manager of applications; see the module.
#[derive(Default, Debug)]
pub struct Applications {
    known: Vec<Application>,
    /// Those that are up, in the order of their starts.
    running: Vec<ApplicationName>,
    at_once: Vec<ApplicationName>,
}

/// What the manager is asked.
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
    /// Without one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows one more.
    pub fn with(mut self, application: Application) -> Self {
        self.known.push(application);
        self
    }

    /// Starts this one, and all that it needs, when the manager itself starts: if one of them fails, so does that.
    pub fn and_start(mut self, name: impl Into<ApplicationName>) -> Self {
        self.at_once.push(name.into());
        self
    }

    /// How it is to be started: as a server that traps exits.
    pub fn manager(self) -> Start<'static, Self> {
        Start::new(self).trap_exit(true)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.known.iter().position(|application| application.name == name)
    }

    /// What has to be started for `name`, in order.
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
        for needed in &self.known[place].needs {
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
                    // As it was before: what has been started for this one is stopped, the last one first.
                    while let Some((place, _)) = started.pop() {
                        self.put_down(place, cx).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(started.into_iter().map(|(_, name)| name).collect())
    }

    /// Starts one whose needs are up.
    async fn start_one(&mut self, place: usize, cx: ServerCx<'_, Self>) -> Result<ApplicationName, ApplicationError> {
        let application = &mut self.known[place];
        let name = application.name.clone();
        let failed = |error| ApplicationError::Start(name.clone(), error);
        let tree = cx.with(|cx| cx.catch_panic(|| (application.tree)()));
        let tree = tree.map_err(|crash| failed(StartError::Crashed(crash)))?;
        let top = tree.start_link(cx.context()).await.map_err(failed)?;
        let monitor = cx.monitor(top).map_err(|error| {
            // It is not left behind unknown. Without memory to tell it to shut down, a kill needs none.
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
        let needing = self.known.iter().find(|other| other.top.is_some() && other.needs.contains(name));
        if let Some(other) = needing {
            return Err(ApplicationError::Needed(other.name.clone()));
        }
        self.put_down(place, cx).await;
        Ok(())
    }

    async fn put_down(&mut self, place: usize, cx: ServerCx<'_, Self>) {
        let application = &mut self.known[place];
        let Some((top, monitor)) = application.top.take() else { return };
        let name = &application.name;
        self.running.retain(|other| other != name);
        if cx.exit(top, Reason::SHUTDOWN).is_err() {
            // Without memory to ask there is none to ask with; a kill needs none.
            let _ = cx.exit(top, Reason::KILL);
        }
        // A supervisor has all the time that its children have.
        end_of(cx.context(), top, monitor, &Alarm::never(cx.context())).await;
    }

    async fn put_all_down(&mut self, cx: ServerCx<'_, Self>) {
        while let Some(name) = self.running.pop() {
            if let Some(place) = self.place(&name) {
                self.put_down(place, cx).await;
            }
        }
    }
}

impl Server for Applications {
    type Message = Request;

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<Request>, InitError> {
        for name in core::mem::take(&mut self.at_once) {
            if let Err(error) = self.start(name, cx).await {
                self.put_all_down(cx).await;
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
            application.top.is_some_and(|(top, monitor)| pid_of(&down.object) == Some(top) && monitor == down.reference)
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

    /// A tree's EXIT; its DOWN is what counts.
    async fn exit(&mut self, _: Exit, _: ServerCx<'_, Self>) -> Next<Request> {
        Next::Wait
    }

    async fn terminate(&mut self, _: &Reason, cx: ServerCx<'_, Self>) {
        self.put_all_down(cx).await;
    }
}

/// The manager of applications, for who asks it. Starts and stops take the time that they take.
pub type ApplicationsRef = ServerRef<Applications>;

impl ServerRef<Applications> {
    /// Starts an application and all that it needs; what was started, in order. One that is up is no error. If one does not
    /// start, those that were started for it are stopped again, and what was up before is up (OTP's `ensure_all_started`).
    pub async fn ensure_started<M: Send + 'static>(
        self,
        cx: &Context<M>,
        name: impl Into<ApplicationName>,
    ) -> Result<Vec<ApplicationName>, ApplicationError> {
        let name = name.into();
        self.call_within(cx, None, |reply| Request(Ask::Start(name, reply))).await?
    }

    /// Stops an application that no other one needs which is up.
    pub async fn stop_application<M: Send + 'static>(
        self,
        cx: &Context<M>,
        name: impl Into<ApplicationName>,
    ) -> Result<(), ApplicationError> {
        let name = name.into();
        self.call_within(cx, None, |reply| Request(Ask::Stop(name, reply))).await?
    }

    /// Those that are up and their tops, in the order of their starts.
    pub async fn which_applications<M: Send + 'static>(
        self,
        cx: &Context<M>,
    ) -> Result<Vec<(ApplicationName, SupervisorRef)>, CallError> {
        self.call_within(cx, None, |reply| Request(Ask::Which(reply))).await
    }
}
