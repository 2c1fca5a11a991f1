//! Who has a watch, from before it is installed until it has fired: [`PreparedWatch`], [`ExitWatch`], [`FiredWatch`].

use core::fmt;
use core::ptr::NonNull;

use super::record::{ARMED, FIRED, HostWatchHead, PREPARED, VTABLE, WITHDRAWN, HostWatchRecord, of_watch};
use super::{ExitInfo, WatchError, WatchStatus};
use crate::hand::KernelCx;
use crate::memory::{self, NoMemory};
use crate::mutate::Mutation;
use crate::pid::Pid;
use crate::process::ties::watch_was_cancelled;
use crate::sync::{AtomicU8, AtomicUsize, Ordering, UnsafeCell};
use crate::table::Tombstone;
use crate::watch::WatcherEntry;

/// A watch that has everything it needs but a process. Dropping it drops what was to be done.
#[must_use = "nothing is watched yet"]
pub struct PreparedWatch(NonNull<HostWatchHead>);

impl PreparedWatch {
    /// `act` is to be done when the process has ended, where the world does such things.
    pub fn try_new(act: impl FnOnce(ExitInfo) + Send + 'static) -> Result<Self, NoMemory> {
        Self::make(act, false)
    }

    /// `act` is to be done where the watch fires: on the core, in the midst of the death. It must not block; it is
    /// for answering a [`crate::Reply`], or waking somebody.
    pub fn try_inline(act: impl FnOnce(ExitInfo) + Send + 'static) -> Result<Self, NoMemory> {
        Self::make(act, true)
    }

    fn make(act: impl FnOnce(ExitInfo) + Send + 'static, prompt: bool) -> Result<Self, NoMemory> {
        fn whole<F: FnOnce(ExitInfo) + Send + 'static>(act: F, prompt: bool) -> HostWatchRecord<F> {
            let head = HostWatchHead {
                watch: WatcherEntry::new(VTABLE),
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

    /// A handle, which says that it is not installed yet.
    pub fn handle(&self) -> ExitWatch {
        ExitWatch(HostWatchHead::share(self.0))
    }

    /// (1) Watches a process. What can fail now is that there never was one. Lock-free.
    pub(crate) fn install(self, hand: &KernelCx<'_>, pid: Pid) -> Result<ExitWatch, WatchError> {
        let process = hand.find(pid);
        let remembered = match process.map_or_else(|| hand.kernel.of_the_dead(pid, hand.guard), |_| Tombstone::Recycled) {
            Tombstone::NeverAllocated => return Err(WatchError::NoSuchProcess(pid)),
            Tombstone::Known(reason) => Some(reason),
            Tombstone::Recycled => None,
        };
        let handle = self.handle();
        // The list's share.
        let this = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: shared, so live.
        let head = unsafe { this.as_ref() };
        // SAFETY: PREPARED: ours alone.
        head.pid.with_mut(|place| unsafe { *place = Some(pid) });
        // Release: who finds it armed knows the pid.
        head.state.store(ARMED, Ordering::Release);
        let Some(process) = process else {
            // SAFETY: the list's share; on no list.
            unsafe { HostWatchHead::fire(this, hand, remembered) };
            return Ok(handle);
        };
        // SAFETY: on no list; its share goes with it.
        let placed = unsafe { process.watchers.push(this.cast()) }.is_ok();
        if !placed && !hand.kernel.mutated(Mutation::RefusedIsPlaced) {
            // SAFETY: the list is closed, so the reason is written (`header`, P3).
            let reason = unsafe { process.reason() };
            // SAFETY: refused, so the share is ours still.
            unsafe { HostWatchHead::fire(this, hand, Some(reason)) };
        }
        Ok(handle)
    }
}

impl Drop for PreparedWatch {
    fn drop(&mut self) {
        // SAFETY: shared, so live.
        let head = unsafe { self.0.as_ref() };
        head.state.store(WITHDRAWN, Ordering::Release);
        // SAFETY: it was PREPARED, so what is to be done is ours (W1), and the share.
        unsafe { (head.vtable.take)(self.0, None) };
    }
}

/// A handle of a watch, to be asked and to withdraw it; any number of clones. Dropping it changes nothing.
pub struct ExitWatch(NonNull<HostWatchHead>);

impl ExitWatch {
    fn head(&self) -> &HostWatchHead {
        // SAFETY: its share keeps it.
        unsafe { self.0.as_ref() }
    }

    /// Where it is in its life. Wait-free.
    pub fn status(&self) -> WatchStatus {
        // Acquire: what was done before it was installed, or fired, is seen.
        match self.head().state.load(Ordering::Acquire) {
            PREPARED => WatchStatus::Prepared,
            ARMED => WatchStatus::Installed,
            FIRED => WatchStatus::Fired,
            _ => WatchStatus::Withdrawn,
        }
    }

    /// Whether it is in force: the installation was accepted, and it has neither fired nor been withdrawn. Wait-free.
    pub fn is_installed(&self) -> bool {
        self.status() == WatchStatus::Installed
    }

    /// Whom it watches, or watched; `None` before it was installed.
    pub fn pid(&self) -> Option<Pid> {
        if self.status() == WatchStatus::Prepared {
            return None;
        }
        // SAFETY: not PREPARED: written before, and not again.
        self.head().pid.with(|pid| unsafe { *pid })
    }

    /// (3) Withdraws it: true when it was in force, and so will never fire; what was to be done is dropped here. O(1) amortised.
    pub(crate) fn cancel(&self, hand: &KernelCx<'_>) -> bool {
        let head = self.head();
        // Another kernel's is not looked for here.
        if self.pid().is_some_and(|pid| !hand.kernel.lends(pid)) {
            return false;
        }
        // AcqRel: pairs with the exchange of `fire`, whichever came first, and sees the pid.
        if head.state.compare_exchange(ARMED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        // SAFETY: written before it was armed.
        let pid = head.pid.with(|pid| unsafe { *pid });
        if let Some(process) = pid.and_then(|pid| hand.find(pid)) {
            watch_was_cancelled(process, hand);
        }
        // SAFETY: withdrawn, so what was to be done is ours (W1); the share is made for it.
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
        // SAFETY: its share, not used again.
        unsafe { HostWatchHead::give_up(self.0) };
    }
}

/// A watch that has fired: what is to be done, and what of. Dropping it is not to do it.
#[must_use = "somebody waits for it to be run"]
pub struct FiredWatch(NonNull<HostWatchHead>);

impl FiredWatch {
    /// Of a record that has fired, with its share.
    pub(super) fn of(record: NonNull<HostWatchHead>) -> Self {
        Self(record)
    }

    /// Whose death it is of.
    pub fn pid(&self) -> Option<Pid> {
        // SAFETY: its share keeps it.
        let head = unsafe { self.0.as_ref() };
        // SAFETY: written before it was armed.
        head.pid.with(|pid| unsafe { *pid })
    }

    /// Does it. Foreign code, which may panic.
    pub fn run(self) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: its share keeps it.
        let head = unsafe { this.0.as_ref() };
        // SAFETY: fired, so ours (W2).
        let reason = head.reason.with_mut(|reason| unsafe { (*reason).take() });
        let ended = this.pid().map(|pid| ExitInfo { pid, reason });
        // SAFETY: fired, so what is to be done is ours, with the share (W1).
        unsafe { (head.vtable.take)(this.0, ended) };
    }

    /// Its place in a queue, with its share.
    pub(crate) fn into_watch(self) -> NonNull<WatcherEntry> {
        core::mem::ManuallyDrop::new(self).0.cast()
    }

    /// # Safety
    /// `watch` came from [`FiredWatch::into_watch`], and is given back once.
    pub(crate) unsafe fn of_watch(watch: NonNull<WatcherEntry>) -> Self {
        Self(of_watch(watch))
    }
}

impl Drop for FiredWatch {
    fn drop(&mut self) {
        // SAFETY: its share keeps it.
        let head = unsafe { self.0.as_ref() };
        // SAFETY: fired, so what is to be done is ours, with the share (W1).
        unsafe { (head.vtable.take)(self.0, None) };
    }
}

// SAFETY: what is to be done is Send, and one party's at a time (W1); all else is atomic, or handed over by the word.
unsafe impl Send for PreparedWatch {}
// SAFETY: through `&` only atomics are touched, and the count.
unsafe impl Sync for PreparedWatch {}
// SAFETY: as for `PreparedWatch`; who withdraws drops what is Send.
unsafe impl Send for ExitWatch {}
// SAFETY: as above: through `&` the word decides.
unsafe impl Sync for ExitWatch {}
// SAFETY: what is to be done is Send, and goes with it.
unsafe impl Send for FiredWatch {}
// SAFETY: through `&` only the pid is read.
unsafe impl Sync for FiredWatch {}

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

impl fmt::Debug for FiredWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fired").field(&self.pid()).finish()
    }
}
