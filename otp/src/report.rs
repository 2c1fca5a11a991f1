//! What is told to whoever watches over it all: [`Report`], by a [`ReportHook`].
//!
//! Reports are values; an adapter turns them into a log or into `tracing` events. A hook runs in the process that
//! reports, in its slice: it should be short and not panic (a panic of it is contained and forgotten).

use alloc::sync::Arc;
use core::fmt;

use atropos_kernel::{Context, Pid, Reason};

use crate::start::StartError;
use crate::supervisor::{ChildId, ChildKind, Restart, Shutdown};

/// The child that a supervisor's report is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offender {
    /// Its process, if it has or had one.
    pub pid: Option<Pid>,
    /// Its id; a dynamic child has none.
    pub id: Option<ChildId>,
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// What it is.
    pub kind: ChildKind,
    /// Whether its end may end its supervisor.
    pub significant: bool,
}

/// What has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Report {
    /// A supervisor's child is up.
    Progress {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
    },
    /// A child has ended that should not have.
    ChildTerminated {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
        /// Why it ended.
        reason: Reason,
    },
    /// A child could not be started.
    StartError {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
        /// Why not.
        error: StartError,
    },
    /// A child that was told to stop ended otherwise than it was told.
    ShutdownError {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
        /// Why it ended.
        reason: Reason,
    },
    /// A child was killed and has not died: its body does not let go of its core. It was left behind.
    Stuck {
        /// The supervisor.
        supervisor: Pid,
        /// The child.
        child: Offender,
    },
    /// A supervisor gives up: its children have died too often.
    GaveUp {
        /// The supervisor.
        supervisor: Pid,
        /// The last one.
        child: Offender,
    },
    /// A process crashed in a callback.
    Crash {
        /// The process.
        pid: Pid,
        /// Why.
        reason: Reason,
    },
}

/// Who is told.
#[derive(Clone)]
pub struct ReportHook(Arc<dyn Fn(&Report) + Send + Sync>);

impl ReportHook {
    /// Tells `tell`.
    pub fn new(tell: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell<M: Send + 'static>(hook: Option<&Self>, cx: &Context<M>, report: impl FnOnce() -> Report) {
        if let Some(hook) = hook {
            // The reporter has other duties than the hook's faults.
            let _ = cx.with(|cx| cx.catch_panic(|| (hook.0)(&report())));
        }
    }
}

impl fmt::Debug for ReportHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
