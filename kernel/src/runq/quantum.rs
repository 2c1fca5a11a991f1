//! [`Quantum`]: for how long those go on that are picked from the next-up slot and the brood, while others wait in the
//! queues (`runq`, F2).
//!
//! A process from the queues begins a quantum of two slices. Each slice that is run takes what it has used, and when there is
//! nothing left that is worth a switch, the queues come first.
//!
//! Those that talk in turn, each waking the other, get less of it if others wait who want less: after [`TURNS`] turns, and
//! when they have used twice as much as one from the queues uses at a time, on average of late. Many clients of one server have
//! their turns so, one after the other, each with a few words, and not one of them hundreds while the others wait; while two
//! that have a core to share with one that never rests do not wait for its whole slice at every few words.

use crate::config::SLICE;

/// A rest that is worth a switch.
const WORTH: u32 = SLICE / 16;

/// Turns from the next-up slot before it is asked who waits. An even number: of a client and its server it is the server then
/// that goes behind the others, and finds all that they have asked it.
const TURNS: u32 = 4;

/// The turns when nobody waits.
const ALONE: u32 = 8 * TURNS;

/// See the module.
#[derive(Debug)]
pub(super) struct Quantum {
    rest: u32,
    /// What the last one that was picked was given.
    given: u32,
    /// Turns before it is asked who waits.
    turns: u32,
    /// What one from the queues uses at a time, on average, eight times.
    used: u32,
    /// The rest at which those that talk in turn have used twice as much as that.
    talk: u32,
    /// The last one from the queues is not in the average yet.
    queued: bool,
    /// The one that was picked last comes from the queues.
    fresh: bool,
}

impl Quantum {
    /// Nobody has run.
    pub(super) fn new() -> Self {
        Self { rest: 0, given: 0, turns: 0, used: 0, talk: 0, queued: false, fresh: false }
    }

    /// A slice is over that has so much left of what it was given.
    #[inline]
    pub(super) fn end_slice(&mut self, left: u32) {
        self.rest = self.rest.saturating_sub(self.given.saturating_sub(left));
    }

    /// One from the queues begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        if self.queued {
            self.learn();
        }
        *self = Self { rest: 2 * SLICE, given: SLICE, turns: 0, queued: true, fresh: true, ..*self };
    }

    /// Whether there is something left for others than those from the queues.
    #[inline]
    pub(super) fn lasts(&self) -> bool {
        self.rest >= WORTH
    }

    /// One more goes on with it.
    #[inline]
    pub(super) fn go_on(&mut self) {
        self.given = self.rest.min(SLICE);
        self.fresh = false;
    }

    /// Whether there is a turn left for one from the next-up slot; then it is taken.
    #[inline(always)]
    pub(super) fn is_in_turns(&mut self) -> bool {
        let is_in = self.turns > 0;
        self.turns -= u32::from(is_in);
        is_in
    }

    /// Whether there are more of them, if somebody in the queues `waits`; then the first is taken.
    #[cold]
    #[inline(never)]
    pub(super) fn begins_turns(&mut self, waits: bool) -> bool {
        let turns = if core::mem::take(&mut self.queued) {
            self.learn();
            self.talk = self.rest.saturating_sub(self.used / 4);
            TURNS
        } else if self.rest > self.talk {
            1
        } else if waits {
            return false;
        } else {
            ALONE
        };
        self.turns = turns - 1;
        true
    }

    fn learn(&mut self) {
        let used = 2 * SLICE - self.rest;
        // Nothing is used where nobody was found: whoever runs uses something.
        if used > 0 {
            self.used = self.used - self.used / 8 + used;
        }
    }

    /// The reductions of the process that was picked last, and whether it comes from the queues.
    #[inline]
    pub(super) fn budget(&self) -> (u32, bool) {
        (self.given, self.fresh)
    }

    /// Slices that are over have taken more time than their reductions are worth: so much.
    #[inline]
    pub(super) fn charge(&mut self, reductions: u32) {
        self.rest = self.rest.saturating_sub(reductions);
    }
}

impl Default for Quantum {
    fn default() -> Self {
        Self::new()
    }
}
