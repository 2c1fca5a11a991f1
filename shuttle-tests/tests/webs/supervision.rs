//! A supervisor with workers, and below it a supervisor with workers of its own, killed at random.
//!
//! They are not the supervisors of `otp`, but show what those rest on: a parent that traps exits,
//! starts its children linked, starts another for each EXIT, and gives up after a fixed number of
//! restarts. It also ends when its own parent has died. At rest no worker is without a parent, and
//! every place below a live parent holds a live process. When the first supervisor has died all
//! processes have died, and the kernel holds nothing.

use atropos_kernel::{BodyPoll, Cx, Pid, Reason, Received, SpawnOptions};
use atropos_shuttle::ground::{Ground, chance, random};
use atropos_shuttle::notes::{Cause, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// The fault in a supervisor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Starts a child, and links to it afterwards.
    LinksLate,
    /// Starts no replacement for a child that died before another child's EXIT was received.
    LosesRestarts,
    /// Lives on when its parent has died.
    Outlives,
}

/// A process that was started.
#[derive(Clone, Copy, Debug)]
struct Record {
    pid: Pid,
    parent: Option<Pid>,
}

#[derive(Default, Debug)]
struct Facts {
    records: Vec<Record>,
    /// The supervisors that have a supervisor of their own below.
    supervisors: Vec<Pid>,
    /// For each supervisor: the places below it, and the current processes in them.
    places: Vec<(Pid, Vec<Pid>)>,
}

#[derive(Clone)]
struct Ways {
    facts: Shared<Facts>,
    lives: Lives,
    wrong: Wrong,
}

/// The role of a place below a supervisor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Child {
    Worker,
    Supervisor,
}

/// Number of restarts that a supervisor makes before it gives up.
const PATIENCE: usize = 4;

struct Supervisor {
    parent: Option<Pid>,
    children: Vec<(Child, Option<Pid>)>,
    restarts: usize,
    ways: Ways,
}

impl Supervisor {
    fn new(parent: Option<Pid>, children: &[Child], ways: &Ways) -> Self {
        let children = children.iter().map(|child| (*child, None)).collect();
        Self { parent, children, restarts: 0, ways: ways.clone() }
    }

    fn start(&self, cx: &Cx<'_, ()>, child: Child) -> Option<Pid> {
        let Ways { facts, lives, wrong } = self.ways.clone();
        let late = wrong == Wrong::LinksLate;
        let options = if late { SpawnOptions::new() } else { SpawnOptions::new().link() };
        let spawned = match child {
            Child::Worker => cx.spawn(&options, body(lives.begin(), worker())),
            Child::Supervisor => {
                let mut below = Self::new(Some(cx.pid()), &[Child::Worker, Child::Worker], &self.ways);
                let options = options.trap_exit(true);
                cx.spawn(&options, body(lives.begin(), move |cx| below.resume(cx)))
            }
        };
        let pid = match spawned {
            Ok(spawned) => spawned.pid,
            Err(error) => panic!("{error}"),
        };
        facts.with(|facts| {
            facts.records.push(Record { pid, parent: Some(cx.pid()) });
            if child == Child::Supervisor {
                facts.supervisors.push(pid);
            }
        });
        if late {
            let _it_has_died = cx.link(pid);
        }
        Some(pid)
    }

    /// Starts every missing child.
    fn fill(&mut self, cx: &Cx<'_, ()>) {
        for place in 0..self.children.len() {
            if self.children[place].1.is_none() && !cx.is_dying() {
                self.children[place].1 = self.start(cx, self.children[place].0);
            }
        }
        let now: Vec<Pid> = self.children.iter().filter_map(|(_, pid)| *pid).collect();
        self.ways.facts.with(|facts| match facts.places.iter_mut().find(|(pid, _)| *pid == cx.pid()) {
            Some((_, pids)) => *pids = now,
            None => facts.places.push((cx.pid(), now)),
        });
    }

    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        let mut told = 0;
        while let Some(received) = cx.receive() {
            let Received::Exit(exit) = received else { panic!("unexpected: {received:?}") };
            if exit.from == self.parent {
                if self.ways.wrong == Wrong::Outlives {
                    continue;
                }
                return BodyPoll::Exit(exit.reason);
            }
            assert_eq!(Cause::of(&exit.reason), Cause::Killed, "children only die of a kill");
            let place = self.children.iter_mut().find(|(_, pid)| *pid == exit.from);
            let (_, child) = place.expect("one EXIT of a current child");
            *child = None;
            told += 1;
            self.restarts += 1;
            if self.restarts > PATIENCE {
                return BodyPoll::Exit(Reason::SHUTDOWN);
            }
            if chance(3) {
                break;
            }
        }
        if self.ways.wrong == Wrong::LosesRestarts && told > 1 {
            return BodyPoll::Wait;
        }
        self.fill(cx);
        if told > 0 { BodyPoll::Yield } else { BodyPoll::Wait }
    }
}

/// Returns a body that waits for its end.
fn worker() -> impl FnMut(&Cx<'_, ()>) -> BodyPoll + Send {
    |cx| match cx.receive() {
        None => BodyPoll::Wait,
        Some(received) => panic!("unexpected: {received:?}"),
    }
}

fn judge(facts: &Facts, alive: &[Pid]) {
    for Record { pid, parent } in &facts.records {
        let orphaned = parent.is_some_and(|parent| !alive.contains(&parent));
        assert!(!alive.contains(pid) || !orphaned, "{pid} lives although its parent is dead");
    }
    for (parent, children) in &facts.places {
        if alive.contains(parent) {
            let dead: Vec<&Pid> = children.iter().filter(|child| !alive.contains(child)).collect();
            assert!(dead.is_empty(), "{dead:?} have not been restarted");
            assert_eq!(children.len(), 2, "a place is empty");
        }
    }
    for pid in alive {
        assert!(facts.records.iter().any(|record| record.pid == *pid), "{pid} lives although no supervisor started it");
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::new(2 + random(2));
    let ways = Ways { facts: Shared::default(), lives: Lives::default(), wrong };
    let mut first = Supervisor::new(None, &[Child::Worker, Child::Supervisor], &ways);
    let first = body(ways.lives.begin(), move |cx| first.resume(cx));
    let options = SpawnOptions::new().trap_exit(true);
    let first = ground.guest().with(|host| host.spawn(&options, first)).expect("the table has a free slot").pid;
    ways.facts.with(|facts| facts.records.push(Record { pid: first, parent: None }));
    ground.start();
    if chance(2) {
        ground.settle();
    }
    for _host in 0..2 {
        let facts = ways.facts.clone();
        ground.host(move |guest| {
            for _blow in 0..1 + random(3) {
                // Rarely kills the first supervisor, which ends all processes.
                let whom = facts.with(|facts| {
                    let supervisors = &facts.supervisors;
                    match random(8) {
                        0 => Some(first),
                        1 | 2 if !supervisors.is_empty() => Some(supervisors[random(supervisors.len())]),
                        _ => {
                            let workers = facts.records.iter().map(|record| record.pid);
                            let workers: Vec<Pid> =
                                workers.filter(|pid| *pid != first && !supervisors.contains(pid)).collect();
                            (!workers.is_empty()).then(|| workers[random(workers.len())])
                        }
                    }
                });
                match whom {
                    Some(pid) => drop(guest.kill(pid)),
                    None => shuttle::thread::yield_now(),
                }
            }
        });
    }
    ground.settle();
    let alive = ground.alive();
    ways.facts.with(|facts| judge(facts, &alive));
    ground.guest().kill(first);
    ground.settle();
    ground.finish();
    assert_eq!(ways.lives.count(), 0, "bodies have leaked");
}

#[test]
fn supervision() {
    web("supervision", || play(Wrong::Nothing));
}

#[test]
fn supervision_mutant_links_late() {
    mutant("supervision: starts a child, and then links", || play(Wrong::LinksLate));
}

#[test]
fn supervision_mutant_loses_restarts() {
    mutant("supervision: two EXITs at once, no restart", || play(Wrong::LosesRestarts));
}

#[test]
fn supervision_mutant_outlives() {
    mutant("supervision: lives on when its parent is dead", || play(Wrong::Outlives));
}
