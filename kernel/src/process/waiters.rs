#![allow(unreachable_pub, reason = "in a field of a type that the models use")]
//! [`Waiters`], the foreign wakers with which a process's futures were polled.
//!
//! A body is resumed by every signal, and a future that was polled with the process's own waker
//! then checks again, so the process keeps nothing for it. A combinator that polls only woken
//! futures (`FuturesUnordered`, `join_all` of many) polls with wakers of its own. Such a waker is
//! kept here, with the event that its future waits for. It is called when the body is next resumed
//! and the event has happened.
//!
//! - **F1.** The process's owner has all of it (`header`, P1). A future of a `Context` works only
//!   inside its process's slice, so the code that leaves a waker or removes one owns the process.
//!   Nothing here is shared, and nothing is atomic.
//! - **F2.** A record is found by its key: the reference of the future's alarm, or one of its own.
//!   The record is in one set: `mail`, `line` or `alarms`, by the event that it waits for, or `due`
//!   when that event has happened.
//! - **F3.** A record becomes due when mail arrives that its future has not seen, when its send
//!   reservation is notified, or when its alarm fires. A record that waits for the next slice is
//!   due immediately. At each resume, before the body is polled, all due records are taken out
//!   together and called. So a waker is called only for a reason, and a call that wakes the process
//!   again does not cause a loop.
//! - **F4.** A waker is foreign code. It is cloned, called and dropped while nothing is borrowed,
//!   and its panic is caught. Events that happen between a check and the record made after it are
//!   checked again.
//! - **F5.** A future that is dropped removes its record. If it is dropped where its process does
//!   not run, the record stays: it is called once for nothing, or dropped with the process.

use core::ptr::NonNull;
use core::task::Waker;

use crate::api::cx::Slice;
use crate::intrusive::record_set::{Member, RecordSet, SetLinks};
use crate::kernel::kernel_cx::KernelCx;
use crate::mailbox::batch::{Mark, Queue};
use crate::mailbox::capacity;
use crate::memory::{self, NoMemory};
use crate::ops::timer;
use crate::pid::Reference;
use crate::process::header::Header;
use crate::process::owned::OwnerState;

/// The event that a record's future waits for, besides its alarm.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// No other event.
    Alarm,
    /// Mail that the future has not seen.
    Mail(Mark),
    /// The notification of a send reservation. The caller has a reference to that record.
    Line(NonNull<capacity::Waiter>),
    /// The next slice.
    Slice,
}

/// The record of one waker.
#[derive(Debug)]
pub struct Waiter {
    joint: SetLinks<Waiter>,
    key: u64,
    on: On,
    waker: Waker,
}

impl Member for Waiter {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        self.key
    }
}

/// The records of a process's foreign wakers; see the module.
#[derive(Debug)]
pub struct Waiters {
    due: RecordSet<Waiter>,
    mail: RecordSet<Waiter>,
    line: RecordSet<Waiter>,
    alarms: RecordSet<Waiter>,
    /// The oldest mark in `mail`: no record there has seen less.
    oldest: Option<Mark>,
}

impl Waiters {
    const fn new() -> Self {
        Self {
            due: RecordSet::new(),
            mail: RecordSet::new(),
            line: RecordSet::new(),
            alarms: RecordSet::new(),
            oldest: None,
        }
    }

    fn find(&mut self, key: u64) -> Option<NonNull<Waiter>> {
        let Self { due, mail, line, alarms, .. } = self;
        [alarms, mail, due, line].into_iter().find_map(|set| set.find(key))
    }

    /// Takes a record out of its set.
    fn take(&mut self, key: u64) -> Option<NonNull<Waiter>> {
        let Self { due, mail, line, alarms, .. } = self;
        [alarms, mail, due, line].into_iter().find_map(|set| {
            let record = set.find(key)?;
            // SAFETY: F1, `find` found the record in this set.
            unsafe { set.remove(record) };
            Some(record)
        })
    }

    /// Puts a record into the set of the event that it waits for.
    ///
    /// # Safety
    /// This owner has the record, and it is in no set.
    unsafe fn put(&mut self, record: NonNull<Waiter>) {
        // SAFETY: the caller passes a live record (this function's contract).
        let set = match unsafe { record.as_ref() }.on {
            On::Alarm => &mut self.alarms,
            On::Mail(mark) => {
                // Marks only grow within an era, and a new era makes all older marks old.
                self.oldest.get_or_insert(mark);
                &mut self.mail
            }
            On::Line(_) => &mut self.line,
            On::Slice => &mut self.due,
        };
        // SAFETY: the record is in no set (this function's contract).
        unsafe { set.insert(record) };
    }

    /// Makes the record of an alarm that has fired due.
    pub(crate) fn ring(&mut self, alarm: Reference) {
        if let Some(record) = self.take(alarm.to_raw()) {
            // SAFETY: F1, the record was taken out just now, so it is in no set.
            unsafe { self.due.insert(record) };
        }
    }

    /// Takes out all records that are due (F3).
    fn gather(&mut self, queue: &Queue, era: u32) -> RecordSet<Waiter> {
        if self.oldest.is_some_and(|mark| queue.has_newer(mark, era)) {
            self.oldest = None;
            for record in self.mail.iter() {
                // SAFETY: the record is in the set, so it is live.
                match unsafe { record.as_ref() }.on {
                    On::Mail(mark) if !queue.has_newer(mark, era) => _ = self.oldest.get_or_insert(mark),
                    _ => {
                        // SAFETY: the record that the iterator returned last may be removed.
                        unsafe { self.mail.remove(record) };
                        // SAFETY: F1, the record was taken out just now, so it is in no set.
                        unsafe { self.due.insert(record) };
                    }
                }
            }
        }
        for record in self.line.iter() {
            // SAFETY: the record is in the set, so it is live.
            let On::Line(place) = unsafe { record.as_ref() }.on else { continue };
            // SAFETY: the record's reference keeps the reservation live.
            if unsafe { place.as_ref() }.is_called() {
                // SAFETY: the record that the iterator returned last may be removed.
                unsafe { self.line.remove(record) };
                // SAFETY: F1, the record was taken out just now, so it is in no set.
                unsafe { self.due.insert(record) };
            }
        }
        core::mem::take(&mut self.due)
    }
}

/// Frees a record that is in no set, and returns its waker.
///
/// # Safety
/// The caller has the record, and does not use it again.
unsafe fn open(record: NonNull<Waiter>) -> Waker {
    // SAFETY: the record is initialised and the caller's (this function's contract).
    let Waiter { on, waker, .. } = unsafe { record.read() };
    // SAFETY: the contents were moved out above; `memory::try_new` made the record.
    unsafe { memory::free(record) };
    if let On::Line(place) = on {
        // SAFETY: this is the record's reference, and it is not used again.
        unsafe { capacity::Waiter::give_up(place) };
    }
    waker
}

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
                    unsafe { capacity::Waiter::give_up(place) };
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
                unsafe { capacity::Waiter::give_up(place) };
            }
            (before, None)
        }
        // The record was there above, and no foreign code has run since.
        (None, None) => return Ok(()),
    };
    // SAFETY: the record is new or was taken out, so it is in no set.
    unsafe { waiters.put(record) };
    // Foreign code may have let the alarm fire since the future checked (F4).
    let rang = alarm.is_some_and(|alarm| timer::read(slice.process(), &slice.hand, alarm).is_none());
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
        call(&slice.hand, waker, Waker::wake);
    }
}

/// Drops all wakers of a dying process and calls none.
#[inline]
pub(crate) fn end(process: &Header, hand: &KernelCx<'_>) {
    // SAFETY: P1, the caller is the owner.
    if let Some(waiters) = unsafe { process.private() }.waiters.take() {
        drop_all(*waiters, hand);
    }
}

#[cold]
fn drop_all(waiters: Waiters, hand: &KernelCx<'_>) {
    let Waiters { due, mail, line, alarms, .. } = waiters;
    for set in [due, mail, line, alarms] {
        let mut leaving = Leaving(set);
        leaving.0.forget_index();
        while let Some(waker) = leaving.next() {
            call(hand, waker, drop);
        }
    }
}

/// Calls foreign code and continues even if it panics.
fn call(hand: &KernelCx<'_>, waker: Waker, with: impl FnOnce(Waker)) {
    hand.catch_panic(|| with(waker));
}
