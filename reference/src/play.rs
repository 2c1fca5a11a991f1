//! Performs a [`Program`] on simulated cores. At its end it checks the live processes, and what is
//! left of the dead.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use atropos_kernel::internals::life;
use atropos_kernel::{Alias, Limits, MaybeReady, Options, Pid, Reason, Tombstone};
use atropos_sim::{Leaks, Sim};

use crate::actor::{Actor, options, sent};
use crate::judge::Stage;
use crate::model::claims::{ensure, name};
use crate::model::{Id, Model};
use crate::program::{Birth, Op, Program};

/// A time later than every timer of a program.
const END_OF_TIME: Duration = Duration::from_secs(3600);

struct Play {
    sim: Sim,
    stage: Arc<Stage>,
}

/// Performs a program. Returns the first claim that the rules do not allow, with its history.
pub fn run(program: &Program) -> Result<(), String> {
    let Err(why) = perform(program, false) else { return Ok(()) };
    // A second run records the history: nothing in a program is random.
    let told = perform(program, true).err().unwrap_or_else(|| "the second run did not fail".into());
    Err(format!("{why}\n{program:?}{told}"))
}

fn perform(program: &Program, log: bool) -> Result<(), String> {
    let limits = Limits { processes: program.limit, nodes: 1 << 20, ..Limits::default() };
    let options = Options {
        cores: program.cores,
        seed: program.seed,
        tombstones: program.tombstones,
        limits,
        ..Options::default()
    };
    let stage = Stage::new(Model::new(program.tombstones, program.limit, program.cores), log, program.abrupt);
    let mut play = Play { sim: Sim::with(options), stage: stage.clone() };
    let result = play.perform(program);
    {
        let mut judge = stage.judge();
        judge.over = true;
        let wakers = std::mem::take(&mut judge.wakers);
        drop(judge);
        drop(wakers);
    }
    let lives = life::of(play.sim.kernel());
    drop(play);
    let result = result.and_then(|()| {
        ensure(!lives(), || "the kernel is still alive".into())?;
        ensure(stage.letters() == 0, || format!("{} letters are left", stage.letters()))
    });
    let history = stage.judge().log.take().unwrap_or_default();
    result.map_err(|why| {
        let mut told = String::new();
        for line in history.iter().filter(|line| !line.ends_with(": ")) {
            let _ = writeln!(told, "  {line}");
        }
        format!("{told}{why}")
    })
}

impl Play {
    fn perform(&mut self, program: &Program) -> Result<(), String> {
        for op in &program.ops {
            self.check(|| format!("* {op:?}"), |_| Ok(()));
            self.op(op)?;
            self.failure()?;
        }
        if program.abrupt {
            return Ok(());
        }
        self.settle()?;
        self.check(|| "* rest".into(), |_| Ok(()));
        self.finale()?;
        self.look()?;
        self.end()
    }

    fn failure(&self) -> Result<(), String> {
        match &self.stage.judge().failure {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    fn check(&self, says: impl FnOnce() -> String, claim: impl FnOnce(&mut Model) -> crate::model::claims::Verdict) {
        self.stage.judge().check(says, claim);
    }

    fn who(&self, number: u8) -> Option<(Id, Pid)> {
        let judge = self.stage.judge();
        let id = judge.who(number);
        (judge.model.count() > 0).then(|| (id, judge.model.pid(id)))
    }

    fn op(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Step(core, slices) => self.sim.step_core(core % self.sim.cores(), *slices),
            Op::Spawn(birth) => self.spawn(birth),
            Op::Tell(to, acts) => {
                let Some((to, pid)) = self.who(*to) else { return Ok(()) };
                let letter = self.stage.letter(acts.clone());
                let id = letter.id;
                let got = {
                    let host = self.sim.host();
                    sent(&self.stage, || host.send(pid, letter))
                };
                self.check(
                    || format!("host: letter {id} to {to}: {got:?}"),
                    |model| model.sent(None, Some(to), id, None, got),
                );
            }
            Op::Exit(to, why) => {
                let Some((to, pid)) = self.who(*to) else { return Ok(()) };
                let found = self.sim.host().exit(pid, why.reason()).map_err(|error| error.to_string())?;
                self.check(
                    || format!("host: an exit to {to}: {found}"),
                    |model| {
                        model.exit(None, to, why.reason());
                        model.found_alive(to, found)
                    },
                );
            }
            Op::Wake(who) => {
                let Some((id, _)) = self.who(*who) else { return Ok(()) };
                let waker = self.stage.judge().wakers.get(id).cloned().flatten();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Op::Pass(ms) => self.sim.pass(Duration::from_millis(u64::from(*ms))),
            Op::Settle => self.settle()?,
            Op::SendAlias(number) => {
                let Some(alias) = self.stage.judge().alias(*number) else { return Ok(()) };
                self.send_alias(alias);
            }
            Op::SendName(number) => {
                let letter = self.stage.letter(Vec::new());
                let id = letter.id;
                let holder = self.stage.judge().model.whereis(*number);
                let got = {
                    let host = self.sim.host();
                    sent(&self.stage, || host.send_name(name(*number), letter))
                };
                self.check(
                    || format!("host: letter {id} to {holder:?}: {got:?}"),
                    |model| model.sent(None, holder, id, None, got),
                );
            }
        }
        Ok(())
    }

    fn send_alias(&self, alias: Alias) {
        let letter = self.stage.letter(Vec::new());
        let id = letter.id;
        let to = self.stage.judge().model.id(alias.pid());
        let got = {
            let host = self.sim.host();
            sent(&self.stage, || host.send_alias(alias, letter))
        };
        self.check(
            || format!("host: letter {id} to {to:?} by alias: {got:?}"),
            |model| model.sent(None, to, id, Some(alias.reference()), got),
        );
    }

    fn spawn(&self, birth: &Birth) {
        let (actor, noted) = Actor::new(&self.stage);
        let got = self.sim.host().spawn(&options(birth), actor);
        let got = got.map(|spawned| (spawned.pid, spawned.monitor));
        if let Ok((pid, _)) = got {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        }
        self.check(|| format!("host: spawns {birth:?}: {got:?}"), |model| model.spawned(None, birth, got));
    }

    fn settle(&mut self) -> Result<(), String> {
        self.sim.settle_timers().map_err(|error| error.to_string())?;
        self.check(|| "* settled".into(), Model::no_wait_is_lost);
        self.failure()
    }

    /// Makes no process picky, lets all timers fire, and checks that every process has received all
    /// its signals.
    fn finale(&mut self) -> Result<(), String> {
        let wakers = {
            let mut judge = self.stage.judge();
            judge.finale = true;
            judge.wakers.clone()
        };
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
        self.settle()?;
        self.check(|| "* at rest".into(), Model::at_rest);
        self.failure()?;
        self.sim.sleep(END_OF_TIME).map_err(|error| error.to_string())?;
        self.settle()?;
        self.check(|| "* the end of time".into(), Model::at_the_end_of_time);
        self.failure()
    }

    /// Compares the live processes, the `info` of each, and the reasons of the dead with the model.
    fn look(&mut self) -> Result<(), String> {
        let mut alive: Vec<Pid> = self.sim.host().processes().collect();
        alive.sort_unstable();
        let mut must: Vec<Pid> = {
            let judge = self.stage.judge();
            judge.model.alive().map(|id| judge.model.pid(id)).collect()
        };
        must.sort_unstable();
        ensure(must == alive, || format!("{must:?} must be alive, and {alive:?} are"))?;
        for pid in alive {
            self.look_at(pid)?;
        }
        let judge = self.stage.judge();
        for id in 0..judge.model.count() {
            let Some(reason) = judge.model.reason(id) else { continue };
            match self.sim.host().tombstone(judge.model.pid(id)) {
                Tombstone::Known(why) if why == *reason => {}
                Tombstone::Recycled => {}
                dead => return Err(format!("{id} died of {reason:?}, and its slot says {dead:?}")),
            }
        }
        Ok(())
    }

    fn look_at(&mut self, pid: Pid) -> Result<(), String> {
        let MaybeReady::Pending(mut waiting) = self.sim.host().info(pid) else {
            return Err(format!("{pid} got a query, and is dead"));
        };
        self.settle()?;
        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Ok(Some(info))) = std::pin::Pin::new(&mut waiting).poll(&mut task) else {
            return Err(format!("{pid} got a query and did not answer"));
        };
        self.check(|| format!("{info:?}"), |model| model.informed(&info, u64::MAX));
        ensure(info.timers == 0, || format!("{pid} has {} timers left", info.timers))?;
        self.failure()
    }

    /// Kills all processes, and checks that no memory of theirs is left.
    fn end(&mut self) -> Result<(), String> {
        let left: Vec<Pid> = self.sim.host().processes().collect();
        for pid in left {
            let Some(id) = self.stage.judge().model.id(pid) else { return Err(format!("{pid} belongs to no process")) };
            self.check(
                || format!("host: kills {id}"),
                |model| {
                    model.exit(None, id, Reason::KILL);
                    Ok(())
                },
            );
            self.sim.host().exit(pid, Reason::KILL).map_err(|error| error.to_string())?;
        }
        self.settle()?;
        let alive = self.stage.judge().model.alive().count();
        ensure(alive == 0, || format!("{alive} survived a kill"))?;
        // Timers that were cancelled from another core are freed when their own core runs again.
        for core in 0..self.sim.cores() {
            self.sim.step_core(core, 1);
        }
        self.settle()?;
        Leaks::check(self.sim.kernel()).map_err(|leaks| leaks.to_string())?;
        let letters = self.stage.letters();
        ensure(letters == 0, || format!("{letters} letters are left"))
    }
}
