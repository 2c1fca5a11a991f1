//! [`Quantum`]: the budget of processes picked from the LIFO slot and the newborn deque while other
//! processes wait in the queues (`runq`, F2).
//!
//! A process from the queues starts a quantum of two slices. Each slice that runs subtracts what it
//! used. When the rest is no longer worth a switch, the queues are served first.
//!
//! A ping-pong group (processes that wake one another) gets less of the quantum if the processes
//! that wait need less. This limit applies after [`PING_PONG_TURNS`] turns, once the group has used
//! twice as much as a process from the queues uses at a time, on a moving average. So many clients
//! of one server get their turns one after another, with a few messages each, and no client sends
//! hundreds while the others wait. And a pair that shares a core with a process that never waits
//! does not wait for a whole slice of that process after every few messages.

use crate::config::SLICE;

/// The smallest rest of a quantum that is worth a switch.
const MIN_SWITCH: u32 = SLICE / 16;

/// The number of turns from the LIFO slot before the queues are checked for waiting processes. An
/// even number: of a client and its server, the server then goes behind the queued processes, and
/// finds all their requests when it runs again.
const PING_PONG_TURNS: u32 = 4;

/// The number of turns when no process waits.
const UNCONTENDED_TURNS: u32 = 8 * PING_PONG_TURNS;

/// The budget of a quantum and the state of ping-pong detection; see the module.
#[derive(Debug)]
pub(super) struct Quantum {
    rest: u32,
    /// The budget of the process that was picked last.
    given: u32,
    /// The number of turns left before the queues are checked for waiting processes.
    turns: u32,
    /// Eight times the average that a process from the queues uses at a time.
    used: u32,
    /// The rest at which a ping-pong group has used twice that average.
    talk: u32,
    /// `true` if the last process from the queues is not part of the average yet.
    queued: bool,
    /// `true` if the process that was picked last comes from the queues.
    fresh: bool,
}

impl Quantum {
    /// Creates a quantum before any process has run.
    pub(super) fn new() -> Self {
        Self { rest: 0, given: 0, turns: 0, used: 0, talk: 0, queued: false, fresh: false }
    }

    /// Ends a slice that has `left` of its budget.
    #[inline]
    pub(super) fn end_slice(&mut self, left: u32) {
        self.rest = self.rest.saturating_sub(self.given.saturating_sub(left));
    }

    /// Starts a quantum for a process from the queues.
    #[inline]
    pub(super) fn begin(&mut self) {
        if self.queued {
            self.learn();
        }
        *self = Self { rest: 2 * SLICE, given: SLICE, turns: 0, queued: true, fresh: true, ..*self };
    }

    /// Returns `true` if enough is left for a process that does not come from the queues.
    #[inline]
    pub(super) fn lasts(&self) -> bool {
        self.rest >= MIN_SWITCH
    }

    /// Gives the rest of the quantum, at most a slice, to one more process.
    #[inline]
    pub(super) fn go_on(&mut self) {
        self.given = self.rest.min(SLICE);
        self.fresh = false;
    }

    /// Takes a turn for the process in the LIFO slot. Returns `true` if one was left.
    #[inline(always)]
    pub(super) fn in_ping_pong(&mut self) -> bool {
        let is_in = self.turns > 0;
        if is_in {
            self.turns -= 1;
        }
        is_in
    }

    /// Starts a new series of turns and takes the first. Returns `false` if the group has used its
    /// share and a process `waits` in the queues.
    #[cold]
    #[inline(never)]
    pub(super) fn start_ping_pong(&mut self, waits: bool) -> bool {
        let turns = if core::mem::take(&mut self.queued) {
            self.learn();
            self.talk = self.rest.saturating_sub(self.used / 4);
            PING_PONG_TURNS
        } else if self.rest > self.talk {
            1
        } else if waits {
            return false;
        } else {
            UNCONTENDED_TURNS
        };
        self.turns = turns - 1;
        true
    }

    fn learn(&mut self) {
        let used = 2 * SLICE - self.rest;
        // A process that runs uses something. So zero means that the queues were empty.
        if used > 0 {
            self.used = self.used - self.used / 8 + used;
        }
    }

    /// Returns the budget of the process that was picked last, and `true` if it comes from the
    /// queues.
    #[inline]
    pub(super) fn budget(&self) -> (u32, bool) {
        (self.given, self.fresh)
    }

    /// Charges `reductions` for finished slices that took more time than their reductions are
    /// worth.
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
