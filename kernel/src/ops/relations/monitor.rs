//! Monitors: monitor, demonitor, and the DOWN of a monitor that fires.

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::mutation::mutant;
use crate::ops::relations::{MonitorError, watch_was_cancelled};
use crate::pid::{Pid, Reference};
use crate::process::alias::{AliasMode, AliasRecord};
use crate::process::name::NameEntry;
use crate::process::owned::Owned;
use crate::process::process_ref::ProcessRef;
use crate::process::relation::monitor::{CancelOutcome, Monitor, TargetSide, WatcherSide};
use crate::process::relation::watcher::Watcher;
use crate::reason::Reason;

/// The target of a new monitor: a process, or the process that holds a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MonitorBy<'a> {
    Pid(Pid),
    Name(&'a NameEntry),
}

/// The process that a monitor's target led to.
#[derive(Clone, Copy)]
pub(crate) enum Found<'a> {
    /// The process is alive, or dying.
    Process(ProcessRef<'a>),
    /// There is no process: the pid is dead, or no process holds the name.
    Gone(Option<Pid>),
}

impl<'a> MonitorBy<'a> {
    /// Returns the name, if the target is one.
    pub(crate) fn name(self) -> Option<&'a NameEntry> {
        match self {
            Self::Pid(_) => None,
            Self::Name(entry) => Some(entry),
        }
    }

    /// Looks the target up.
    pub(crate) fn find<'f>(self, kernel_cx: &'f KernelCx<'_>) -> Found<'f>
    where
        'a: 'f,
    {
        match self {
            Self::Pid(pid) => kernel_cx.find(pid).map_or(Found::Gone(Some(pid)), Found::Process),
            Self::Name(entry) => entry.holder(kernel_cx.guard).map_or(Found::Gone(None), Found::Process),
        }
    }
}

impl Found<'_> {
    /// Returns the pid that the target led to.
    pub(crate) fn pid(self) -> Option<Pid> {
        match self {
            Self::Process(process) => Some(process.pid),
            Self::Gone(pid) => pid,
        }
    }
}

/// Monitors `target`. Returns `true` if the DOWN is in the mailbox already. Lock-free; O(1).
pub(crate) fn monitor(
    owned: &mut Owned<'_>,
    kernel_cx: &KernelCx<'_>,
    target: MonitorBy<'_>,
    reference: Reference,
    alias: Option<AliasMode>,
) -> Result<bool, MonitorError> {
    let found = target.find(kernel_cx);
    let pid = found.pid();
    // A process's monitor of itself never fires and is not listed: only its reference exists.
    let monitor = if pid == Some(owned.pid) {
        None
    } else {
        Some(try_new(kernel_cx, reference, owned.pid, pid, target.name()).map_err(|NoMemory| MonitorError::NoMemory)?)
    };
    if let Some(mode) = alias {
        match AliasRecord::try_new(reference, mode) {
            Ok(alias) => owned.state(|state| state.aliases.insert(alias)),
            Err(NoMemory) => {
                if let Some((watcher, target)) = monitor {
                    watcher.release(kernel_cx.pool());
                    target.release(kernel_cx.pool());
                }
                return Err(MonitorError::NoMemory);
            }
        }
    }
    let Some((watcher, target)) = monitor else { return Ok(false) };
    owned.state(|state| state.monitors.insert(watcher));
    Ok(place_monitor(target, kernel_cx, found))
}

/// Allocates an armed monitor; see [`Monitor::try_new`].
pub(crate) fn try_new(
    kernel_cx: &KernelCx<'_>,
    reference: Reference,
    watcher: Pid,
    target: Option<Pid>,
    name: Option<&NameEntry>,
) -> Result<(WatcherSide, TargetSide), NoMemory> {
    Monitor::try_new((&kernel_cx.kernel.nodes, kernel_cx.pool()), reference, watcher, target, name)
}

/// Delivers a new monitor to its target, or fires it. Returns `true` if the watcher's mailbox has
/// the DOWN.
pub(crate) fn place_monitor(monitor: TargetSide, kernel_cx: &KernelCx<'_>, found: Found<'_>) -> bool {
    let refused = match found {
        Found::Process(other) if mutant!(kernel_cx.kernel.mutations, AlwaysShort, right => other.mailbox.is_settled(), wrong => true) => {
            match other.watchers.push(Watcher::Monitor(monitor)) {
                Err(Watcher::Monitor(monitor)) => Some(monitor),
                _ => None,
            }
        }
        Found::Process(other) => match kernel_cx.push(other, monitor.into_request()) {
            Ok(()) => None,
            Err(request) => Some(TargetSide::of_request(request.typed())),
        },
        Found::Gone(_) => Some(monitor),
    };
    let Some(monitor) = refused else { return false };
    let reason = found.pid().map_or(Reason::NOPROC, |pid| kernel_cx.kernel.exit_reason(pid, kernel_cx.guard));
    mutant!(kernel_cx.kernel.mutations, RefusedIsPlaced,
        right => fire(monitor, kernel_cx, &reason),
        wrong => {
            core::mem::forget(monitor);
            false
        },
    )
}

/// Ends a monitor. Returns `true` if it was still in force (OTP's `info`). With `flush` no DOWN of
/// it is received from now on, whenever the target died. Lock-free; O(1) amortised.
pub(crate) fn demonitor(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, reference: Reference, flush: bool) -> bool {
    let ended = owned.state(|state| {
        state.end_alias_with_monitor(reference);
        let found = state.monitors.find(reference.to_raw())?;
        let cancelled = found.get().cancel();
        let leaves = flush || cancelled != CancelOutcome::Delivered;
        Some((cancelled, leaves.then(|| found.remove())))
    });
    let Some((cancelled, monitor)) = ended else { return false };
    if cancelled == CancelOutcome::Delivered {
        if let Some(monitor) = monitor {
            // SAFETY: the DOWN is delivered, so its node is in the private queue.
            let down = owned.state(|state| unsafe { state.queue.remove(monitor.node()) });
            down.into_iter().for_each(|down| down.release(kernel_cx.pool()));
            monitor.release(kernel_cx.pool());
        }
        return false;
    }
    let Some(monitor) = monitor else { return false };
    let target = monitor.target();
    monitor.release(kernel_cx.pool());
    if cancelled == CancelOutcome::InTime
        && let Some(target) = target
        && target != owned.pid
        && let Some(target) = kernel_cx.find(target)
    {
        watch_was_cancelled(target, kernel_cx);
    }
    true
}

/// (1) Fires the monitor because the target died, or did not exist. Returns `true` if the watcher's
/// mailbox has the DOWN. Lock-free.
pub(crate) fn fire(monitor: TargetSide, kernel_cx: &KernelCx<'_>, reason: &Reason) -> bool {
    let watcher = monitor.watcher;
    match monitor.fire(reason, kernel_cx.kernel.mutations) {
        Ok(down) => kernel_cx.deliver(watcher, down),
        Err(monitor) => {
            monitor.release(kernel_cx.pool());
            false
        }
    }
}
