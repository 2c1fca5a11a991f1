//! What the responder may do with the cell ([`ResponderParty`]).

use super::{ANSWERED, Cell, Orders, RESPONDER_DONE, ResponderParty, WATCH_DONE, WatchParty};
use crate::sync::Ordering;

impl<T> ResponderParty<T> {
    /// Replaces the answer, before the responder's event.
    #[inline(always)]
    pub(crate) fn replace_answer(&mut self, answer: Option<T>) -> Option<T> {
        // SAFETY: A2: the answer belongs to the responder until its event ([`RequestHead::event`]).
        // The cell was made for a `T`.
        unsafe { Cell::replace(self.0, answer) }
    }

    /// Sets the answer's event and the end of the responder and of the watch in one exchange, if no
    /// party has done anything yet: the most frequent case of [`RequestHead::event`]. The answer is
    /// in the cell.
    ///
    /// # Errors
    /// Both rights, if a party has done something.
    ///
    /// # Panics
    /// If the watch is not of the same cell.
    #[inline(always)]
    pub(crate) fn answer_first<O: Orders>(self, watch: WatchParty) -> Result<(), (Self, WatchParty)> {
        assert!(self.0 == watch.0, "the watch of this cell");
        let all = ANSWERED | RESPONDER_DONE | WATCH_DONE;
        // Relaxed: after a failure `event` loads the word again.
        match self.word.compare_exchange(0, all, O::EVENT, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err((self, watch)),
        }
    }

    /// Answers with a store: a mutant.
    #[cfg(loom)]
    pub(crate) fn store_answered(self, _: WatchParty) {
        self.word.store(ANSWERED | RESPONDER_DONE | WATCH_DONE, Ordering::Release);
    }
}
