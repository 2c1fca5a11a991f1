//! What happens to a machine, and what it does then: [`Happened`], [`Step`], [`Enter`].

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use atropos_kernel::Reason;

use super::{Machine, Signal};

/// What happens.
pub enum Happened<M: Machine> {
    /// An event from outside.
    Event(M::Event),
    /// An event that a step inserted.
    Internal(M::Event),
    /// No event has come for as long as [`Step::event_timeout`] said.
    EventTimeout,
    /// The machine has been in this state for as long as [`Step::state_timeout`] said.
    StateTimeout,
    /// A named timeout.
    Timeout(&'static str),
    /// A DOWN or EXIT.
    Signal(Signal),
}

impl<M: Machine> fmt::Debug for Happened<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(_) => f.write_str("Event"),
            Self::Internal(_) => f.write_str("Internal"),
            Self::EventTimeout => f.write_str("EventTimeout"),
            Self::StateTimeout => f.write_str("StateTimeout"),
            Self::Timeout(name) => write!(f, "Timeout({name:?})"),
            Self::Signal(signal) => write!(f, "{signal:?}"),
        }
    }
}

/// Which timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Clock {
    Event,
    State,
    Named(&'static str),
}

/// A timeout to start, or with `None` to cancel.
pub(super) type Setting = (Clock, Option<Duration>);

pub(super) enum Move<S> {
    Keep,
    Repeat,
    To(S),
    Stop(Reason),
}

/// What a machine does after an event.
#[must_use = "hand it back to the machine's loop"]
pub struct Step<M: Machine> {
    pub(super) to: Move<M::State>,
    pub(super) postponed: Option<Happened<M>>,
    pub(super) next: Vec<M::Event>,
    pub(super) clocks: Vec<Setting>,
}

impl<M: Machine> fmt::Debug for Step<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match &self.to {
            Move::Keep => "keep",
            Move::Repeat => "repeat",
            Move::To(_) => "to another",
            Move::Stop(_) => "stop",
        };
        f.debug_struct("Step").field("to", &to).field("clocks", &self.clocks).finish_non_exhaustive()
    }
}

impl<M: Machine> Step<M> {
    fn new(to: Move<M::State>) -> Self {
        Self { to, postponed: None, next: Vec::new(), clocks: Vec::new() }
    }

    /// Stays in the state.
    pub fn keep() -> Self {
        Self::new(Move::Keep)
    }

    /// Stays, and enters the state once more.
    pub fn repeat() -> Self {
        Self::new(Move::Repeat)
    }

    /// Goes to a state; to the same one, it stays.
    pub fn to(state: M::State) -> Self {
        Self::new(Move::To(state))
    }

    /// Ends, after `terminate`.
    pub fn stop(reason: Reason) -> Self {
        Self::new(Move::Stop(reason))
    }

    /// Handles what has just happened again after the next change of state.
    pub fn postpone(mut self, happened: Happened<M>) -> Self {
        self.postponed = Some(happened);
        self
    }

    /// Handles this event before any other, behind those inserted by the same step before it.
    pub fn next(mut self, event: M::Event) -> Self {
        self.next.push(event);
        self
    }

    fn clock(mut self, clock: Clock, time: Option<Duration>) -> Self {
        self.clocks.push((clock, time));
        self
    }

    /// If no event comes in this time, that is one.
    pub fn event_timeout(self, time: Duration) -> Self {
        self.clock(Clock::Event, Some(time))
    }

    /// If it is in the (new) state for this time, that is an event. Started anew if it runs.
    pub fn state_timeout(self, time: Duration) -> Self {
        self.clock(Clock::State, Some(time))
    }

    /// After this time there is an event of this name, in whatever state. Started anew if it runs.
    pub fn timeout(self, name: &'static str, time: Duration) -> Self {
        self.clock(Clock::Named(name), Some(time))
    }

    /// Cancels the state timeout.
    pub fn cancel_state_timeout(self) -> Self {
        self.clock(Clock::State, None)
    }

    /// Cancels a named timeout.
    pub fn cancel_timeout(self, name: &'static str) -> Self {
        self.clock(Clock::Named(name), None)
    }
}

/// What a machine does when it has entered a state: timeouts, or its end. Nothing else is possible there.
#[must_use = "hand it back to the machine's loop"]
pub struct Enter<M: Machine>(pub(super) Step<M>);

impl<M: Machine> fmt::Debug for Enter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Enter").field(&self.0).finish()
    }
}

impl<M: Machine> Default for Enter<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Enter<M> {
    /// Nothing.
    pub fn new() -> Self {
        Self(Step::keep())
    }

    /// See [`Step::state_timeout`].
    pub fn state_timeout(self, time: Duration) -> Self {
        Self(self.0.state_timeout(time))
    }

    /// See [`Step::event_timeout`].
    pub fn event_timeout(self, time: Duration) -> Self {
        Self(self.0.event_timeout(time))
    }

    /// See [`Step::timeout`].
    pub fn timeout(self, name: &'static str, time: Duration) -> Self {
        Self(self.0.timeout(name, time))
    }

    /// See [`Step::cancel_timeout`].
    pub fn cancel_timeout(self, name: &'static str) -> Self {
        Self(self.0.cancel_timeout(name))
    }

    /// See [`Step::stop`].
    pub fn stop(reason: Reason) -> Self {
        Self(Step::stop(reason))
    }
}
