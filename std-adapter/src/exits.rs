//! Watching processes from outside: [`Handle::on_exit`].
//!
//! A callback that is run once, when a process has ended, with the [`Outcome`]: on a thread of the runtime's
//! own ([`crate::callbacks`]), never on a worker. There is no thread for a watch, and no polling: a watch is a record of a few
//! words on the process's list of watchers, and waits there for nothing.
//!
//! What a process has when it ends is gone when the callback runs: its body and all that it held are dropped, its name is
//! free, it takes no message and no completion, links and monitors have been told. What it returned, if it
//! returned something ([`Returned`](crate::Returned)), is in the outcome, for any number of watchers.
//!
//! What can fail is done before anything is watched: with [`Handle::prepare_on_exit`] even before there is a process, so that
//! none is left unwatched for want of a thread or of memory.

use std::any::Any;
use std::fmt;
use std::io::ErrorKind;

use atropos_kernel::{ExitInfo, NoMemory, Pid, PreparedWatch, Reason, WatchStatus};

use crate::callbacks::NoThread;
use crate::runtime::Handle;

/// How a process ended, as its watchers see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Which.
    pub pid: Pid,
    /// Why; `None` when it had ended before it was watched, and nobody remembers.
    pub reason: Option<Reason>,
}

/// The three ways that there are, for who expects a `T` of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypedOutcome<'a, T> {
    /// It ended normally, and returned this. For a `T` of `()`, it ended normally.
    Completed(&'a T),
    /// It ended otherwise.
    Failed(&'a Reason),
    /// It ended, and what it returned can't be said.
    Unreadable(ResultUnavailable),
}

/// Why a result can't be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResultUnavailable {
    /// It returned nothing.
    NoResult,
    /// It returned something of another type.
    OtherType,
    /// There was no memory to keep it.
    Lost,
    /// The process had ended before it was watched, and its slot has been used again.
    Forgotten,
}

impl Outcome {
    pub(crate) fn of(ended: ExitInfo) -> Self {
        Self { pid: ended.pid, reason: ended.reason }
    }

    /// What it returned, if that is a `T`.
    pub fn result<T: Any>(&self) -> Option<&T> {
        self.reason.as_ref()?.result()
    }

    /// Which of the three.
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

/// Why there can be no watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PrepareError {
    /// There is no memory for it.
    NoMemory,
    /// The operating system gave no thread for the callbacks.
    NoThread(ErrorKind),
    /// The runtime has been shut down.
    Closed,
}

/// Why a process is not watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// This runtime has never given out this pid.
    NoSuchProcess(Pid),
    /// It may be there, and is not watched.
    Refused(Pid, PrepareError),
}

impl WatchError {
    /// Of which process.
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

/// A watch: says where it is in its life, and can be withdrawn. Cheap to clone; dropping it changes nothing.
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

    /// Installed, fired (the callback has run, or will), or withdrawn. An Acquire read.
    pub fn status(&self) -> WatchStatus {
        self.watch.status()
    }

    /// Whether the installation was accepted, and the watch has neither fired nor been withdrawn. An Acquire read.
    pub fn is_installed(&self) -> bool {
        self.watch.is_installed()
    }

    /// Whom it watches; `None` before it is installed.
    pub fn pid(&self) -> Option<Pid> {
        self.watch.pid()
    }

    /// Withdraws it, unless the runtime is another program's.
    pub(crate) fn withdraw_if_there(&self) {
        if !self.handle.inner().born.is_gone() {
            self.withdraw();
        }
    }

    /// Withdraws it: true when it was in force, and so the callback will never run; it is dropped here.
    pub fn withdraw(&self) -> bool {
        self.handle.host(|host| host.withdraw_watch(&self.watch))
    }
}

/// A watch that has everything it needs but a process: see [`Handle::prepare_on_exit`].
#[derive(Debug)]
#[must_use = "nothing is watched yet"]
pub struct PreparedExit {
    watch: PreparedWatch,
    handle: Handle,
}

impl PreparedExit {
    /// The watch to be, which says that it is not installed.
    pub fn watch(&self) -> ExitWatch {
        ExitWatch::new(self.watch.handle(), self.handle.clone())
    }

    /// Watches a process: refused only if there never was one.
    pub fn install(self, pid: impl Into<Pid>) -> Result<ExitWatch, WatchError> {
        let Self { watch, handle } = self;
        let watch = handle.host(|host| host.install_watch(pid.into(), watch))?;
        Ok(ExitWatch::new(watch, handle))
    }
}

impl Handle {
    /// Has `callback` run once when the process has ended, on the runtime's thread for callbacks, where it may block
    /// (other callbacks wait for it, processes do not) and where its panic is contained and reported
    /// ([`crate::Builder::on_callback_panic`]). A process that has ended already is accepted, and fires at once, with
    /// what its slot remembers.
    ///
    /// A pid of another runtime's is refused, as is one that was never given out.
    pub fn on_exit(
        &self,
        pid: impl Into<Pid>,
        callback: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<ExitWatch, WatchError> {
        let pid = pid.into();
        let prepared = self.prepare_on_exit(callback).map_err(|why| WatchError::Refused(pid, why))?;
        prepared.install(pid)
    }

    /// Makes ready for [`Handle::on_exit`] all that can fail: to be done before the process is started.
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
