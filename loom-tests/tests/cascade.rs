//! Models of deaths that spread over two and three cores. Each process dies once, of the reason
//! that reaches it. Each link gives at most one EXIT. A process that no exit reaches lives.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::{BodyPoll, Pid, Reason, SpawnOptions};
use atropos_loom::mutant;
use atropos_loom::platform::{Known, Mutation, Stage, explore};
use atropos_loom::seen::Log;
use loom::thread::{self, ThreadId};

const WHY: Reason = Reason::SHUTDOWN;

/// Number of drops of a body, and of drops on a thread other than the one that started it.
#[derive(Default)]
struct Deaths {
    all: AtomicUsize,
    elsewhere: AtomicUsize,
}

/// A value in the body that counts its drop.
struct Mortal(Arc<Deaths>, ThreadId);

impl Mortal {
    fn new(deaths: &Arc<Deaths>) -> Self {
        Self(deaths.clone(), thread::current().id())
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.0.all.fetch_add(1, Ordering::Relaxed);
        if thread::current().id() != self.1 {
            self.0.elsewhere.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A member of a cascade.
struct Member {
    pid: Known<Pid>,
    deaths: Arc<Deaths>,
    log: Log,
}

/// A process that [`start`] starts.
struct Role<'a> {
    core: usize,
    /// The roles to which it links in its first slice.
    links: &'a [usize],
    traps: bool,
    /// The reason with which it ends in its second slice, if it ends.
    ends: Option<Reason>,
}

/// Starts the members, which link to one another and yield.
fn start(stage: &mut Stage, roles: &[Role<'_>]) -> Vec<Member> {
    let members: Vec<Member> =
        roles.iter().map(|_| Member { pid: Known::new(), deaths: Arc::default(), log: Log::new() }).collect();
    for (role, member) in roles.iter().zip(&members) {
        let (end, log, mortal) = (role.ends.clone(), member.log.clone(), Mortal::new(&member.deaths));
        let peers: Vec<_> = role.links.iter().map(|peer| members[*peer].pid.clone()).collect();
        let mut slice = 0;
        let body = move |cx: &atropos_kernel::Cx<'_, u8>| {
            let _mortal = &mortal;
            slice += 1;
            if slice == 1 {
                for peer in &peers {
                    assert_eq!(cx.link(peer.get().unwrap()), Ok(()));
                }
                return BodyPoll::Yield;
            }
            if let Some(reason) = &end {
                return BodyPoll::Exit(reason.clone());
            }
            log.look(cx);
            BodyPoll::Wait
        };
        member.pid.set(if role.traps { stage.start_trapping(role.core, body) } else { stage.start(role.core, body) });
    }
    for role in roles {
        stage.run(role.core, 1);
    }
    members
}

impl Member {
    fn pid(&self) -> Pid {
        self.pid.get().unwrap()
    }

    /// Checks that the member died once, of `reason`.
    fn assert_died_of(&self, stage: &Stage, reason: &Reason) {
        assert_eq!(stage.died_of(self.pid()).as_ref(), Some(reason));
        assert_eq!(self.deaths.all.load(Ordering::Relaxed), 1, "the member died once");
    }

    fn assert_lives(&self, stage: &Stage) {
        assert_eq!(stage.died_of(self.pid()), None);
        assert_eq!(self.deaths.all.load(Ordering::Relaxed), 0);
    }
}

/// A chain a–b–c, with b on another core than a and c. Process a ends; `normal` kills none of the
/// others; c may trap exits.
fn chain(reason: &Reason, traps: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let members = start(
        &mut stage,
        &[
            Role { core: 0, links: &[], traps: false, ends: Some(reason.clone()) },
            Role { core: 1, links: &[0, 2], traps: false, ends: None },
            Role { core: 0, links: &[], traps, ends: None },
        ],
    );
    stage.race(&[2, 1]);
    stage.settle();
    let [a, b, c] = &members[..] else { unreachable!("three") };
    a.assert_died_of(&stage, reason);
    assert_eq!(c.log.exits(a.pid()), [], "a and c are not linked");
    if reason.is_normal() {
        b.assert_lives(&stage);
        c.assert_lives(&stage);
        assert_eq!(stage.links(b.pid()), [c.pid()], "the other link holds");
    } else {
        b.assert_died_of(&stage, reason);
        if traps {
            c.assert_lives(&stage);
            assert_eq!(c.log.exits(b.pid()), std::slice::from_ref(reason), "one link, one EXIT");
        } else {
            c.assert_died_of(&stage, reason);
            assert_eq!(stage.kernel.nodes_used(), 0, "the links are released with the processes");
        }
    }
    stage.end();
    "done"
}

/// A cycle a–b–c–a, with b on another core. Process a ends; c may trap exits, and then receives
/// both EXITs.
fn cycle(traps: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(2, mutation);
    let members = start(
        &mut stage,
        &[
            Role { core: 0, links: &[], traps: false, ends: Some(WHY) },
            Role { core: 1, links: &[0, 2], traps: false, ends: None },
            Role { core: 0, links: &[0], traps, ends: None },
        ],
    );
    stage.race(&[2, 1]);
    stage.settle();
    let [a, b, c] = &members[..] else { unreachable!("three") };
    a.assert_died_of(&stage, &WHY);
    b.assert_died_of(&stage, &WHY);
    if traps {
        c.assert_lives(&stage);
        for other in [a, b] {
            assert_eq!(c.log.exits(other.pid()), [WHY], "one link, one EXIT");
        }
    } else {
        c.assert_died_of(&stage, &WHY);
        assert_eq!(stage.kernel.nodes_used(), 0, "the links are released with the processes");
    }
    stage.end();
    "done"
}

/// A cycle a–b–c–a on three cores. Two members end at the same time. The third dies once, of one of
/// the two reasons, or receives both EXITs.
fn two_ends(traps: bool, mutation: Option<Mutation>) -> &'static str {
    let mut stage = Stage::new(3, mutation);
    let members = start(
        &mut stage,
        &[
            Role { core: 0, links: &[], traps: true, ends: Some(WHY) },
            Role { core: 1, links: &[0], traps: true, ends: Some(Reason::OUT_OF_MEMORY) },
            Role { core: 2, links: &[0, 1], traps, ends: None },
        ],
    );
    stage.race(&[1, 1, 1]);
    stage.settle();
    let [a, b, c] = &members[..] else { unreachable!("three") };
    a.assert_died_of(&stage, &WHY);
    b.assert_died_of(&stage, &Reason::OUT_OF_MEMORY);
    let outcome = if traps {
        c.assert_lives(&stage);
        assert_eq!((c.log.exits(a.pid()), c.log.exits(b.pid())), (vec![WHY], vec![Reason::OUT_OF_MEMORY]));
        "both EXITs"
    } else {
        assert_eq!(c.deaths.all.load(Ordering::Relaxed), 1, "the member died once");
        assert_eq!(stage.kernel.nodes_used(), 0, "the links are released with the processes");
        match stage.died_of(c.pid()) {
            Some(why) if why == WHY => "the first's reason",
            Some(why) if why == Reason::OUT_OF_MEMORY => "the second's reason",
            other => panic!("the third died of neither reason: {other:?}"),
        }
    };
    stage.end();
    outcome
}

/// A cycle a–b–c–a that is bound to no core. The last spawned ends first, on one core. Its end
/// wakes the other members, and either core may take them.
fn stolen() -> &'static str {
    let mut stage = Stage::new(2, None);
    let deaths: [Arc<Deaths>; 3] = Default::default();
    let (mut pids, core) = (Vec::<Pid>::new(), Known::<usize>::new());
    for deaths in &deaths {
        let (mortal, peers, core) = (Mortal::new(deaths), pids.clone(), core.clone());
        let mut ran = false;
        let body = move |cx: &atropos_kernel::Cx<'_, u8>| {
            let _mortal = &mortal;
            if std::mem::replace(&mut ran, true) {
                core.set(cx.core());
                return BodyPoll::Exit(WHY);
            }
            for peer in &peers {
                assert_eq!(cx.link(*peer), Ok(()));
            }
            if peers.len() == 2 { BodyPoll::Yield } else { BodyPoll::Wait }
        };
        pids.push(stage.start_with(&SpawnOptions::new(), body));
        stage.run(0, 1);
    }
    stage.race(&[1, 1]);
    stage.settle();
    for (pid, deaths) in pids.into_iter().zip(&deaths) {
        assert_eq!(stage.died_of(pid), Some(WHY));
        assert_eq!(deaths.all.load(Ordering::Relaxed), 1, "the member died once");
    }
    assert_eq!(stage.kernel.nodes_used(), 0, "the links are released with the processes");
    stage.end();
    let elsewhere: usize = deaths.iter().map(|deaths| deaths.elsewhere.load(Ordering::Relaxed)).sum();
    match (core.get(), elsewhere) {
        (Some(1), _) => "the first is stolen",
        (_, 0) => "all on one core",
        _ => "another is stolen",
    }
}

#[test]
fn protocol() {
    explore("cascade: a chain on two cores", Some(2), &["done"], || chain(&WHY, false, None));
    explore("cascade: a chain whose end traps", Some(2), &["done"], || chain(&WHY, true, None));
    explore("cascade: normal goes no further", Some(2), &["done"], || chain(&Reason::NORMAL, false, None));
    explore("cascade: a cycle on two cores", Some(2), &["done"], || cycle(false, None));
    explore("cascade: a cycle, one member traps", Some(2), &["done"], || cycle(true, None));
    explore(
        "cascade: a cycle that is stolen",
        Some(2),
        &["the first is stolen", "all on one core", "another is stolen"],
        stolen,
    );
    let deaths = ["the first's reason", "the second's reason"];
    explore("cascade: two of a cycle on three cores end", Some(2), &deaths, || two_ends(false, None));
    explore("cascade: two end, and the third traps", Some(2), &["both EXITs"], || two_ends(true, None));
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("cascade, sleeps on an EXIT", Mutation::SleepsAnyway, |m| chain(&WHY, false, m));
    wrong("cascade, normal kills", Mutation::NormalKills, |m| chain(&Reason::NORMAL, false, m));
    wrong("cascade, a refused EXIT is kept", Mutation::RefusedIsKept, |m| cycle(false, m));
}
