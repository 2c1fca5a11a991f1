//! DOWN messages. `down_fanout`: one death with many watchers. `down_collect`: many deaths with one
//! watcher.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, ensure};
use atropos::{BodyPoll, Cx, Pid, Reason, Received, Reference};

use super::stage::{Stage, does, takes, tell, waits};
use super::tools::Left;
use super::{Ask, Outcome};

/// n watchers monitor one process, which then dies.
pub(super) fn down_fanout(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let target = stage.spawn(waits())?;
    let (unarmed, left) = (Arc::new(Left::new(ask.n)), Arc::new(Left::new(ask.n)));
    let (done, end) = channel();
    for _ in 0..ask.n {
        let (unarmed, left, done) = (unarmed.clone(), left.clone(), done.clone());
        let mut monitor: Option<Reference> = None;
        stage.spawn(does(move |cx: &Cx<'_, ()>| {
            let Some(monitor) = monitor else {
                monitor = cx.monitor(target).ok();
                unarmed.one_less();
                return BodyPoll::Wait;
            };
            match cx.receive() {
                Some(Received::Down(down)) if down.reference == monitor && down.reason == Reason::KILLED => {
                    if left.one_less() {
                        let _ = done.send(Instant::now());
                    }
                    BodyPoll::Wait
                }
                None => BodyPoll::Wait,
                Some(_) => BodyPoll::Exit(Reason::crash("an unexpected message")),
            }
        }))?;
    }
    stage.settled()?;
    ensure!(unarmed.get() == 0, "{} processes have no monitor", unarmed.get());
    let begun = Instant::now();
    ensure!(stage.runtime().exit(target, Reason::KILL)?, "the target was dead");
    let end = stage.hear(&end)?;
    stage.settled()?;
    ensure!(left.get() == 0, "{} processes have no DOWN", left.get());
    stage.expect_alive(ask.n)?;
    Ok(Outcome::timed(ask.n, end - begun))
}

/// One watcher monitors n processes, which are then killed.
pub(super) fn down_collect(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let mut targets: Vec<Pid> = Vec::with_capacity(ask.count());
    for _ in 0..ask.n {
        targets.push(stage.spawn(waits())?);
    }
    let targets = Arc::new(targets);
    let (armed, ready) = channel();
    let (done, end) = channel();
    let (all, mut armed_for, mut got) = (targets.clone(), Vec::new(), Vec::with_capacity(ask.count()));
    stage.spawn(does(move |cx: &Cx<'_, ()>| {
        while let Some(target) = all.get(armed_for.len()) {
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
            armed_for.push(cx.monitor(*target).expect("memory for a monitor"));
            if armed_for.len() == all.len() {
                let _ = armed.send(());
            }
        }
        while !cx.is_exhausted() {
            match cx.receive() {
                Some(Received::Down(down)) if down.reason == Reason::KILLED => got.push(down.reference),
                Some(_) => return BodyPoll::Exit(Reason::crash("an unexpected message")),
                None => return BodyPoll::Wait,
            }
            if got.len() == all.len() {
                let end = Instant::now();
                let _ = done.send((end, std::mem::take(&mut armed_for), std::mem::take(&mut got)));
                return BodyPoll::Exit(Reason::NORMAL);
            }
        }
        BodyPoll::Yield
    }))?;
    stage.hear(&ready)?;
    stage.settled()?;
    let (kills, killed) = channel();
    let mut left = targets.len();
    let killer = stage.spawn(takes(move |cx: &Cx<'_, usize>, from: usize| {
        if from == 0 {
            let _ = kills.send(Instant::now());
        }
        // In batches, by messages to itself: the process yields between batches once its slice is
        // used up.
        let piece = &targets[from..(from + 64).min(targets.len())];
        for target in piece {
            cx.exit(*target, Reason::KILL).expect("a kill needs no memory");
        }
        left -= piece.len();
        if left == 0 {
            return ControlFlow::Break(Reason::NORMAL);
        }
        tell(cx, cx.pid(), from + piece.len());
        ControlFlow::Continue(())
    }))?;
    stage.send(killer, 0_usize)?;
    let begun = stage.hear(&killed)?;
    let (end, armed_for, got) = stage.hear(&end)?;
    let (distinct, wanted): (HashSet<_>, HashSet<_>) = (got.iter().collect(), armed_for.iter().collect());
    ensure!(got.len() as u64 == ask.n && distinct == wanted, "not one DOWN for each monitor");
    Ok(Outcome::timed(ask.n, end - begun))
}
