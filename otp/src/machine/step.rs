//! What happens to a machine, and what it does then: [`Event`], [`Transition`], [`EnterActions`].

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use atropos_kernel::Reason;

use super::{StateMachine, Signal};

/// What happens.
pub enum Event<M: StateMachine> {
    /// An event from outside.
    Message(M::Message),
    /// An event that a step inserted.
    Internal(M::Message),
    /// No event has come for as long as [`Transition::event_timeout`] said.
    EventTimeout,
    /// The machine has been in this state for as long as [`Transition::state_timeout`] said.
    StateTimeout,
    /// A named timeout.
    Timeout(&'static str),
    /// A DOWN or EXIT.
    Signal(Signal),
}

impl<M: StateMachine> fmt::Debug for Event<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(_) => f.write_str("Message"),
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
pub(super) enum TimeoutKind {
    Event,
    State,
    Named(&'static str),
}

/// A timeout to start, or with `None` to cancel.
pub(super) type TimeoutAction = (TimeoutKind, Option<Duration>);

pub(super) enum StateChange<S> {
    Keep,
    Repeat,
    To(S),
    Stop(Reason),
}

/// What a machine does after an event.
#[must_use = "hand it back to the machine's loop"]
pub struct Transition<M: StateMachine> {
    pub(super) to: StateChange<M::State>,
    pub(super) postponed: Option<Event<M>>,
    pub(super) next: Vec<M::Message>,
    pub(super) clocks: Vec<TimeoutAction>,
}

impl<M: StateMachine> fmt::Debug for Transition<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match &self.to {
            StateChange::Keep => "keep",
            StateChange::Repeat => "repeat",
            StateChange::To(_) => "to another",
            StateChange::Stop(_) => "stop",
        };
        f.debug_struct("Step").field("to", &to).field("clocks", &self.clocks).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Transition<M> {
    fn new(to: StateChange<M::State>) -> Self {
        Self { to, postponed: None, next: Vec::new(), clocks: Vec::new() }
    }

    /// Stays in the state.
    pub fn keep() -> Self {
        Self::new(StateChange::Keep)
    }

    /// Stays, and enters the state once more.
    pub fn repeat() -> Self {
        Self::new(StateChange::Repeat)
    }

    /// Goes to a state; to the same one, it stays.
    pub fn to(state: M::State) -> Self {
        Self::new(StateChange::To(state))
    }

    /// Ends, after `terminate`.
    pub fn stop(reason: Reason) -> Self {
        Self::new(StateChange::Stop(reason))
    }

    /// Handles what has just happened again after the next change of state.
    pub fn postpone(mut self, happened: Event<M>) -> Self {
        self.postponed = Some(happened);
        self
    }

    /// Handles this event before any other, behind those inserted by the same step before it.
    pub fn next(mut self, event: M::Message) -> Self {
        self.next.push(event);
        self
    }

    fn clock(mut self, clock: TimeoutKind, time: Option<Duration>) -> Self {
        self.clocks.push((clock, time));
        self
    }

    /// If no event comes in this time, that is one.
    pub fn event_timeout(self, time: Duration) -> Self {
        self.clock(TimeoutKind::Event, Some(time))
    }

    /// If it is in the (new) state for this time, that is an event. Started anew if it runs.
    pub fn state_timeout(self, time: Duration) -> Self {
        self.clock(TimeoutKind::State, Some(time))
    }

    /// After this time there is an event of this name, in whatever state. Started anew if it runs.
    pub fn timeout(self, name: &'static str, time: Duration) -> Self {
        self.clock(TimeoutKind::Named(name), Some(time))
    }

    /// Cancels the state timeout.
    pub fn cancel_state_timeout(self) -> Self {
        self.clock(TimeoutKind::State, None)
    }

    /// Cancels a named timeout.
    pub fn cancel_timeout(self, name: &'static str) -> Self {
        self.clock(TimeoutKind::Named(name), None)
    }
}

/// What a machine does when it has entered a state: timeouts, or its end. Nothing else is possible there.
#[must_use = "hand it back to the machine's loop"]
pub struct EnterActions<M: StateMachine>(pub(super) Transition<M>);

impl<M: StateMachine> fmt::Debug for EnterActions<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Enter").field(&self.0).finish()
    }
}

impl<M: StateMachine> Default for EnterActions<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: StateMachine> EnterActions<M> {
    /// Nothing.
    pub fn new() -> Self {
        Self(Transition::keep())
    }

    /// See [`Transition::state_timeout`].
    pub fn state_timeout(self, time: Duration) -> Self {
        Self(self.0.state_timeout(time))
    }

    /// See [`Transition::event_timeout`].
    pub fn event_timeout(self, time: Duration) -> Self {
        Self(self.0.event_timeout(time))
    }

    /// See [`Transition::timeout`].
    pub fn timeout(self, name: &'static str, time: Duration) -> Self {
        Self(self.0.timeout(name, time))
    }

    /// See [`Transition::cancel_timeout`].
    pub fn cancel_timeout(self, name: &'static str) -> Self {
        Self(self.0.cancel_timeout(name))
    }

    /// See [`Transition::stop`].
    pub fn stop(reason: Reason) -> Self {
        Self(Transition::stop(reason))
    }
}
