//! Stopping children: one after the other in reverse order, or all dynamic ones together.
//!
//! A child is told (`shutdown`), has its time, is killed then, and its DOWN is waited for: the monitor that it has had from
//! birth, so nothing needs memory but the signal and the timer, and without memory for these it is killed at once.
//! A child that is killed and does not die keeps its core to itself; after a while it is reported and left behind,
//! so that it does not hang the rest. It dies as soon as it lets go.

use alloc::vec::Vec;
use core::time::Duration;

use atropos_kernel::{Cursor, Peek, Pid, Reason, Received, Reference};

use super::children::{Place, State};
use super::running::Running;
use super::spec::{Restart, Shutdown, Strategy};
use crate::report::Report;
use crate::wait::{Alarm, GRACE, Ring, breathe, end_of, first, pid_of, taken_end};

/// A child that has been told to stop, or could not be told.
struct Waited {
    pid: Pid,
    monitor: Reference,
    shutdown: Shutdown,
    told: bool,
}

impl Running {
    /// Stops a child, if it has a process. Afterwards it is down.
    pub(super) async fn stop(&mut self, place: Place) {
        if let Some(waited) = self.tell_and_look(place) {
            self.wait_for_end(place, waited).await;
        }
    }

    /// Tells a child to stop. Most sleep and die of it before this returns; who does not has to be waited for.
    fn tell_and_look(&mut self, place: Place) -> Option<Waited> {
        let child = self.children.get(place)?;
        let State::Up { pid, monitor, .. } = child.state else {
            self.set(place, State::Down);
            return None;
        };
        let shutdown = child.traits.shutdown();
        let reason = if shutdown == Shutdown::Brutal { Reason::KILL } else { Reason::SHUTDOWN };
        let told = self.cx.exit_at_once(pid, reason).is_ok();
        match taken_end(&self.cx, &mut Cursor::new(), pid, monitor) {
            None => Some(Waited { pid, monitor, shutdown, told }),
            ended => {
                self.stopped(place, pid, monitor, ended);
                None
            }
        }
    }

    /// Gives a child its time, and kills it then.
    async fn wait_for_end(&mut self, place: Place, Waited { pid, monitor, shutdown, told }: Waited) {
        let brutal = shutdown == Shutdown::Brutal;
        let mut ended = None;
        if told
            && !brutal
            && let Some(alarm) = self.patience(shutdown)
        {
            ended = end_of(&self.cx, pid, monitor, &alarm).await;
        }
        if ended.is_none() {
            if !brutal {
                // A kill needs no memory.
                let _ = self.cx.exit(pid, Reason::KILL);
            }
            let alarm = Alarm::start(&self.cx, Some(GRACE)).unwrap_or_else(|_| Alarm::never(&self.cx));
            ended = end_of(&self.cx, pid, monitor, &alarm).await;
        }
        self.stopped(place, pid, monitor, ended);
    }

    /// Tells it, unless it is to be killed or there is no memory to tell it.
    fn tell_to_stop(&self, pid: Pid, shutdown: Shutdown) -> bool {
        shutdown != Shutdown::Brutal && self.cx.exit(pid, Reason::SHUTDOWN).is_ok()
    }

    /// How long it has; `None` when there is no room for a timer.
    fn patience(&self, shutdown: Shutdown) -> Option<Alarm<'_, super::requests::Request>> {
        let time = match shutdown {
            Shutdown::Brutal => Some(Duration::ZERO),
            Shutdown::Within(time) => Some(time),
            Shutdown::Infinity => None,
        };
        Alarm::start(&self.cx, time).ok()
    }

    /// A child has ended with this reason; without one, it has not, and is left behind.
    fn stopped(&mut self, place: Place, pid: Pid, monitor: Reference, ended: Option<Reason>) {
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
                let ordinary = reason.is_ordinary() && child.traits.restart != Restart::Permanent;
                if !expected && !ordinary {
                    let tell = |supervisor, child| Report::ShutdownError { supervisor, child, reason };
                    self.tell(place, Some(pid), tell);
                }
            }
        }
        self.set(place, State::Down);
    }

    /// Stops the children from `first` on, the last one first. Temporary ones are forgotten.
    pub(super) async fn stop_from(&mut self, first: Place) {
        let mut next = self.children.last();
        while let Some(place) = next {
            next = self.children.before(place).filter(|_| place != first);
            if let Some(waited) = self.tell_and_look(place) {
                self.wait_for_end(place, waited).await;
            }
            if self.children.get(place).is_some_and(|child| child.is_temporary()) {
                self.remove(place);
            }
            if self.cx.with(|cx| cx.is_exhausted()) {
                self.cx.yield_now().await;
            }
        }
    }

    /// Stops all.
    pub(super) async fn stop_all(&mut self) {
        if self.strategy == Strategy::Dynamic {
            return self.stop_together().await;
        }
        if let Some(first) = self.children.first() {
            self.stop_from(first).await;
        }
    }

    /// Tells all dynamic children, and waits for all under one timer.
    async fn stop_together(&mut self) {
        let Some(shutdown) = self.template.as_ref().map(|template| template.traits.shutdown()) else { return };
        let mut next = self.children.first();
        while let Some(place) = next {
            if let Some(pid) = self.children.get(place).and_then(|child| child.pid())
                && !self.tell_to_stop(pid, shutdown)
            {
                let _ = self.cx.exit(pid, Reason::KILL);
            }
            next = self.children.after(place);
            breathe(&self.cx).await;
        }
        let time = match shutdown {
            Shutdown::Within(time) => Some(time),
            Shutdown::Infinity => None,
            Shutdown::Brutal => Some(GRACE),
        };
        self.await_all(time).await;
        if self.children.up() > 0 {
            self.kill_all();
            self.await_all(Some(GRACE)).await;
        }
        let left: Vec<Place> =
            self.children.iter().filter(|(_, child)| child.pid().is_some()).map(|(p, _)| p).collect();
        for place in left {
            if let Some(State::Up { pid, monitor, .. }) = self.children.get(place).map(|child| child.state) {
                self.stopped(place, pid, monitor, None);
            }
        }
    }

    fn kill_all(&self) {
        for pid in self.children.iter().filter_map(|(_, child)| child.pid()) {
            // A kill needs no memory.
            let _ = self.cx.exit(pid, Reason::KILL);
        }
    }

    /// Waits until no child is up, or the time is over; without room for a timer it is over at once.
    async fn await_all(&mut self, time: Option<Duration>) {
        let Ok(ring) = Ring::start(&self.cx, time) else { return };
        while self.children.up() > 0 {
            let processes = self.children.processes();
            let signal = first(&self.cx, ring, |peek| match peek {
                Peek::Exit(exit) => exit.from.is_some_and(|from| processes.contains_key(&from)),
                Peek::Down(down) => pid_of(&down.object).is_some_and(|pid| processes.contains_key(&pid)),
                _ => false,
            });
            match signal.await {
                None => break,
                Some(Received::Down(down)) => {
                    if let Some(pid) = pid_of(&down.object)
                        && let Some(place) = self.children.by_pid(pid)
                    {
                        self.stopped(place, pid, down.reference, Some(down.reason));
                        self.remove(place);
                    }
                }
                Some(_) => {}
            }
            breathe(&self.cx).await;
        }
        ring.cancel(&self.cx);
    }
}
