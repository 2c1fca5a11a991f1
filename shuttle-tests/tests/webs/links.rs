//! A random graph of links, some of whose processes trap exits, and deaths.
//!
//! *Calm*: all processes build the graph at once, each pair by a plan of its own. Then some are
//! killed, crash, or end. The processes that die are exactly the closure of the links through
//! processes that do not trap exits. Each dies of a cause that can have reached it. Each trapping
//! neighbour gets one EXIT from each dead process, with the reason that a monitor of that process
//! reported.
//!
//! *Wild*: processes die while the graph is built. Then each process's own view is compared with
//! what happened. A process that takes itself for linked to a dead one has got its EXIT or has
//! died. No process gets two EXITs, or one after it has unlinked.

use std::collections::BTreeMap;

use atropos_kernel::{BodyPoll, Cx, MonitorTarget, Pid, Reason, Received, SpawnOptions};
use atropos_shuttle::ground::{Ground, Guest, chance, random};
use atropos_shuttle::notes::{Cargo, Cause, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// The fault in a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Reports that it traps exits, and does not.
    DoesNotTrap,
    /// Unlinks a link that it expects from the other side, without waiting for the other's message.
    DoesNotWait,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Link(usize),
    Unlink(usize),
    /// Sends the other process a message that it has linked.
    Tell(usize),
    /// Waits for that message.
    Await(usize),
}

#[derive(Debug)]
enum Says {
    Linked(usize),
    Crash,
    End,
}

/// One process's view of another.
#[derive(Clone, Copy, Default, Debug)]
struct PeerView {
    linked: bool,
    /// `true` if the process has unlinked and not linked again.
    cut: bool,
    calls: usize,
    exits: usize,
    /// The number of those EXITs whose reason is not `noproc`.
    deaths: usize,
}

#[derive(Default, Debug)]
struct Facts {
    pids: Vec<Pid>,
    traps: Vec<bool>,
    plans: Vec<Vec<Step>>,
    views: Vec<Vec<PeerView>>,
    ready: usize,
    /// Receiver, sender and cause of each EXIT.
    exits: Vec<(usize, usize, Cause)>,
    /// The DOWNs that the observer received.
    downs: BTreeMap<usize, Cause>,
}

impl Facts {
    /// Returns `true` if the plan of `one` links to `other`.
    fn may_link(&self, one: usize, other: usize) -> bool {
        self.plans[one].contains(&Step::Link(other))
    }
}

/// Plans a graph. Returns the pairs that are linked in the end.
fn plan(facts: &mut Facts, count: usize, wrong: Wrong) -> Vec<(usize, usize)> {
    let mut linked = Vec::new();
    facts.plans = vec![Vec::new(); count];
    for one in 0..count {
        for other in one + 1..count {
            let (a, b) = if chance(2) { (one, other) } else { (other, one) };
            let chosen = random(9);
            let (ours, theirs, tied): (&[Step], &[Step], bool) = match chosen {
                4 if wrong == Wrong::DoesNotWait => (&[Step::Link(b), Step::Unlink(b)], &[Step::Link(a)], false),
                0 => (&[Step::Link(b)], &[], true),
                1 => (&[Step::Link(b)], &[Step::Link(a)], true),
                2 => (&[Step::Link(b), Step::Unlink(b)], &[], false),
                3 => (&[Step::Link(b), Step::Unlink(b), Step::Link(b)], &[], true),
                4 => (&[Step::Link(b), Step::Await(b), Step::Unlink(b)], &[Step::Link(a), Step::Tell(a)], false),
                _ => (&[], &[], false),
            };
            facts.plans[a].extend(ours);
            facts.plans[b].extend(theirs);
            if tied {
                linked.push((a, b));
            }
        }
    }
    linked
}

/// Returns the processes that die when `first` do. A death spreads through the processes for which
/// `through` returns `true`.
fn closure(first: &[usize], linked: &[(usize, usize)], through: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut dead = Vec::new();
    let mut work = first.to_vec();
    while let Some(one) = work.pop() {
        if dead.contains(&one) {
            continue;
        }
        dead.push(one);
        let others = linked.iter().filter_map(|(a, b)| {
            if *a == one {
                Some(*b)
            } else if *b == one {
                Some(*a)
            } else {
                None
            }
        });
        work.extend(others.filter(|other| through(*other)));
    }
    dead
}

/// A process of the graph.
struct Node {
    who: usize,
    done: usize,
    told: Vec<bool>,
    facts: Shared<Facts>,
    lives: Lives,
    wrong: Wrong,
}

impl Node {
    fn receive(&mut self, cx: &Cx<'_, Cargo<Says>>) -> Option<BodyPoll> {
        while let Some(received) = cx.receive() {
            match received {
                Received::Message(cargo) => match *cargo.open() {
                    Says::Linked(by) => self.told[by] = true,
                    Says::Crash => return Some(BodyPoll::Exit(Cause::crash(self.who, &self.lives))),
                    Says::End => return Some(BodyPoll::Exit(Reason::NORMAL)),
                },
                Received::Exit(exit) => {
                    let cause = Cause::of(&exit.reason);
                    self.facts.with(|facts| {
                        let Some(from) = exit.from else { return };
                        let from = facts.pids.iter().position(|pid| *pid == from).expect("a process of the graph");
                        assert!(facts.traps[self.who], "{} does not trap", self.who);
                        let theirs = facts.may_link(from, self.who);
                        let view = &mut facts.views[self.who][from];
                        // The queue was empty when the process unlinked, so this EXIT came later.
                        let late = view.cut && !theirs && cause != Cause::NoProc;
                        assert!(!late, "{} has unlinked {from}, but gets its EXIT", self.who);
                        view.linked = false;
                        view.exits += 1;
                        view.deaths += usize::from(cause != Cause::NoProc);
                        facts.exits.push((self.who, from, cause));
                    });
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        None
    }

    fn step(&mut self, cx: &Cx<'_, Cargo<Says>>, step: Step) -> bool {
        let pid = |who: usize| self.facts.with(|facts| facts.pids[who]);
        match step {
            Step::Link(to) => {
                // An EXIT that came before the call belongs to an older link.
                let linked = cx.link(pid(to)).is_ok();
                self.facts.with(|facts| {
                    let view = &mut facts.views[self.who][to];
                    (view.linked, view.cut) = (linked, false);
                    view.calls += 1;
                });
            }
            Step::Unlink(from) => {
                cx.unlink(pid(from));
                // If the process has died of an EXIT, that EXIT came before the unlink.
                if !cx.is_dying() {
                    self.facts.with(|facts| {
                        let view = &mut facts.views[self.who][from];
                        (view.linked, view.cut) = (false, true);
                    });
                }
            }
            Step::Tell(to) => {
                let _dead = cx.send(pid(to), Cargo::new(Says::Linked(self.who), &self.lives));
            }
            Step::Await(from) => return self.told[from],
        }
        true
    }

    fn resume(&mut self, cx: &Cx<'_, Cargo<Says>>) -> BodyPoll {
        if self.wrong == Wrong::DoesNotTrap && self.done == 0 {
            cx.trap_exit(false);
        }
        let steps = self.facts.with(|facts| facts.plans[self.who].clone());
        loop {
            if let Some(ended) = self.receive(cx) {
                return ended;
            }
            let Some(step) = steps.get(self.done) else { return BodyPoll::Wait };
            if !self.step(cx, *step) || cx.is_dying() {
                return BodyPoll::Wait;
            }
            self.done += 1;
            if self.done == steps.len() {
                self.facts.with(|facts| facts.ready += 1);
            }
            if chance(3) {
                return BodyPoll::Yield;
            }
        }
    }
}

/// Returns a body that monitors all processes and records their DOWNs.
fn observer(facts: Shared<Facts>) -> impl FnMut(&Cx<'_, ()>) -> BodyPoll + Send {
    let mut begun = false;
    move |cx| {
        if !std::mem::replace(&mut begun, true) {
            for pid in facts.with(|facts| facts.pids.clone()) {
                cx.monitor(pid).expect("the kernel has memory");
            }
        }
        while let Some(received) = cx.receive() {
            let Received::Down(down) = received else { panic!("unexpected: {received:?}") };
            let cause = Cause::of(&down.reason);
            facts.with(|facts| {
                let who = facts
                    .pids
                    .iter()
                    .position(|pid| down.target == MonitorTarget::Pid(*pid))
                    .expect("a process of the graph");
                assert_eq!(facts.downs.insert(who, cause), None, "a second DOWN");
            });
        }
        BodyPoll::Wait
    }
}

/// The ways to make a process die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blow {
    Kill,
    /// An exit signal without a sender.
    Signal,
    /// Its body returns an error.
    Crash,
    /// Its body returns.
    End,
}

fn strike(guest: &Guest, facts: &Shared<Facts>, lives: &Lives, who: usize, blow: Blow) {
    let pid = facts.with(|facts| facts.pids[who]);
    match blow {
        Blow::Kill => drop(guest.kill(pid)),
        Blow::Signal => drop(guest.exit(pid, Cause::crash(who, lives))),
        Blow::Crash | Blow::End => {
            let says = if blow == Blow::Crash { Says::Crash } else { Says::End };
            drop(guest.with(|host| host.send(pid, Cargo::new(says, lives))));
        }
    }
}

/// Judges a web whose graph was at rest before the blows: everything is known.
fn judge_calm(facts: &Facts, linked: &[(usize, usize)], blows: &[(usize, Blow)], dead: &[usize]) {
    let struck = |wanted: &[Blow]| -> Vec<usize> {
        let signalled = |who: usize, blow| blow != Blow::Signal || !facts.traps[who];
        let struck = blows.iter().filter(|(who, blow)| wanted.contains(blow) && signalled(*who, *blow));
        struck.map(|(who, _)| *who).collect()
    };
    let ended = struck(&[Blow::End]);
    let first = struck(&[Blow::Kill, Blow::Signal, Blow::Crash]);
    // A process that ends of its own accord may be killed before. In that case the death spreads
    // through it; otherwise it does not.
    let must = closure(&first, linked, |who| !facts.traps[who] && !ended.contains(&who));
    let may = closure(&first, linked, |who| !facts.traps[who]);
    for who in 0..facts.pids.len() {
        let is_dead = dead.contains(&who);
        assert!(is_dead || !must.contains(&who) && !ended.contains(&who), "{who} must die, but lives");
        assert!(!is_dead || may.contains(&who) || ended.contains(&who), "{who} must live, but is dead");
        assert_eq!(facts.downs.contains_key(&who), is_dead, "a DOWN of {who}");
    }
    for (who, cause) in &facts.downs {
        let from = match cause {
            Cause::Killed => struck(&[Blow::Kill]),
            Cause::Crash(by) => vec![*by],
            Cause::Normal if ended.contains(who) => continue,
            other => panic!("{who} died of {other:?}"),
        };
        assert!(closure(&from, linked, |who| !facts.traps[who]).contains(who), "{cause:?} cannot have reached {who}");
    }
    for who in (0..facts.pids.len()).filter(|who| facts.traps[*who] && !dead.contains(who)) {
        for other in 0..facts.pids.len() {
            let exits = facts.exits.iter().filter(|(to, from, _)| (*to, *from) == (who, other));
            let exits: Vec<Cause> = exits.map(|(_, _, cause)| *cause).collect();
            let tied = linked.contains(&(who, other)) || linked.contains(&(other, who));
            let due: Vec<Cause> = facts.downs.get(&other).filter(|_| tied).copied().into_iter().collect();
            assert_eq!(exits, due, "EXITs of {other} for {who}");
        }
    }
}

/// Judges a web whose blows fell while the graph was built: each view must agree with what
/// happened.
fn judge_wild(facts: &Facts, blows: &[(usize, Blow)], dead: &[usize]) {
    let alive = |who: &usize| !dead.contains(who);
    for who in (0..facts.pids.len()).filter(alive) {
        for other in dead {
            let view = facts.views[who][*other];
            let silent = !facts.traps[who] && blows.contains(&(*other, Blow::End));
            // The other process may have unlinked, which gives no signal.
            let cut = facts.plans[*other].contains(&Step::Unlink(who));
            assert!(!view.linked || silent || cut, "{who} is linked to {other}, which is dead, and got no EXIT");
        }
    }
    let struck = |who: usize| blows.iter().any(|(struck, _)| *struck == who);
    for who in dead.iter().copied().filter(|who| !struck(*who)) {
        // By a link to another dead process, which this process has not removed or which the other
        // may have made.
        let through = |other: usize| facts.views[who][other].linked || facts.may_link(other, who);
        let told = !facts.traps[who] && dead.iter().any(|other| *other != who && through(*other));
        assert!(told, "{who} is dead, but was linked to none of {dead:?}");
    }
    for (who, views) in facts.views.iter().enumerate() {
        for (other, view) in views.iter().enumerate() {
            assert!(view.deaths <= 1, "{} EXITs of the death of {other} for {who}", view.deaths);
            assert!(view.exits <= view.calls + 1, "{} EXITs of {other} for {who}", view.exits);
        }
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::new(2 + random(2));
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let count = 4 + random(3);
    let linked = facts.with(|facts| {
        facts.traps = (0..count).map(|_| chance(3)).collect();
        facts.views = vec![vec![PeerView::default(); count]; count];
        let linked = plan(facts, count, wrong);
        facts.ready = facts.plans.iter().filter(|plan| plan.is_empty()).count();
        linked
    });
    for who in 0..count {
        let (facts, lives) = (facts.clone(), lives.clone());
        let options = SpawnOptions::new().trap_exit(facts.with(|facts| facts.traps[who]));
        let life = lives.begin();
        let mut node = Node { who, done: 0, told: vec![false; count], facts: facts.clone(), lives, wrong };
        let node = body(life, move |cx| node.resume(cx));
        let pid = ground.guest().with(|host| host.spawn(&options, node)).expect("the table has a free slot").pid;
        facts.with(|facts| facts.pids.push(pid));
    }
    let observer = body(lives.begin(), observer(facts.clone()));
    let observer =
        ground.guest().with(|host| host.spawn(&SpawnOptions::new(), observer)).expect("the table has a free slot").pid;

    let calm = chance(2);
    ground.start();
    if calm {
        ground.settle();
        assert_eq!(facts.with(|facts| facts.ready), count, "every process has done its plan");
        assert_eq!(facts.with(|facts| facts.exits.len()), 0, "no process has died");
    }
    let mut blows: Vec<(usize, Blow)> = Vec::new();
    for _ in 0..1 + random(3) {
        let who = random(count);
        if blows.iter().all(|(struck, _)| *struck != who) {
            blows.push((who, [Blow::Kill, Blow::Signal, Blow::Crash, Blow::End][random(4)]));
        }
    }
    for half in blows.chunks(2) {
        let (half, facts, lives) = (half.to_vec(), facts.clone(), lives.clone());
        ground.host(move |guest| {
            for (who, blow) in half {
                strike(guest, &facts, &lives, who, blow);
            }
        });
    }
    ground.settle();
    let alive = ground.alive();
    facts.with(|facts| {
        let dead: Vec<usize> = (0..count).filter(|who| !alive.contains(&facts.pids[*who])).collect();
        if calm {
            judge_calm(facts, &linked, &blows, &dead);
        } else {
            judge_wild(facts, &blows, &dead);
        }
    });
    for pid in facts.with(|facts| facts.pids.clone()).into_iter().chain([observer]) {
        ground.guest().kill(pid);
    }
    ground.settle();
    ground.finish();
    assert_eq!(lives.count(), 0, "bodies, messages or reasons have leaked");
}

#[test]
fn links() {
    web("links", || play(Wrong::Nothing));
}

#[test]
fn links_mutant_does_not_trap() {
    mutant("links: reports that it traps, and does not", || play(Wrong::DoesNotTrap));
}

#[test]
fn links_mutant_does_not_wait() {
    mutant("links: unlinks before the other has linked", || play(Wrong::DoesNotWait));
}
