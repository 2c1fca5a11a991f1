//! Monitors: monitor, demonitor, and the DOWN of a monitor that fires.

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::mutation::Mutation;
use crate::ops::relations::{MonitorError, watch_was_cancelled};
use crate::pid::{Pid, Reference};
use crate::process::alias::{AliasMode, AliasRecord};
use crate::process::header::Header;
use crate::process::name::NameEntry;
use crate::process::relation::monitor::{CancelOutcome, Monitor};
use crate::reason::Reason;

/// Monitors `target`, a pid or the process that holds the name. Returns `true` if the DOWN is in
/// the mailbox already. Lock-free; O(1).
pub(crate) fn monitor(
    process: &Header,
    kernel_cx: &KernelCx<'_>,
    target: Result<Pid, &NameEntry>,
    reference: Reference,
    alias: Option<AliasMode>,
) -> Result<bool, MonitorError> {
    let (name, holder) = match target {
        Ok(pid) => (None, kernel_cx.find(pid).ok_or(Some(pid))),
        Err(entry) => (Some(entry), entry.holder(kernel_cx.guard).ok_or(None)),
    };
    let pid = match holder {
        Ok(other) => Some(other.pid),
        Err(pid) => pid,
    };
    // A process's monitor of itself never fires and is not listed: only its reference exists.
    let monitor = if pid == Some(process.pid) {
        None
    } else {
        Some(
            Monitor::try_new(kernel_cx, reference, process.pid, pid, name)
                .map_err(|NoMemory| MonitorError::NoMemory)?,
        )
    };
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    if let Some(mode) = alias {
        match AliasRecord::try_new(reference, mode) {
            // SAFETY: the record is new, in no set; the set owns it from now on.
            Ok(alias) => unsafe { private.aliases.insert(alias) },
            Err(NoMemory) => {
                if let Some(monitor) = monitor {
                    for _share in 0..2 {
                        // SAFETY: both references are still ours.
                        unsafe { Monitor::release(monitor, kernel_cx.pool()) };
                    }
                }
                return Err(MonitorError::NoMemory);
            }
        }
    }
    let Some(monitor) = monitor else { return Ok(false) };
    // SAFETY: the record is new, in no set; the watcher's reference goes with it.
    unsafe { private.monitors.insert(monitor) };
    // SAFETY: the target side's reference is ours; on no list and in no queue.
    Ok(unsafe { place_monitor(monitor, kernel_cx, holder) })
}

/// Delivers a new monitor to its target, with the target side's reference, or fires it. Returns
/// `true` if the watcher's mailbox has the DOWN. `holder` is the target, or the pid that it had.
///
/// # Safety
/// The caller holds that reference; the record is on no list, and its node in no queue.
pub(crate) unsafe fn place_monitor(
    monitor: NonNull<Monitor>,
    kernel_cx: &KernelCx<'_>,
    holder: Result<&Header, Option<Pid>>,
) -> bool {
    let placed = match holder {
        Ok(other) if other.mailbox.is_settled() || kernel_cx.kernel.mutated(Mutation::AlwaysShort) => {
            // SAFETY: the record is on no list; the target side's reference goes with it.
            unsafe { other.watchers.push(Monitor::watch(monitor)) }.is_ok()
        }
        // SAFETY: the node is in no queue; the target side's reference goes with it.
        Ok(other) => unsafe { kernel_cx.push(other, monitor.cast()) },
        Err(_) => false,
    };
    if placed || kernel_cx.kernel.mutated(Mutation::RefusedIsPlaced) {
        return false;
    }
    let pid = holder.map_or_else(|pid| pid, |other| Some(other.pid));
    let reason = pid.map_or(Reason::NOPROC, |pid| kernel_cx.kernel.exit_reason(pid, kernel_cx.guard));
    // SAFETY: the target side's reference was not consumed; the node is in no queue.
    unsafe { Monitor::fire(monitor, kernel_cx, &reason) }
}

/// Ends a monitor. Returns `true` if it was still in force (OTP's `info`). With `flush` no DOWN of
/// it is received from now on, whenever the target died. Lock-free; O(1) amortised.
pub(crate) fn demonitor(process: &Header, kernel_cx: &KernelCx<'_>, reference: Reference, flush: bool) -> bool {
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    private.end_alias_with_monitor(reference);
    let Some(monitor) = private.monitors.find(reference.to_raw()) else { return false };
    // SAFETY: the set's reference keeps the record live.
    let record = unsafe { monitor.as_ref() };
    let cancelled = record.cancel();
    if cancelled == CancelOutcome::Delivered {
        if flush {
            // SAFETY: the DOWN is delivered, so its node is in the private queue.
            unsafe { private.queue.remove(monitor.cast()) };
            // SAFETY: `find` found the monitor in this set.
            unsafe { private.monitors.remove(monitor) };
            for _share in 0..2 {
                // SAFETY: the signal's reference, and the set's; not used again.
                unsafe { Monitor::release(monitor, kernel_cx.pool()) };
            }
        }
        return false;
    }
    let target = record.target();
    // SAFETY: `find` found the monitor in this set.
    unsafe { private.monitors.remove(monitor) };
    // SAFETY: the set's reference; not used again.
    unsafe { Monitor::release(monitor, kernel_cx.pool()) };
    if cancelled == CancelOutcome::InTime
        && let Some(target) = target
        && target != process.pid
        && let Some(target) = kernel_cx.find(target)
    {
        watch_was_cancelled(target, kernel_cx);
    }
    true
}

impl Monitor {
    /// Allocates an armed monitor with two references: one of the watcher, one of the target's
    /// side.
    pub fn try_new(
        kernel_cx: &KernelCx<'_>,
        reference: Reference,
        watcher: Pid,
        target: Option<Pid>,
        name: Option<&NameEntry>,
    ) -> Result<NonNull<Self>, NoMemory> {
        let monitor = Self::new(&kernel_cx.kernel.nodes, reference, watcher, target, name)?;
        kernel_cx.try_new(monitor).map_err(|_| NoMemory)
    }

    /// (1) Fires the monitor because the target died, or did not exist. Returns `true` if the
    /// watcher's mailbox has the DOWN. Consumes the target side's reference. Lock-free.
    ///
    /// # Safety
    /// The caller holds that reference, and the node is in no queue.
    pub unsafe fn fire(this: NonNull<Self>, kernel_cx: &KernelCx<'_>, reason: &Reason) -> bool {
        // SAFETY: the caller holds the reference, and the node is in no queue (this function's
        // contract).
        if !unsafe { Self::try_fire(this, reason, kernel_cx.kernel.mutations) } {
            // SAFETY: the reference is the caller's; not used again.
            unsafe { Self::release(this, kernel_cx.pool()) };
            return false;
        }
        // SAFETY: the target side's reference keeps the record live.
        let watcher = unsafe { this.as_ref() }.watcher;
        // SAFETY: the node is ours until the push, and takes the reference with it.
        unsafe { kernel_cx.deliver(watcher, this.cast()) }
    }
}
