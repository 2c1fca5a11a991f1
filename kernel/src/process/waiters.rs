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

use core::task::Waker;

use crate::intrusive::counted::Ref;
use crate::intrusive::record_set::{Found, Member, RecordSet, SetLinks};
use crate::mailbox::capacity;
use crate::mailbox::queue::{Mark, Queue};
use crate::memory::pool_box::PoolBox;
use crate::pid::Reference;

/// The event that a record's future waits for, besides its alarm.
#[derive(Debug)]
pub(crate) enum On {
    /// No other event.
    Alarm,
    /// Mail that the future has not seen.
    Mail(Mark),
    /// The notification of a send reservation.
    Line(Ref<capacity::Waiter>),
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

// SAFETY: the links are a field of the record, and the key is constant.
unsafe impl Member for Waiter {
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
    pub(crate) due: RecordSet<PoolBox<Waiter>>,
    pub(crate) mail: RecordSet<PoolBox<Waiter>>,
    pub(crate) line: RecordSet<PoolBox<Waiter>>,
    pub(crate) alarms: RecordSet<PoolBox<Waiter>>,
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

    /// Finds a record.
    pub(crate) fn find(&mut self, key: u64) -> Option<Found<'_, PoolBox<Waiter>>> {
        let Self { due, mail, line, alarms, .. } = self;
        [alarms, mail, due, line].into_iter().find_map(|set| set.find(key))
    }

    /// Takes a record out of its set.
    pub(crate) fn take(&mut self, key: u64) -> Option<PoolBox<Waiter>> {
        self.find(key).map(Found::remove)
    }

    /// Puts a record into the set of the event that it waits for.
    pub(crate) fn put(&mut self, record: PoolBox<Waiter>) {
        let set = match record.on {
            On::Alarm => &mut self.alarms,
            On::Mail(mark) => {
                // Marks only grow within an era, and a new era makes all older marks old.
                self.oldest.get_or_insert(mark);
                &mut self.mail
            }
            On::Line(_) => &mut self.line,
            On::Slice => &mut self.due,
        };
        set.insert(record);
    }

    /// Makes the record of an alarm that has fired due.
    pub(crate) fn ring(&mut self, alarm: Reference) {
        if let Some(record) = self.take(alarm.to_raw()) {
            self.due.insert(record);
        }
    }

    /// Takes out all records that are due (F3).
    pub(crate) fn gather(&mut self, queue: &Queue, era: u32) -> RecordSet<PoolBox<Waiter>> {
        let Self { due, mail, line, oldest, .. } = self;
        if oldest.is_some_and(|mark| queue.has_newer(mark, era)) {
            *oldest = None;
            let waits = |record: &PoolBox<Waiter>| match record.on {
                On::Mail(mark) if !queue.has_newer(mark, era) => {
                    oldest.get_or_insert(mark);
                    true
                }
                _ => false,
            };
            mail.retain(waits, |record| due.insert(record));
        }
        let waits = |record: &PoolBox<Waiter>| !matches!(&record.on, On::Line(place) if place.is_called());
        line.retain(waits, |record| due.insert(record));
        core::mem::take(due)
    }
}

/// Frees a record, and returns its waker.
pub(crate) fn open(record: PoolBox<Waiter>) -> Waker {
    record.into_inner(None).waker
}
