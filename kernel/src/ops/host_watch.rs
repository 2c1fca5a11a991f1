//! The handles of an exit watch ([`PreparedWatch`] before it is installed, then [`ExitWatch`]), and
//! the firing of a watch.

use core::fmt;
use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::{self, NoMemory};
use crate::mutation::Mutation;
use crate::ops::relations::watch_was_cancelled;
use crate::pid::Pid;
use crate::process::relation::host_watch::{
    ARMED, FIRED, FiredWatch, HostWatchHead, HostWatchRecord, PREPARED, WITHDRAWN,
};
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::process::relation::{ExitInfo, WatchError, WatchStatus};
use crate::process::table::Tombstone;
use crate::reason::Reason;
use crate::sync::{AtomicU8, AtomicUsize, Ordering, UnsafeCell};

/// A watch that lacks only its process. Dropping it drops the callback.
#[must_use = "nothing is watched yet"]
pub struct PreparedWatch(NonNull<HostWatchHead>);

impl PreparedWatch {
    /// Allocates a watch whose callback `act` runs after the process has ended, on a thread that
    /// the platform chooses.
    pub fn try_new(act: impl FnOnce(ExitInfo) + Send + 'static) -> Result<Self, NoMemory> {
        Self::make(act, false)
    }

    /// Allocates a watch whose callback `act` runs where the watch fires: on the core, during the
    /// death. `act` must not block. It is meant for sending a [`crate::Reply`] or waking a thread
    /// or task.
    pub fn try_inline(act: impl FnOnce(ExitInfo) + Send + 'static) -> Result<Self, NoMemory> {
        Self::make(act, true)
    }

    fn make(act: impl FnOnce(ExitInfo) + Send + 'static, prompt: bool) -> Result<Self, NoMemory> {
        fn whole<F: FnOnce(ExitInfo) + Send + 'static>(act: F, prompt: bool) -> HostWatchRecord<F> {
            let head = HostWatchHead {
                watch: WatcherEntry::new(WatcherKind::HostWatch),
                vtable: HostWatchRecord::<F>::VTABLE,
                shares: AtomicUsize::new(1),
                pid: UnsafeCell::new(None),
                reason: UnsafeCell::new(None),
                state: AtomicU8::new(PREPARED),
                prompt,
            };
            HostWatchRecord { head, act: UnsafeCell::new(Some(act)) }
        }
        memory::try_new(whole(act, prompt)).map(|whole| Self(whole.cast())).map_err(|_| NoMemory)
    }

    /// Returns a handle, whose status is [`WatchStatus::Prepared`] until the watch is installed.
    pub fn handle(&self) -> ExitWatch {
        ExitWatch(HostWatchHead::share(self.0))
    }

    /// (1) Installs the watch on a process. Fails only if the pid was never allocated. Lock-free.
    pub(crate) fn install(self, kernel_cx: &KernelCx<'_>, pid: Pid) -> Result<ExitWatch, WatchError> {
        let process = kernel_cx.find(pid);
        let remembered =
            match process.map_or_else(|| kernel_cx.kernel.tombstone(pid, kernel_cx.guard), |_| Tombstone::Recycled) {
                Tombstone::NeverAllocated => return Err(WatchError::NoSuchProcess(pid)),
                Tombstone::Known(reason) => Some(reason),
                Tombstone::Recycled => None,
            };
        let handle = self.handle();
        // The reference of `self` becomes the list's.
        let this = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: the reference keeps the record live.
        let head = unsafe { this.as_ref() };
        // SAFETY: W1: PREPARED, so the record is ours alone.
        head.pid.with_mut(|place| unsafe { *place = Some(pid) });
        // Release: a thread that finds it armed also sees the pid.
        head.state.store(ARMED, Ordering::Release);
        let Some(process) = process else {
            // SAFETY: the list's reference; the record is on no list.
            unsafe { HostWatchHead::fire(this, kernel_cx, remembered) };
            return Ok(handle);
        };
        // SAFETY: the record is on no list; its reference goes with it.
        let placed = unsafe { process.watchers.push(this.cast()) }.is_ok();
        if !placed && !kernel_cx.kernel.mutated(Mutation::RefusedIsPlaced) {
            // SAFETY: P3: the list is closed, so the reason is written (`header`).
            let reason = unsafe { process.reason() };
            // SAFETY: the push was refused, so the reference is still ours.
            unsafe { HostWatchHead::fire(this, kernel_cx, Some(reason)) };
        }
        Ok(handle)
    }
}

impl Drop for PreparedWatch {
    fn drop(&mut self) {
        // SAFETY: this value's reference keeps the record live.
        let head = unsafe { self.0.as_ref() };
        head.state.store(WITHDRAWN, Ordering::Release);
        // SAFETY: W1: it was PREPARED, so the callback is ours, and so is the reference.
        unsafe { (head.vtable.take)(self.0, None) };
    }
}

/// A handle of a watch, to query its status and to withdraw it. It can be cloned. Dropping it has
/// no effect on the watch.
pub struct ExitWatch(NonNull<HostWatchHead>);

impl ExitWatch {
    fn head(&self) -> &HostWatchHead {
        // SAFETY: this handle's reference keeps the record live.
        unsafe { self.0.as_ref() }
    }

    /// Returns the state of the watch. Wait-free.
    pub fn status(&self) -> WatchStatus {
        // Acquire: sees what was written before the watch was installed, or fired.
        match self.head().state.load(Ordering::Acquire) {
            PREPARED => WatchStatus::Prepared,
            ARMED => WatchStatus::Installed,
            FIRED => WatchStatus::Fired,
            _ => WatchStatus::Withdrawn,
        }
    }

    /// Returns `true` if the watch is in force: it was installed, and has neither fired nor been
    /// withdrawn. Wait-free.
    pub fn is_installed(&self) -> bool {
        self.status() == WatchStatus::Installed
    }

    /// Returns the pid of the process that it watches, or watched; `None` before it was installed.
    pub fn pid(&self) -> Option<Pid> {
        if self.status() == WatchStatus::Prepared {
            return None;
        }
        // SAFETY: not PREPARED, so the pid was written before, and is not written again.
        self.head().pid.with(|pid| unsafe { *pid })
    }

    /// (3) Withdraws the watch. Returns `true` if it was in force, and so will never fire; the
    /// callback is then dropped here. O(1) amortised.
    pub(crate) fn cancel(&self, kernel_cx: &KernelCx<'_>) -> bool {
        let head = self.head();
        // A watch of another kernel cannot be withdrawn here.
        if self.pid().is_some_and(|pid| !kernel_cx.kernel.lends(pid)) {
            return false;
        }
        // AcqRel: pairs with the exchange of `fire`, in either order, and sees the pid.
        if head.state.compare_exchange(ARMED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        // SAFETY: written before the watch was armed, and not again.
        let pid = head.pid.with(|pid| unsafe { *pid });
        if let Some(process) = pid.and_then(|pid| kernel_cx.find(pid)) {
            watch_was_cancelled(process, kernel_cx);
        }
        // SAFETY: W1: withdrawn, so the callback is ours; the reference is acquired for this call.
        unsafe { (head.vtable.take)(HostWatchHead::share(self.0), None) };
        true
    }
}

impl Clone for ExitWatch {
    fn clone(&self) -> Self {
        Self(HostWatchHead::share(self.0))
    }
}

impl Drop for ExitWatch {
    fn drop(&mut self) {
        // SAFETY: this handle's reference; not used again.
        unsafe { HostWatchHead::release(self.0) };
    }
}

impl HostWatchHead {
    /// (2) Fires the watch because the target has died. Consumes the list's reference.
    ///
    /// # Safety
    /// The caller holds that reference, and the record is on no list.
    pub(crate) unsafe fn fire(this: NonNull<Self>, kernel_cx: &KernelCx<'_>, reason: Option<Reason>) {
        // SAFETY: the caller's reference keeps the record live.
        let head = unsafe { this.as_ref() };
        // SAFETY: the caller holds the list's reference, and the record is on no list (this
        // function's contract).
        if !unsafe { head.try_fire(reason, kernel_cx.kernel.mutations) } {
            // SAFETY: the reference is the caller's; not used again.
            return unsafe { Self::release(this) };
        }
        let fired = FiredWatch::of(this);
        if !head.prompt {
            return kernel_cx.kernel.world().on_watch_fired(fired);
        }
        let mut fired = Some(fired);
        kernel_cx.catch_panic(&mut || fired.take().into_iter().for_each(FiredWatch::run));
    }
}

// SAFETY: W1: the callback is Send, and belongs to one party at a time; every other field is
// atomic, or passed on by the word.
unsafe impl Send for PreparedWatch {}
// SAFETY: through `&` only atomics and the reference count are touched.
unsafe impl Sync for PreparedWatch {}
// SAFETY: W1: the callback is Send, also for the thread that withdraws and drops it.
unsafe impl Send for ExitWatch {}
// SAFETY: W1: through `&` the word decides which thread owns the callback.
unsafe impl Sync for ExitWatch {}
impl fmt::Debug for PreparedWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedWatch")
    }
}

impl fmt::Debug for ExitWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitWatch").field("pid", &self.pid()).field("status", &self.status()).finish()
    }
}
