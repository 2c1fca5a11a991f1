//! The record of an exit watch: its word and its callback.

use core::mem::offset_of;
use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory;
use crate::memory::pool::Pool;
use crate::mutation::Mutation;
use crate::pid::Pid;
use crate::process::relation::watcher::{WatchVtable, WatcherEntry};
use crate::process::relation::{ExitInfo, FiredWatch};
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

pub(crate) const VTABLE: &WatchVtable = &WatchVtable { live, fire, release, watcher: |_| None, outside: true };

pub(crate) fn of_watch(watch: NonNull<WatcherEntry>) -> NonNull<HostWatchHead> {
    const { assert!(offset_of!(HostWatchHead, watch) == 0) };
    watch.cast()
}

unsafe fn live(watch: NonNull<WatcherEntry>) -> bool {
    // SAFETY: the list holds a reference. Relaxed: as for a monitor, it only decides what a sweep
    // keeps.
    unsafe { of_watch(watch).as_ref() }.state.load(Ordering::Relaxed) == ARMED
}

unsafe fn fire(watch: NonNull<WatcherEntry>, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: the caller passes the list's reference.
    unsafe { HostWatchHead::fire(of_watch(watch), hand, Some(reason.clone())) }
}

unsafe fn release(watch: NonNull<WatcherEntry>, _: Option<&Pool>) {
    // SAFETY: the caller passes the list's reference.
    unsafe { HostWatchHead::give_up(of_watch(watch)) }
}

impl<F: FnOnce(ExitInfo) + Send + 'static> HostWatchRecord<F> {
    pub(crate) const VTABLE: &'static CallbackVtable = &CallbackVtable { take: Self::take, free: Self::free };

    unsafe fn take(head: NonNull<HostWatchHead>, ended: Option<ExitInfo>) {
        // SAFETY: the caller's reference keeps the record live, which is a `HostWatchRecord<F>`.
        let whole = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: W1: the word gives the callback to the caller.
        let act = whole.act.with_mut(|act| unsafe { (*act).take() });
        // SAFETY: the caller's reference; not used again.
        unsafe { HostWatchHead::give_up(head) };
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
    /// (2) Fires the watch because the target has died. Consumes the list's reference.
    ///
    /// # Safety
    /// The caller holds that reference, and the record is on no list.
    pub(crate) unsafe fn fire(this: NonNull<Self>, hand: &KernelCx<'_>, reason: Option<Reason>) {
        // SAFETY: the caller's reference keeps the record live.
        let head = unsafe { this.as_ref() };
        // AcqRel: pairs with the exchange of `cancel`, in either order.
        let fired = head.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !hand.kernel.mutated(Mutation::FiresAnyway) {
            // SAFETY: the reference is the caller's; not used again.
            return unsafe { Self::give_up(this) };
        }
        // SAFETY: W2: the thread whose exchange fired the watch owns the record until it passes it
        // on.
        head.reason.with_mut(|place| unsafe { *place = reason });
        let fired = FiredWatch::of(this);
        if !head.prompt {
            return hand.kernel.world().on_watch_fired(fired);
        }
        let mut fired = Some(fired);
        hand.catch_panic(&mut || fired.take().into_iter().for_each(FiredWatch::run));
    }

    /// Releases a reference. Wait-free.
    ///
    /// # Safety
    /// The caller holds it and does not use the record again.
    pub(crate) unsafe fn give_up(this: NonNull<Self>) {
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
