//! The stop of children: one after the other in reverse order, or all dynamic children together.
//!
//! The supervisor sends a child `shutdown`, gives it its shutdown time, then kills it, and waits
//! for its DOWN. The monitor exists since the child was spawned, so only the signal and the timer
//! need memory; without memory for these the child is killed at once. A child that is killed and
//! does not die occupies its core. After [`KILL_TIMEOUT`] it is reported and left behind, so that
//! it does not hang the rest. It dies as soon as its body yields.
//!
//! - **T1, no code of a child runs here.** The supervisor sends the signal and waits. What a child
//!   does on `shutdown`, and what its destructors do, happens in slices of the child
//!   (`Cx::exit_inline`). Whatever a child does, its shutdown time therefore runs, and `Stuck` is
//!   reported [`KILL_TIMEOUT`] after the kill.
//! - **T2, each signal is scanned once.** A stop has one [`Cursor`] for all its children. It marks
//!   them first (`Ending`), and takes the DOWN of any of them on each scan; a DOWN that arrives
//!   before the child's turn is stored with the child. The time of a supervisor's shutdown is
//!   therefore proportional to its children plus its mailbox, also if all children are dead before
//!   it begins.
//! - **T3, other signals stay in the mailbox.** This includes the DOWNs of children that are not
//!   being stopped (`wait`).

use core::task::{Context as TaskContext, Poll};
use core::time::Duration;

use atropos_kernel::{Context, Cursor, Peek, Pid, Reason, Received, Reference};

use super::children::{ChildKey, Children, Ending, State};
use super::protocol::Request;
use super::state::SupervisorState;
use crate::report::Report;
use crate::spec::{Restart, Shutdown, Strategy};
use crate::wait::{KILL_TIMEOUT, TimeoutFired, pid_of, poll_search, yield_if_exhausted};

/// A child that was sent its exit signal, or could not be.
struct StopOutcome {
    pid: Pid,
    monitor: Reference,
    shutdown: Shutdown,
    told: bool,
}

impl SupervisorState {
    /// Stops a child if it has a process. Afterwards it is down.
    pub(super) async fn stop(&mut self, place: ChildKey) {
        let Some(pid) = self.children.get(place).and_then(|child| child.pid()) else {
            return self.set(place, State::Down);
        };
        let mut cursor = self.cursor_for(pid);
        self.await_end(place);
        self.stop_marked(place, &mut cursor).await;
    }

    /// Returns a cursor before the DOWN of a child's process; the end of the mailbox if the process
    /// is alive.
    fn cursor_for(&self, pid: Pid) -> Cursor {
        let end = self.cx.cursor_at_end();
        if self.cx.is_gone(pid) { Cursor::new() } else { end }
    }

    /// Marks a child: the stop in progress takes its DOWN.
    fn await_end(&mut self, place: ChildKey) {
        if let Some(child) = self.children.get_mut(place) {
            child.ending = Ending::Awaited;
        }
    }

    /// Stops a child that is marked.
    async fn stop_marked(&mut self, place: ChildKey, cursor: &mut Cursor) {
        if let Some(waited) = self.tell_and_look(place, cursor).await {
            self.wait_for_end(place, waited, cursor).await;
        }
    }

    /// Sends a child its exit signal and scans for its DOWN. Most children sleep, and many of those
    /// are dead before this returns; for any other child the caller must wait.
    async fn tell_and_look(&mut self, place: ChildKey, cursor: &mut Cursor) -> Option<StopOutcome> {
        let child = self.children.get(place)?;
        let State::Up { pid, monitor, .. } = child.state else {
            self.set(place, State::Down);
            return None;
        };
        let shutdown = child.traits.shutdown();
        let mut ended = self.children.take_end(place);
        let mut told = true;
        if ended.is_none() {
            let reason = if shutdown == Shutdown::Brutal { Reason::KILL } else { Reason::SHUTDOWN };
            told = self.cx.exit_inline(pid, reason).is_ok();
            let Self { cx, children, .. } = self;
            ended = end_of_child(cx, children, place, cursor, TimeoutFired::Already).await;
        }
        if ended.is_none() {
            return Some(StopOutcome { pid, monitor, shutdown, told });
        }
        self.stopped(place, pid, monitor, ended);
        None
    }

    /// Gives a child its shutdown time, then kills it.
    async fn wait_for_end(&mut self, place: ChildKey, waited: StopOutcome, cursor: &mut Cursor) {
        let StopOutcome { pid, monitor, shutdown, told } = waited;
        let Self { cx, children, .. } = &mut *self;
        let mut ended = None;
        if told
            && shutdown != Shutdown::Brutal
            && let Ok(ring) = TimeoutFired::start(cx, time_of(shutdown))
        {
            ended = end_of_child(cx, children, place, cursor, ring).await;
            ring.cancel(cx);
        }
        if ended.is_none() {
            if shutdown != Shutdown::Brutal {
                // A kill needs no memory.
                let _ = cx.exit(pid, Reason::KILL);
            }
            // Without memory for a timer the wait has no limit.
            let ring = TimeoutFired::start(cx, Some(KILL_TIMEOUT)).unwrap_or(TimeoutFired::Never);
            ended = end_of_child(cx, children, place, cursor, ring).await;
            ring.cancel(cx);
        }
        self.stopped(place, pid, monitor, ended);
    }

    /// Handles a child that has exited with this reason; without a reason it has not, and is left
    /// behind.
    fn stopped(&mut self, place: ChildKey, pid: Pid, monitor: Reference, ended: Option<Reason>) {
        let Some(child) = self.children.get(place) else { return };
        match ended {
            None => {
                self.tell(place, Some(pid), |supervisor, child| Report::Stuck { supervisor, child });
                self.cx.demonitor(monitor, true);
                self.cx.unlink(pid);
            }
            Some(reason) => {
                let expected = match child.traits.shutdown() {
                    Shutdown::Brutal => reason == Reason::KILLED,
                    _ => reason == Reason::SHUTDOWN,
                };
                let ordinary = reason.is_orderly() && child.traits.restart != Restart::Permanent;
                if !expected && !ordinary {
                    let tell = |supervisor, child| Report::ShutdownError { supervisor, child, reason };
                    self.tell(place, Some(pid), tell);
                }
            }
        }
        self.set(place, State::Down);
    }

    /// Stops the children from `first` on, the last one first. Temporary ones are deleted.
    pub(super) async fn stop_from(&mut self, first: ChildKey) {
        let mut next = self.children.last();
        while let Some(place) = next {
            next = self.children.before(place).filter(|_| place != first);
            self.await_end(place);
            yield_if_exhausted(&self.cx).await;
        }
        let mut cursor = Cursor::new();
        let mut next = self.children.last();
        while let Some(place) = next {
            next = self.children.before(place).filter(|_| place != first);
            self.stop_marked(place, &mut cursor).await;
            if self.children.get(place).is_some_and(|child| child.is_temporary()) {
                self.remove(place);
            }
            yield_if_exhausted(&self.cx).await;
        }
    }

    /// Stops all children.
    pub(super) async fn stop_all(&mut self) {
        if self.strategy == Strategy::Dynamic {
            return self.stop_together().await;
        }
        if let Some(first) = self.children.first() {
            self.stop_from(first).await;
        }
    }

    /// Sends all dynamic children their exit signal, and waits for all under one timer.
    async fn stop_together(&mut self) {
        let Some(shutdown) = self.template.as_ref().map(|template| template.traits.shutdown()) else { return };
        let brutal = shutdown == Shutdown::Brutal;
        let mut next = self.children.first();
        while let Some(place) = next {
            if let Some(pid) = self.children.get(place).and_then(|child| child.pid()) {
                self.await_end(place);
                if brutal || self.cx.exit(pid, Reason::SHUTDOWN).is_err() {
                    // A kill needs no memory.
                    let _ = self.cx.exit(pid, Reason::KILL);
                }
            }
            next = self.children.after(place);
            yield_if_exhausted(&self.cx).await;
        }
        let mut cursor = Cursor::new();
        if !brutal {
            self.await_all(&mut cursor, Some(shutdown)).await;
        }
        if self.children.up() > 0 {
            if !brutal {
                self.kill_all().await;
            }
            self.await_all(&mut cursor, None).await;
        }
        let mut next = self.children.first();
        while let Some(place) = next {
            next = self.children.after(place);
            if let Some(State::Up { pid, monitor, .. }) = self.children.get(place).map(|child| child.state) {
                self.stopped(place, pid, monitor, None);
            }
            yield_if_exhausted(&self.cx).await;
        }
    }

    async fn kill_all(&mut self) {
        let mut next = self.children.first();
        while let Some(place) = next {
            if let Some(pid) = self.children.get(place).and_then(|child| child.pid()) {
                // A kill needs no memory.
                let _ = self.cx.exit(pid, Reason::KILL);
            }
            next = self.children.after(place);
            yield_if_exhausted(&self.cx).await;
        }
    }

    /// Waits until no child is up or their shutdown time is over; without `shutdown`, for
    /// [`KILL_TIMEOUT`] after the kill.
    async fn await_all(&mut self, cursor: &mut Cursor, shutdown: Option<Shutdown>) {
        let ring = match shutdown {
            Some(shutdown) => TimeoutFired::start(&self.cx, time_of(shutdown)),
            None => TimeoutFired::start(&self.cx, Some(KILL_TIMEOUT)).or(Ok(TimeoutFired::Never)),
        };
        // Without memory for a timer there is no shutdown time.
        let Ok(ring) = ring else { return };
        while self.children.up() > 0 {
            let Self { cx, children, .. } = &mut *self;
            let Some(place) = look_until(cx, children, cursor, ring).await else { break };
            let reason = self.children.take_end(place);
            if let Some(State::Up { pid, monitor, .. }) = self.children.get(place).map(|child| child.state) {
                self.stopped(place, pid, monitor, reason);
                self.remove(place);
            }
            yield_if_exhausted(&self.cx).await;
        }
        ring.cancel(&self.cx);
    }
}

/// Returns the shutdown time of a child.
fn time_of(shutdown: Shutdown) -> Option<Duration> {
    match shutdown {
        Shutdown::Brutal => Some(Duration::ZERO),
        Shutdown::Within(time) => Some(time),
        Shutdown::Infinity => None,
    }
}

/// Takes the next DOWN of a child that is marked, and stores it with the child; ready with `None`
/// if none has arrived (T2). Drops the EXIT of a marked child.
fn poll_look(
    cx: &Context<Request>,
    task: &mut TaskContext<'_>,
    children: &mut Children,
    cursor: &mut Cursor,
) -> Poll<Option<ChildKey>> {
    loop {
        let of_one = |peek: Peek<'_, Request>| match peek {
            Peek::Exit(exit) => exit.from.is_some_and(|from| children.awaited(from, None).is_some()),
            Peek::Down(down) => {
                pid_of(&down.target).is_some_and(|pid| children.awaited(pid, Some(down.reference)).is_some())
            }
            _ => false,
        };
        match poll_search(cx, task, cursor, of_one) {
            Poll::Ready(Some(Received::Down(down))) => {
                if let Some(place) = pid_of(&down.target).and_then(|pid| children.ended(pid, down.reason)) {
                    return Poll::Ready(Some(place));
                }
            }
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Waits for the next marked child that has exited; returns `None` if the timeout fires first. For
/// the supervisor's own body, which mail and timeouts resume.
async fn look_until(
    cx: &Context<Request>,
    children: &mut Children,
    cursor: &mut Cursor,
    ring: TimeoutFired,
) -> Option<ChildKey> {
    core::future::poll_fn(|task| match poll_look(cx, task, children, cursor) {
        Poll::Ready(None) if !ring.has_fired(cx) => Poll::Pending,
        poll => poll,
    })
    .await
}

/// Waits for the exit reason of a marked child; returns `None` if the timeout fires first.
async fn end_of_child(
    cx: &Context<Request>,
    children: &mut Children,
    place: ChildKey,
    cursor: &mut Cursor,
    ring: TimeoutFired,
) -> Option<Reason> {
    while let Some(ended) = look_until(cx, children, cursor, ring).await {
        if ended == place {
            return children.take_end(place);
        }
        yield_if_exhausted(cx).await;
    }
    None
}
