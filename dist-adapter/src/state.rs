//! [`State`]: the state word of a monitor, which decides the thread that answers it.
//!
//! ```text
//! PLACING ──1──▶ ARMED ──2──▶ FIRED
//!    │            └──3──▶ CANCELLED
//!    ├──2──▶ FIRED
//!    └──3──▶ CANCELLED
//! ```
//!
//! 1. [`State::arm`], by the thread that created the record, once the record is in both of its maps
//!    and (for a local watcher's monitor) its request is sent.
//! 2. [`State::fire`], by a thread that brings the answer: the target's end or the node's loss.
//! 3. [`State::cancel`], by a thread that withdraws the monitor, because of a demonitor, the
//!    watcher's death or a request that could not be sent. On the target's node: because of the
//!    peer's withdrawal or loss.
//!
//! Moves 2 and 3 end the record. Of all threads that try, exactly one succeeds, and only that
//! thread delivers the DOWN, sends the notice or sends the withdrawal. So each monitor has one
//! answer or was withdrawn.
//!
//! The thread that ends a record removes it from its maps afterwards. If the record was still
//! PLACING, its creator may insert it into a map later than that. The creator's `arm` then fails,
//! and the creator removes the record itself. Either the creator's insertion precedes the other
//! thread's removal, or the creator sees the state that the other thread wrote before.

use crate::model::PlaneRules;
use crate::sync::{AtomicU8, Ordering};

const PLACING: u8 = 0;
const ARMED: u8 = 1;
const FIRED: u8 = 2;
const CANCELLED: u8 = 3;

/// The state word of one monitor.
#[derive(Debug)]
pub(crate) struct State(AtomicU8);

/// How a record ended before its creator could arm it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// The monitor has been answered.
    Fired,
    /// The monitor has been withdrawn.
    Cancelled,
}

impl Ended {
    fn of(word: u8) -> Self {
        if word == FIRED { Self::Fired } else { Self::Cancelled }
    }
}

/// The outcome of a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the thread that withdraws a monitor informs the peer, if the peer knows of it"]
pub(crate) enum Cancelled {
    /// The record was armed and is now withdrawn: the peer knows of it.
    Armed,
    /// The record was still PLACING and is now withdrawn: its creator's `arm` will fail.
    Placing,
    /// The record had already ended, in this way.
    TooLate(Ended),
}

impl State {
    /// Creates a state in PLACING.
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(PLACING))
    }

    /// Moves from `from` to `to`, or returns the state found instead.
    fn step<R: PlaneRules>(&self, from: u8, to: u8, success: Ordering) -> Result<(), u8> {
        if R::ONE_WINNER {
            return self.0.compare_exchange(from, to, success, Ordering::Acquire).map(drop);
        }
        let now = self.0.load(Ordering::Acquire);
        if now != from {
            return Err(now);
        }
        self.0.store(to, Ordering::Release);
        Ok(())
    }

    /// Ends the record and returns its previous state, or the state in which it had already ended.
    /// Wait-free: at most three exchanges, because the state only advances.
    fn end<R: PlaneRules>(&self, to: u8) -> Result<u8, u8> {
        // AcqRel. Acquire pairs with `arm` (`PlaneRules::ARM`): without it the ending thread can
        // miss what the creator did before it armed the record. Release pairs with the Acquire of a
        // failing `arm`: without it the creator can miss what the ending thread did before.
        match self.step::<R>(ARMED, to, Ordering::AcqRel) {
            Ok(()) => return Ok(ARMED),
            Err(PLACING) => {}
            Err(ended) => return Err(ended),
        }
        match self.step::<R>(PLACING, to, Ordering::AcqRel) {
            Ok(()) => Ok(PLACING),
            Err(ARMED) => self.step::<R>(ARMED, to, Ordering::AcqRel).map(|()| ARMED),
            Err(ended) => Err(ended),
        }
    }

    /// Arms the record after its creator has placed it, or returns how it ended. Wait-free.
    pub(crate) fn arm<R: PlaneRules>(&self) -> Result<(), Ended> {
        self.step::<R>(PLACING, ARMED, R::ARM).map_err(Ended::of)
    }

    /// Returns `true` if the caller is the thread that brings the answer. Wait-free.
    #[must_use = "the thread that fires must deliver"]
    pub(crate) fn fire<R: PlaneRules>(&self) -> bool {
        self.end::<R>(FIRED).is_ok()
    }

    /// Withdraws the monitor. Wait-free.
    pub(crate) fn cancel<R: PlaneRules>(&self) -> Cancelled {
        match self.end::<R>(CANCELLED) {
            Ok(ARMED) => Cancelled::Armed,
            Ok(_) => Cancelled::Placing,
            Err(word) => Cancelled::TooLate(Ended::of(word)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::model::Shipped;

    #[test]
    fn each_record_ends_once() {
        for armed in [false, true] {
            for fired in [false, true] {
                let state = State::new();
                if armed {
                    assert_eq!(state.arm::<Shipped>(), Ok(()));
                }
                if fired {
                    assert!(state.fire::<Shipped>());
                } else {
                    assert_eq!(state.cancel::<Shipped>(), if armed { Cancelled::Armed } else { Cancelled::Placing });
                }
                assert!(!state.fire::<Shipped>());
                let ended = if fired { Ended::Fired } else { Ended::Cancelled };
                assert_eq!(state.cancel::<Shipped>(), Cancelled::TooLate(ended));
                if !armed {
                    assert_eq!(state.arm::<Shipped>(), Err(ended));
                }
            }
        }
    }
}
