//! Relations between processes: link, unlink, monitor, demonitor. The owner's side.

use core::fmt;
use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::mutation::Mutation;
use crate::ops::drain::take_up;
use crate::ops::waker;
use crate::pid::{Pid, Reference};
use crate::process::alias::{AliasMode, AliasRecord};
use crate::process::header::Header;
use crate::process::name::{NameEntry, RegisterError};
use crate::process::relation::link::{Link, LinkEnd};
use crate::process::relation::monitor::{CancelOutcome, Monitor};
use crate::process::relation::watcher::WatcherEntry;
use crate::reason::Reason;
use crate::sync::Ordering;

/// The reason why `link` did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// The target is dead, and the caller does not trap exits (otherwise it would have got an
    /// EXIT).
    NoProc,
    /// There is no memory for the link.
    NoMemory,
    /// The caller is dying.
    Dying,
}

/// The reason why `monitor` did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MonitorError {
    /// There is no memory for the monitor, or no reference is left.
    NoMemory,
    /// The name is new, and the limit of names is reached.
    TableFull,
    /// The caller is dying.
    Dying,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoProc => "there is no such process",
            Self::NoMemory => "out of memory",
            Self::Dying => "the process is dying",
        })
    }
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "out of memory",
            Self::TableFull => "the limit of names is reached",
            Self::Dying => "the process is dying",
        })
    }
}

impl core::error::Error for LinkError {}
impl core::error::Error for MonitorError {}

impl From<RegisterError> for MonitorError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::TableFull => Self::TableFull,
            _ => Self::NoMemory,
        }
    }
}

/// Links the owned `process` with `to`. A link to a dead process is an error; or, with `as_otp`, a
/// caller that traps exits gets an EXIT `noproc`. Lock-free; O(1) amortised.
pub(crate) fn link(process: &Header, hand: &KernelCx<'_>, to: Pid, as_otp: bool) -> Result<(), LinkError> {
    if to == process.pid {
        return Ok(());
    }
    take_up(process, hand);
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    if let Some(half) = private.links.find(to.to_raw()) {
        // SAFETY: the set's reference keeps the record live.
        if !unsafe { LinkEnd::link(half).as_ref() }.is_cut() {
            return Ok(());
        }
        // The other side has unlinked; this is a new link.
        private.cut_all(to, hand);
    }
    let other = hand.find(to);
    let trapping = as_otp && process.trap_exit.load(Ordering::Relaxed);
    if other.is_none() && !trapping {
        return Err(LinkError::NoProc);
    }
    let link = Link::try_new(hand, process.pid, to, None).map_err(|NoMemory| LinkError::NoMemory)?;
    // SAFETY: the initiator's end is in no set; its reference goes with it.
    unsafe { private.hold_half(Link::half(link, 0), hand) };
    // SAFETY: the peer end's reference is ours.
    if unsafe { place_link(link, hand, other) } {
        return Ok(());
    }
    if trapping {
        // The EXIT must come from this record: the dead process may have linked as well, with its
        // EXIT in transit (K2).
        // SAFETY: the peer end's reference, which `place_link` did not consume.
        unsafe { Link::fire(link, to, hand, &Reason::NOPROC) };
        return Ok(());
    }
    // SAFETY: inserted above; from here on only the peer end's reference is used.
    unsafe { private.drop_half(Link::half(link, 0), hand) };
    // SAFETY: the peer end's reference, which `place_link` did not consume.
    unsafe { Link::give_up(link, hand.pool()) };
    Err(LinkError::NoProc)
}

/// Delivers the peer's end of a new link to its owner, with its reference. Returns `false` if the
/// owner is not alive; the reference is then still the caller's.
///
/// # Safety
/// The caller holds that reference; the record is on no list and in no queue.
pub(crate) unsafe fn place_link(link: NonNull<Link>, hand: &KernelCx<'_>, other: Option<&Header>) -> bool {
    let placed = match other {
        Some(other) if other.mailbox.is_clear() || hand.kernel.mutated(Mutation::AlwaysShort) => {
            // SAFETY: the record is on no list; the peer end's reference goes with it.
            unsafe { other.links.push(link) }.is_ok()
        }
        // SAFETY: the node is in no queue; the peer end's reference goes with it.
        Some(other) => unsafe { hand.push(other, Link::request(link)) },
        None => false,
    };
    placed || hand.kernel.mutated(Mutation::RefusedIsPlaced)
}

/// Returns `true` if the owned `process` is linked with `other`.
pub(crate) fn is_linked(process: &Header, hand: &KernelCx<'_>, other: Pid) -> bool {
    take_up(process, hand);
    // SAFETY: P1: the caller owns the process.
    let half = unsafe { process.private() }.links.find(other.to_raw());
    // SAFETY: the set's reference keeps the record live.
    half.is_some_and(|half| unsafe { LinkEnd::link(half).as_ref() }.is_live())
}

/// Ends the link with `to`: no EXIT of it arrives from now on. Lock-free; O(1) amortised.
pub(crate) fn unlink(process: &Header, hand: &KernelCx<'_>, to: Pid) {
    take_up(process, hand);
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    if private.cut_all(to, hand)
        && let Some(other) = hand.find(to)
    {
        link_was_cut(other, hand);
    }
}

/// Counts an unlinked record that may be on the peer's list, and now and then wakes the peer to
/// adopt its list. No other thread may take that list, not even to sweep it: the peer must find a
/// link there when it unlinks (`link`, K1).
pub(crate) fn link_was_cut(other: &Header, hand: &KernelCx<'_>) {
    if other.links.count_cancelled() {
        waker::nudge(other, hand);
    }
}

/// Monitors `target`, a pid or the process that holds the name. Returns `true` if the DOWN is in
/// the mailbox already. Lock-free; O(1).
pub(crate) fn monitor(
    process: &Header,
    hand: &KernelCx<'_>,
    target: Result<Pid, &NameEntry>,
    reference: Reference,
    alias: Option<AliasMode>,
) -> Result<bool, MonitorError> {
    let (name, holder) = match target {
        Ok(pid) => (None, hand.find(pid).ok_or(Some(pid))),
        Err(entry) => (Some(entry), entry.holder(hand.guard).ok_or(None)),
    };
    let pid = match holder {
        Ok(other) => Some(other.pid),
        Err(pid) => pid,
    };
    // A process's monitor of itself never fires and is not listed: only its reference exists.
    let monitor = if pid == Some(process.pid) {
        None
    } else {
        Some(Monitor::try_new(hand, reference, process.pid, pid, name).map_err(|NoMemory| MonitorError::NoMemory)?)
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
                        unsafe { Monitor::give_up(monitor, hand.pool()) };
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
    Ok(unsafe { place_monitor(monitor, hand, holder) })
}

/// Delivers a new monitor to its target, with the target side's reference, or fires it. Returns
/// `true` if the watcher's mailbox has the DOWN. `holder` is the target, or the pid that it had.
///
/// # Safety
/// The caller holds that reference; the record is on no list, and its node in no queue.
pub(crate) unsafe fn place_monitor(
    monitor: NonNull<Monitor>,
    hand: &KernelCx<'_>,
    holder: Result<&Header, Option<Pid>>,
) -> bool {
    let placed = match holder {
        Ok(other) if other.mailbox.is_clear() || hand.kernel.mutated(Mutation::AlwaysShort) => {
            // SAFETY: the record is on no list; the target side's reference goes with it.
            unsafe { other.watchers.push(Monitor::watch(monitor)) }.is_ok()
        }
        // SAFETY: the node is in no queue; the target side's reference goes with it.
        Ok(other) => unsafe { hand.push(other, monitor.cast()) },
        Err(_) => false,
    };
    if placed || hand.kernel.mutated(Mutation::RefusedIsPlaced) {
        return false;
    }
    let pid = holder.map_or_else(|pid| pid, |other| Some(other.pid));
    let reason = pid.map_or(Reason::NOPROC, |pid| hand.kernel.epitaph(pid, hand.guard));
    // SAFETY: the target side's reference was not consumed; the node is in no queue.
    unsafe { Monitor::fire(monitor, hand, &reason) }
}

/// Ends a monitor. Returns `true` if it was still in force (OTP's `info`). With `flush` no DOWN of
/// it is received from now on, whenever the target died. Lock-free; O(1) amortised.
pub(crate) fn demonitor(process: &Header, hand: &KernelCx<'_>, reference: Reference, flush: bool) -> bool {
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
                unsafe { Monitor::give_up(monitor, hand.pool()) };
            }
        }
        return false;
    }
    let target = record.target();
    // SAFETY: `find` found the monitor in this set.
    unsafe { private.monitors.remove(monitor) };
    // SAFETY: the set's reference; not used again.
    unsafe { Monitor::give_up(monitor, hand.pool()) };
    if cancelled == CancelOutcome::InTime
        && let Some(target) = target
        && target != process.pid
        && let Some(target) = hand.find(target)
    {
        watch_was_cancelled(target, hand);
    }
    true
}

/// Counts a cancelled record that may be on the target's list, and fires the records that a sweep
/// took while the target died.
pub(crate) fn watch_was_cancelled(target: &Header, hand: &KernelCx<'_>) {
    let orphaned = target.watchers.cancelled(
        // SAFETY: the sweeper holds the record, with the list's reference.
        |watch| unsafe { WatcherEntry::is_live(watch) },
        // SAFETY: the sweeper holds the record, with the list's reference; not used again.
        |watch| unsafe { WatcherEntry::release(watch, hand.pool()) },
    );
    for watch in orphaned.filter(|_| !hand.kernel.mutated(Mutation::SweepForgets)) {
        // SAFETY: P3: the list is closed, so the reason is written.
        let reason = unsafe { target.reason() };
        // SAFETY: taken from the list, with its reference.
        unsafe { WatcherEntry::fire(watch, hand, &reason) };
    }
}
