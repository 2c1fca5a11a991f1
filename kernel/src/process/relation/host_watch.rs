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
//! References: the list's ([`ListedWatch`]) or the queue's ([`FiredWatch`]), and one for each
//! handle. Installing is lock-free, firing wait-free except for the queue, withdrawing O(1)
//! amortised (`sweep_list`).
//!
//! - **W4.** A record is born as the `PreparedWatch`, which (1) turns into the `ListedWatch`, which
//!   (2) turns into the `FiredWatch`. So there is one of them at a time, and it has the links.

use core::fmt;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::intrusive::counted::{Counted, Ref};
use crate::intrusive::handle::{Embedded, Handle};
use crate::memory::NoMemory;
use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::mutation::{MutationSwitch, mutant};
use crate::pid::Pid;
use crate::process::relation::watcher::{WatcherEntry, WatcherKind};
use crate::process::relation::{ExitInfo, WatchStatus};
use crate::reason::Reason;
use crate::sync::{AtomicU8, AtomicUsize, Ordering, UnsafeCell, acquire_by};

const PREPARED: u8 = 0;
const ARMED: u8 = 1;
const FIRED: u8 = 2;
const WITHDRAWN: u8 = 3;

/// The part of a record that does not depend on the callback's type. `repr(C)`: the watch comes
/// first.
#[repr(C)]
pub(crate) struct HostWatchHead {
    watch: WatcherEntry,
    vtable: &'static CallbackVtable,
    shares: AtomicUsize,
    /// The watched process. Written before ARMED.
    pid: UnsafeCell<Option<Pid>>,
    /// The exit reason. Written by the thread that fires, before it passes the record on.
    reason: UnsafeCell<Option<Reason>>,
    state: AtomicU8,
    /// `true` if the callback runs where the watch fires.
    prompt: bool,
}

/// A record: the head, and the callback, which belongs to the party that the word names (W1).
#[repr(C)]
struct HostWatchRecord<F> {
    head: HostWatchHead,
    act: UnsafeCell<Option<F>>,
}

/// The functions of a callback whose type is unknown.
struct CallbackVtable {
    /// Takes the callback out, releases the reference, and runs the callback if there is an end to
    /// report; otherwise drops it. The caller has the callback (W1).
    take: unsafe fn(Ref<HostWatchHead>, Option<ExitInfo>),
    free: unsafe fn(NonNull<HostWatchHead>),
}

impl<F: FnOnce(ExitInfo) + Send + 'static> HostWatchRecord<F> {
    const VTABLE: &'static CallbackVtable = &CallbackVtable { take: Self::take, free: Self::free };

    unsafe fn take(head: Ref<HostWatchHead>, ended: Option<ExitInfo>) {
        let record = head.into_raw();
        // SAFETY: the reference keeps the record live, which is a `HostWatchRecord<F>`.
        let act = &unsafe { record.cast::<Self>().as_ref() }.act;
        // SAFETY: W1: the word gives the callback to the caller.
        let act = act.with_mut(|act| unsafe { (*act).take() });
        // SAFETY: the reference that `into_raw` converted above.
        drop(unsafe { Ref::from_raw(record) });
        if let (Some(act), Some(ended)) = (act, ended) {
            act(ended);
        }
    }

    unsafe fn free(head: NonNull<HostWatchHead>) {
        // SAFETY: this was the last reference; made by `PreparedWatch::try_new::<F>`.
        drop(unsafe { PoolBox::from_raw(head.cast::<Self>()) });
    }
}

// SAFETY: a new record counts one reference. Release: pairs with the fence of the last holder,
// whose free comes after every use.
unsafe impl Counted for HostWatchHead {
    const BORN: usize = 1;

    fn add_ref(&self) {
        // Relaxed: only a holder acquires one.
        self.shares.fetch_add(1, Ordering::Relaxed);
    }

    fn drop_ref(&self) -> bool {
        let last = self.shares.fetch_sub(1, Ordering::Release) == 1;
        if last {
            acquire_by(|order| self.shares.load(order));
        }
        last
    }

    unsafe fn free(this: NonNull<Self>, _pool: Option<&Pool>) {
        // SAFETY: the last reference is released (this function's contract), so the record is the
        // caller's, and live until it is freed below.
        let free = unsafe { this.as_ref() }.vtable.free;
        // SAFETY: this was the last reference; the vtable is this record's.
        unsafe { free(this) };
    }
}

// SAFETY: W1: the callback is Send, and belongs to one party at a time.
unsafe impl Send for HostWatchHead {}
// SAFETY: W1, W4: every field is constant or atomic, or belongs to the party that the word names.
unsafe impl Sync for HostWatchHead {}

// SAFETY: the field `watch`, which is the only one of its type.
unsafe impl Embedded<HostWatchHead> for WatcherEntry {
    const OFFSET: usize = offset_of!(HostWatchHead, watch);
}

impl HostWatchHead {
    /// Returns the state of the watch. Wait-free.
    pub(crate) fn status(&self) -> WatchStatus {
        // Acquire: sees what was written before the watch was installed, or fired.
        match self.state.load(Ordering::Acquire) {
            PREPARED => WatchStatus::Prepared,
            ARMED => WatchStatus::Installed,
            FIRED => WatchStatus::Fired,
            _ => WatchStatus::Cancelled,
        }
    }

    /// Returns the pid of the process that it watches, or watched; `None` before it was installed.
    pub(crate) fn pid(&self) -> Option<Pid> {
        if self.status() == WatchStatus::Prepared {
            return None;
        }
        // SAFETY: not PREPARED, so the pid was written before (Acquire in `status`), and is not
        // written again.
        self.pid.with(|pid| unsafe { *pid })
    }
}

/// The callback, as the party that the word names has it (W1), with a reference. Dropping it drops
/// the callback.
struct OwnCallback(Option<Ref<HostWatchHead>>);

impl OwnCallback {
    /// Returns the record.
    fn record(&self) -> &Ref<HostWatchHead> {
        match &self.0 {
            Some(record) => record,
            None => unreachable!("only functions that consume the value take the record"),
        }
    }

    /// Returns the reference. The callback passes to another party.
    fn into_record(mut self) -> Ref<HostWatchHead> {
        match self.0.take() {
            Some(record) => record,
            None => unreachable!("only functions that consume the value take the record"),
        }
    }

    /// Runs the callback, or drops it if nothing has ended.
    fn end(&mut self, ended: Option<ExitInfo>) {
        if let Some(record) = self.0.take() {
            let take = record.vtable.take;
            // SAFETY: W1: the word gives this value the callback; the vtable is the record's.
            unsafe { take(record, ended) };
        }
    }
}

impl Drop for OwnCallback {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// A watch that lacks only its process. Dropping it drops the callback.
#[must_use = "nothing is watched yet"]
pub struct PreparedWatch(OwnCallback);

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

    fn make<F: FnOnce(ExitInfo) + Send + 'static>(act: F, prompt: bool) -> Result<Self, NoMemory> {
        let head = HostWatchHead {
            watch: WatcherEntry::new(WatcherKind::HostWatch),
            vtable: HostWatchRecord::<F>::VTABLE,
            shares: AtomicUsize::new(1),
            pid: UnsafeCell::new(None),
            reason: UnsafeCell::new(None),
            state: AtomicU8::new(PREPARED),
            prompt,
        };
        let record = HostWatchRecord { head, act: UnsafeCell::new(Some(act)) };
        let record = PoolBox::try_new(record, None).map_err(|_| NoMemory)?.into_raw();
        // SAFETY: the record is new and counts this reference; its head comes first (`repr(C)`).
        Ok(Self(OwnCallback(Some(unsafe { Ref::from_raw(record.cast()) }))))
    }

    /// Returns another reference to the record.
    pub(crate) fn share(&self) -> Ref<HostWatchHead> {
        self.0.record().share()
    }

    /// (1) Arms the watch, for the process `pid`.
    pub(crate) fn arm(mut self, pid: Pid) -> ListedWatch {
        let record = core::mem::replace(&mut self.0, OwnCallback(None)).into_record();
        // SAFETY: W1: PREPARED, so the record is this value's alone. A reader of the pid has seen
        // the store below.
        record.pid.with_mut(|place| unsafe { *place = Some(pid) });
        // Release: a thread that finds it armed also sees the pid.
        record.state.store(ARMED, Ordering::Release);
        ListedWatch(record)
    }
}

impl Drop for PreparedWatch {
    fn drop(&mut self) {
        // `None`: it was armed.
        if let Some(record) = &self.0.0 {
            record.state.store(WITHDRAWN, Ordering::Release);
        }
    }
}

/// A watch on its target's list: armed, or withdrawn.
#[derive(Debug)]
pub struct ListedWatch(Ref<HostWatchHead>);

impl ListedWatch {
    /// Returns `true` if the watch is in force.
    pub(crate) fn is_armed(&self) -> bool {
        // Relaxed: as for a monitor, it only decides what a sweep keeps.
        self.0.state.load(Ordering::Relaxed) == ARMED
    }

    /// Returns `true` if the callback runs where the watch fires.
    pub(crate) fn is_inline(&self) -> bool {
        self.0.prompt
    }

    /// (2) Decides that the watch fires. Returns the record, which the caller passes on; or the
    /// reference, if the watch was withdrawn.
    #[inline(always)]
    pub(crate) fn fire(self, reason: Option<Reason>, mutations: MutationSwitch) -> Result<FiredWatch, Self> {
        // AcqRel: pairs with the exchange of `cancel`, in either order.
        let fired = self.0.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if mutant!(mutations, FiresAnyway, right => fired.is_err(), wrong => false) {
            return Err(self);
        }
        // SAFETY: W2: the thread whose exchange fired the watch has the record until it passes it
        // on.
        self.0.reason.with_mut(|place| unsafe { *place = reason });
        Ok(FiredWatch(OwnCallback(Some(self.0))))
    }

    /// Converts the reference into the entry of the target's list.
    pub(super) fn into_entry(self) -> NonNull<WatcherEntry> {
        self.0.into_field()
    }

    /// Converts an entry back.
    ///
    /// # Safety
    /// The entry came from [`ListedWatch::into_entry`], with the reference.
    pub(super) unsafe fn of_entry(entry: NonNull<WatcherEntry>) -> Self {
        // SAFETY: `into_entry` made the pointer, with the reference (this function's contract).
        Self(unsafe { Ref::of_field(entry) })
    }
}

/// A watch that has fired: its callback, and the end to report. Dropping it drops the callback.
#[must_use = "the callback must be run"]
pub struct FiredWatch(OwnCallback);

impl FiredWatch {
    /// Returns the pid of the process that died.
    pub fn pid(&self) -> Option<Pid> {
        self.0.record().pid()
    }

    /// Runs the callback. It is foreign code, which may panic.
    pub fn run(mut self) {
        // SAFETY: W2: fired, so the record is this value's.
        let reason = self.0.record().reason.with_mut(|reason| unsafe { (*reason).take() });
        let ended = self.pid().map(|pid| ExitInfo { pid, reason });
        self.0.end(ended);
    }
}

// SAFETY: E1: W4. The record has left the target's list, so the queue may use the links. E2: the
// reference keeps the record live.
unsafe impl Handle for FiredWatch {
    type Record = WatcherEntry;

    fn into_raw(self) -> NonNull<WatcherEntry> {
        self.0.into_record().into_field()
    }

    unsafe fn from_raw(entry: NonNull<WatcherEntry>) -> Self {
        // SAFETY: `into_raw` made the pointer, with the reference (this function's contract).
        Self(OwnCallback(Some(unsafe { Ref::of_field(entry) })))
    }
}

impl fmt::Debug for FiredWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fired").field(&self.pid()).finish()
    }
}

impl fmt::Debug for PreparedWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedWatch")
    }
}

impl fmt::Debug for HostWatchHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitWatch").field("pid", &self.pid()).field("status", &self.status()).finish()
    }
}

/// A handle of a watch, to query its status and to withdraw it. It can be cloned. Dropping it has
/// no effect on the watch.
pub struct ExitWatch(Ref<HostWatchHead>);

impl ExitWatch {
    /// Creates a handle from a reference.
    pub(crate) fn of(record: Ref<HostWatchHead>) -> Self {
        Self(record)
    }

    /// Returns the state of the watch. Wait-free.
    pub fn status(&self) -> WatchStatus {
        self.0.status()
    }

    /// Returns `true` if the watch is in force: it was installed, and has neither fired nor been
    /// withdrawn. Wait-free.
    pub fn is_installed(&self) -> bool {
        self.status() == WatchStatus::Installed
    }

    /// Returns the pid of the process that it watches, or watched; `None` before it was installed.
    pub fn pid(&self) -> Option<Pid> {
        self.0.pid()
    }

    /// (3) Decides that the watch is withdrawn. Returns its callback if the watch was in force.
    pub(crate) fn withdraw(&self) -> Option<WithdrawnWatch> {
        // AcqRel: pairs with the exchange of `fire`, in either order, and sees the pid.
        let withdrawn = self.0.state.compare_exchange(ARMED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire);
        withdrawn.ok().map(|_| WithdrawnWatch(OwnCallback(Some(self.0.share()))))
    }
}

impl Clone for ExitWatch {
    fn clone(&self) -> Self {
        Self(self.0.share())
    }
}

impl fmt::Debug for ExitWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HostWatchHead::fmt(&self.0, f)
    }
}

/// The callback of a watch that was withdrawn. Dropping it drops the callback.
pub(crate) struct WithdrawnWatch(#[allow(dead_code, reason = "it is there to be dropped")] OwnCallback);
