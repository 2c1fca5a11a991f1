//! Exit propagation. `cascade_chain`: one death passes from link to link. `cascade_star`: one death
//! ends all others at once.

use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, ensure};
use atropos::{Body, BodyPoll, Cx, Pid, Reason, SpawnOptions};

use super::stage::{Stage, does, waits};
use super::{Ask, Outcome};

/// A member of the chain: spawns the next one with a link, and waits.
struct Link {
    left: u64,
}

impl Body for Link {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        if self.left > 0 {
            let next = Self { left: self.left - 1 };
            cx.spawn(&SpawnOptions::new().link(), next).expect("memory for a process");
            self.left = 0;
        }
        BodyPoll::Wait
    }
}

/// Ends `first` and with it all linked processes: n, and `others` that are not counted.
fn end_all(stage: &Stage, first: Pid, n: u64, others: u64) -> Result<Outcome> {
    stage.settled()?;
    stage.expect_alive(n + others)?;
    let begun = Instant::now();
    ensure!(stage.runtime().exit(first, Reason::value("the end"))?, "the first process was dead");
    let end = stage.drained(0)?;
    ensure!(stage.runtime().processes().len() as u64 == stage.beside(), "some processes are not dead");
    Ok(Outcome::timed(n, end - begun))
}

/// n processes, each linked to the next.
pub(super) fn cascade_chain(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let first = stage.spawn(Link { left: ask.n - 1 })?;
    end_all(&stage, first, ask.n, 0)
}

/// n processes, linked to the one that spawned them.
pub(super) fn cascade_star(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let (done, started) = channel();
    let mut left = ask.n;
    let hub = stage.spawn(does(move |cx: &Cx<'_, ()>| {
        while left > 0 {
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
            cx.spawn(&SpawnOptions::new().link(), waits()).expect("memory for a process");
            left -= 1;
        }
        let _ = done.send(());
        BodyPoll::Wait
    }))?;
    stage.hear(&started)?;
    end_all(&stage, hub, ask.n, 1)
}
