//! Exit watches, [`crate::ExitWatch`]: code outside any process waits for a death. Here are the
//! record of a watch, its word and its callback, and the record once it has fired, [`FiredWatch`].
//!
//! A watch is a record on the target's list of watchers, as a monitor is, with the callback inside.
//! It is made before anything happens ([`crate::PreparedWatch`]), so that every step that can fail
//! is over when there is a process to watch. One word decides:
//!
//! ```text
//! PREPARED ── install (1) ──▶ ARMED ── target dies: fire (2) ──▶ FIRED
//!     └── dropped, refused        └────── withdraw (3) ────────▶ WITHDRAWN
//!         (WITHDRAWN)
//! ```
//!
//! - **W1.** (2) and (3) are exchanges of the same word: the side that wins runs the callback once,
//!   or drops it. Before (1) the callback belongs to the `PreparedWatch`.
//! - **W2.** The thread that wins (2) writes the reason and passes the record, with the list's
//!   reference, to the platform ([`crate::Platform::on_watch_fired`]). The platform queues it for a
//!   thread of its own ([`crate::ExitQueue`]) or runs it. An *inline* watch (`prompt`), which only
//!   wakes a thread or task, runs immediately. A record that fires has left the target's list, so
//!   its links are free for that queue. So a death allocates nothing and does not wait.
//! - **W3.** Watches fire when every other step of the death is done: the body is dropped, the
//!   names are free, links and monitors have been notified, and the slot has the reason. So the
//!   callback finds everything gone; only the memory may stay for a while (`reclaim`). A watch that
//!   is installed, or held by a sweep, during the death may fire before links and monitors do.
//!
//! A watch of a process that is already dead fires immediately. It gets the reason that the slot
//! records, even if monitors are not given such reasons, or none if the slot has been used again. A
//! watch is not a signal: it does not wait for signals that the installer has sent before. It need
//! not, because every death of the target fires it.
//!
//! References: the list's (or the queue's), and one for each handle. Installing is lock-free,
//! firing wait-free except for the queue, withdrawing O(1) amortised (`sweep_list`).

use core::fmt;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::memory;
use crate::mutation::{Mutation, MutationSwitch};
use crate::pid::Pid;
use crate::process::relation::ExitInfo;
use crate::process::relation::watcher::WatcherEntry;
use crate::reason::Reason;
use crate::sync::{AtomicU8, AtomicUsize, Ordering, UnsafeCell, acquire_by};

pub(crate) const PREPARED: u8 = 0;
pub(crate) const ARMED: u8 = 1;
pub(crate) const FIRED: u8 = 2;
pub(crate) const WITHDRAWN: u8 = 3;

/// The part of a record that does not depend on the callback's type. `repr(C)`: the watch comes
/// first.
#[repr(C)]
pub(crate) struct HostWatchHead {
    pub(crate) watch: WatcherEntry,
    pub(crate) vtable: &'static CallbackVtable,
    pub(crate) shares: AtomicUsize,
    /// The watched process. Written before ARMED.
    pub(crate) pid: UnsafeCell<Option<Pid>>,
    /// The exit reason. Written by the thread that fires, before it passes the record on.
    pub(crate) reason: UnsafeCell<Option<Reason>>,
    pub(crate) state: AtomicU8,
    /// `true` if the callback runs where the watch fires.
    pub(crate) prompt: bool,
}

/// A record: the head, and the callback, which belongs to the party that the word names (W1).
#[repr(C)]
pub(crate) struct HostWatchRecord<F> {
    pub(crate) head: HostWatchHead,
    pub(crate) act: UnsafeCell<Option<F>>,
}

/// The functions of a callback whose type is unknown.
pub(crate) struct CallbackVtable {
    /// Takes the callback out, releases a reference, and runs the callback if there is an end to
    /// report; otherwise drops it.
    pub(crate) take: unsafe fn(NonNull<HostWatchHead>, Option<ExitInfo>),
    pub(crate) free: unsafe fn(NonNull<HostWatchHead>),
}

impl<F: FnOnce(ExitInfo) + Send + 'static> HostWatchRecord<F> {
    pub(crate) const VTABLE: &'static CallbackVtable = &CallbackVtable { take: Self::take, free: Self::free };

    unsafe fn take(head: NonNull<HostWatchHead>, ended: Option<ExitInfo>) {
        // SAFETY: the caller's reference keeps the record live, which is a `HostWatchRecord<F>`.
        let whole = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: W1: the word gives the callback to the caller.
        let act = whole.act.with_mut(|act| unsafe { (*act).take() });
        // SAFETY: the caller's reference; not used again.
        unsafe { HostWatchHead::release(head) };
        if let (Some(act), Some(ended)) = (act, ended) {
            act(ended);
        }
    }

    unsafe fn free(head: NonNull<HostWatchHead>) {
        // SAFETY: this was the last reference; made by `PreparedWatch::try_new::<F>`.
        unsafe { memory::drop_and_free(head.cast::<Self>()) }
    }
}

impl HostWatchHead {
    /// Returns the record of an entry on a list of watchers.
    ///
    /// # Safety
    /// The entry is of the kind `WatcherKind::HostWatch`.
    pub(crate) unsafe fn of_watch(watch: NonNull<WatcherEntry>) -> NonNull<Self> {
        const { assert!(offset_of!(HostWatchHead, watch) == 0) };
        watch.cast()
    }

    /// Returns `true` if the watch is in force.
    pub(crate) fn is_armed(&self) -> bool {
        // Relaxed: as for a monitor, it only decides what a sweep keeps.
        self.state.load(Ordering::Relaxed) == ARMED
    }

    /// (2) Decides that the watch fires. Returns `true` if it does: the caller then owns the
    /// record, with the list's reference, and passes it on.
    ///
    /// # Safety
    /// The caller holds that reference, and the record is on no list.
    #[inline(always)]
    #[must_use = "after `true` the record must be passed on"]
    pub(crate) unsafe fn try_fire(&self, reason: Option<Reason>, mutations: MutationSwitch) -> bool {
        // AcqRel: pairs with the exchange of `cancel`, in either order.
        let fired = self.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !mutations.injects(Mutation::FiresAnyway) {
            return false;
        }
        // SAFETY: W2: the thread whose exchange fired the watch owns the record until it passes it
        // on.
        self.reason.with_mut(|place| unsafe { *place = reason });
        true
    }

    /// Releases a reference. Wait-free.
    ///
    /// # Safety
    /// The caller holds it and does not use the record again.
    pub(crate) unsafe fn release(this: NonNull<Self>) {
        // SAFETY: the caller's reference keeps the record live.
        let shares = unsafe { &this.as_ref().shares };
        // Release: pairs with the fence of the last holder, whose free comes after every use.
        if shares.fetch_sub(1, Ordering::Release) == 1 {
            acquire_by(|order| shares.load(order));
            // SAFETY: the last reference keeps the record live until it is freed below.
            let free = unsafe { this.as_ref() }.vtable.free;
            // SAFETY: this was the last reference; the vtable is this record's.
            unsafe { free(this) }
        }
    }

    pub(crate) fn share(this: NonNull<Self>) -> NonNull<Self> {
        // SAFETY: the caller's reference keeps the record live. Relaxed: only a holder acquires
        // one.
        unsafe { this.as_ref() }.shares.fetch_add(1, Ordering::Relaxed);
        this
    }
}

/// A watch that has fired: its callback, and the end to report. Dropping it drops the callback.
#[must_use = "the callback must be run"]
pub struct FiredWatch(NonNull<HostWatchHead>);

impl FiredWatch {
    /// Returns the handle of a record that has fired, with its reference.
    pub(crate) fn of(record: NonNull<HostWatchHead>) -> Self {
        Self(record)
    }

    /// Returns the pid of the process that died.
    pub fn pid(&self) -> Option<Pid> {
        // SAFETY: this value's reference keeps the record live.
        let head = unsafe { self.0.as_ref() };
        // SAFETY: written before the watch was armed, and not again.
        head.pid.with(|pid| unsafe { *pid })
    }

    /// Runs the callback. It is foreign code, which may panic.
    pub fn run(self) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: this value's reference keeps the record live.
        let head = unsafe { this.0.as_ref() };
        // SAFETY: W2: fired, so the record is ours.
        let reason = head.reason.with_mut(|reason| unsafe { (*reason).take() });
        let ended = this.pid().map(|pid| ExitInfo { pid, reason });
        // SAFETY: W1: fired, so the callback is ours, with the reference.
        unsafe { (head.vtable.take)(this.0, ended) };
    }

    /// Converts it into its links in a queue, with its reference.
    pub(crate) fn into_watch(self) -> NonNull<WatcherEntry> {
        core::mem::ManuallyDrop::new(self).0.cast()
    }

    /// Converts an entry of a queue back.
    ///
    /// # Safety
    /// `watch` came from [`FiredWatch::into_watch`], and is converted back once.
    pub(crate) unsafe fn of_watch(watch: NonNull<WatcherEntry>) -> Self {
        // SAFETY: the entry is a host watch's (this function's contract).
        Self(unsafe { HostWatchHead::of_watch(watch) })
    }
}

impl Drop for FiredWatch {
    fn drop(&mut self) {
        // SAFETY: this value's reference keeps the record live.
        let head = unsafe { self.0.as_ref() };
        // SAFETY: W1: fired, so the callback is ours, with the reference.
        unsafe { (head.vtable.take)(self.0, None) };
    }
}

// SAFETY: the callback is Send, and moves with this value.
unsafe impl Send for FiredWatch {}
// SAFETY: through `&` only the pid is read.
unsafe impl Sync for FiredWatch {}

impl fmt::Debug for FiredWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fired").field(&self.pid()).finish()
    }
}
