//! [`Slice`], one process in the hands of one core, for one turn; and what is at work in it.
//!
//! A core runs several turns under one guard and notes them in one place, so the slice of the next turn is the same value
//! with another process in it. Between two turns the kernel is at work, and whoever finds the slice then is refused.

use crate::config;
use crate::hand::Hand;
use crate::process::header::Header;
use crate::sched::local::CoreLocal;
use crate::sync::Cell;

/// See [`crate::Cx`].
#[derive(Debug)]
pub struct Slice<'a> {
    pub(crate) hand: Hand<'a>,
    pub(crate) core: &'a CoreLocal,
    process: Cell<&'a Header>,
    /// Reductions that are left of this turn.
    pub(crate) budget: Cell<u32>,
    /// The kernel is at work for the process, and what is foreign in there (a destructor) must not come in again
    /// through a `Context`.
    pub(crate) inside: Cell<bool>,
    /// A closure of the body's looks at a signal in the queue: nothing may be taken out.
    pub(crate) looking: Cell<bool>,
    /// The body runs: a panic is its own.
    pub(crate) resumed: Cell<bool>,
    /// The budget when it was resumed.
    granted: Cell<u32>,
    /// The budget when the mailbox was looked into last.
    looked: Cell<u32>,
    /// The body wants to go on, behind the others.
    pub(crate) yields: Cell<bool>,
    /// A receive has found nothing that it wants since the body was resumed: what is fetched now, for
    /// another receive, it has not seen.
    pub(crate) hungry: Cell<bool>,
    /// Its process dies within the slice of another (`at_once`).
    within: bool,
}

/// Sets a flag back when it goes, also when it goes by a panic.
#[must_use]
pub(crate) struct Restore<'s>(&'s Cell<bool>, bool);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

pub(super) fn set(flag: &Cell<bool>, value: bool) -> Restore<'_> {
    Restore(flag, flag.replace(value))
}

impl<'a> Slice<'a> {
    /// A turn of `process` with a whole slice's budget.
    pub(crate) fn new(hand: Hand<'a>, core: &'a CoreLocal, process: &'a Header) -> Self {
        Self {
            hand,
            core,
            process: Cell::new(process),
            budget: Cell::new(config::SLICE),
            inside: Cell::new(true),
            looking: Cell::new(false),
            resumed: Cell::new(false),
            granted: Cell::new(0),
            looked: Cell::new(0),
            yields: Cell::new(false),
            hungry: Cell::new(false),
            within: false,
        }
    }

    /// A turn of `process`, which dies, in the middle of another's.
    pub(crate) fn within_another(hand: Hand<'a>, core: &'a CoreLocal, process: &'a Header) -> Self {
        Self { within: true, ..Self::new(hand, core, process) }
    }

    /// Whether another's turn is under way around it.
    pub(crate) fn is_within_another(&self) -> bool {
        self.within
    }

    /// Whose turn it is.
    #[inline]
    pub(crate) fn process(&self) -> &'a Header {
        self.process.get()
    }

    /// The turn of the next one, with so many reductions.
    pub(crate) fn turn_to(&self, process: &'a Header, budget: u32) {
        self.process.set(process);
        self.budget.set(budget);
        self.yields.set(false);
    }

    /// The body is resumed.
    pub(crate) fn begin(&self) {
        self.granted.set(self.budget.get());
        self.looked.set(self.budget.get());
        self.hungry.set(false);
    }

    /// Whether it is time to look into the mailbox, although there is something to receive already.
    #[inline]
    pub(crate) fn is_due_to_look(&self) -> bool {
        self.budget.get() + config::LOOK_EVERY <= self.looked.get()
    }

    /// The process has sent itself a signal: the next look finds it, as if it had come from itself by another way.
    pub(crate) fn has_sent_itself(&self) {
        self.looked.set(u32::MAX);
    }

    /// The mailbox is looked into.
    pub(crate) fn looks(&self) {
        self.looked.set(self.budget.get());
    }

    /// Reductions spent since it was resumed.
    pub(crate) fn spent(&self) -> u32 {
        self.granted.get() - self.budget.get()
    }

    /// The kernel is at work until the guard goes.
    pub(crate) fn enter(&self) -> Restore<'_> {
        set(&self.inside, true)
    }

    /// The body, or its destructor, is at work until the guard goes.
    pub(crate) fn leave(&self) -> Restore<'_> {
        set(&self.inside, false)
    }
}
