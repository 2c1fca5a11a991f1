//! Operations on the foreign wakers of a process (`process::waiters`, F1 to F5): a future leaves a
//! waker and takes it back, the body calls the due wakers before it polls its future, and the death
//! of the process drops them all.

use core::task::Waker;

use crate::intrusive::record_set::{RecordSet, SetLinks};
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Slice;
use crate::mailbox::capacity;
use crate::memory::{self, NoMemory};
use crate::ops::timer;
use crate::pid::Reference;
use crate::process::header::Header;
use crate::process::owned::OwnerState;
use crate::process::waiters::{On, Waiter, Waiters, open};

/// Records that were taken out. None is lost when foreign code panics.
struct Leaving(RecordSet<Waiter>);

impl Leaving {
    fn next(&mut self) -> Option<Waker> {
        // SAFETY: the record was taken out, and is not used again.
        self.0.pop().map(|record| unsafe { open(record) })
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        while let Some(waker) = self.next() {
            drop(waker);
        }
    }
}

/// Returns the process's owned state. The caller must not keep it across foreign code.
#[allow(clippy::mut_from_ref, reason = "rule P1 makes the reference unique")]
fn private<'s>(slice: &'s Slice<'_>) -> &'s mut OwnerState {
    // SAFETY: P1, the slice owns the process, and each caller ends its borrow before it runs
    // foreign code (F4).
    unsafe { slice.process().private() }
}

/// Registers `waker` for `alarm` and for the event `on`, instead of the record left with the same
/// `key`.
pub(crate) fn listen(
    slice: &Slice<'_>,
    key: Reference,
    alarm: Option<Reference>,
    on: On,
    waker: &Waker,
) -> Result<(), NoMemory> {
    let raw = key.to_raw();
    let known = private(slice).waiters.as_mut().and_then(|waiters| waiters.find(raw));
    // SAFETY: F1, `find` found the record, so it is live. No foreign code runs in `will_wake`.
    let known = known.is_some_and(|record| unsafe { record.as_ref() }.waker.will_wake(waker));
    // Foreign code runs before anything is changed: a panic of the clone leaves everything as it
    // was.
    let fresh = (!known).then(|| waker.clone());
    if let On::Line(place) = on {
        // SAFETY: the caller has a reference to the reservation (`On::Line`).
        unsafe { place.as_ref() }.shares().add();
    }
    let fresh = match fresh {
        None => None,
        Some(waker) => {
            let record = Waiter { joint: SetLinks::new(), key: raw, on, waker };
            Some(memory::try_new(record).map_err(|record| {
                if let On::Line(place) = record.on {
                    // SAFETY: this is the reference that was added above.
                    unsafe { capacity::Waiter::release(place) };
                }
                NoMemory
            })?)
        }
    };
    if private(slice).waiters.is_none() {
        let waiters = memory::try_box(Waiters::new());
        match waiters {
            Ok(waiters) => private(slice).waiters = Some(waiters),
            Err(NoMemory) => {
                // SAFETY: the record was made above, is in no set, and is not used again.
                fresh.into_iter().for_each(|record| drop(unsafe { open(record) }));
                return Err(NoMemory);
            }
        }
    }
    let owner = private(slice);
    let Some(waiters) = &mut owner.waiters else { return Err(NoMemory) };
    let before = waiters.take(raw);
    let (record, old) = match (fresh, before) {
        (Some(fresh), before) => (fresh, before),
        (None, Some(mut before)) => {
            // SAFETY: F1, the record was taken out, so the owner has it exclusively.
            let last = core::mem::replace(&mut unsafe { before.as_mut() }.on, on);
            if let On::Line(place) = last {
                // SAFETY: this is the record's reference to the reservation that it waited for
                // before.
                unsafe { capacity::Waiter::release(place) };
            }
            (before, None)
        }
        // The record was there above, and no foreign code has run since.
        (None, None) => return Ok(()),
    };
    // SAFETY: the record is new or was taken out, so it is in no set.
    unsafe { waiters.put(record) };
    // Foreign code may have let the alarm fire since the future checked (F4).
    let rang = alarm.is_some_and(|alarm| timer::read(slice.process(), &slice.kernel_cx, alarm).is_none());
    if rang {
        let owner = private(slice);
        if let Some(waiters) = &mut owner.waiters {
            waiters.ring(key);
        }
        owner.resume = true;
    }
    // SAFETY: the record was taken out above, and is not used again. The drop runs foreign code, so
    // it is the last step.
    old.into_iter().for_each(|record| drop(unsafe { open(record) }));
    Ok(())
}

/// Removes a record.
pub(crate) fn forget(slice: &Slice<'_>, key: Reference) {
    let record = private(slice).waiters.as_mut().and_then(|waiters| waiters.take(key.to_raw()));
    // SAFETY: the record was taken out, and is not used again. The drop runs foreign code, so it is
    // the last step.
    record.into_iter().for_each(|record| drop(unsafe { open(record) }));
}

/// Calls all due wakers. Runs before the body is polled, within its slice.
#[cold]
pub(crate) fn wake(slice: &Slice<'_>) {
    let due = {
        let OwnerState { waiters, queue, era, .. } = private(slice);
        let Some(waiters) = waiters else { return };
        waiters.gather(queue, *era)
    };
    let mut due = Leaving(due);
    while let Some(waker) = due.next() {
        call(&slice.kernel_cx, waker, Waker::wake);
    }
}

/// Drops all wakers of a dying process and calls none.
#[inline]
pub(crate) fn end(process: &Header, kernel_cx: &KernelCx<'_>) {
    // SAFETY: P1, the caller is the owner.
    if let Some(waiters) = unsafe { process.private() }.waiters.take() {
        drop_all(*waiters, kernel_cx);
    }
}

#[cold]
fn drop_all(waiters: Waiters, kernel_cx: &KernelCx<'_>) {
    let Waiters { due, mail, line, alarms, .. } = waiters;
    for set in [due, mail, line, alarms] {
        let mut leaving = Leaving(set);
        leaving.0.drop_index();
        while let Some(waker) = leaving.next() {
            call(kernel_cx, waker, drop);
        }
    }
}

/// Calls foreign code and continues even if it panics.
fn call(kernel_cx: &KernelCx<'_>, waker: Waker, with: impl FnOnce(Waker)) {
    kernel_cx.catch_panic(|| with(waker));
}
