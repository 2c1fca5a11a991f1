//! [`Stage`]: the runtime of a workload, with one core for each requested thread, and the bodies of
//! its processes.
//!
//! A process reports its result through a channel to the host thread that waits for it, so no
//! thread polls during the timed part. Only the runtime knows when all dead processes are gone.
//! [`Stage::drained`] polls it with pauses, and so sees the end at most 0.1 ms late.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atropos::{Body, BodyPoll, Cx, Pid, Reason, Received, Runtime, SpawnOptions};

use super::Ask;

/// The limit of every wait. A longer wait means that a process of the workload has crashed.
const PATIENCE: Duration = Duration::from_secs(300);
/// The pause between two checks of the runtime.
const PAUSE: Duration = Duration::from_micros(20);

/// A runtime that runs one workload.
pub(super) struct Stage {
    runtime: Runtime,
    /// The number of processes outside the workload, which wait until the runtime ends.
    beside: u64,
}

impl Stage {
    pub(super) fn new(ask: &Ask) -> Result<Self> {
        let runtime = Runtime::builder().cores(ask.threads).build().context("no runtime")?;
        let stage = Self { runtime, beside: ask.beside };
        for _ in 0..ask.beside {
            stage.spawn(waits())?;
        }
        stage.settled()?;
        Ok(stage)
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns the number of live processes outside the workload.
    pub(super) fn beside(&self) -> u64 {
        self.beside
    }

    pub(super) fn spawn<B: Body>(&self, body: B) -> Result<Pid> {
        self.spawn_with(&SpawnOptions::new(), body)
    }

    pub(super) fn spawn_with<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Pid> {
        Ok(self.runtime.spawn_body(options, body).context("a process was not started")?.pid)
    }

    pub(super) fn send<M: Send + 'static>(&self, to: Pid, message: M) -> Result<()> {
        ensure!(self.runtime.send(to, message).is_ok(), "a process of the workload is gone");
        Ok(())
    }

    /// Waits for a process's report.
    pub(super) fn hear<T>(&self, said: &Receiver<T>) -> Result<T> {
        said.recv_timeout(PATIENCE).context("a process of the workload has not done what it should")
    }

    /// Waits until all processes wait: every spawned process has run, and its messages are handled.
    pub(super) fn settled(&self) -> Result<()> {
        wait_until("the processes have not come to rest", || self.runtime.is_quiescent()).map(|_| ())
    }

    /// Waits until at most `left` processes of the workload are alive, and returns the time when
    /// that was seen. The runtime's count is exact once its cores are idle, and never too low.
    pub(super) fn drained(&self, left: u64) -> Result<Instant> {
        let left = left + self.beside;
        wait_until("processes are left that should be dead", || self.runtime.process_count() as u64 <= left)
    }

    /// Checks the number of the workload's live processes, while all of them wait.
    pub(super) fn expect_alive(&self, expected: u64) -> Result<()> {
        let alive = (self.runtime.process_count() as u64).saturating_sub(self.beside);
        ensure!(alive == expected, "{alive} processes are alive, and {expected} should be");
        Ok(())
    }
}

fn wait_until(otherwise: &'static str, mut done: impl FnMut() -> bool) -> Result<Instant> {
    let start = Instant::now();
    while !done() {
        ensure!(start.elapsed() < PATIENCE, otherwise);
        std::thread::sleep(PAUSE);
    }
    Ok(Instant::now())
}

/// A body that calls a closure in each slice.
pub(super) struct Does<M, F> {
    does: F,
    takes: PhantomData<fn(M)>,
}

impl<M, F> Body for Does<M, F>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static,
{
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> BodyPoll {
        (self.does)(cx)
    }
}

/// Returns a process that calls this closure in each slice.
pub(super) fn does<M, F>(does: F) -> Does<M, F>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static,
{
    Does { does, takes: PhantomData }
}

/// Returns a process that calls this closure with every received message or signal, until it
/// breaks.
pub(super) fn handles<M, F>(mut handle: F) -> impl Body<Message = M>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>, Received<M>) -> ControlFlow<Reason> + Send + 'static,
{
    does(move |cx: &Cx<'_, M>| {
        while !cx.is_exhausted() {
            let Some(received) = cx.receive() else { return BodyPoll::Wait };
            if let ControlFlow::Break(reason) = handle(cx, received) {
                return BodyPoll::Exit(reason);
            }
        }
        BodyPoll::Yield
    })
}

/// Returns a process that calls this closure with each message, until it breaks. It expects no
/// signals.
pub(super) fn takes<M, F>(mut take: F) -> impl Body<Message = M>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>, M) -> ControlFlow<Reason> + Send + 'static,
{
    handles(move |cx, received| match received {
        Received::Message(message) => take(cx, message),
        _ => ControlFlow::Break(Reason::crash("an unexpected signal")),
    })
}

/// Returns a process that waits for ever.
pub(super) fn waits() -> impl Body<Message = ()> {
    does(|_| BodyPoll::Wait)
}

/// Sends a message to a live process.
pub(super) fn tell<M: Send + 'static, N: Send + 'static>(cx: &Cx<'_, M>, to: Pid, message: N) {
    assert!(cx.send(to, message).is_ok(), "the receiver of a message is gone");
}
