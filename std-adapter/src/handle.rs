//! [`Handle`], through which any thread uses a runtime, and the state behind it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use atropos_facility::KernelAccess;
use atropos_kernel::{
    Address, Alias, Body, Context, Host, Kernel, NoMemory, Pid, ProcessInfo, Reason, Recipient, Reference, SendError,
    SpawnError, SpawnOptions, Spawned, Tombstone, task,
};

use crate::alarm::Alarms;
use crate::blocking::{BlockingHandle, Pool, spawn_blocking};
use crate::fork::Born;
use crate::forward::Forward;
use crate::platform::{ThreadPlatform, poll_proceed};
use crate::roots::Roots;
use crate::{epoch_participant, worker};

/// The state that a runtime's threads and handles share.
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
            // After a fork, the threads are the parent program's, and so may be the one that holds
            // the lock.
            return;
        }
        // The runtime's shutdown may have abandoned processes: they are gone now, and no watch
        // fires after this.
        self.world.callbacks().stop();
    }
}

/// A handle to a runtime, usable from any thread, including Tokio's tasks. Cheap to clone. After
/// the shutdown every process is dead.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

/// A handle that does not keep the runtime alive.
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

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Returns a weak handle, for values that must not keep the runtime alive.
    pub(crate) fn downgrade(&self) -> Remote {
        Remote(Arc::downgrade(&self.0))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Calls `f` with the kernel's host interface.
    ///
    /// # Panics
    /// Panics in a forked child of the program that built the runtime.
    #[track_caller]
    pub(crate) fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        self.0.born.check();
        epoch_participant::with(|participant| f(&Host::new(&self.0.kernel, participant)))
    }

    /// Returns the kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.0.kernel
    }

    /// Spawns a process that runs the future of `start`.
    pub fn spawn<M, S, F>(&self, start: S) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: task::IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new(), start)
    }

    /// Spawns a process with options.
    pub fn spawn_with<M, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: task::IntoReason> + Send + 'static,
    {
        self.host(|host| host.spawn_async(options, start))
    }

    /// Spawns a process that runs any body.
    pub fn spawn_body<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        self.host(|host| host.spawn(options, body))
    }

    /// Sends a message.
    pub fn send<M: Send + 'static>(&self, to: impl Recipient<M>, message: M) -> Result<(), SendError<M>> {
        self.host(|host| host.send(to.recipient(), message))
    }

    /// Sends a message to the process that holds the name.
    pub fn send_name<M: Send + 'static>(&self, to: &str, message: M) -> Result<(), SendError<M>> {
        self.host(|host| host.send_name(to, message))
    }

    /// Sends a message through an alias.
    pub fn send_alias<M: Send + 'static>(&self, to: Alias, message: M) -> Result<(), SendError<M>> {
        self.host(|host| host.send_alias(to, message))
    }

    /// Sends an exit signal without a sending process. Returns `true` if the target was alive.
    pub fn exit(&self, to: impl Into<Pid>, reason: Reason) -> Result<bool, NoMemory> {
        self.host(|host| host.exit(to.into(), reason))
    }

    /// Returns the process that holds the name.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.host(|host| host.whereis(name))
    }

    /// Returns `true` if the process has not yet died.
    pub fn is_alive(&self, pid: impl Into<Pid>) -> bool {
        self.host(|host| host.is_alive(pid.into()))
    }

    /// Returns the exit reason that the slot of a dead process remembers.
    pub fn tombstone(&self, pid: impl Into<Pid>) -> Tombstone {
        self.host(|host| host.tombstone(pid.into()))
    }

    /// Returns the exit reason of a process that is dying or has just died. Waits until the
    /// destructors of its body have run.
    pub(crate) fn exit_reason(&self, pid: Pid) -> Reason {
        loop {
            // In this order: a process that is dead by now has a tombstone, unless its slot has
            // been reused.
            let is_alive = self.is_alive(pid);
            match self.tombstone(pid) {
                Tombstone::Known(reason) => return reason,
                _ if !is_alive => return Reason::NOPROC,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Returns information about a process; `None` if it is dead. A process answers between slices,
    /// so one that does not yield does not answer.
    pub async fn process_info(&self, pid: impl Into<Pid>) -> Result<Option<ProcessInfo>, NoMemory> {
        let info = self.host(|host| host.info(pid.into()));
        poll_fn(poll_proceed).await;
        Ok(info.get().await?.map(|info| *info))
    }

    /// Cancels the timer with this reference, which any process of this runtime may have started.
    /// Returns the time that was left, or `None` if there is no such timer. It needs no reply from
    /// a process, and the timer's starter may be dead. Lock-free.
    ///
    /// ```
    /// use atropos::prelude::*;
    /// use std::time::Duration;
    /// let runtime = Runtime::builder().cores(1).build()?;
    /// let timer = runtime.block_on(async |cx: Context<u8>| {
    ///     let other = cx.spawn(async |cx: Context<u8>| drop(cx.recv().await)).expect("a process");
    ///     cx.send_after(other.pid(), Duration::from_secs(3_600), 7_u8).expect("a timer")
    /// })?;
    /// // The process that started the timer is dead.
    /// assert!(runtime.read_timer(timer).is_some_and(|left| left <= Duration::from_secs(3_600)));
    /// assert!(runtime.cancel_timer(timer).is_some());
    /// assert_eq!(runtime.cancel_timer(timer), None, "there is no such timer");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.host(|host| host.cancel_timer(timer))
    }

    /// Returns the time that is left on the timer with this reference, which any process of this
    /// runtime may have started; `None` if there is no such timer. Lock-free.
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.host(|host| host.read_timer(timer))
    }

    /// Adds code that takes messages for its proxies, for as long as the runtime exists. It must
    /// not hold a handle of the runtime.
    pub fn add_forwarder(&self, forwarder: Arc<dyn Forward>) {
        self.0.world.forwarders().add(forwarder);
    }

    /// Returns all processes that have not yet died.
    pub fn processes(&self) -> Vec<Pid> {
        self.host(|host| host.processes().collect())
    }

    /// Returns the number of live processes; see [`Kernel::process_count`] for its accuracy.
    pub fn process_count(&self) -> usize {
        self.0.kernel.process_count()
    }

    /// Returns `true` if every core is idle and no process is queued.
    pub fn is_quiescent(&self) -> bool {
        self.0.kernel.is_quiescent()
    }

    /// Returns how often a parked worker was woken, since the start.
    pub fn wakeups(&self) -> u64 {
        self.0.shared.wakeups.load(Ordering::Relaxed)
    }

    /// Runs blocking work on a thread of the blocking pool. The future resolves to its result.
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
