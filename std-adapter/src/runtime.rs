//! [`Runtime`], and the [`Handle`] by which other threads reach it.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atropos_facility::Gate;
use atropos_kernel::{
    Address, Alias, Asked, Body, Context, Dead, Host, Kernel, NoMemory, Pid, ProcessInfo, Reason, Recipient, Reference,
    Said, SendError, SpawnError, SpawnOptions, Spawned, task,
};

use crate::blocking::{Blocking, Pool, spawn_blocking};
use crate::builder::Builder;
use crate::watch::Watchdog;
use crate::world::ThreadWorld;
use crate::{join, participant, worker};

/// What a runtime's threads and handles share.
pub(crate) struct Inner {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) world: Arc<ThreadWorld>,
    pub(crate) shared: Arc<worker::Shared>,
    pub(crate) pool: Pool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Of a runtime whose shutdown had to leave processes: they are gone now, and nothing fires any more.
        self.world.callbacks().stop();
    }
}

/// Reaches a runtime from any thread, from Tokio's tasks as well. Cheap to clone. After the
/// shutdown every process is dead.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("kernel", &self.0.kernel).finish_non_exhaustive()
    }
}

/// What is left for what must come to an end after the deadline.
const GRACE: Duration = Duration::from_millis(500);

/// A runtime: processes on the threads that it owns. Dropping it kills what still runs.
pub struct Runtime {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    watchdog: Option<Watchdog>,
    stopped: bool,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// What a shutdown had to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShutdownError {
    /// Processes whose bodies never let go; their threads run on, detached.
    pub processes: usize,
    /// Threads of the blocking pool that are still busy, detached.
    pub blocking: usize,
    /// The thread of the callbacks is in one that has not come back; it goes on, detached.
    pub callbacks: bool,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} processes and {} blocking jobs did not end in time", self.processes, self.blocking)?;
        if self.callbacks { f.write_str("; a callback is busy still") } else { Ok(()) }
    }
}

impl std::error::Error for ShutdownError {}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(crate) fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
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
        F: Future<Output: task::Exit> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new(), start)
    }

    /// Starts a process with options.
    pub fn spawn_with<M, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: task::Exit> + Send + 'static,
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
    pub fn tombstone(&self, pid: impl Into<Pid>) -> Dead {
        self.host(|host| host.tombstone(pid.into()))
    }

    /// Why a process that is dying, or has just died, does so. Waits for the end of its body's destructors.
    pub(crate) fn why_it_dies(&self, pid: Pid) -> Reason {
        loop {
            // In this order: one that is dead by now is remembered, unless its slot has another process.
            let is_alive = self.is_alive(pid);
            match self.tombstone(pid) {
                Dead::Remembered(reason) => return reason,
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
            Asked::Known(info) => Ok(info),
            Asked::Later(answer) => match answer.await {
                Said::Info(info) => Ok(Some(*info)),
                Said::NoMemory => Err(NoMemory),
                Said::Dead | Said::Alive | Said::Linked(_) | Said::Suspended(_) => Ok(None),
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
    ///     let other = cx.spawn(async |mut cx: Context<u8>| drop(cx.recv().await)).expect("a process");
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
    pub fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
        spawn_blocking(&self.0.pool, work)
    }
}

impl Gate for Handle {
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

    pub(crate) fn new(handle: Handle, watchdog: Option<Watchdog>) -> Self {
        Self { handle, threads: Vec::new(), watchdog, stopped: false }
    }

    pub(crate) fn add_thread(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }

    /// For other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `main` as a process, and waits for what it returns. An error is the reason that the
    /// process ended with instead.
    ///
    /// # Panics
    /// When the process can't be started.
    pub fn block_on<M, T, S, F>(&self, main: S) -> Result<T, Reason>
    where
        M: Send + 'static,
        T: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (send, receive) = channel();
        let main = self.spawn(move |cx| {
            let body = main(cx);
            async move {
                // The receiver waits until this sender is gone.
                let _ = send.send(body.await);
            }
        });
        let main = main.unwrap_or_else(|error| panic!("the main process could not be started: {error}"));
        match receive.recv() {
            Ok(value) => Ok(value),
            // Its sender was dropped with its body: it is dying.
            Err(_) => Err(self.why_it_dies(main.pid())),
        }
    }

    /// Ends everything: no process is started any more, all are asked to shut down, at the deadline
    /// those that are left are killed, and the threads end.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        self.stop(deadline)
    }

    fn stop(&mut self, deadline: Duration) -> Result<(), ShutdownError> {
        self.stopped = true;
        let end = Instant::now().checked_add(deadline);
        self.kernel().close();
        let ended = self.end_all(&Reason::SHUTDOWN, end).or_else(|_| {
            // A killed process dies as soon as its slice lets go.
            let grace = deadline.max(GRACE);
            self.end_all(&Reason::KILL, Instant::now().checked_add(grace))
        });
        let left = ended.err().unwrap_or(0);
        self.handle.0.shared.stop.store(true, Ordering::Release);
        let mut stuck = false;
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            if left == 0 {
                // A worker's panic is a fault of ours; it has been printed.
                let _ = thread.join();
            } else if thread.is_finished() {
                let _ = thread.join();
            } else {
                stuck = true;
            }
        }
        drop(self.watchdog.take());
        // The cores are gone: what they have retired can be freed now. A flush frees a few bags,
        // and an epoch takes two.
        participant::with(|participant| (0..256).for_each(|_| participant.flush()));
        let left_time = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        let blocking = self.handle.0.pool.shutdown(left_time);
        // Nothing fires any more, unless somebody is stuck: then what it will fire is waited for by nobody.
        let callbacks = if stuck { None } else { Some(self.handle.0.world.callbacks()) };
        let called = callbacks.is_none_or(|callbacks| callbacks.finish(Instant::now() + left_time.max(GRACE)));
        if !stuck {
            self.handle.0.world.streams().close();
        }
        match (stuck, blocking, called) {
            (false, 0, true) => Ok(()),
            _ => Err(ShutdownError { processes: left, blocking, callbacks: !called }),
        }
    }

    /// Tells every process once, also those that were being started when the kernel was closed, and waits until none
    /// is left, nor about to come; an error is how many are left at the end. Polls: nothing signals it.
    fn end_all(&self, reason: &Reason, end: Option<Instant>) -> Result<(), usize> {
        let mut told = HashSet::new();
        let mut pause = Duration::from_micros(20);
        loop {
            for pid in self.processes() {
                // Without memory for a signal it is told the next time, or killed.
                if !told.contains(&pid) && self.exit(pid, reason.clone()).is_ok() {
                    told.insert(pid);
                }
            }
            if self.kernel().is_empty() {
                return Ok(());
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                // At least the one that is not listed any more, and not yet at its end.
                return Err(self.processes().len().max(1));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Waits for a process's answer about itself.
    pub fn process_info_blocking(&self, pid: impl Into<Pid>) -> Result<Option<ProcessInfo>, NoMemory> {
        join::wait(self.process_info(pid.into()))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.stopped {
            let _ = self.stop(Duration::ZERO);
        }
    }
}
