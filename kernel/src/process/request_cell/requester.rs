//! What the requester may do with the cell ([`RequesterParty`], [`LastParty`]), and what it finds
//! there ([`CellSnapshot`]).

use core::ops::Deref;
use core::task::Waker;

use super::{
    ANSWERED, Cell, DOWN, DROPPED, GONE, Orders, RESPONDER_DONE, RequestHead, RequesterParty, WAITING, WATCH_DONE,
};
use crate::memory::pool::Pool;
use crate::reason::Reason;
use crate::sync::Ordering;

/// What the requester finds in the cell.
pub(crate) enum CellSnapshot<T> {
    Nothing,
    /// The answer; `None` if it was taken before.
    Answered(Option<T>),
    Dropped,
    Down,
}

impl<T> RequesterParty<T> {
    /// Takes the answer.
    ///
    /// # Safety
    /// The requester has seen ANSWERED, with Acquire.
    #[inline(always)]
    unsafe fn take_answer(&mut self) -> Option<T> {
        // SAFETY: A2: ANSWERED was seen (this function's contract), so the answer belongs to the
        // requester. The cell was made for a `T`.
        unsafe { Cell::replace(self.0, None) }
    }

    /// Returns what the requester finds, and takes the answer: an answer takes precedence over a
    /// death, and a death over a dropped reply.
    #[inline(always)]
    pub(crate) fn look<O: Orders>(&mut self) -> CellSnapshot<T> {
        match self.load(O::LOOK) {
            // SAFETY: ANSWERED was seen, with Acquire (`LOOK`).
            word if word & ANSWERED != 0 => CellSnapshot::Answered(unsafe { self.take_answer() }),
            word if word & DOWN != 0 => CellSnapshot::Down,
            word if word & DROPPED != 0 => CellSnapshot::Dropped,
            _ => CellSnapshot::Nothing,
        }
    }

    /// Returns the right of the last party, if both others are done.
    ///
    /// # Errors
    /// The requester's right, if it is not the last party.
    #[inline(always)]
    pub(crate) fn last<O: Orders>(self) -> Result<LastParty<T>, Self> {
        let others = if O::HEEDS_THE_WATCH { RESPONDER_DONE | WATCH_DONE } else { RESPONDER_DONE };
        let word = self.load(O::LOOK);
        if word & others == others { Ok(LastParty { party: self, word }) } else { Err(self) }
    }

    /// Returns the exit reason of the watched process.
    ///
    /// # Safety
    /// The requester has seen DOWN, with Acquire.
    pub(crate) unsafe fn reason(&self) -> Reason {
        // SAFETY: A2: no party writes it after DOWN, which was seen (this function's contract).
        self.reason.with(|reason| unsafe { (*reason).clone() }).unwrap_or(Reason::NOPROC)
    }

    /// Registers `waker` for the next event. Returns `false` if one of `news` has happened already.
    pub(crate) fn register<O: Orders>(&mut self, waker: &Waker, news: u8) -> bool {
        let mut word = self.load(O::LOOK);
        while word & WAITING != 0 {
            // A failed exchange was overtaken by an event, which has the waker, or by a party that
            // is now done.
            match self.word.compare_exchange(word, word & !WAITING, O::LOOK, O::LOOK) {
                Ok(_) => word &= !WAITING,
                Err(now) => word = now,
            }
        }
        if word & news != 0 {
            return false;
        }
        self.waker.with_mut(|place| {
            // SAFETY: A1: no WAITING, and no event in progress: the requester alone owns it.
            let place = unsafe { &mut *place };
            if !place.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
                // Both are foreign: a panic leaves no waker.
                drop(place.take());
                *place = Some(waker.clone());
            }
        });
        loop {
            match self.word.compare_exchange(word, word | WAITING, O::REGISTER, O::LOOK) {
                Ok(_) => return true,
                Err(now) if now & news != 0 => {
                    if O::TAKES_BACK {
                        // SAFETY: A1: the event found no WAITING, so the requester still owns the
                        // waker.
                        drop(self.waker.with_mut(|place| unsafe { (*place).take() }));
                    }
                    return false;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Takes back the waker, if no event has it. No thread calls it afterwards.
    pub(crate) fn unregister<O: Orders>(&mut self) -> Option<Waker> {
        // Relaxed, here and below: the waker is the requester's own.
        let mut word = self.load(Ordering::Relaxed);
        while word & WAITING != 0 {
            match self.word.compare_exchange(word, word & !WAITING, Ordering::Relaxed, Ordering::Relaxed) {
                // SAFETY: A1: WAITING was taken back, so the waker is the requester's.
                Ok(_) => return self.waker.with_mut(|waker| unsafe { (*waker).take() }),
                Err(_) if !O::TAKES_ITS_WAKER => return None,
                // Overtaken by an event, which has the waker, or by a party that is now done.
                Err(now) => word = now,
            }
        }
        None
    }

    /// Performs the requester's last step, if no answer is left to drop, and frees the cell if the
    /// requester is the last party. Returns the word before.
    ///
    /// # Errors
    /// The right and the answer, if an answer is there and was not taken.
    pub(crate) fn go<O: Orders>(mut self, pool: Option<&Pool>) -> Result<u8, (Self, Option<T>)> {
        let mut word = self.load(O::LOOK);
        loop {
            if word & ANSWERED != 0 && O::TAKES_THE_REST {
                // SAFETY: ANSWERED was seen, with Acquire (`LOOK`).
                let answer = unsafe { self.take_answer() };
                return Err((self, answer));
            }
            match self.word.compare_exchange(word, word | GONE, O::OUT, O::LOOK) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if RequestHead::is_last(word, GONE) {
            // SAFETY: A3: the exchange, with Acquire, made the requester the last party.
            unsafe { self.free(pool) };
        }
        Ok(word)
    }
}

/// The right of a requester that has seen that both other parties are done, with Acquire (A3).
#[must_use = "the cell must be freed"]
pub(crate) struct LastParty<T> {
    party: RequesterParty<T>,
    /// The word, which no party changes from now on.
    word: u8,
}

impl<T> LastParty<T> {
    /// Returns the word of the cell.
    #[inline(always)]
    pub(crate) fn word(&self) -> u8 {
        self.word
    }

    /// Returns the requester's right.
    pub(crate) fn into_party(self) -> RequesterParty<T> {
        self.party
    }

    /// Takes the answer, if there is one that was not taken.
    pub(crate) fn take_answer(&mut self) -> Option<T> {
        // SAFETY: ANSWERED was seen, with Acquire (`RequesterParty::last`).
        if self.word & ANSWERED != 0 { unsafe { self.party.take_answer() } } else { None }
    }

    /// Frees the cell.
    #[inline(always)]
    pub(crate) fn free(self, pool: Option<&Pool>) {
        // SAFETY: A3: the requester is the last party (`RequesterParty::last`). The cell was made
        // for a `T`.
        unsafe { Cell::<T>::free(self.party.0, pool) }
    }
}

impl<T> Deref for LastParty<T> {
    type Target = RequesterParty<T>;

    fn deref(&self) -> &RequesterParty<T> {
        &self.party
    }
}
