//! The record of a watch: its word, and what is to be done.

use core::mem::offset_of;
use core::ptr::NonNull;

use super::{ExitInfo, FiredWatch};
use crate::hand::KernelCx;
use crate::memory;
use crate::memory::pool::Pool;
use crate::mutate::Mutation;
use crate::pid::Pid;
use crate::reason::Reason;
use crate::sync::{AtomicU8, AtomicUsize, Ordering, UnsafeCell, acquire_by};
use crate::watch::{WatcherEntry, WatchVtable};

pub(super) const PREPARED: u8 = 0;
pub(super) const ARMED: u8 = 1;
pub(super) const FIRED: u8 = 2;
pub(super) const WITHDRAWN: u8 = 3;

/// What does not depend on what is to be done. `repr(C)`: the watch comes first.
#[repr(C)]
pub(super) struct HostWatchHead {
    pub(super) watch: WatcherEntry,
    pub(super) vtable: &'static CallbackVtable,
    pub(super) shares: AtomicUsize,
    /// Written before ARMED.
    pub(super) pid: UnsafeCell<Option<Pid>>,
    /// Written by who fires, before it hands the record on.
    pub(super) reason: UnsafeCell<Option<Reason>>,
    pub(super) state: AtomicU8,
    /// To be done where it fires.
    pub(super) prompt: bool,
}

/// A record: head, and what is to be done, which is whose the word says (W1).
#[repr(C)]
pub(super) struct HostWatchRecord<F> {
    pub(super) head: HostWatchHead,
    pub(super) act: UnsafeCell<Option<F>>,
}

/// How what is to be done is handled.
pub(super) struct CallbackVtable {
    /// Takes it out, gives up a share, and does it, if there is something to be told; else drops it.
    pub(super) take: unsafe fn(NonNull<HostWatchHead>, Option<ExitInfo>),
    pub(super) free: unsafe fn(NonNull<HostWatchHead>),
}

pub(super) const VTABLE: &WatchVtable = &WatchVtable { live, fire, release, watcher: |_| None, outside: true };

pub(super) fn of_watch(watch: NonNull<WatcherEntry>) -> NonNull<HostWatchHead> {
    const { assert!(offset_of!(HostWatchHead, watch) == 0) };
    watch.cast()
}

unsafe fn live(watch: NonNull<WatcherEntry>) -> bool {
    // SAFETY: the list has a share. Relaxed: as for a monitor, it decides only what a sweep keeps.
    unsafe { of_watch(watch).as_ref() }.state.load(Ordering::Relaxed) == ARMED
}

unsafe fn fire(watch: NonNull<WatcherEntry>, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: the caller gives the list's share.
    unsafe { HostWatchHead::fire(of_watch(watch), hand, Some(reason.clone())) }
}

unsafe fn release(watch: NonNull<WatcherEntry>, _: Option<&Pool>) {
    // SAFETY: the caller gives the list's share.
    unsafe { HostWatchHead::give_up(of_watch(watch)) }
}

impl<F: FnOnce(ExitInfo) + Send + 'static> HostWatchRecord<F> {
    pub(super) const VTABLE: &'static CallbackVtable = &CallbackVtable { take: Self::take, free: Self::free };

    unsafe fn take(head: NonNull<HostWatchHead>, ended: Option<ExitInfo>) {
        // SAFETY: shared, so live; the head of a `HostWatchRecord<F>`.
        let whole = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: the caller's, by the word (W1).
        let act = whole.act.with_mut(|act| unsafe { (*act).take() });
        // SAFETY: the caller's share, not used again.
        unsafe { HostWatchHead::give_up(head) };
        if let (Some(act), Some(ended)) = (act, ended) {
            act(ended);
        }
    }

    unsafe fn free(head: NonNull<HostWatchHead>) {
        // SAFETY: the last share; made by `PreparedWatch::try_new::<F>`.
        unsafe { memory::drop_and_free(head.cast::<Self>()) }
    }
}

impl HostWatchHead {
    /// (2) The target has died. Consumes the list's share.
    ///
    /// # Safety
    /// The caller has that share, and the record is on no list.
    pub(super) unsafe fn fire(this: NonNull<Self>, hand: &KernelCx<'_>, reason: Option<Reason>) {
        // SAFETY: shared, so live.
        let head = unsafe { this.as_ref() };
        // AcqRel: pairs with the exchange of `cancel`, whichever came first.
        let fired = head.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !hand.kernel.mutated(Mutation::FiresAnyway) {
            // SAFETY: the share is the caller's.
            return unsafe { Self::give_up(this) };
        }
        // SAFETY: who fires has the record until it is handed on (W2).
        head.reason.with_mut(|place| unsafe { *place = reason });
        let fired = FiredWatch::of(this);
        if !head.prompt {
            return hand.kernel.world().on_watch_fired(fired);
        }
        let mut fired = Some(fired);
        hand.catch_panic(&mut || fired.take().into_iter().for_each(FiredWatch::run));
    }

    /// Gives up a share. Wait-free.
    ///
    /// # Safety
    /// The caller has it and does not use the record again.
    pub(super) unsafe fn give_up(this: NonNull<Self>) {
        // SAFETY: shared, so live.
        let shares = unsafe { &this.as_ref().shares };
        // Release pairs with the fence of the last one: its free comes after every use.
        if shares.fetch_sub(1, Ordering::Release) == 1 {
            acquire_by(|order| shares.load(order));
            // SAFETY: the last share keeps it until it is freed below.
            let free = unsafe { this.as_ref() }.vtable.free;
            // SAFETY: the last share.
            unsafe { free(this) }
        }
    }

    pub(super) fn share(this: NonNull<Self>) -> NonNull<Self> {
        // SAFETY: shared, so live. Relaxed: who shares has a share.
        unsafe { this.as_ref() }.shares.fetch_add(1, Ordering::Relaxed);
        this
    }
}
