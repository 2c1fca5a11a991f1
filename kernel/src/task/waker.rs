//! Wakers: a signal that is a part of the process.
//!
//! A waker has a share of its process's memory, so it may outlive the process by any
//! time. Waking claims the process's one wake node by a flag and pushes it: no allocation,
//! and a thousand wakes before the process runs are one signal. A dead process's mailbox
//! is closed, and nothing happens.
//!
//! Whoever has queued the process may still have to wake a core when the kernel is being
//! dropped; so as long as a process has wakers they hold the kernel (`header`, P4).

use core::ptr::NonNull;
use core::task::{RawWaker, RawWakerVTable, Waker};

use crate::cx::Slice;
use crate::hand::KernelCx;
use crate::kernel::Kernel;
use crate::mailbox::Pushed;
use crate::mutate::Mutation;
use crate::process::header::Header;
use crate::signal::node::Node;
use crate::sync::Ordering;

/// The orderings, a parameter so that a model can weaken one and see it fail.
pub trait Orders: 'static {
    /// Of claiming the wake node. AcqRel: what the waker did before is seen by the fetch that clears the flag, also
    /// when somebody else had claimed the node.
    const CLAIM: Ordering = Ordering::AcqRel;
}

/// The orderings as they must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

// Not in line: it is one place only as long as there is one copy of this, and `is_of` compares places.
#[inline(never)]
const fn vtable<O: Orders>() -> &'static RawWakerVTable {
    &const { RawWakerVTable::new(clone::<O>, wake::<O>, wake_by_ref::<O>, drop_waker) }
}

/// A waker with a share of its own.
pub fn of(process: &Header) -> Waker {
    of_by::<Shipped>(process)
}

/// [`of`], with the orderings `O`.
pub fn of_by<O: Orders>(process: &Header) -> Waker {
    process.share_with_waker();
    // SAFETY: the vtable's functions keep to `RawWaker`'s contract; the share is the waker's.
    unsafe { Waker::from_raw(raw::<O>(process)) }
}

/// A waker for the length of a poll, without a share.
///
/// # Safety
/// The process outlives the result, which must not be dropped.
pub unsafe fn borrowed(process: &Header) -> core::mem::ManuallyDrop<Waker> {
    // SAFETY: as in `of`; never dropped, so the missing share is never given up.
    core::mem::ManuallyDrop::new(unsafe { Waker::from_raw(raw::<Shipped>(process)) })
}

fn raw<O: Orders>(process: &Header) -> RawWaker {
    RawWaker::new(process.whole().as_ptr().cast_const().cast(), vtable::<O>())
}

/// Has a process look at what it holds: the signal of a waker, from who has a hand.
pub fn nudge(process: &Header, hand: &KernelCx<'_>) {
    push_wake(process, hand);
}

/// Has a process resumed that waits, and for which nothing has come: whether the caller owns it now, and must queue it.
#[must_use = "after `true` the process must be queued"]
#[inline]
pub fn claim(process: &Header) -> bool {
    let claimed = process.mailbox.claim();
    if claimed {
        // SAFETY: claimed, so the caller owns it until it is queued (`header`, P1).
        unsafe { process.private() }.resume = true;
    }
    claimed
}

/// Resumes a process that waits, or has one that runs look again: as [`nudge`], without a signal where none is needed.
#[inline]
pub fn resume(process: &Header, hand: &KernelCx<'_>) {
    if claim(process) {
        hand.schedule(process);
    } else {
        push_wake(process, hand);
    }
}

/// Pushes the wake node; whether the process took it, `None` when it was under way already.
fn push_wake(process: &Header, hand: &KernelCx<'_>) -> Option<bool> {
    // AcqRel: as in `wake_by_ref`.
    if process.waking.swap(true, Shipped::CLAIM) {
        return None;
    }
    // SAFETY: the flag was claimed: the wake node is in no queue and ours. A dead process's is
    // part of its memory, and nobody wakes it again.
    Some(unsafe { hand.push(process, NonNull::from(&process.wake).cast::<Node>()) })
}

/// Kills a process, which may be running, without memory for an exit signal; whether it is not dead yet. Lock-free.
///
/// The kill is acted on where the wake node is met: that may be ahead of its place, or, when two kill at the same
/// time, wait for the first of them.
pub fn kill(process: &Header, hand: &KernelCx<'_>) -> bool {
    // Looked at before: afterwards it may be dead of this very kill.
    let alive = !process.mailbox.is_closed();
    // Relaxed: made visible by the swap in `push_wake`, to whoever clears the flag.
    let flag = || process.killed.store(true, Ordering::Relaxed);
    if !hand.kernel.mutated(Mutation::FlagLast) {
        flag();
    }
    let pushed = push_wake(process, hand);
    if hand.kernel.mutated(Mutation::FlagLast) {
        flag();
    }
    pushed.unwrap_or(alive)
}

/// Whether `waker` is one of `process`'s.
pub fn is_of(waker: &Waker, process: NonNull<Header>) -> bool {
    core::ptr::eq(waker.data(), process.as_ptr().cast_const().cast()) && core::ptr::eq(waker.vtable(), vtable::<Shipped>())
}

/// Wakes a process, as a waker of its own does.
///
/// # Safety
/// The caller has a waker's share of the process.
pub unsafe fn wake_shared(process: NonNull<Header>) {
    // SAFETY: by contract.
    unsafe { wake_by_ref::<Shipped>(process.as_ptr().cast_const().cast()) }
}

unsafe fn clone<O: Orders>(data: *const ()) -> RawWaker {
    // SAFETY: a waker's process, which its share or its poll keeps.
    let process = unsafe { &*data.cast::<Header>() };
    process.share_with_waker();
    raw::<O>(process)
}

unsafe fn wake<O: Orders>(data: *const ()) {
    // SAFETY: by `RawWaker`'s contract.
    unsafe { wake_by_ref::<O>(data) };
    // SAFETY: `wake` consumes the waker.
    unsafe { drop_waker(data) };
}

unsafe fn wake_by_ref<O: Orders>(data: *const ()) {
    // SAFETY: a waker's process, which its share or its poll keeps.
    let process = unsafe { &*data.cast::<Header>() };
    if process.mailbox.is_closed() || process.waking.swap(true, O::CLAIM) {
        return;
    }
    // SAFETY: the flag was claimed: the wake node is in no queue and ours.
    let pushed = unsafe { process.mailbox.push(NonNull::from(&process.wake).cast::<Node>()) };
    if pushed == Pushed::Wake {
        // SAFETY: alive: it cannot die before it is queued, and a waker holds the kernel.
        let kernel = unsafe { process.kernel.as_ref() };
        queue(kernel, process);
    }
}

/// Queues a process that this wake has woken: here, if here is a core of its kernel.
fn queue(kernel: &Kernel, process: &Header) {
    // SAFETY: the place of this thread of execution, by World's contract.
    let slice = unsafe { (*(kernel.here)()).get() }.cast::<Slice<'_>>();
    if !slice.is_null() {
        // SAFETY: noted for as long as the slice lasts, which is longer than this call.
        let hand: KernelCx<'_> = unsafe { (*slice).hand };
        if core::ptr::eq(hand.kernel, kernel) {
            return hand.schedule(process);
        }
    }
    kernel.inject(process);
}

unsafe fn drop_waker(data: *const ()) {
    if let Some(process) = NonNull::new(data.cast_mut().cast::<Header>()) {
        // SAFETY: the waker's share.
        unsafe { Header::give_up_waker(process) };
    }
}
