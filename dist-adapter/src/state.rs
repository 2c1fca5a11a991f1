//! [`State`]: the word of a monitor that decides who answers it.
//!
//! ```text
//! PLACING ──1──▶ ARMED ──2──▶ FIRED
//!    │            └──3──▶ CANCELLED
//!    ├──2──▶ FIRED
//!    └──3──▶ CANCELLED
//! ```
//!
//! 1. [`State::arm`], by who made the record, when it is in both of its maps and (for a monitor of ours) its request is sent.
//! 2. [`State::fire`], by who brings the answer: the target's end, the node's loss.
//! 3. [`State::cancel`], by who withdraws it: its watcher, the watcher's death, a request that was not sent, and at the target's
//!    side the peer's withdrawal or loss.
//!
//! Moves 2 and 3 end the record. Of all who try one wins, and only the winner delivers, notifies or withdraws; so each monitor
//! has one answer or was withdrawn. Who ends a record takes it out of its maps afterwards. If it was still PLACING the maker
//! may put it into a map later than that: the maker's `arm` then fails, and it takes the record out itself. Either the
//! maker's insertion is before the other's removal, or the maker sees the word that the other had written before.

use crate::rules::Rules;
use crate::sync::{AtomicU8, Ordering};

const PLACING: u8 = 0;
const ARMED: u8 = 1;
const FIRED: u8 = 2;
const CANCELLED: u8 = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct State(AtomicU8);

/// What became of a record before its maker could arm it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// It has been answered.
    Fired,
    /// It has been withdrawn.
    Cancelled,
}

impl Ended {
    fn of(word: u8) -> Self {
        if word == FIRED { Self::Fired } else { Self::Cancelled }
    }
}

/// What a withdrawal has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "who withdraws tells the peer, if the peer knows"]
pub(crate) enum Cancelled {
    /// An armed record, now withdrawn: the peer knows of it.
    Armed,
    /// A record that is being made, now withdrawn: its maker will see that.
    Placing,
    /// Too late: it has ended, in this way.
    TooLate(Ended),
}

impl State {
    /// Being made.
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(PLACING))
    }

    /// From `from` to `to`; else what it is instead.
    fn step<R: Rules>(&self, from: u8, to: u8, success: Ordering) -> Result<(), u8> {
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

    /// Ends the record; what it was. At most two exchanges, because it only moves on: wait-free.
    fn end<R: Rules>(&self, to: u8) -> Result<u8, u8> {
        // AcqRel: who ends a record comes after what was done when it was armed (`Rules::ARM`), and before what its maker
        // does when it fails to.
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

    /// The maker has placed it. Wait-free.
    pub(crate) fn arm<R: Rules>(&self) -> Result<(), Ended> {
        self.step::<R>(PLACING, ARMED, R::ARM).map_err(Ended::of)
    }

    /// Whether the caller is the one who brings the answer. Wait-free.
    #[must_use = "who wins must deliver"]
    pub(crate) fn fire<R: Rules>(&self) -> bool {
        self.end::<R>(FIRED).is_ok()
    }

    /// Withdraws it. Wait-free.
    pub(crate) fn cancel<R: Rules>(&self) -> Cancelled {
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
    use crate::rules::Shipped;

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
