//! Processes that take turns: two in `ping_pong`, a ring of many in `ring`, and all with all in
//! `big`.
//!
//! With one message in transit, at most one process is runnable. So `ping_pong` and `ring` measure
//! the path from a send to the receiver's next instruction. `big` has many messages in transit,
//! each to another process, and so measures caches as well.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, ensure};
use atropos::{Body, Cx, Pid, Reason};

use super::stage::{Stage, takes, tell};
use super::tools::Random;
use super::{Ask, Outcome};

/// Returns a process that sends a number back to its sender.
pub(super) fn ponger() -> impl Body<Message = (Pid, u64)> {
    takes(|cx, (from, number): (Pid, u64)| {
        tell(cx, from, number);
        ControlFlow::Continue(())
    })
}

/// n round trips of a number, one at a time.
pub(super) fn ping_pong(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let ponger = stage.spawn(ponger())?;
    let (done, end) = channel();
    let (n, mut begun) = (ask.n, None);
    let pinger = stage.spawn(takes(move |cx, number: u64| {
        // The first message is from the host thread, and starts the clock.
        let Some(begun) = begun else {
            begun = Some(Instant::now());
            tell(cx, ponger, (cx.pid(), 1_u64));
            return ControlFlow::Continue(());
        };
        if number < n {
            tell(cx, ponger, (cx.pid(), number + 1));
            return ControlFlow::Continue(());
        }
        let _ = done.send((number, begun.elapsed()));
        ControlFlow::Break(Reason::NORMAL)
    }))?;
    stage.settled()?;
    stage.send(pinger, 0_u64)?;
    let (round_trips, time) = stage.hear(&end)?;
    ensure!(round_trips == n, "{round_trips} round trips");
    Ok(Outcome::timed(n, time))
}

/// A message in the ring: the next process, which is known when the ring is closed, or the token
/// with its remaining hops.
enum Around {
    Next(Pid),
    Token(u64),
}

/// n hops of a token in a ring of p processes.
pub(super) fn ring(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let (done, end) = channel();
    let member = |next: Option<Pid>| {
        let (mut next, done) = (next, done.clone());
        takes(move |cx, around| {
            match (around, next) {
                (Around::Next(pid), _) => next = Some(pid),
                // The host thread waits for it.
                (Around::Token(1), _) => drop(done.send(Instant::now())),
                (Around::Token(left), Some(next)) => tell(cx, next, Around::Token(left - 1)),
                (Around::Token(_), None) => return ControlFlow::Break(Reason::crash("the ring is open")),
            }
            ControlFlow::Continue(())
        })
    };
    let first = stage.spawn(member(None))?;
    let mut last = first;
    for _ in 1..ask.p(1000) {
        last = stage.spawn(member(Some(last)))?;
    }
    stage.send(first, Around::Next(last))?;
    stage.settled()?;
    let begun = Instant::now();
    stage.send(first, Around::Token(ask.n))?;
    let end = stage.hear(&end)?;
    stage.settled()?;
    Ok(Outcome::timed(ask.n, end - begun))
}

/// The messages of `big`, between its processes and from the host thread.
enum Big {
    Go(Arc<Vec<Pid>>),
    Ping(Pid),
    Pong,
    Count,
}

/// A process of `big`.
struct Peer {
    own: u64,
    others: Arc<Vec<Pid>>,
    random: Random,
    to_do: u64,
    answered: u64,
}

impl Peer {
    fn ping(&mut self, cx: &Cx<'_, Big>) {
        self.to_do -= 1;
        let other = self.random.other(self.others.len() as u64, self.own);
        tell(cx, self.others[other as usize], Big::Ping(cx.pid()));
    }
}

/// p processes that ping others at random and wait for the pongs, n pings in total.
pub(super) fn big(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let count = ask.p(1000).max(2);
    let (each, n) = ask.each(count);
    let (done, ends) = channel();
    let (count_to, counts) = channel();
    let mut all = Vec::new();
    for own in 0..count {
        let (done, count_to) = (done.clone(), count_to.clone());
        let random = Random::new(own + 1);
        let mut peer = Peer { own, others: Arc::default(), random, to_do: each, answered: 0 };
        all.push(stage.spawn(takes(move |cx, message| {
            match message {
                Big::Ping(from) => {
                    peer.answered += 1;
                    tell(cx, from, Big::Pong);
                }
                Big::Pong if peer.to_do > 0 => peer.ping(cx),
                // The host thread waits for these.
                Big::Pong => drop(done.send(Instant::now())),
                Big::Count => drop(count_to.send(peer.answered)),
                Big::Go(others) => {
                    peer.others = others;
                    peer.ping(cx);
                }
            }
            ControlFlow::Continue(())
        }))?);
    }
    stage.settled()?;
    let all = Arc::new(all);
    let begun = Instant::now();
    for pid in all.iter() {
        stage.send(*pid, Big::Go(all.clone()))?;
    }
    let mut end = begun;
    for _ in 0..count {
        end = end.max(stage.hear(&ends)?);
    }
    let mut answered = 0;
    for pid in all.iter() {
        stage.send(*pid, Big::Count)?;
        answered += stage.hear(&counts)?;
    }
    ensure!(answered == n, "{answered} pings were answered");
    Ok(Outcome::timed(n, end - begun))
}
