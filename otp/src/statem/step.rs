//! The events of a state machine, and the results of its callbacks: [`Event`], [`Transition`],
//! [`EnterActions`].

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use atropos_kernel::Reason;

use super::{Signal, StateMachine};

/// An event that the machine handles.
pub enum Event<M: StateMachine> {
    /// An external event.
    Message(M::Message),
    /// An event that a step inserted.
    Internal(M::Message),
    /// The event timeout: no event arrived in the time of [`Transition::event_timeout`].
    EventTimeout,
    /// The state timeout: the machine was in this state for the time of
    /// [`Transition::state_timeout`].
    StateTimeout,
    /// A named (generic) timeout.
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

/// The kind of a timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimeoutKind {
    Event,
    State,
    Named(&'static str),
}

/// A timeout to start, or to cancel if the time is `None`.
pub(super) type TimeoutAction = (TimeoutKind, Option<Duration>);

pub(super) enum StateChange<S> {
    Keep,
    Repeat,
    To(S),
    Stop(Reason),
}

/// The result of an event callback: what the machine does next.
#[must_use = "return it to the machine's loop"]
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
        f.debug_struct("Transition").field("to", &to).field("clocks", &self.clocks).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Transition<M> {
    fn new(to: StateChange<M::State>) -> Self {
        Self { to, postponed: None, next: Vec::new(), clocks: Vec::new() }
    }

    /// Keeps the state.
    pub fn keep() -> Self {
        Self::new(StateChange::Keep)
    }

    /// Keeps the state, and enters it again.
    pub fn repeat() -> Self {
        Self::new(StateChange::Repeat)
    }

    /// Changes to a state; if it equals the current one, keeps it.
    pub fn to(state: M::State) -> Self {
        Self::new(StateChange::To(state))
    }

    /// Calls `terminate` and exits with this reason.
    pub fn stop(reason: Reason) -> Self {
        Self::new(StateChange::Stop(reason))
    }

    /// Postpones this event: it is retried after the next state change.
    pub fn postpone(mut self, happened: Event<M>) -> Self {
        self.postponed = Some(happened);
        self
    }

    /// Inserts an event that is handled before any other, after those that the same step inserted
    /// earlier.
    pub fn next(mut self, event: M::Message) -> Self {
        self.next.push(event);
        self
    }

    fn clock(mut self, clock: TimeoutKind, time: Option<Duration>) -> Self {
        self.clocks.push((clock, time));
        self
    }

    /// Starts the event timeout: it fires if no event arrives in this time.
    pub fn event_timeout(self, time: Duration) -> Self {
        self.clock(TimeoutKind::Event, Some(time))
    }

    /// Starts the state timeout: it fires if the machine stays in the (new) state for this time. A
    /// running one is restarted.
    pub fn state_timeout(self, time: Duration) -> Self {
        self.clock(TimeoutKind::State, Some(time))
    }

    /// Starts a named timeout: it fires after this time, in any state. A running one is restarted.
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

/// The result of the `enter` callback: timeouts, or a stop. Nothing else is possible there.
#[must_use = "return it to the machine's loop"]
pub struct EnterActions<M: StateMachine>(pub(super) Transition<M>);

impl<M: StateMachine> fmt::Debug for EnterActions<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EnterActions").field(&self.0).finish()
    }
}

impl<M: StateMachine> Default for EnterActions<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: StateMachine> EnterActions<M> {
    /// Does nothing.
    pub fn new() -> Self {
        Self(Transition::keep())
    }

    /// Starts the state timeout, see [`Transition::state_timeout`].
    pub fn state_timeout(self, time: Duration) -> Self {
        Self(self.0.state_timeout(time))
    }

    /// Starts the event timeout, see [`Transition::event_timeout`].
    pub fn event_timeout(self, time: Duration) -> Self {
        Self(self.0.event_timeout(time))
    }

    /// Starts a named timeout, see [`Transition::timeout`].
    pub fn timeout(self, name: &'static str, time: Duration) -> Self {
        Self(self.0.timeout(name, time))
    }

    /// Cancels a named timeout, see [`Transition::cancel_timeout`].
    pub fn cancel_timeout(self, name: &'static str) -> Self {
        Self(self.0.cancel_timeout(name))
    }

    /// Stops the machine, see [`Transition::stop`].
    pub fn stop(reason: Reason) -> Self {
        Self(Transition::stop(reason))
    }
}
