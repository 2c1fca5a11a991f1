//! The part of the model that has time in it.
//!
//! A core decides how long after its due time a timer fires, and so where its message lies among
//! other messages. Therefore these messages are not in the model's inboxes. The rules are: a
//! message comes at most once, not before its time, only to the timer's target, never after the
//! timer was cancelled, and a target that stays alive gets it in the end.

use std::time::Duration;

use atropos_kernel::Reference;

use super::claims::{Verdict, ensure};
use super::{Id, Model};

/// The target of a timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum For {
    /// A process.
    Process(Id),
    /// The holder of a name at the time when the timer fires.
    Name(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    ToCome,
    /// The timer was cancelled, or its target died.
    Ended,
    Received,
}

/// A timer with a message.
#[derive(Debug)]
pub struct Timer {
    reference: Reference,
    starter: Id,
    to: For,
    due: u64,
    letter: u64,
    labelled: bool,
    state: State,
    /// `true` if a process has learned that the timer is over.
    forgotten: bool,
}

impl Model {
    /// Records the start of a timer.
    pub fn started(&mut self, starter: Id, reference: Reference, to: For, due: u64, letter: u64, labelled: bool) {
        let ended = matches!(to, For::Process(to) if !self.is_alive(to));
        let state = if ended { State::Ended } else { State::ToCome };
        self.timers.push(Timer { reference, starter, to, due, letter, labelled, state, forgotten: false });
    }

    pub(crate) fn end_timers_to(&mut self, id: Id) {
        for timer in self.timers.iter_mut().filter(|timer| timer.to == For::Process(id)) {
            if timer.state == State::ToCome {
                timer.state = State::Ended;
            }
        }
    }

    /// Returns `true` if a letter belongs to a timer.
    pub fn is_timers(&self, letter: u64) -> bool {
        self.timers.iter().any(|timer| timer.letter == letter)
    }

    /// Checks the receipt of a timer's letter.
    pub(crate) fn rang(&mut self, id: Id, letter: u64, label: Option<Reference>, now: u64) -> Verdict {
        let had = self.processes[id].had;
        let timer = self.timers.iter_mut().find(|timer| timer.letter == letter).expect("the letter of a timer");
        ensure(timer.state == State::ToCome, || format!("{timer:?} arrived at {id}"))?;
        ensure(timer.due <= now, || format!("{timer:?} arrived at {now}, too early"))?;
        ensure(label == timer.labelled.then_some(timer.reference), || format!("{timer:?} arrived as {label:?}"))?;
        let right = match timer.to {
            For::Process(to) => to == id,
            For::Name(name) => had[name],
        };
        ensure(right, || format!("{timer:?} arrived at {id}"))?;
        timer.state = State::Received;
        Ok(())
    }

    /// Checks the remaining time that `cancel_timer` (or, without `cancel`, `read_timer`) returned,
    /// for a timer of any process. For a dying caller the calls return nothing and do nothing.
    pub(crate) fn left(
        &mut self,
        id: Id,
        reference: Reference,
        left: Option<Duration>,
        now: u64,
        cancel: bool,
    ) -> Verdict {
        if self.is_dying(id) {
            return ensure(left.is_none(), || format!("{id} is dying, and has {left:?} left"));
        }
        let timer = self.timers.iter_mut().find(|timer| timer.reference == reference).expect("the timer was started");
        let rest = Duration::from_nanos(timer.due.saturating_sub(now));
        match left {
            Some(left) => {
                let to_come = timer.state == State::ToCome && !timer.forgotten;
                ensure(to_come && left == rest, || format!("{timer:?} reported {left:?} left at {now}"))?;
                if cancel {
                    timer.state = State::Ended;
                }
            }
            None => {
                let over = timer.state != State::ToCome || timer.due <= now || timer.forgotten;
                ensure(over, || format!("{timer:?} reported as over at {now}"))?;
            }
        }
        timer.forgotten |= cancel || left.is_none();
        Ok(())
    }

    /// Returns all timers, which any process may cancel and read: those that this process started
    /// first, the latest first.
    pub(crate) fn timers_for(&self, id: Id) -> Vec<Reference> {
        let of = |own: bool| self.timers.iter().rev().filter(move |timer| (timer.starter == id) == own);
        of(true).chain(of(false)).map(|timer| timer.reference).collect()
    }

    /// Returns the number of timers' messages that may be in a process's queue.
    pub(crate) fn may_have_rung(&self, now: u64) -> usize {
        self.timers.iter().filter(|timer| timer.state == State::ToCome && timer.due <= now).count()
    }

    /// Checks, after the last due time, that every timer for a process has fired.
    pub(crate) fn all_rang(&self) -> Verdict {
        match self.timers.iter().find(|timer| timer.state == State::ToCome && matches!(timer.to, For::Process(_))) {
            None => Ok(()),
            Some(timer) => Err(format!("{timer:?} never arrived")),
        }
    }
}
