//! `timer_churn`: timers that are cancelled before they are due, as most timers are. `timer_fire`:
//! how late other timers fire.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos::{BodyPoll, Cx, Reason, Received};

use super::stage::{Stage, does};
use super::times::Times;
use super::tools::Random;
use super::{Ask, Outcome};

const FAR: Duration = Duration::from_secs(3600);
/// The delay before the first due time of `timer_fire`. All timers are started before it, and fall
/// due within one second after it.
const AHEAD: u64 = 500_000_000;
const SECOND: u64 = 1_000_000_000;

/// Starts and cancels a timer n times.
pub(super) fn timer_churn(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let (done, end) = channel();
    let (mut left, mut in_time, mut begun) = (ask.n, 0, None);
    stage.spawn(does(move |cx: &Cx<'_, u64>| {
        let begun = *begun.get_or_insert_with(Instant::now);
        while left > 0 {
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
            let timer = cx.send_after(cx.pid(), FAR, left).expect("memory for a timer");
            in_time += u64::from(cx.end_timer(timer));
            left -= 1;
        }
        let _ = done.send((in_time, cx.receive().is_none(), begun.elapsed()));
        BodyPoll::Exit(Reason::NORMAL)
    }))?;
    let (in_time, none_fired, time) = stage.hear(&end)?;
    ensure!(in_time == ask.n && none_fired, "{in_time} were cancelled in time");
    Ok(Outcome::timed(ask.n, time))
}

/// n timers with random due times within a second.
pub(super) fn timer_fire(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let (done, end) = channel();
    let (n, mut late, mut early) = (ask.n, Times::new(ask.n), 0_u64);
    let (mut to_start, mut random, mut begun) = (n, Random::new(42), None);
    stage.spawn(does(move |cx: &Cx<'_, u64>| {
        let begun = *begun.get_or_insert_with(|| cx.now());
        while to_start > 0 {
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
            let due = begun + AHEAD + random.below(SECOND);
            let after = Duration::from_nanos(due.saturating_sub(cx.now()));
            cx.send_after(cx.pid(), after, due).expect("memory for a timer");
            to_start -= 1;
        }
        while !cx.is_exhausted() {
            let Some(Received::Message(due)) = cx.receive() else { return BodyPoll::Wait };
            let now = cx.now();
            early += u64::from(now < due);
            late.note(now.saturating_sub(due));
            if late.len() == n {
                let time = Duration::from_nanos(now - begun);
                let _ = done.send((early, std::mem::take(&mut late), time));
                return BodyPoll::Exit(Reason::NORMAL);
            }
        }
        BodyPoll::Yield
    }))?;
    let (early, late, time) = stage.hear(&end)?;
    ensure!(early == 0, "{early} timers fired early");
    ensure!(late.len() == n, "{} timers fired", late.len());
    Ok(Outcome::timed(n, time).with(late.latencies()?).not_per_operation())
}
