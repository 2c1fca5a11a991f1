//! One and many. `fan_in`: many senders share one mailbox. `fan_out`: one sender fills many.
//!
//! The mailboxes are unbounded. A sender that is faster than its receiver builds a queue, and the
//! figure includes the cost of the queue's memory.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, ensure};
use atropos::{BodyPoll, Cx, Pid, Reason, Received};

use super::stage::{Stage, does, takes, tell};
use super::tools::Left;
use super::{Ask, Outcome};

/// p producers send n messages in total to one consumer.
pub(super) fn fan_in(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let producers = ask.p(64);
    let (each, n) = ask.each(producers);
    let (done, end) = channel();
    let mut got = 0_u64;
    let consumer = stage.spawn(takes(move |_, _: u64| {
        got += 1;
        if got >= n {
            // A surplus message is reported as well.
            let _ = done.send((got, Instant::now()));
        }
        ControlFlow::Continue(())
    }))?;
    let mut waiting = Vec::new();
    for _ in 0..producers {
        let (mut left, mut goes) = (each, false);
        waiting.push(stage.spawn(does(move |cx: &Cx<'_, ()>| {
            goes |= cx.receive().is_some();
            if !goes {
                return BodyPoll::Wait;
            }
            while left > 0 {
                if cx.is_exhausted() {
                    return BodyPoll::Yield;
                }
                left -= 1;
                tell(cx, consumer, left);
            }
            BodyPoll::Exit(Reason::NORMAL)
        }))?);
    }
    stage.settled()?;
    let begun = Instant::now();
    for producer in waiting {
        stage.send(producer, ())?;
    }
    let (_, end_of_all) = stage.hear(&end)?;
    stage.settled()?;
    ensure!(end.try_recv().is_err(), "more messages arrived than were sent");
    Ok(Outcome::timed(n, end_of_all - begun))
}

/// One producer sends n messages in total to p consumers in turn.
pub(super) fn fan_out(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let count = ask.p(1000);
    let (each, n) = ask.each(count);
    let left = Arc::new(Left::new(count));
    let (done, end) = channel();
    let mut consumers: Vec<Pid> = Vec::new();
    for _ in 0..count {
        let (left, done, mut got) = (left.clone(), done.clone(), 0_u64);
        consumers.push(stage.spawn(takes(move |_, _: u64| {
            got += 1;
            if got == each && left.one_less() {
                let _ = done.send(Instant::now());
            }
            if got > each { ControlFlow::Break(Reason::crash("one too many")) } else { ControlFlow::Continue(()) }
        }))?);
    }
    let (mut sent, mut at, mut goes) = (0, 0, false);
    let producer = stage.spawn(does(move |cx: &Cx<'_, ()>| {
        goes |= matches!(cx.receive(), Some(Received::Message(())));
        if !goes {
            return BodyPoll::Wait;
        }
        while sent < n {
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
            tell(cx, consumers[at], sent);
            (sent, at) = (sent + 1, if at + 1 < consumers.len() { at + 1 } else { 0 });
        }
        BodyPoll::Exit(Reason::NORMAL)
    }))?;
    stage.settled()?;
    let begun = Instant::now();
    stage.send(producer, ())?;
    let end = stage.hear(&end)?;
    stage.settled()?;
    ensure!(left.get() == 0, "{} consumers have not received all messages", left.get());
    stage.expect_alive(count)?;
    Ok(Outcome::timed(n, end - begun))
}
