//! Wakers: each sends a signal whose node is a part of the process.
//!
//! A waker has a reference to its process's memory, so it may outlive the process by any time.
//! Waking claims the process's only wake node by a flag and pushes it. This allocates nothing, and
//! a thousand wakes before the process runs are one signal. A dead process's mailbox is closed, so
//! waking it does nothing.
//!
//! A waker that has queued the process may still have to wake a core while the kernel is being
//! dropped. So wakers hold the kernel while a process has any (`header`, P4).
//!
//! Two other wake-ups use the same node: [`request_wake`], after which a process looks at its state
//! again, and [`kill`] where there is no memory for a signal. [`resume`] does without the node
//! where it can claim a sleeping process.

use core::ptr::NonNull;
use core::task::{RawWaker, RawWakerVTable, Waker};

use crate::kernel::Kernel;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Slice;
use crate::mailbox::Pushed;
use crate::mutation::Mutation;
use crate::process::header::Header;
use crate::signal::node::Node;
use crate::sync::Ordering;

/// The memory orderings. A model can weaken one and see the failure.
pub trait Orders: 'static {
    /// The ordering of the exchange that claims the wake node. AcqRel: pairs with the fetch that
    /// clears the flag. Without it the fetch could miss the waker's earlier writes, in particular
    /// when another waker had claimed the node.
    const CLAIM: Ordering = Ordering::AcqRel;
}

/// The orderings as shipped.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

// Not inlined: `is_of` compares the vtable's address, which is unique only while this function has
// one copy.
#[inline(never)]
const fn vtable<O: Orders>() -> &'static RawWakerVTable {
    &const { RawWakerVTable::new(clone::<O>, wake::<O>, wake_by_ref::<O>, drop_waker) }
}

/// Creates a waker with a reference of its own.
pub fn of(process: &Header) -> Waker {
    of_by::<Shipped>(process)
}

/// Does the same as [`of`], with the orderings `O`.
pub fn of_by<O: Orders>(process: &Header) -> Waker {
    process.acquire_waker_ref();
    // SAFETY: the vtable's functions obey `RawWaker`'s contract, and the waker has the reference
    // added above.
    unsafe { Waker::from_raw(raw::<O>(process)) }
}

/// Creates a waker for the length of a poll, without a reference.
///
/// # Safety
/// The process outlives the result, which must not be dropped.
pub unsafe fn borrowed(process: &Header) -> core::mem::ManuallyDrop<Waker> {
    // SAFETY: the vtable's functions obey `RawWaker`'s contract. The result is never dropped, so
    // the missing reference is never released.
    core::mem::ManuallyDrop::new(unsafe { Waker::from_raw(raw::<Shipped>(process)) })
}

fn raw<O: Orders>(process: &Header) -> RawWaker {
    RawWaker::new(process.whole().as_ptr().cast_const().cast(), vtable::<O>())
}

/// Makes a process check its state: sends a waker's signal for a caller that has a kernel context.
pub fn request_wake(process: &Header, kernel_cx: &KernelCx<'_>) {
    push_wake(process, kernel_cx);
}

/// Claims a waiting process that has no pending signal, in order to resume it. Returns `true` if
/// the caller owns the process now, and must queue it.
#[must_use = "after `true` the process must be queued"]
#[inline]
pub fn claim(process: &Header) -> bool {
    let claimed = process.mailbox.claim();
    if claimed {
        // SAFETY: P1, the caller has claimed the process, so it owns it until the process is
        // queued.
        unsafe { process.private() }.resume = true;
    }
    claimed
}

/// Resumes a waiting process, or makes a running one check again. Does the same as
/// [`request_wake`], but sends no signal if a claim is enough.
#[inline]
pub fn resume(process: &Header, kernel_cx: &KernelCx<'_>) {
    if claim(process) {
        kernel_cx.schedule(process);
    } else {
        push_wake(process, kernel_cx);
    }
}

/// Pushes the wake node. Returns `true` if the process took it, `None` if it was already pushed.
fn push_wake(process: &Header, kernel_cx: &KernelCx<'_>) -> Option<bool> {
    // AcqRel: as in `wake_by_ref`.
    if process.waking.swap(true, Shipped::CLAIM) {
        return None;
    }
    // SAFETY: the flag was claimed, so the wake node is in no queue and ours. If the process is
    // dead, the node stays a part of its memory, and no later wake pushes it.
    Some(unsafe { kernel_cx.push(process, NonNull::from(&process.wake).cast::<Node>()) })
}

/// Kills a process, which may be running, without memory for an exit signal. Returns `true` if it
/// was not dead yet. Lock-free.
///
/// The process dies when it handles the wake node. That may be earlier than the order of its
/// signals, or, if two threads kill at the same time, as late as the first of the two.
pub fn kill(process: &Header, kernel_cx: &KernelCx<'_>) -> bool {
    // Checked first: after the push the process may be dead of this very kill.
    let alive = !process.mailbox.is_closed();
    // Relaxed: published by the swap in `push_wake` to the thread that clears the flag.
    let flag = || process.killed.store(true, Ordering::Relaxed);
    if !kernel_cx.kernel.mutated(Mutation::FlagLast) {
        flag();
    }
    let pushed = push_wake(process, kernel_cx);
    if kernel_cx.kernel.mutated(Mutation::FlagLast) {
        flag();
    }
    pushed.unwrap_or(alive)
}

/// Returns `true` if `waker` is one of `process`'s own wakers.
pub fn is_of(waker: &Waker, process: NonNull<Header>) -> bool {
    core::ptr::eq(waker.data(), process.as_ptr().cast_const().cast())
        && core::ptr::eq(waker.vtable(), vtable::<Shipped>())
}

/// Wakes a process, as its own waker does.
///
/// # Safety
/// The caller has a waker's reference to the process.
pub unsafe fn wake_shared(process: NonNull<Header>) {
    // SAFETY: the caller has a waker's reference to the process (this function's contract).
    unsafe { wake_by_ref::<Shipped>(process.as_ptr().cast_const().cast()) }
}

unsafe fn clone<O: Orders>(data: *const ()) -> RawWaker {
    // SAFETY: the waker's reference, or its poll, keeps the process's memory.
    let process = unsafe { &*data.cast::<Header>() };
    process.acquire_waker_ref();
    raw::<O>(process)
}

unsafe fn wake<O: Orders>(data: *const ()) {
    // SAFETY: the caller passes a waker's data (`RawWaker`'s contract).
    unsafe { wake_by_ref::<O>(data) };
    // SAFETY: `wake` consumes the waker, so its reference is released once, here.
    unsafe { drop_waker(data) };
}

unsafe fn wake_by_ref<O: Orders>(data: *const ()) {
    // SAFETY: the waker's reference, or its poll, keeps the process's memory.
    let process = unsafe { &*data.cast::<Header>() };
    if process.mailbox.is_closed() || process.waking.swap(true, O::CLAIM) {
        return;
    }
    // SAFETY: the flag was claimed, so the wake node is in no queue and ours.
    let pushed = unsafe { process.mailbox.push(NonNull::from(&process.wake).cast::<Node>()) };
    if pushed == Pushed::Wake {
        // SAFETY: P4, the process is alive, because it cannot die before it is queued, and its
        // wakers hold the kernel.
        let kernel = unsafe { process.kernel.get() };
        queue(kernel, process);
    }
}

/// Queues a process that this wake has woken: on this core, if this thread runs a core of its
/// kernel.
fn queue(kernel: &Kernel, process: &Header) {
    // SAFETY: a platform's `current_slot`, and the slice is not used after this call.
    if let Some(Slice { kernel_cx, .. }) = unsafe { Slice::current(kernel.current_slot) }
        && core::ptr::eq(kernel_cx.kernel, kernel)
    {
        return kernel_cx.schedule(process);
    }
    kernel.inject(process);
}

unsafe fn drop_waker(data: *const ()) {
    if let Some(process) = NonNull::new(data.cast_mut().cast::<Header>()) {
        // SAFETY: dropping consumes the waker, so its reference is released once, here.
        unsafe { Header::release_waker_ref(process) };
    }
}
