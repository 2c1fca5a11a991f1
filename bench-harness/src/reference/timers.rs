//! The part of the model that has time in it.
//!
//! When after its time a timer fires is up to its core, and so is its message's place among the others'. So these
//! messages are not in the model's inboxes: what is known is that one comes at most once, not before its time, to
//! whom it is for, never after it was cancelled, and, to a process that lives on, in the end it does.

use std::time::Duration;

use atropos::Reference;

use super::claims::{Verdict, ensure};
use super::model::{Id, Model};

/// Whom a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum For {
    /// A process.
    Process(Id),
    /// Whoever has the name then.
    Name(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    ToCome,
    /// Cancelled, or its process died.
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
    /// Somebody was told that it is over.
    forgotten: bool,
}

impl Model {
    /// A timer was started.
    pub fn started(&mut self, starter: Id, reference: Reference, to: For, due: u64, letter: u64, labelled: bool) {
        let ended = matches!(to, For::Process(to) if !self.is_alive(to));
        let state = if ended { State::Ended } else { State::ToCome };
        self.timers.push(Timer { reference, starter, to, due, letter, labelled, state, forgotten: false });
    }

    pub(super) fn end_timers_to(&mut self, id: Id) {
        for timer in self.timers.iter_mut().filter(|timer| timer.to == For::Process(id)) {
            if timer.state == State::ToCome {
                timer.state = State::Ended;
            }
        }
    }

    /// Whether a letter is a timer's.
    pub fn is_timers(&self, letter: u64) -> bool {
        self.timers.iter().any(|timer| timer.letter == letter)
    }

    /// A timer's letter was received.
    pub(super) fn rang(&mut self, id: Id, letter: u64, label: Option<Reference>, now: u64) -> Verdict {
        let had = self.processes[id].had;
        let timer = self.timers.iter_mut().find(|timer| timer.letter == letter).expect("a timer's");
        ensure(timer.state == State::ToCome, || format!("{timer:?} came to {id}"))?;
        ensure(timer.due <= now, || format!("{timer:?} came at {now}, too early"))?;
        ensure(label == timer.labelled.then_some(timer.reference), || format!("{timer:?} came as {label:?}"))?;
        let right = match timer.to {
            For::Process(to) => to == id,
            For::Name(name) => had[name],
        };
        ensure(right, || format!("{timer:?} came to {id}"))?;
        timer.state = State::Received;
        Ok(())
    }

    /// `cancel_timer` (or, without `cancel`, `read_timer`) said how long a timer, of whomever, had left. To the dying they
    /// say nothing, and do nothing.
    pub(super) fn left(
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
        let timer = self.timers.iter_mut().find(|timer| timer.reference == reference).expect("it was started");
        let rest = Duration::from_nanos(timer.due.saturating_sub(now));
        match left {
            Some(left) => {
                let to_come = timer.state == State::ToCome && !timer.forgotten;
                ensure(to_come && left == rest, || format!("{timer:?} said to have {left:?} left at {now}"))?;
                if cancel {
                    timer.state = State::Ended;
                }
            }
            None => {
                let over = timer.state != State::ToCome || timer.due <= now || timer.forgotten;
                ensure(over, || format!("{timer:?} said to be over at {now}"))?;
            }
        }
        timer.forgotten |= cancel || left.is_none();
        Ok(())
    }

    /// All timers, which any process may cancel and read: first those that this one started; the latest first.
    pub(super) fn timers_for(&self, id: Id) -> Vec<Reference> {
        let of = |own: bool| self.timers.iter().rev().filter(move |timer| (timer.starter == id) == own);
        of(true).chain(of(false)).map(|timer| timer.reference).collect()
    }

    /// Messages of timers that may be in a process's queue.
    pub(super) fn may_have_rung(&self, now: u64) -> usize {
        self.timers.iter().filter(|timer| timer.state == State::ToCome && timer.due <= now).count()
    }

    /// All time is over: what was to come has come.
    pub(super) fn all_rang(&self) -> Verdict {
        match self.timers.iter().find(|timer| timer.state == State::ToCome && matches!(timer.to, For::Process(_))) {
            None => Ok(()),
            Some(timer) => Err(format!("{timer:?} never came")),
        }
    }
}
