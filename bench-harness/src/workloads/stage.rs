//! Where a workload plays: [`Stage`], a runtime with as many cores as threads are asked for, and what its processes are
//! made of.
//!
//! A process says what it has found over a channel to the thread that waits for it, so that nobody polls while something is
//! timed. That the dead are all gone only the runtime knows: [`Stage::drained`] asks it, with pauses, which end at most a
//! tenth of a millisecond late.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atropos::{Body, Cx, Pid, Reason, Received, Resumed, Runtime, SpawnOptions};

use super::Ask;

/// How long anything may take that is waited for: a process of the workload has crashed otherwise.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at the runtime.
const PAUSE: Duration = Duration::from_micros(20);

/// See the module.
pub(super) struct Stage {
    runtime: Runtime,
    /// Processes that are no part of the workload: they wait until the runtime ends.
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

    /// How many are alive that are no part of the workload.
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

    /// Waits for what a process has to say.
    pub(super) fn hear<T>(&self, said: &Receiver<T>) -> Result<T> {
        said.recv_timeout(PATIENCE).context("a process of the workload has not done what it should")
    }

    /// Waits until all processes wait: what was started is where it should be, and its messages are met.
    pub(super) fn settled(&self) -> Result<()> {
        wait_until("the processes have not come to rest", || self.runtime.is_quiescent()).map(|_| ())
    }

    /// Waits until so many processes of the workload are alive; when that was seen. The runtime's count is exact once its
    /// cores are idle, and never too low.
    pub(super) fn drained(&self, left: u64) -> Result<Instant> {
        let left = left + self.beside;
        wait_until("processes are left that should be dead", || self.runtime.process_count() as u64 <= left)
    }

    /// That so many processes of the workload are alive, now that all wait.
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

/// A body that is a closure, called for each slice.
pub(super) struct Does<M, F> {
    does: F,
    takes: PhantomData<fn(M)>,
}

impl<M, F> Body for Does<M, F>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static,
{
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> Resumed {
        (self.does)(cx)
    }
}

/// A process that does this in each slice.
pub(super) fn does<M, F>(does: F) -> Does<M, F>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static,
{
    Does { does, takes: PhantomData }
}

/// A process that does this with all that comes, until it breaks off.
pub(super) fn handles<M, F>(mut handle: F) -> impl Body<Message = M>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>, Received<M>) -> ControlFlow<Reason> + Send + 'static,
{
    does(move |cx: &Cx<'_, M>| {
        while !cx.is_exhausted() {
            let Some(received) = cx.receive() else { return Resumed::Wait };
            if let ControlFlow::Break(reason) = handle(cx, received) {
                return Resumed::Exit(reason);
            }
        }
        Resumed::Yield
    })
}

/// A process that does this with each message, until it breaks off. Nothing else comes to it.
pub(super) fn takes<M, F>(mut take: F) -> impl Body<Message = M>
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>, M) -> ControlFlow<Reason> + Send + 'static,
{
    handles(move |cx, received| match received {
        Received::Message(message) => take(cx, message),
        _ => ControlFlow::Break(Reason::crash("something else than a message")),
    })
}

/// A process that waits for ever.
pub(super) fn waits() -> impl Body<Message = ()> {
    does(|_| Resumed::Wait)
}

/// Sends a message to a process that is there.
pub(super) fn tell<M: Send + 'static, N: Send + 'static>(cx: &Cx<'_, M>, to: Pid, message: N) {
    assert!(cx.send(to, message).is_ok(), "the receiver of a message is gone");
}
