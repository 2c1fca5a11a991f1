//! A state machine whose states are functions: [`Functions`].
//!
//! The state is the function that handles the events in it (OTP's `state_functions` callback mode).
//! Such functions are synchronous; a machine that must wait in a callback implements
//! [`StateMachine`] itself.

use core::fmt;

use super::step::{EnterActions, Event, Transition};
use super::{MachineCx, StateMachine};
use crate::server::InitError;

/// The function that handles events in one state.
type Handler<D, E> = fn(&mut D, Event<Functions<D, E>>, MachineCx<'_, Functions<D, E>>) -> Transition<Functions<D, E>>;

/// The function that is called on entering any state.
type OnEnter<D, E> = fn(&mut D, &StateFn<D, E>, MachineCx<'_, Functions<D, E>>) -> EnterActions<Functions<D, E>>;

/// A state: its name, and the function that handles its events. States are equal if their names
/// are.
pub struct StateFn<D: Send + 'static, E: Send + 'static> {
    name: &'static str,
    handle: Handler<D, E>,
}

impl<D: Send, E: Send> StateFn<D, E> {
    /// Creates a state.
    pub const fn new(name: &'static str, handle: Handler<D, E>) -> Self {
        Self { name, handle }
    }

    /// Returns the name of the state.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<D: Send, E: Send> Clone for StateFn<D, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Send, E: Send> Copy for StateFn<D, E> {}

impl<D: Send, E: Send> PartialEq for StateFn<D, E> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<D: Send, E: Send> fmt::Debug for StateFn<D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A state machine with data `D` and events `E`, whose states are functions.
pub struct Functions<D: Send + 'static, E: Send + 'static> {
    data: D,
    first: StateFn<D, E>,
    on_enter: Option<OnEnter<D, E>>,
}

impl<D: Send, E: Send> fmt::Debug for Functions<D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions").field("first", &self.first).finish_non_exhaustive()
    }
}

impl<D: Send, E: Send> Functions<D, E> {
    /// Creates a machine that starts in the state `first`.
    pub const fn new(data: D, first: StateFn<D, E>) -> Self {
        Self { data, first, on_enter: None }
    }

    /// Sets the function that is called on entering a state.
    pub fn on_enter(mut self, on_enter: OnEnter<D, E>) -> Self {
        self.on_enter = Some(on_enter);
        self
    }

    /// Returns the data.
    pub const fn data(&self) -> &D {
        &self.data
    }
}

impl<D: Send + 'static, E: Send + 'static> StateMachine for Functions<D, E> {
    type State = StateFn<D, E>;
    type Message = E;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<Self::State, InitError> {
        Ok(self.first)
    }

    async fn handle(
        &mut self,
        state: &Self::State,
        happened: Event<Self>,
        cx: MachineCx<'_, Self>,
    ) -> Transition<Self> {
        (state.handle)(&mut self.data, happened, cx)
    }

    async fn enter(&mut self, _: &Self::State, state: &Self::State, cx: MachineCx<'_, Self>) -> EnterActions<Self> {
        self.on_enter.map_or_else(EnterActions::new, |on_enter| on_enter(&mut self.data, state, cx))
    }
}
