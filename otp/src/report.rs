//! Reports of supervisors and servers for an observer: [`Report`], passed to a [`ReportHook`].
//!
//! Reports are values; an adapter turns them into a log or into `tracing` events. A hook runs in
//! the process that reports, inside its slice: it should be short and not panic (a panic is caught
//! and ignored).

use alloc::sync::Arc;
use core::fmt;

use atropos_kernel::{CatchDrop, Context, DropCatcher, Pid, Reason};

use crate::error::StartError;
use crate::spec::{ChildId, ChildKind, Restart, Shutdown};

/// The child that a supervisor's report is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offender {
    /// Its process, if it has or had one.
    pub pid: Option<Pid>,
    /// Its id; a dynamic child has none.
    pub id: Option<ChildId>,
    /// Its restart type: when it is restarted.
    pub restart: Restart,
    /// Its shutdown: how it is stopped.
    pub shutdown: Shutdown,
    /// Its kind: worker or supervisor.
    pub kind: ChildKind,
    /// `true` if its termination may shut its supervisor down.
    pub significant: bool,
}

/// The event that is reported.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Report {
    /// A child of a supervisor is up.
    Progress {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
    },
    /// A child has terminated unexpectedly.
    ChildTerminated {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
        /// Its exit reason.
        reason: Reason,
    },
    /// A child could not be started.
    StartError {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
        /// The reason why it did not start.
        error: StartError,
    },
    /// A child that was stopped terminated with an unexpected reason.
    ShutdownError {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
        /// Its exit reason.
        reason: Reason,
    },
    /// A child was killed and has not died, because its body does not yield its core. It was left
    /// behind.
    Stuck {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
    },
    /// A supervisor shuts down because it has reached its maximum restart intensity.
    GaveUp {
        /// The supervisor.
        supervisor: Pid,
        /// The child that terminated last.
        child: Offender,
    },
    /// A process crashed in a callback.
    Crash {
        /// The process.
        pid: Pid,
        /// The crash.
        reason: Reason,
    },
}

type EmitFn = dyn Fn(&Report) + Send + Sync;

/// A function that receives reports.
#[derive(Clone)]
pub struct ReportHook(CatchDrop<Arc<EmitFn>>);

impl ReportHook {
    /// Creates a hook that calls `emit`.
    pub fn new(tell: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self(CatchDrop::new(Arc::new(tell)))
    }

    /// Sets how a panic of the function's destructor is caught, in this hook and in its later
    /// clones.
    pub(crate) fn catch_with(&mut self, catcher: DropCatcher) {
        self.0.catch_with(catcher);
    }

    pub(crate) fn emit<M: Send + 'static>(hook: Option<&Self>, cx: &Context<M>, report: impl FnOnce() -> Report) {
        if let Some(hook) = hook {
            // A panic of the hook must not hit the process that reports.
            let _ = cx.with(|cx| cx.catch_panic(|| (hook.0)(&report())));
        }
    }
}

impl fmt::Debug for ReportHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
