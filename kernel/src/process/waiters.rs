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

use crate::intrusive::record_set::{Member, RecordSet, SetLinks};
use crate::mailbox::batch::{Mark, Queue};
use crate::mailbox::capacity;
use crate::memory;
use crate::pid::Reference;

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
    pub(crate) joint: SetLinks<Waiter>,
    pub(crate) key: u64,
    pub(crate) on: On,
    pub(crate) waker: Waker,
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
    pub(crate) due: RecordSet<Waiter>,
    pub(crate) mail: RecordSet<Waiter>,
    pub(crate) line: RecordSet<Waiter>,
    pub(crate) alarms: RecordSet<Waiter>,
    /// The oldest mark in `mail`: no record there has seen less.
    oldest: Option<Mark>,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self {
            due: RecordSet::new(),
            mail: RecordSet::new(),
            line: RecordSet::new(),
            alarms: RecordSet::new(),
            oldest: None,
        }
    }

    pub(crate) fn find(&mut self, key: u64) -> Option<NonNull<Waiter>> {
        let Self { due, mail, line, alarms, .. } = self;
        [alarms, mail, due, line].into_iter().find_map(|set| set.find(key))
    }

    /// Takes a record out of its set.
    pub(crate) fn take(&mut self, key: u64) -> Option<NonNull<Waiter>> {
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
    pub(crate) unsafe fn put(&mut self, record: NonNull<Waiter>) {
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
    pub(crate) fn gather(&mut self, queue: &Queue, era: u32) -> RecordSet<Waiter> {
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
pub(crate) unsafe fn open(record: NonNull<Waiter>) -> Waker {
    // SAFETY: the record is initialised and the caller's (this function's contract).
    let Waiter { on, waker, .. } = unsafe { record.read() };
    // SAFETY: the contents were moved out above; `memory::try_new` made the record.
    unsafe { memory::free(record) };
    if let On::Line(place) = on {
        // SAFETY: this is the record's reference, and it is not used again.
        unsafe { capacity::Waiter::release(place) };
    }
    waker
}
