//! A random graph of links, some of its processes trapping exits, and deaths.
//!
//! *Calm*: the graph is built by all at once, each pair by a plan of its own; then some are killed, crash, or end. Those
//! who die are exactly the closure of the links through who does not trap, each dies of a cause that can have reached
//! it, and each trapping neighbour gets one EXIT from each dead one, with the reason that a monitor of it was told.
//!
//! *Wild*: they die while the graph is built. Then it is each process's own view that is held against what happened:
//! who believes to be linked with a dead one, has got its EXIT or has died; nobody gets two, or one after it has unlinked.

use std::collections::BTreeMap;

use atropos_kernel::{Cx, MonitorTarget, Pid, Reason, Received, Resumed, SpawnOptions};
use atropos_shuttle::ground::{Ground, Guest, chance, random};
use atropos_shuttle::notes::{Cargo, Cause, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// What one of them does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Says that it traps exits, and does not.
    DoesNotTrap,
    /// Unlinks what it believes the other has linked, without having been told.
    DoesNotWait,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Link(usize),
    Unlink(usize),
    /// Tells the other that it has linked.
    Tell(usize),
    /// Waits until it is told so.
    Await(usize),
}

#[derive(Debug)]
enum Says {
    Linked(usize),
    Crash,
    End,
}

/// What a process thinks of another.
#[derive(Clone, Copy, Default, Debug)]
struct ReasonKind {
    linked: bool,
    /// It has unlinked, and not linked again.
    cut: bool,
    calls: usize,
    exits: usize,
    /// Of these, not `noproc`.
    deaths: usize,
}

#[derive(Default, Debug)]
struct Facts {
    pids: Vec<Pid>,
    traps: Vec<bool>,
    plans: Vec<Vec<Step>>,
    views: Vec<Vec<ReasonKind>>,
    ready: usize,
    /// Who got an EXIT from whom, and why.
    exits: Vec<(usize, usize, Cause)>,
    /// What the observer was told.
    downs: BTreeMap<usize, Cause>,
}

impl Facts {
    /// Whether one links with another by its plan.
    fn may_link(&self, one: usize, other: usize) -> bool {
        self.plans[one].contains(&Step::Link(other))
    }
}

/// Plans a graph: the pairs that are linked in the end.
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

/// Those who die when `first` do: a death goes on through whom `through` says.
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

/// What a process of the graph does.
struct Node {
    who: usize,
    done: usize,
    told: Vec<bool>,
    facts: Shared<Facts>,
    lives: Lives,
    wrong: Wrong,
}

impl Node {
    fn receive(&mut self, cx: &Cx<'_, Cargo<Says>>) -> Option<Resumed> {
        while let Some(received) = cx.receive() {
            match received {
                Received::Message(cargo) => match *cargo.open() {
                    Says::Linked(by) => self.told[by] = true,
                    Says::Crash => return Some(Resumed::Exit(Cause::crash(self.who, &self.lives))),
                    Says::End => return Some(Resumed::Exit(Reason::NORMAL)),
                },
                Received::Exit(exit) => {
                    let cause = Cause::of(&exit.reason);
                    self.facts.with(|facts| {
                        let Some(from) = exit.from else { return };
                        let from = facts.pids.iter().position(|pid| *pid == from).expect("one of them");
                        assert!(facts.traps[self.who], "{} does not trap", self.who);
                        let theirs = facts.may_link(from, self.who);
                        let view = &mut facts.views[self.who][from];
                        // The queue was empty when it unlinked: this has come since.
                        let late = view.cut && !theirs && cause != Cause::NoProc;
                        assert!(!late, "{} has unlinked {from}, and gets its EXIT", self.who);
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
                // An EXIT that came before the call is of an older link.
                let linked = cx.link(pid(to)).is_ok();
                self.facts.with(|facts| {
                    let view = &mut facts.views[self.who][to];
                    (view.linked, view.cut) = (linked, false);
                    view.calls += 1;
                });
            }
            Step::Unlink(from) => {
                cx.unlink(pid(from));
                // An EXIT that it has died of meanwhile came before.
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

    fn resume(&mut self, cx: &Cx<'_, Cargo<Says>>) -> Resumed {
        if self.wrong == Wrong::DoesNotTrap && self.done == 0 {
            cx.trap_exit(false);
        }
        let steps = self.facts.with(|facts| facts.plans[self.who].clone());
        loop {
            if let Some(ended) = self.receive(cx) {
                return ended;
            }
            let Some(step) = steps.get(self.done) else { return Resumed::Wait };
            if !self.step(cx, *step) || cx.is_dying() {
                return Resumed::Wait;
            }
            self.done += 1;
            if self.done == steps.len() {
                self.facts.with(|facts| facts.ready += 1);
            }
            if chance(3) {
                return Resumed::Yield;
            }
        }
    }
}

/// Monitors all, and notes what it is told.
fn observer(facts: Shared<Facts>) -> impl FnMut(&Cx<'_, ()>) -> Resumed + Send {
    let mut begun = false;
    move |cx| {
        if !std::mem::replace(&mut begun, true) {
            for pid in facts.with(|facts| facts.pids.clone()) {
                cx.monitor(pid).expect("there is memory");
            }
        }
        while let Some(received) = cx.receive() {
            let Received::Down(down) = received else { panic!("unexpected: {received:?}") };
            let cause = Cause::of(&down.reason);
            facts.with(|facts| {
                let who = facts.pids.iter().position(|pid| down.object == MonitorTarget::Pid(*pid)).expect("one of them");
                assert_eq!(facts.downs.insert(who, cause), None, "a second DOWN");
            });
        }
        Resumed::Wait
    }
}

/// How a process is made to die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blow {
    Kill,
    /// An exit signal from nobody.
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

/// The graph was at rest when the blows fell: everything is known.
fn judge_calm(facts: &Facts, linked: &[(usize, usize)], blows: &[(usize, Blow)], dead: &[usize]) {
    let struck = |wanted: &[Blow]| -> Vec<usize> {
        let signalled = |who: usize, blow| blow != Blow::Signal || !facts.traps[who];
        let struck = blows.iter().filter(|(who, blow)| wanted.contains(blow) && signalled(*who, *blow));
        struck.map(|(who, _)| *who).collect()
    };
    let ended = struck(&[Blow::End]);
    let first = struck(&[Blow::Kill, Blow::Signal, Blow::Crash]);
    // Who ends of its own accord may be killed before: then the death goes on through it, else not.
    let must = closure(&first, linked, |who| !facts.traps[who] && !ended.contains(&who));
    let may = closure(&first, linked, |who| !facts.traps[who]);
    for who in 0..facts.pids.len() {
        let is_dead = dead.contains(&who);
        assert!(is_dead || !must.contains(&who) && !ended.contains(&who), "{who} must die, and lives");
        assert!(!is_dead || may.contains(&who) || ended.contains(&who), "{who} must live, and is dead");
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

/// The blows fell while the graph was built: each view must agree with what happened.
fn judge_wild(facts: &Facts, blows: &[(usize, Blow)], dead: &[usize]) {
    let alive = |who: &usize| !dead.contains(who);
    for who in (0..facts.pids.len()).filter(alive) {
        for other in dead {
            let view = facts.views[who][*other];
            let silent = !facts.traps[who] && blows.contains(&(*other, Blow::End));
            // The other may have unlinked, and that is not told.
            let cut = facts.plans[*other].contains(&Step::Unlink(who));
            assert!(!view.linked || silent || cut, "{who} is linked with {other}, who is dead, and was not told");
        }
    }
    let struck = |who: usize| blows.iter().any(|(struck, _)| *struck == who);
    for who in dead.iter().copied().filter(|who| !struck(*who)) {
        // Of a link with another dead one, which it has not cut or the other may have made.
        let through = |other: usize| facts.views[who][other].linked || facts.may_link(other, who);
        let told = !facts.traps[who] && dead.iter().any(|other| *other != who && through(*other));
        assert!(told, "{who} is dead, and was linked with none of {dead:?}");
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
        facts.views = vec![vec![ReasonKind::default(); count]; count];
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
        let pid = ground.guest().with(|host| host.spawn(&options, node)).expect("there is room").pid;
        facts.with(|facts| facts.pids.push(pid));
    }
    let observer = body(lives.begin(), observer(facts.clone()));
    let observer = ground.guest().with(|host| host.spawn(&SpawnOptions::new(), observer)).expect("there is room").pid;

    let calm = chance(2);
    ground.start();
    if calm {
        ground.settle();
        assert_eq!(facts.with(|facts| facts.ready), count, "somebody has not done what it was to do");
        assert_eq!(facts.with(|facts| facts.exits.len()), 0, "nobody has died");
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
    mutant("links: it says that it traps exits", || play(Wrong::DoesNotTrap));
}

#[test]
fn links_mutant_does_not_wait() {
    mutant("links: unlinks before the other has linked", || play(Wrong::DoesNotWait));
}
