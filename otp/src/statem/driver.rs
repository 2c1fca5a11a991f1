//! The server that runs a state machine: [`Driver`].
//!
//! `queue` holds the events that are handled before the next receive (M1); `postponed` those that
//! wait for a state change (M2). A running timeout is a timer whose message names the clock and a
//! number. The number is compared when the message arrives, so a timeout that was cancelled or
//! restarted in the time between is ignored (M4). A zero timeout has no timer: it stays in `due`
//! until `queue` is empty, and is cancelled there as any other (M5).

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use atropos_kernel::{CatchDrop, Context, Down, Exit, Reason, Reference, Reply, SendError};

use super::step::{Event, StateChange, TimeoutAction, TimeoutKind, Transition};
use super::{MachineCx, Signal, StateMachine};
use crate::call::{CallError, DEFAULT_TIMEOUT};
use crate::server::{InitError, Next, Server, ServerCx, ServerRef};
use crate::wait::yield_if_exhausted;

/// The message type of a machine's process.
pub struct MachineMessage<M: StateMachine>(MessageContent<M>);

enum MessageContent<M: StateMachine> {
    Message(M::Message),
    Rings { clock: TimeoutKind, number: u64 },
    Began,
}

impl<M: StateMachine> MachineMessage<M> {
    /// Wraps an external event.
    pub fn event(event: M::Message) -> Self {
        Self(MessageContent::Message(event))
    }
}

impl<M: StateMachine> fmt::Debug for MachineMessage<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            MessageContent::Message(_) => f.write_str("Event"),
            MessageContent::Rings { clock, .. } => write!(f, "{clock:?}"),
            MessageContent::Began => f.write_str("Began"),
        }
    }
}

/// A running timeout.
struct Running {
    clock: TimeoutKind,
    number: u64,
    timer: Reference,
}

/// A state machine, as a server.
pub struct Driver<M: StateMachine> {
    machine: M,
    // The driver keeps these for the machine, so the panics of their destructors are caught, each
    // on its own: two that unwind together would abort the program.
    state: Option<CatchDrop<M::State>>,
    queue: VecDeque<CatchDrop<Event<M>>>,
    postponed: VecDeque<CatchDrop<Event<M>>>,
    clocks: Vec<Running>,
    /// Zero timeouts that were not handled yet, in the order in which they were started (M5).
    due: Vec<TimeoutKind>,
    numbers: u64,
}

impl<M: StateMachine> fmt::Debug for Driver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("queue", &self.queue).field("postponed", &self.postponed).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Driver<M> {
    pub(super) fn new(machine: M) -> Self {
        Self {
            machine,
            state: None,
            queue: VecDeque::new(),
            postponed: VecDeque::new(),
            clocks: Vec::new(),
            due: Vec::new(),
            numbers: 0,
        }
    }

    /// Returns the machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Returns the machine, mutably.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// Returns the current state; `None` before its `init` has returned.
    pub fn state(&self) -> Option<&M::State> {
        self.state.as_deref()
    }

    /// Handles an event, and all that must be handled before the next external event.
    async fn turn(&mut self, happened: Option<Event<M>>, cx: MachineCx<'_, M>) -> Next<MachineMessage<M>> {
        let mut next = happened;
        loop {
            let Some(happened) = next else { return Next::Wait };
            // M4: any event cancels the event timeout.
            self.cancel(TimeoutKind::Event, cx);
            let Some(state) = &self.state else { return Next::Wait };
            let step = self.machine.handle(state, happened, cx).await;
            if let Err(reason) = self.take(step, cx).await {
                return Next::Stop(reason);
            }
            next = self.pop();
            if next.is_some() {
                // No receive happens between two of these events.
                yield_if_exhausted(cx.context()).await;
            }
        }
    }

    /// Returns the next event that is handled before a receive.
    fn pop(&mut self) -> Option<Event<M>> {
        if let Some(happened) = self.queue.pop_front() {
            return Some(happened.into_inner());
        }
        // M5: zero timeouts come after all inserted and postponed events.
        if self.due.is_empty() { None } else { Some(rung(self.due.remove(0))) }
    }

    /// Applies the result of a callback; an error ends the machine.
    async fn take(&mut self, step: Transition<M>, cx: MachineCx<'_, M>) -> Result<(), Reason> {
        let Transition { to, postponed, next, clocks } = step;
        // Before anything is dropped, also the events of a step that stops.
        let (postponed, next): (Option<_>, Vec<_>) = cx.with(|cx| {
            let events = next.into_iter().map(|event| cx.catch_drop(Event::Internal(event)));
            (postponed.map(|event| cx.catch_drop(event)), events.collect())
        });
        self.postponed.extend(postponed);
        let changed = match to {
            StateChange::Stop(reason) => return Err(reason),
            StateChange::Keep => None,
            StateChange::Repeat => Some(None),
            StateChange::To(state) => {
                let state = cx.with(|cx| cx.catch_drop(state));
                if self.state.as_ref() == Some(&state) { None } else { Some(self.state.replace(state)) }
            }
        };
        if let Some(Some(_)) = &changed {
            self.cancel(TimeoutKind::State, cx);
            // M2: the postponed events come first, and before them the events that this step
            // inserts.
            while let Some(happened) = self.postponed.pop_back() {
                self.queue.push_front(happened);
            }
        }
        for event in next.into_iter().rev() {
            self.queue.push_front(event);
        }
        self.set_all(clocks, cx)?;
        match changed {
            Some(from) => self.enter(from, cx).await,
            None => Ok(()),
        }
    }

    /// Calls `enter` (M3). `None` means that the machine enters the state from itself.
    async fn enter(&mut self, from: Option<CatchDrop<M::State>>, cx: MachineCx<'_, M>) -> Result<(), Reason> {
        let Some(state) = &self.state else { return Ok(()) };
        let entered = self.machine.enter(from.as_ref().unwrap_or(state), state, cx).await;
        if let StateChange::Stop(reason) = entered.0.to {
            return Err(reason);
        }
        self.set_all(entered.0.clocks, cx)
    }

    fn set_all(&mut self, clocks: Vec<TimeoutAction>, cx: MachineCx<'_, M>) -> Result<(), Reason> {
        clocks.into_iter().try_for_each(|(clock, time)| self.set(clock, time, cx))
    }

    fn cancel(&mut self, clock: TimeoutKind, cx: MachineCx<'_, M>) {
        self.due.retain(|due| *due != clock);
        if let Some(place) = self.clocks.iter().position(|running| running.clock == clock) {
            cx.cancel_timer(self.clocks.swap_remove(place).timer);
        }
    }

    fn set(&mut self, clock: TimeoutKind, time: Option<Duration>, cx: MachineCx<'_, M>) -> Result<(), Reason> {
        self.cancel(clock, cx);
        match time {
            None => {}
            // M5: a zero timeout needs no timer.
            Some(Duration::ZERO) => self.due.push(clock),
            Some(time) => {
                self.numbers += 1;
                let number = self.numbers;
                let timer = cx.cast_after(time, MachineMessage(MessageContent::Rings { clock, number }));
                let timer = timer.map_err(|error| Reason::crash(alloc::format!("no timer: {error}")))?;
                self.clocks.push(Running { clock, number, timer });
            }
        }
        Ok(())
    }

    /// Handles a timer's message: returns the timeout, if it is still valid.
    fn rings(&mut self, clock: TimeoutKind, number: u64) -> Option<Event<M>> {
        let place = self.clocks.iter().position(|running| running.clock == clock && running.number == number)?;
        self.clocks.swap_remove(place);
        Some(rung(clock))
    }
}

fn rung<M: StateMachine>(clock: TimeoutKind) -> Event<M> {
    match clock {
        TimeoutKind::Event => Event::EventTimeout,
        TimeoutKind::State => Event::StateTimeout,
        TimeoutKind::Named(name) => Event::Timeout(name),
    }
}

impl<M: StateMachine> Server for Driver<M> {
    type Message = MachineMessage<M>;

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<MachineMessage<M>>, InitError> {
        let state = self.machine.init(cx).await?;
        self.state = Some(cx.with(|cx| cx.catch_drop(state)));
        self.enter(None, cx).await.map_err(InitError::Stop)?;
        Ok(Next::Continue(MachineMessage(MessageContent::Began)))
    }

    async fn handle(&mut self, note: MachineMessage<M>, cx: ServerCx<'_, Self>) -> Next<MachineMessage<M>> {
        let happened = match note.0 {
            MessageContent::Message(event) => Some(Event::Message(event)),
            MessageContent::Rings { clock, number } => self.rings(clock, number),
            // The events that `init` and the first `enter` have queued.
            MessageContent::Began => self.pop(),
        };
        self.turn(happened, cx).await
    }

    async fn down(&mut self, down: Down, cx: ServerCx<'_, Self>) -> Next<MachineMessage<M>> {
        self.turn(Some(Event::Signal(Signal::Down(down))), cx).await
    }

    async fn exit(&mut self, exit: Exit, cx: ServerCx<'_, Self>) -> Next<MachineMessage<M>> {
        self.turn(Some(Event::Signal(Signal::Exit(exit))), cx).await
    }

    async fn terminate(&mut self, reason: &Reason, cx: ServerCx<'_, Self>) {
        self.machine.terminate(reason, self.state.as_deref(), cx).await;
    }
}

/// The client side of a state machine.
impl<M: StateMachine> ServerRef<Driver<M>> {
    /// Sends an event without waiting for a reply.
    pub fn send<N: Send + 'static>(self, cx: &Context<N>, event: M::Message) -> Result<(), SendError<()>> {
        self.cast(cx, MachineMessage::event(event)).map_err(|error| error.without_message())
    }

    /// Sends an event that expects a reply, and waits for it up to 5 s.
    pub async fn ask<N, T>(self, cx: &Context<N>, make: impl FnOnce(Reply<T>) -> M::Message) -> Result<T, CallError>
    where
        N: Send + 'static,
        T: Send + 'static,
    {
        self.ask_within(cx, DEFAULT_TIMEOUT, make).await
    }

    /// Sends an event as [`ServerRef::ask`] does, and waits for this long; `None` waits without a
    /// limit.
    pub async fn ask_within<N, T>(
        self,
        cx: &Context<N>,
        within: impl Into<Option<Duration>>,
        make: impl FnOnce(Reply<T>) -> M::Message,
    ) -> Result<T, CallError>
    where
        N: Send + 'static,
        T: Send + 'static,
    {
        self.call_within(cx, within, |reply| MachineMessage::event(make(reply))).await
    }
}
