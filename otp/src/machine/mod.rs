//! A process that is in a state: [`StateMachine`] (OTP's `gen_statem`).
//!
//! A machine is a server ([`crate::server`]) whose callback is told which state it is in, and says what to do next: to
//! which state to go, what to postpone, what to handle first, which timeouts to start. It is started, called, looked at
//! and supervised as a server is: [`StateMachine::start`] makes one.
//!
//! # The rules, as in OTP
//!
//! - M1. One event is handled at a time. First those that a step inserted ([`Transition::next`]), in their order; then the
//!   postponed ones, after a change of state; then what comes.
//! - M2. A postponed event ([`Transition::postpone`]) is handled again after the next change of state, before anything newer; the postponed
//!   keep their order. Staying in the state, or repeating it, brings none back.
//! - M3. [`StateMachine::enter`] is called for the first state, after each change, and when a step repeats the state,
//!   before any event.
//! - M4. The event timeout ends with the next event, whichever it is; the state timeout ends with the state; a named one
//!   ends when it is started anew or cancelled. One that has ended never comes, not even when it was due already.
//! - M5. A timeout of no time is a timeout: it comes when all that was inserted or brought back is handled, before
//!   what comes from outside, and several in the order in which they were started. Until it comes it ends as any other does (M4): a
//!   change of state, another event, a cancellation or a new start ends it.
//! - M6. Between two events that did not come from outside the machine lets others run when its reductions are used up: one that
//!   inserts an event for each that it handles keeps no core, and can be killed.

mod driver;
mod functions;
mod step;

use core::future::Future;

use atropos_kernel::{Down, Exit, Reason};

use crate::server::{InitError, ServerCx, Start};

pub use driver::{Driver, Note};
pub use functions::{Functions, StateFn};
pub use step::{EnterActions, Event, Transition};

/// A machine's view of its process, for the time of a callback.
pub type MachineCx<'a, M> = ServerCx<'a, Driver<M>>;

/// A value that is in a state; see the module.
pub trait StateMachine: Sized + Send + 'static {
    /// Its states. A step to an equal one is no change.
    type State: PartialEq + Send + Sync + 'static;

    /// What it is sent. A question carries a [`Reply`](atropos_kernel::Reply).
    type Message: Send + 'static;

    /// The first thing it does; the state that it begins in.
    fn init(&mut self, cx: MachineCx<'_, Self>) -> impl Future<Output = Result<Self::State, InitError>> + Send;

    /// Something happens in a state.
    fn handle(
        &mut self,
        state: &Self::State,
        happened: Event<Self>,
        cx: MachineCx<'_, Self>,
    ) -> impl Future<Output = Transition<Self>> + Send;

    /// It has come into a state, from another or, the first time and when it is repeated, from itself.
    fn enter(
        &mut self,
        from: &Self::State,
        state: &Self::State,
        cx: MachineCx<'_, Self>,
    ) -> impl Future<Output = EnterActions<Self>> + Send {
        let _ = (from, state, cx);
        async { EnterActions::new() }
    }

    /// As for a server ([`crate::Server::terminate`]).
    fn terminate(
        &mut self,
        reason: &Reason,
        state: Option<&Self::State>,
        cx: MachineCx<'_, Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (reason, state, cx);
        async {}
    }

    /// How it is to be started.
    fn start(self) -> Start<'static, Driver<Self>> {
        Start::new(Driver::new(self))
    }
}

/// What a machine hears of others besides events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Somebody whom it monitors has died.
    Down(Down),
    /// An exit signal that is not its parent's.
    Exit(Exit),
}
