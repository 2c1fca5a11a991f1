//! Operations on the foreign wakers of a process (`process::waiters`, F1 to F5): a future leaves a
//! waker and takes it back, the body calls the due wakers before it polls its future, and the death
//! of the process drops them all.

use core::task::Waker;

use crate::intrusive::record_set::{RecordSet, SetLinks};
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Slice;
use crate::memory::pool_box::PoolBox;
use crate::memory::{self, NoMemory};
use crate::ops::timer;
use crate::pid::Reference;
use crate::process::owned::{Owned, OwnerState};
use crate::process::waiters::{On, Waiter, Waiters, open};

/// Records that were taken out. None is lost when foreign code panics.
struct Leaving(RecordSet<PoolBox<Waiter>>);

impl Leaving {
    fn next(&mut self) -> Option<Waker> {
        self.0.pop().map(open)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        while let Some(waker) = self.next() {
            drop(waker);
        }
    }
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
    let known = slice.state(|state| {
        // No foreign code runs in `will_wake`.
        let record = state.waiters.as_mut().and_then(|waiters| waiters.find(raw));
        record.is_some_and(|record| record.waker.will_wake(waker))
    });
    // Foreign code runs before anything is changed: a panic of the clone leaves everything as it
    // was.
    let fresh = (!known).then(|| waker.clone());
    let (fresh, on) = match fresh {
        None => (None, Some(on)),
        Some(waker) => {
            let record = Waiter { joint: SetLinks::new(), key: raw, on, waker };
            (Some(PoolBox::try_new(record, None).map_err(|_| NoMemory)?), None)
        }
    };
    let put = slice.state(|state| {
        if state.waiters.is_none() {
            match memory::try_box(Waiters::new()) {
                Ok(waiters) => state.waiters = Some(waiters),
                Err(NoMemory) => return Err(fresh),
            }
        }
        let Some(waiters) = &mut state.waiters else { return Err(fresh) };
        let before = waiters.take(raw);
        let (record, old) = match (fresh, before, on) {
            (Some(fresh), before, _) => (fresh, before),
            (None, Some(mut before), Some(on)) => {
                before.on = on;
                (before, None)
            }
            // The record was there above, and no foreign code has run since.
            (None, _, _) => return Ok(None),
        };
        waiters.put(record);
        Ok(old)
    });
    // A waker may be foreign, so it is dropped outside.
    let Ok(old) = put else { return Err(NoMemory) };
    // Foreign code may have let the alarm fire since the future checked (F4).
    slice.with_owned(|owned| {
        if alarm.is_some_and(|alarm| timer::read(owned, &slice.kernel_cx, alarm).is_none()) {
            owned.state(|state| {
                if let Some(waiters) = &mut state.waiters {
                    waiters.ring(key);
                }
                state.resume = true;
            });
        }
    });
    // The drop runs foreign code, so it is the last step.
    old.into_iter().for_each(|old| call(&slice.kernel_cx, open(old), drop));
    Ok(())
}

/// Removes a record.
pub(crate) fn forget(slice: &Slice<'_>, key: Reference) {
    let record = slice.state(|state| state.waiters.as_mut().and_then(|waiters| waiters.take(key.to_raw())));
    // The drop runs foreign code, so it is the last step. A body may drop many waits together, and
    // the second of two panics would abort the program.
    record.into_iter().for_each(|record| call(&slice.kernel_cx, open(record), drop));
}

/// Calls all due wakers. Runs before the body is polled, within its slice.
#[cold]
pub(crate) fn wake(slice: &Slice<'_>) {
    let due = slice.state(|OwnerState { waiters, queue, era, .. }| Some(waiters.as_mut()?.gather(queue, *era)));
    let Some(due) = due else { return };
    let mut due = Leaving(due);
    while let Some(waker) = due.next() {
        call(&slice.kernel_cx, waker, Waker::wake);
    }
}

/// Drops all wakers of a dying process and calls none.
#[inline]
pub(crate) fn end(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
    if let Some(waiters) = owned.state(|state| state.waiters.take()) {
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
