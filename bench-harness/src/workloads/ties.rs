//! `monitor_churn` and `link_churn`: a process sets up and removes a monitor or link to a live,
//! waiting process, again and again.

use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use atropos::{BodyPoll, Cx, Pid, Reason};

use super::stage::{Stage, does, waits};
use super::{Ask, Outcome};

/// Runs `tie` n times, which sets up and removes a monitor or link and returns `true` if both
/// worked.
fn churn(ask: &Ask, tie: fn(&Cx<'_, ()>, Pid) -> bool) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let target = stage.spawn(waits())?;
    stage.settled()?;
    let (done, end) = channel();
    let (mut left, mut good, mut begun) = (ask.n, 0, None);
    stage.spawn(does(move |cx: &Cx<'_, ()>| {
        let begun = *begun.get_or_insert_with(Instant::now);
        while left > 0 {
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
            left -= 1;
            good += u64::from(tie(cx, target));
        }
        let _ = done.send((good, begun.elapsed()));
        BodyPoll::Exit(Reason::NORMAL)
    }))?;
    let (good, time) = stage.hear(&end)?;
    ensure!(good == ask.n, "{good} were set up and removed");
    let info = stage.runtime().process_info_blocking(target)?.context("the target is dead")?;
    ensure!(info.links.is_empty() && info.monitored_by.is_empty(), "links or monitors are left: {info:?}");
    Ok(Outcome::timed(ask.n, time))
}

/// Monitor and demonitor.
pub(super) fn monitor_churn(ask: &Ask) -> Result<Outcome> {
    churn(ask, |cx, target| cx.monitor(target).is_ok_and(|monitor| cx.demonitor(monitor, true)))
}

/// Link and unlink.
pub(super) fn link_churn(ask: &Ask) -> Result<Outcome> {
    churn(ask, |cx, target| {
        let linked = cx.link(target).is_ok();
        cx.unlink(target);
        linked
    })
}
