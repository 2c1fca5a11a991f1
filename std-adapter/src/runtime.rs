//! [`Runtime`], and the [`Handle`] by which other threads reach it.

use std::fmt;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use atropos_facility::KernelAccess;
use atropos_kernel::{
    Address, Alias, MaybeReady, Body, Context, Tombstone, Host, Kernel, NoMemory, Pid, ProcessInfo, Reason, Recipient, Reference,
    QueryReply, SendError, SpawnError, SpawnOptions, Spawned, task,
};

use crate::alarm::Alarms;
use crate::blocking::{BlockingHandle, Pool, spawn_blocking};
use crate::builder::Builder;
use crate::ending::{Ending, GRACE, ShutdownError};
use crate::fork::Born;
use crate::role::{Role, may_block};
use crate::roots::Roots;
use crate::world::ThreadPlatform;
use crate::{join, participant, scoped, worker};

/// What a runtime's threads and handles share.
pub(crate) struct Inner {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) world: Arc<ThreadPlatform>,
    pub(crate) shared: Arc<worker::Shared>,
    pub(crate) pool: Pool,
    pub(crate) roots: Roots,
    pub(crate) alarms: Arc<Alarms>,
    pub(crate) born: Born,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.born.is_gone() {
            // The threads are another program's, and so may be the one that holds the lock.
            return;
        }
        // Of a runtime whose shutdown had to leave processes: they are gone now, and nothing fires any more.
        self.world.callbacks().stop();
    }
}

/// Reaches a runtime from any thread, from Tokio's tasks as well. Cheap to clone. After the
/// shutdown every process is dead.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

/// A handle that keeps nothing.
pub(crate) struct Remote(Weak<Inner>);

impl Remote {
    pub(crate) fn upgrade(&self) -> Option<Handle> {
        self.0.upgrade().map(Handle)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("kernel", &self.0.kernel).finish_non_exhaustive()
    }
}

/// A runtime: processes on the threads that it owns.
///
/// Dropped, it ends as by [`Runtime::shutdown`], within half a second.
pub struct Runtime {
    handle: Handle,
    /// Taken by who ends it.
    ending: Option<Ending>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// For what must not keep the runtime.
    pub(crate) fn downgrade(&self) -> Remote {
        Remote(Arc::downgrade(&self.0))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// # Panics
    /// In a forked child of the program that built the runtime.
    #[track_caller]
    pub(crate) fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        self.0.born.check();
        participant::with(|participant| f(&Host::new(&self.0.kernel, participant)))
    }

    /// The kernel itself.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.0.kernel
    }

    /// Starts a process that runs `start`'s future.
    pub fn spawn<M, S, F>(&self, start: S) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: task::IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new(), start)
    }

    /// Starts a process with options.
    pub fn spawn_with<M, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: task::IntoReason> + Send + 'static,
    {
        self.host(|host| host.spawn_async(options, start))
    }

    /// Starts a process that runs any body.
    pub fn spawn_body<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        self.host(|host| host.spawn(options, body))
    }

    /// Sends a message.
    pub fn send<M: Send + 'static>(&self, to: impl Recipient<M>, message: M) -> Result<(), SendError<M>> {
        self.host(|host| host.send(to.recipient(), message))
    }

    /// Sends to whoever has the name.
    pub fn send_name<M: Send + 'static>(&self, to: &str, message: M) -> Result<(), SendError<M>> {
        self.host(|host| host.send_name(to, message))
    }

    /// Sends through an alias.
    pub fn send_alias<M: Send + 'static>(&self, to: Alias, message: M) -> Result<(), SendError<M>> {
        self.host(|host| host.send_alias(to, message))
    }

    /// Sends an exit signal that comes from no process; whether it found a live one.
    pub fn exit(&self, to: impl Into<Pid>, reason: Reason) -> Result<bool, NoMemory> {
        self.host(|host| host.exit(to.into(), reason))
    }

    /// Who has the name.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.host(|host| host.whereis(name))
    }

    /// Whether the process has not yet died.
    pub fn is_alive(&self, pid: impl Into<Pid>) -> bool {
        self.host(|host| host.is_alive(pid.into()))
    }

    /// The reason that the slot of a dead process remembers.
    pub fn tombstone(&self, pid: impl Into<Pid>) -> Tombstone {
        self.host(|host| host.tombstone(pid.into()))
    }

    /// Why a process that is dying, or has just died, does so. Waits for the end of its body's destructors.
    pub(crate) fn exit_reason(&self, pid: Pid) -> Reason {
        loop {
            // In this order: one that is dead by now is remembered, unless its slot has another process.
            let is_alive = self.is_alive(pid);
            match self.tombstone(pid) {
                Tombstone::Known(reason) => return reason,
                _ if !is_alive => return Reason::NOPROC,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// What a process knows of itself; `None` when it is dead. A process answers between
    /// slices: one that never lets go never answers.
    pub async fn process_info(&self, pid: impl Into<Pid>) -> Result<Option<ProcessInfo>, NoMemory> {
        let asked = self.host(|host| host.info(pid.into()));
        match asked? {
            MaybeReady::Ready(info) => Ok(info),
            MaybeReady::Pending(answer) => match answer.await {
                QueryReply::Info(info) => Ok(Some(*info)),
                QueryReply::NoMemory => Err(NoMemory),
                QueryReply::Dead | QueryReply::Alive | QueryReply::Linked(_) | QueryReply::Suspended(_) => Ok(None),
            },
        }
    }

    /// Cancels whatever timer of this runtime the reference names: the time it had left, or `None` when there is no such timer. Nobody
    /// is asked, and its starter may be dead. Lock-free.
    ///
    /// ```
    /// use atropos::prelude::*;
    /// use std::time::Duration;
    /// let runtime = Runtime::builder().cores(1).build()?;
    /// let timer = runtime.block_on(async |cx: Context<u8>| {
    ///     let other = cx.spawn(async |cx: Context<u8>| drop(cx.recv().await)).expect("a process");
    ///     cx.send_after(other.pid(), Duration::from_secs(3_600), 7_u8).expect("a timer")
    /// })?;
    /// // Who has started it is dead.
    /// assert!(runtime.read_timer(timer).is_some_and(|left| left <= Duration::from_secs(3_600)));
    /// assert!(runtime.cancel_timer(timer).is_some());
    /// assert_eq!(runtime.cancel_timer(timer), None, "there is no such timer");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.host(|host| host.cancel_timer(timer))
    }

    /// The time that whatever timer of this runtime the reference names has left; `None` when there is no such timer. Lock-free.
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.host(|host| host.read_timer(timer))
    }

    /// All processes that have not yet died.
    pub fn processes(&self) -> Vec<Pid> {
        self.host(|host| host.processes().collect())
    }

    /// How many processes are alive; see [`Kernel::process_count`] for how exact it is.
    pub fn process_count(&self) -> usize {
        self.0.kernel.process_count()
    }

    /// Whether every core sleeps and nothing is queued.
    pub fn is_quiescent(&self) -> bool {
        self.0.kernel.is_quiescent()
    }

    /// Times that a sleeping worker was woken, since the start.
    pub fn wakeups(&self) -> u64 {
        self.0.shared.wakeups.load(Ordering::Relaxed)
    }

    /// Runs blocking work on a thread of its own, and brings its result.
    pub fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> BlockingHandle<T> {
        self.0.born.check();
        spawn_blocking(&self.0.pool, work)
    }
}

impl KernelAccess for Handle {
    fn enter(&self, act: &mut dyn FnMut(&Host<'_>)) {
        self.host(|host| act(host));
    }
}

impl std::ops::Deref for Runtime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Runtime {
    /// How to make one.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(handle: Handle, ending: Ending) -> Self {
        Self { handle, ending: Some(ending) }
    }

    /// For other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `main` as a process, and blocks until nothing of it is left: what it returned. An error is the reason that the
    /// process ended with instead. It may borrow from the caller.
    ///
    /// ```
    /// # use atropos::prelude::*;
    /// let runtime = Runtime::builder().cores(1).build()?;
    /// let names = vec!["a".to_owned()];
    /// assert_eq!(runtime.block_on(async |_: Context<()>| names.len()), Ok(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When the process can't be started; inside a process, which awaits [`Handle::run`]; and inside a task of a current-thread
    /// Tokio runtime.
    #[track_caller]
    pub fn block_on<M, T, S, F>(&self, main: S) -> Result<T, Reason>
    where
        M: Send + 'static,
        T: Send,
        S: FnOnce(Context<M>) -> F + Send,
        F: Future<Output = T> + Send,
    {
        may_block();
        self.inner().born.check();
        match scoped::run(self, main) {
            Ok(Ok(value)) => Ok(value),
            // Its body has been dropped: it is dying.
            Ok(Err(main)) => Err(self.exit_reason(main.pid())),
            Err(error) => panic!("the main process could not be started: {error}"),
        }
    }

    /// Ends everything, in OTP's order, within this time: what was started from outside as a supervisor or a server is
    /// stopped first, the last started first, each by its own rules; then all that is left is asked to shut down; when the time is over what
    /// is left is killed. Any time is one: [`Duration::MAX`] waits until all have ended.
    ///
    /// Inside a process of its own it returns at once, with an error that says so, and the runtime ends without it.
    ///
    /// # Errors
    /// What could not be ended. It is left to itself, and ends when it can.
    pub fn shutdown(mut self, within: Duration) -> Result<(), ShutdownError> {
        // Before it is taken: in a forked child the destructor knows that there is nothing to end.
        self.inner().born.check();
        let Some(ending) = self.ending.take() else { return Ok(()) };
        if ending.is_inside() {
            let processes = self.process_count();
            ending.in_background(within);
            return Err(ShutdownError { processes, blocking: 0, callbacks: false, inside: true });
        }
        ending.stop(within)
    }

    /// Waits for a process's answer about itself.
    ///
    /// # Panics
    /// Inside a process, which awaits [`Handle::process_info`].
    #[track_caller]
    pub fn process_info_blocking(&self, pid: impl Into<Pid>) -> Result<Option<ProcessInfo>, NoMemory> {
        may_block();
        join::wait(self.process_info(pid.into()))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        if self.inner().born.is_gone() {
            // Its threads are another program's.
            std::mem::forget(ending);
        } else if Role::here().is_worker() {
            // Of whatever runtime: a core is not kept waiting.
            ending.in_background(GRACE);
        } else {
            let _ = ending.stop(GRACE);
        }
    }
}
