//! `hog_latency`: the latency of other processes when every core has a process that never waits.

use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos::{Body, Reason, SpawnOptions};

use super::stage::{Stage, takes, tell};
use super::talks::ponger;
use super::times::Times;
use super::{Ask, Outcome};

/// A process that keeps sending to itself.
fn hog() -> impl Body<Message = u64> {
    takes(|cx, turn: u64| {
        tell(cx, cx.pid(), turn + 1);
        ControlFlow::Continue(())
    })
}

/// n round trips of two processes, with a hog on every core.
pub(super) fn hog_latency(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let mut hogs = Vec::new();
    for core in 0..ask.threads {
        let hog = stage.spawn_with(&SpawnOptions::new().core(core), hog())?;
        stage.send(hog, 0_u64)?;
        hogs.push(hog);
    }
    let ponger = stage.spawn(ponger())?;
    let (done, end) = channel();
    let (n, mut times, mut begun) = (ask.n, Times::new(ask.n), None);
    let mut sent = Instant::now();
    let pinger = stage.spawn(takes(move |cx, number: u64| {
        // The first message is from the host thread, and starts the clock.
        let start = *begun.get_or_insert_with(Instant::now);
        if number > 0 {
            times.note(sent.elapsed().as_nanos() as u64);
        }
        if number == n {
            let _ = done.send((start.elapsed(), std::mem::take(&mut times)));
            return ControlFlow::Break(Reason::NORMAL);
        }
        sent = Instant::now();
        tell(cx, ponger, (cx.pid(), number + 1));
        ControlFlow::Continue(())
    }))?;
    // A pause, so that all hogs are running.
    std::thread::sleep(Duration::from_millis(50));
    stage.send(pinger, 0_u64)?;
    let (time, times) = stage.hear(&end)?;
    ensure!(times.len() == n, "{} round trips", times.len());
    for hog in hogs {
        ensure!(stage.runtime().exit(hog, Reason::KILL)?, "a hog was dead");
    }
    Ok(Outcome::timed(n, time).with(times.latencies()?))
}
