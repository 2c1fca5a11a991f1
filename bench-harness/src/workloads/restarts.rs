//! `restart_one` and `restart_all`: a supervisor's child is killed each time that all children run.

use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Result, ensure};
use atropos::otp::{ChildSpec, ChildStarter, Intensity, Supervisor};
use atropos::{Context, Pid, Reason, SpawnOptions};

use super::stage::{Stage, does, takes, tell};
use super::{Ask, Outcome};

/// A child's report: its number, and its pid.
type Up = (u64, Pid);

/// Returns the specification of a child that reports to the driver when it runs, and waits.
fn child(number: u64, driver: Pid) -> ChildSpec {
    ChildSpec::worker(number.to_string(), move |starter: &mut ChildStarter<'_>| {
        let mut told = false;
        let body = does(move |cx: &atropos::Cx<'_, ()>| {
            if !std::mem::replace(&mut told, true) {
                tell::<_, Up>(cx, driver, (number, cx.pid()));
            }
            atropos::BodyPoll::Wait
        });
        starter.spawn_body(&SpawnOptions::new(), body)
    })
}

/// n restarts of a supervisor's `children`.
fn restart(ask: &Ask, supervisor: Supervisor, children: u64) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let (done, end) = channel();
    let (n, mut restarts, mut begun) = (ask.n, 0, None);
    let (mut up, mut missing, mut victim) = (vec![false; children as usize], children, None);
    let driver = stage.spawn(takes(move |cx, (number, pid): Up| {
        if std::mem::replace(&mut up[number as usize], true) {
            return ControlFlow::Break(Reason::crash("a child was started twice in a group"));
        }
        if number == 0 {
            victim = Some(pid);
        }
        missing -= 1;
        if missing > 0 {
            return ControlFlow::Continue(());
        }
        let begun = *begun.get_or_insert_with(Instant::now);
        if restarts == n {
            let _ = done.send((restarts, begun.elapsed()));
            return ControlFlow::Continue(());
        }
        restarts += 1;
        up.fill(false);
        missing = children;
        if let Some(victim) = victim.take() {
            cx.exit(victim, Reason::KILL).expect("a kill needs no memory");
        }
        ControlFlow::Continue(())
    }))?;
    let supervisor =
        supervisor.intensity(Intensity::Unlimited).children((0..children).map(|number| child(number, driver)));
    let started = stage.runtime().block_on(async |cx: Context<()>| supervisor.start(&cx).await);
    let Ok(Ok(supervisor)) = started else {
        anyhow::bail!("the supervisor did not start: {started:?}");
    };
    let (restarts, time) = stage.hear(&end)?;
    ensure!(restarts == n, "{restarts} restarts");
    stage.settled()?;
    // The children, the supervisor and the driver.
    stage.expect_alive(children + 2)?;
    ensure!(stage.runtime().is_alive(supervisor), "the supervisor has given up");
    Ok(Outcome::timed(n, time))
}

/// One child of a `one_for_one` supervisor.
pub(super) fn restart_one(ask: &Ask) -> Result<Outcome> {
    restart(ask, Supervisor::one_for_one(), 1)
}

/// The p children of a `one_for_all` supervisor.
pub(super) fn restart_all(ask: &Ask) -> Result<Outcome> {
    restart(ask, Supervisor::one_for_all(), ask.p(100))
}
