//! [`Slice`], one process in the hands of one core, for one turn; and what is at work in it.

use crate::hand::Hand;
use crate::process::header::Header;
use crate::sched::local::CoreLocal;
use crate::sync::Cell;

/// See [`crate::Cx`].
#[derive(Debug)]
pub struct Slice<'a> {
    pub(crate) hand: Hand<'a>,
    pub(crate) core: &'a CoreLocal,
    pub(crate) process: &'a Header,
    pub(crate) budget: Cell<u32>,
    /// The kernel is at work for the process, and what is foreign in there (a destructor) must not come in again
    /// through a `Context`.
    pub(crate) inside: Cell<bool>,
    /// A closure of the body's looks at a signal in the queue: nothing may be taken out.
    pub(crate) looking: Cell<bool>,
    /// The body wants to go on, behind the others.
    pub(crate) yields: Cell<bool>,
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

impl Slice<'_> {
    /// The kernel is at work until the guard goes.
    pub(crate) fn enter(&self) -> Restore<'_> {
        set(&self.inside, true)
    }

    /// The body, or its destructor, is at work until the guard goes.
    pub(crate) fn leave(&self) -> Restore<'_> {
        set(&self.inside, false)
    }
}
