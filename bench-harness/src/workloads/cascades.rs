//! Deaths that are shared: `cascade_chain`, where one death passes from link to link, and `cascade_star`, where one takes
//! all with it.

use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, ensure};
use atropos::{Body, Cx, Pid, Reason, Resumed, SpawnOptions};

use super::stage::{Stage, does, waits};
use super::{Ask, Outcome};

/// A link of the chain: starts the next, linked, and waits.
struct Link {
    left: u64,
}

impl Body for Link {
    type Message = ();

    fn resume(&mut self, cx: &Cx<'_, ()>) -> Resumed {
        if self.left > 0 {
            let next = Self { left: self.left - 1 };
            cx.spawn(&SpawnOptions::new().link(), next).expect("there is room for a link");
            self.left = 0;
        }
        Resumed::Wait
    }
}

/// `first` ends, and with it all that hang on it: n processes, and `others` that are not counted.
fn end_all(stage: &Stage, first: Pid, n: u64, others: u64) -> Result<Outcome> {
    stage.settled()?;
    stage.expect_alive(n + others)?;
    let begun = Instant::now();
    ensure!(stage.runtime().exit(first, Reason::value("the end"))?, "the first was dead");
    let end = stage.drained(0)?;
    ensure!(stage.runtime().processes().len() as u64 == stage.beside(), "some are not dead");
    Ok(Outcome::timed(n, end - begun))
}

/// n processes, each linked to the next.
pub(super) fn cascade_chain(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let first = stage.spawn(Link { left: ask.n - 1 })?;
    end_all(&stage, first, ask.n, 0)
}

/// n processes, linked to one. That one has started them.
pub(super) fn cascade_star(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let (done, started) = channel();
    let mut left = ask.n;
    let hub = stage.spawn(does(move |cx: &Cx<'_, ()>| {
        while left > 0 {
            if cx.is_exhausted() {
                return Resumed::Yield;
            }
            cx.spawn(&SpawnOptions::new().link(), waits()).expect("there is room for one");
            left -= 1;
        }
        let _ = done.send(());
        Resumed::Wait
    }))?;
    stage.hear(&started)?;
    end_all(&stage, hub, ask.n, 1)
}
