//! Short-lived processes: `spawn`, `skynet`. And the memory of a process that stays: `idle_memory`.
//!
//! A process that spawns many others yields when its slice is used up, as any cooperative process
//! does. Its children run and end in between.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos::{Body, BodyPoll, Cx, Pid, Reason, Received, SpawnOptions};

use super::stage::{Stage, does, takes, tell};
use super::tools::{Left, resident, touched};
use super::{Ask, Outcome};

/// One process spawns n children. Each decrements a shared counter and ends.
pub(super) fn spawn(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let left = Arc::new(Left::new(ask.n));
    let (started, start) = channel();
    let (mut to_start, counter) = (ask.n, left.clone());
    let mut begun = None;
    stage.spawn(does(move |cx: &Cx<'_, ()>| {
        let begun = *begun.get_or_insert_with(Instant::now);
        while to_start > 0 {
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
            let left = counter.clone();
            let child = does(move |_: &Cx<'_, ()>| {
                left.one_less();
                BodyPoll::Exit(Reason::NORMAL)
            });
            cx.spawn(&SpawnOptions::new(), child).expect("memory for a child");
            to_start -= 1;
        }
        // The host thread waits for the children.
        let _ = started.send(begun);
        BodyPoll::Exit(Reason::NORMAL)
    }))?;
    let begun = stage.hear(&start)?;
    let end = stage.drained(0)?;
    ensure!(left.get() == 0, "{} children have not run", left.get());
    Ok(Outcome::timed(ask.n, end - begun))
}

/// n processes that wait for a message.
pub(super) fn idle_memory(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let left = Arc::new(Left::new(ask.n));
    let mut waiting: Vec<Option<Pid>> = touched(ask.count());
    stage.settled()?;
    let before = resident()?;
    for slot in &mut waiting {
        let left = left.clone();
        *slot = Some(stage.spawn(takes(move |_, _: u64| {
            left.one_less();
            ControlFlow::Break(Reason::NORMAL)
        }))?);
    }
    stage.settled()?;
    let after = resident()?;
    stage.expect_alive(ask.n)?;
    for pid in waiting.into_iter().flatten() {
        stage.send(pid, 1_u64)?;
    }
    stage.drained(0)?;
    ensure!(left.get() == 0, "{} processes did not get their message", left.get());
    Ok(Outcome::bytes(ask.n, after.saturating_sub(before) as f64 / ask.n as f64))
}

/// The receiver of a node's sum.
#[derive(Clone)]
enum Above {
    Node(Pid),
    Root(Sender<(u64, Instant)>),
}

/// A node of the tree: the number of its first leaf, and the number of leaves below it.
struct Node {
    above: Above,
    first: u64,
    leaves: u64,
    /// The number of children that have not reported; `None` before they are spawned.
    open: Option<u32>,
    sum: u64,
}

impl Node {
    fn new(above: Above, first: u64, leaves: u64) -> Self {
        Self { above, first, leaves, open: None, sum: 0 }
    }

    fn report(&self, cx: &Cx<'_, u64>, sum: u64) -> BodyPoll {
        match &self.above {
            Above::Node(parent) => tell(cx, *parent, sum),
            // The host thread waits for it.
            Above::Root(host) => drop(host.send((sum, Instant::now()))),
        }
        BodyPoll::Exit(Reason::NORMAL)
    }
}

impl Body for Node {
    type Message = u64;

    fn resume(&mut self, cx: &Cx<'_, u64>) -> BodyPoll {
        if self.leaves == 1 {
            return self.report(cx, self.first);
        }
        if self.open.is_none() {
            let below = self.leaves / 10;
            for child in 0..10 {
                let node = Self::new(Above::Node(cx.pid()), self.first + child * below, below);
                cx.spawn(&SpawnOptions::new(), node).expect("memory for a node");
            }
            self.open = Some(10);
        }
        while let Some(Received::Message(sum)) = cx.receive() {
            self.sum += sum;
            self.open = self.open.map(|open| open - 1);
            if self.open == Some(0) {
                return self.report(cx, self.sum);
            }
        }
        BodyPoll::Wait
    }
}

/// A tree of processes ten wide with n leaves (a power of ten), which sums the leaves' numbers.
pub(super) fn skynet(ask: &Ask) -> Result<Outcome> {
    let leaves = 10_u64.pow(ask.n.ilog10());
    let stage = Stage::new(ask)?;
    let (report, reported) = channel();
    let begun = Instant::now();
    stage.spawn(Node::new(Above::Root(report), 0, leaves))?;
    let (sum, end) = stage.hear(&reported)?;
    ensure!(sum == leaves * (leaves - 1) / 2, "the sum is {sum}");
    let time: Duration = end - begun;
    stage.drained(0)?;
    Ok(Outcome::timed(leaves, time))
}
