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

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::task::{RawWaker, RawWakerVTable, Waker};

use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::KernelPtr;
use crate::mutation::mutant;
use crate::process::counted_ref::WakerRef;
use crate::process::header::Header;
use crate::process::owned::Owned;
use crate::process::process_ref::ProcessRef;
use crate::shipped::Shipped;
use crate::signal::held::HeldNode;
use crate::sync::Ordering;

/// The memory orderings. A model can weaken one and see the failure.
pub trait Orders: 'static {
    /// The ordering of the exchange that claims the wake node. AcqRel: pairs with the fetch that
    /// clears the flag. Without it the fetch could miss the waker's earlier writes, in particular
    /// when another waker had claimed the node.
    const CLAIM: Ordering = Ordering::AcqRel;
}

impl Orders for Shipped {}

// Not inlined: `is_of` compares the vtable's address, which is unique only while this function has
// one copy.
#[inline(never)]
const fn vtable<O: Orders>() -> &'static RawWakerVTable {
    &const { RawWakerVTable::new(clone::<O>, wake::<O>, wake_by_ref_raw::<O>, drop_waker) }
}

/// Creates a waker of an owned process, with a reference of its own.
pub(crate) fn of(owned: &Owned<'_>) -> Waker {
    into_waker::<Shipped>(WakerRef::new(owned))
}

/// Creates a waker with the orderings `O`, for the models.
///
/// # Safety
/// The process is in the table, and its kernel exists.
pub unsafe fn of_by<O: Orders>(process: ProcessRef<'_>) -> Waker {
    // SAFETY: the table has a reference, and the kernel exists (this function's contract).
    into_waker::<O>(unsafe { WakerRef::acquire(process) })
}

/// Makes a waker of a process with the process's own orderings, for the length of a poll, without a
/// reference.
///
/// # Safety
/// The process outlives the result, which must not be dropped.
pub unsafe fn borrowed(process: ProcessRef<'_>) -> ManuallyDrop<Waker> {
    // SAFETY: the process outlives the reference, which is not dropped (this function's contract).
    ManuallyDrop::new(into_waker::<Shipped>(unsafe { WakerRef::from_raw(process.as_ptr()) }))
}

fn into_waker<O: Orders>(reference: WakerRef) -> Waker {
    // SAFETY: the vtable's functions obey `RawWaker`'s contract, and take the reference from the
    // data.
    unsafe { Waker::from_raw(raw::<O>(reference)) }
}

fn raw<O: Orders>(reference: WakerRef) -> RawWaker {
    RawWaker::new(reference.into_raw().as_ptr().cast_const().cast(), vtable::<O>())
}

/// Makes a process check its state: sends a waker's signal for a caller that has a kernel context.
pub(crate) fn request_wake(process: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) {
    push_wake(process, kernel_cx);
}

/// Claims a waiting process that has no pending signal, in order to resume it: the caller must
/// queue it.
#[inline]
pub(crate) fn claim(process: ProcessRef<'_>) -> Option<Owned<'_>> {
    let mut owned = process.claim()?;
    owned.state(|state| state.resume = true);
    Some(owned)
}

/// Resumes a waiting process, or makes a running one check again. Does the same as
/// [`request_wake`], but sends no signal if a claim is enough.
#[inline]
pub(crate) fn resume(process: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) {
    match claim(process) {
        Some(owned) => kernel_cx.schedule(owned),
        None => _ = push_wake(process, kernel_cx),
    }
}

/// Pushes the wake node, if its flag could be claimed; `claim` is the ordering of that. Returns the
/// process if it was woken, and an error if it is dead.
#[inline]
fn push_node(process: ProcessRef<'_>, claim: Ordering) -> Option<Result<Option<Owned<'_>>, ()>> {
    if process.waking.swap(true, claim) {
        return None;
    }
    // SAFETY: H1: the flag was claimed, so the wake node is in no queue and ours. If the process is
    // dead, the node stays a part of its memory, and no later wake pushes it.
    let wake = unsafe { HeldNode::from_raw(NonNull::from_ref(&process.header().wake)) };
    Some(process.push(wake).map_err(drop_embedded))
}

/// Forgets a refused wake node, which is a part of its process.
fn drop_embedded(node: HeldNode) {
    let _part_of_the_process = node.into_raw();
}

/// Pushes the wake node. Returns `true` if the process took it, `None` if it was already pushed.
fn push_wake(process: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) -> Option<bool> {
    let pushed = push_node(process, Shipped::CLAIM)?;
    let is_taken = pushed.is_ok();
    if let Ok(Some(owned)) = pushed {
        kernel_cx.schedule(owned);
    }
    Some(is_taken)
}

/// Kills a process, which may be running, without memory for an exit signal. Returns `true` if it
/// was not dead yet. Lock-free.
///
/// The process dies when it handles the wake node. That may be earlier than the order of its
/// signals, or, if two threads kill at the same time, as late as the first of the two.
pub(crate) fn kill(process: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) -> bool {
    // Checked first: after the push the process may be dead of this very kill.
    let alive = !process.mailbox.is_closed();
    let pushed = mutant!(kernel_cx.kernel.mutations, FlagLast,
        right => {
            // Relaxed: published by the swap in `push_wake` to the thread that clears the flag.
            process.killed.store(true, Ordering::Relaxed);
            push_wake(process, kernel_cx)
        },
        wrong => {
            let pushed = push_wake(process, kernel_cx);
            // Relaxed: as above, but nothing publishes it.
            process.killed.store(true, Ordering::Relaxed);
            pushed
        },
    );
    pushed.unwrap_or(alive)
}

/// Returns `true` if `waker` is one of the own wakers of the process at this address.
pub fn is_of(waker: &Waker, process: NonNull<Header>) -> bool {
    core::ptr::eq(waker.data(), process.as_ptr().cast_const().cast())
        && core::ptr::eq(waker.vtable(), vtable::<Shipped>())
}

/// Wakes a process, as its own waker does.
pub(crate) fn wake_by_ref(reference: &WakerRef) {
    wake_process::<Shipped>(reference);
}

fn wake_process<O: Orders>(reference: &WakerRef) {
    let process = reference.process();
    if process.mailbox.is_closed() {
        return;
    }
    if let Some(Ok(Some(owned))) = push_node(process, O::CLAIM) {
        queue(owned);
    }
}

/// Queues a process that its waker has woken: on this core, if this thread runs a core of its
/// kernel.
fn queue(owned: Owned<'_>) {
    // SAFETY: P4, the process is alive, because it cannot die before it is queued, and its wakers
    // hold the kernel.
    let kernel = unsafe { owned.kernel.get() };
    kernel.current_slot.with_slice_of(KernelPtr::of(kernel), |slice| match slice {
        Some(slice) => slice.kernel_cx.schedule(owned),
        None => kernel.inject(owned),
    });
}

/// Returns the reference in a waker's data, without taking it.
///
/// # Safety
/// `data` is that of one of this module's wakers, which outlives the result.
unsafe fn reference(data: *const ()) -> ManuallyDrop<WakerRef> {
    // SAFETY: the data came from `raw`, where it was not null.
    let process = unsafe { NonNull::new_unchecked(data.cast_mut().cast()) };
    // SAFETY: the data came from `into_raw`, or from a process that outlives the poll (`borrowed`);
    // it is not dropped here.
    ManuallyDrop::new(unsafe { WakerRef::from_raw(process) })
}

unsafe fn clone<O: Orders>(data: *const ()) -> RawWaker {
    // SAFETY: the caller passes a waker's data (`RawWaker`'s contract).
    raw::<O>((*unsafe { reference(data) }).clone())
}

unsafe fn wake<O: Orders>(data: *const ()) {
    // SAFETY: the caller passes a waker's data, and consumes the waker (`RawWaker`'s contract).
    let reference = ManuallyDrop::into_inner(unsafe { reference(data) });
    wake_process::<O>(&reference);
}

unsafe fn wake_by_ref_raw<O: Orders>(data: *const ()) {
    // SAFETY: the caller passes a waker's data (`RawWaker`'s contract).
    wake_process::<O>(&*unsafe { reference(data) });
}

unsafe fn drop_waker(data: *const ()) {
    // SAFETY: the caller passes a waker's data, and consumes the waker (`RawWaker`'s contract).
    drop(ManuallyDrop::into_inner(unsafe { reference(data) }));
}
