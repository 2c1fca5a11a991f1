//! Watching processes from outside: [`Handle::on_exit`].
//!
//! A callback runs once, when a process has exited, with the [`Outcome`]. It runs on a thread of
//! the runtime's own ([`crate::callbacks`]), never on a worker. A watch costs no thread and no
//! polling: it is a record of a few words on the process's list of watchers.
//!
//! When the callback runs, the teardown of the process is complete: its body and everything that
//! the body held are dropped, its name is free, it accepts no message and no completion, and its
//! links and monitors have been signalled. The value that it returned, if any
//! ([`WithResult`](crate::WithResult)), is in the outcome, for any number of watchers.
//!
//! Everything that can fail is done before a process is watched. With [`Handle::prepare_on_exit`]
//! this is done even before the process exists, so that no process is left unwatched because a
//! thread or memory is missing.

use std::any::Any;
use std::fmt;
use std::io::ErrorKind;

use atropos_kernel::{ExitInfo, NoMemory, Pid, PreparedWatch, Reason, WatchStatus};

use crate::callbacks::NoThread;
use crate::handle::Handle;

/// The end of a process, as its watchers see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The process that has exited.
    pub pid: Pid,
    /// The exit reason; `None` if the process was dead before it was watched, and its slot has been
    /// reused.
    pub reason: Option<Reason>,
}

/// The three possible results, for a caller that expects a `T` of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypedOutcome<'a, T> {
    /// The process exited normally, and returned this value. For a `T` of `()`, it exited normally.
    Completed(&'a T),
    /// The process exited abnormally, with this reason.
    Failed(&'a Reason),
    /// The process exited normally, but its result is not available.
    Unreadable(ResultUnavailable),
}

/// Why a result is not available.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResultUnavailable {
    /// The process returned nothing.
    NoResult,
    /// The process returned a value of another type.
    OtherType,
    /// There was no memory to keep the value.
    Lost,
    /// The process was dead before it was watched, and its slot has been reused.
    Forgotten,
}

impl Outcome {
    pub(crate) fn of(ended: ExitInfo) -> Self {
        Self { pid: ended.pid, reason: ended.reason }
    }

    /// Returns the value that the process returned, if it is a `T`.
    pub fn result<T: Any>(&self) -> Option<&T> {
        self.reason.as_ref()?.result()
    }

    /// Returns which of the three results this is.
    pub fn fate<T: Any>(&self) -> TypedOutcome<'_, T> {
        let Some(reason) = &self.reason else { return TypedOutcome::Unreadable(ResultUnavailable::Forgotten) };
        if !reason.is_normal() {
            return TypedOutcome::Failed(reason);
        }
        let unit: &dyn Any = &();
        if let Some(value) = reason.result().or(unit.downcast_ref()) {
            return TypedOutcome::Completed(value);
        }
        TypedOutcome::Unreadable(match (reason.has_result(), reason.result_was_dropped()) {
            (true, _) => ResultUnavailable::OtherType,
            (_, true) => ResultUnavailable::Lost,
            _ => ResultUnavailable::NoResult,
        })
    }
}

/// Error of a watch that could not be prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PrepareError {
    /// There is no memory for the watch.
    NoMemory,
    /// The operating system refused a thread for the callbacks.
    NoThread(ErrorKind),
    /// The runtime has been shut down.
    Closed,
}

/// Error of a process that could not be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// This runtime has never allocated this pid.
    NoSuchProcess(Pid),
    /// The process may exist, and is not watched.
    Refused(Pid, PrepareError),
}

impl WatchError {
    /// Returns the pid of the process that is not watched.
    pub fn pid(&self) -> Pid {
        match *self {
            Self::NoSuchProcess(pid) | Self::Refused(pid, _) => pid,
        }
    }
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("out of memory"),
            Self::NoThread(kind) => write!(f, "no thread for the callbacks: {kind}"),
            Self::Closed => f.write_str("the runtime has been shut down"),
        }
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchProcess(pid) => write!(f, "{pid} is no process of this runtime, and never was"),
            Self::Refused(pid, why) => write!(f, "{pid} is not watched: {why}"),
        }
    }
}

impl std::error::Error for PrepareError {}
impl std::error::Error for WatchError {}

impl From<atropos_kernel::WatchError> for WatchError {
    fn from(error: atropos_kernel::WatchError) -> Self {
        match error {
            atropos_kernel::WatchError::NoMemory(pid) => Self::Refused(pid, PrepareError::NoMemory),
            atropos_kernel::WatchError::NoSuchProcess(pid) => Self::NoSuchProcess(pid),
        }
    }
}

/// A handle to a watch: it reports the watch's state, and can cancel it. Cheap to clone; dropping
/// it changes nothing.
#[derive(Clone)]
pub struct ExitWatch {
    watch: atropos_kernel::ExitWatch,
    handle: Handle,
}

impl fmt::Debug for ExitWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.watch, f)
    }
}

impl ExitWatch {
    pub(crate) fn new(watch: atropos_kernel::ExitWatch, handle: Handle) -> Self {
        Self { watch, handle }
    }

    /// Returns the watch's state: installed, fired (the callback has run, or will), or cancelled.
    /// An Acquire read.
    pub fn status(&self) -> WatchStatus {
        self.watch.status()
    }

    /// Returns `true` if the watch was installed, and has neither fired nor been cancelled. An
    /// Acquire read.
    pub fn is_installed(&self) -> bool {
        self.watch.is_installed()
    }

    /// Returns the pid of the watched process; `None` before the watch is installed.
    pub fn pid(&self) -> Option<Pid> {
        self.watch.pid()
    }

    /// Cancels the watch, unless the runtime belongs to the parent of a forked program.
    pub(crate) fn cancel_if_there(&self) {
        if !self.handle.inner().born.is_gone() {
            self.cancel();
        }
    }

    /// Cancels the watch. Returns `true` if it was active: in that case the callback never runs,
    /// and is dropped here.
    pub fn cancel(&self) -> bool {
        self.handle.host(|host| host.cancel_watch(&self.watch))
    }
}

/// A watch that has everything but its process: see [`Handle::prepare_on_exit`].
#[derive(Debug)]
#[must_use = "nothing is watched yet"]
pub struct PreparedExit {
    watch: PreparedWatch,
    handle: Handle,
}

impl PreparedExit {
    /// Returns a handle to the future watch, which reports that it is not installed.
    pub fn watch(&self) -> ExitWatch {
        ExitWatch::new(self.watch.handle(), self.handle.clone())
    }

    /// Watches a process. Fails only if there never was such a process.
    pub fn install(self, pid: impl Into<Pid>) -> Result<ExitWatch, WatchError> {
        let Self { watch, handle } = self;
        let watch = handle.host(|host| host.install_watch(pid.into(), watch))?;
        Ok(ExitWatch::new(watch, handle))
    }
}

impl Handle {
    /// Runs `callback` once when the process has exited.
    ///
    /// The callback runs on the runtime's callback thread. There it may block (other callbacks wait
    /// for it, processes do not), and its panic is caught and reported
    /// ([`crate::Builder::on_callback_panic`]). A process that is dead already is accepted: the
    /// watch fires at once, with the reason that the slot still remembers.
    ///
    /// # Errors
    /// Fails for a pid of another runtime, and for one that was never allocated.
    pub fn on_exit(
        &self,
        pid: impl Into<Pid>,
        callback: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<ExitWatch, WatchError> {
        let pid = pid.into();
        let prepared = self.prepare_on_exit(callback).map_err(|why| WatchError::Refused(pid, why))?;
        prepared.install(pid)
    }

    /// Prepares everything of [`Handle::on_exit`] that can fail, so that it is done before the
    /// process is started.
    pub fn prepare_on_exit(
        &self,
        callback: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<PreparedExit, PrepareError> {
        self.inner().born.check();
        self.inner().world.callbacks().start().map_err(|why| match why {
            NoThread::Refused(kind) => PrepareError::NoThread(kind),
            NoThread::Closed => PrepareError::Closed,
        })?;
        let watch = PreparedWatch::try_new(move |ended| callback(Outcome::of(ended)));
        let watch = watch.map_err(|NoMemory| PrepareError::NoMemory)?;
        Ok(PreparedExit { watch, handle: self.clone() })
    }
}
