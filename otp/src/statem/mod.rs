//! A process that is a state machine: [`StateMachine`] (OTP's `gen_statem`).
//!
//! A machine is a server ([`crate::server`]) whose callback gets the current state and returns what
//! to do next: the next state, which event to postpone, which events to insert, which timeouts to
//! start. It is started, called, inspected and supervised like any server: [`StateMachine::start`]
//! makes one.
//!
//! # Rules, as in OTP
//!
//! - M1. One event is handled at a time. First come the events that a step inserted
//!   ([`Transition::next`]), in their order; then, after a state change, the postponed ones; then
//!   external events.
//! - M2. A postponed event ([`Transition::postpone`]) is retried after the next state change,
//!   before any newer event; postponed events keep their order. Keeping or repeating the state
//!   retries none.
//! - M3. [`StateMachine::enter`] is called for the first state, after each state change, and when a
//!   step repeats the state, before any event.
//! - M4. The event timeout is cancelled by the next event of any kind. The state timeout is
//!   cancelled by a state change. A named (generic) timeout is cancelled when it is started again
//!   or cancelled explicitly. A cancelled timeout never arrives, even if it had already expired.
//! - M5. A zero timeout is a timeout. It arrives after all inserted and postponed events were
//!   handled, and before external events; several arrive in the order in which they were started.
//!   Until it arrives it is cancelled as any other (M4): by a state change, another event, a
//!   cancellation or a restart.
//! - M6. Between two events that are not external the machine yields when its reductions are used
//!   up. A machine that inserts an event for each one that it handles does not block its core, and
//!   can be killed.

mod driver;
mod functions;
mod step;

use core::future::Future;

use atropos_kernel::{Down, Exit, Reason};

use crate::server::{InitError, ServerCx, Start};

pub use driver::{Driver, MachineMessage};
pub use functions::{Functions, StateFn};
pub use step::{EnterActions, Event, Transition};

/// The context of a callback: the machine's view of its process.
pub type MachineCx<'a, M> = ServerCx<'a, Driver<M>>;

/// A value that is a state machine: the callbacks of its process.
pub trait StateMachine: Sized + Send + 'static {
    /// The type of its states. A step to an equal state is no state change.
    type State: PartialEq + Send + Sync + 'static;

    /// The type of its events. An event that expects a reply carries a
    /// [`Reply`](atropos_kernel::Reply).
    type Message: Send + 'static;

    /// Initializes the machine; returns its first state.
    fn init(&mut self, cx: MachineCx<'_, Self>) -> impl Future<Output = Result<Self::State, InitError>> + Send;

    /// Handles an event in a state.
    fn handle(
        &mut self,
        state: &Self::State,
        happened: Event<Self>,
        cx: MachineCx<'_, Self>,
    ) -> impl Future<Output = Transition<Self>> + Send;

    /// Handles the entry into a state, from another state or from itself (for the first state, and
    /// when it is repeated).
    fn enter(
        &mut self,
        from: &Self::State,
        state: &Self::State,
        cx: MachineCx<'_, Self>,
    ) -> impl Future<Output = EnterActions<Self>> + Send {
        let _ = (from, state, cx);
        async { EnterActions::new() }
    }

    /// Cleans up before the machine exits, as for a server ([`crate::Server::terminate`]).
    fn terminate(
        &mut self,
        reason: &Reason,
        state: Option<&Self::State>,
        cx: MachineCx<'_, Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (reason, state, cx);
        async {}
    }

    /// Returns a builder that starts the machine.
    fn start(self) -> Start<'static, Driver<Self>> {
        Start::new(Driver::new(self))
    }
}

/// A signal that a machine receives besides events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signal {
    /// The DOWN of a process that it monitors.
    Down(Down),
    /// An exit signal of a process that is not its parent.
    Exit(Exit),
}
