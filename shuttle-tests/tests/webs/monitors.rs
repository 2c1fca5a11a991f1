//! Processes that monitor, and stop to monitor, others that die meanwhile.
//!
//! Each watcher keeps an account of every reference that it was given: a DOWN comes at most once; never after a
//! `demonitor` that flushed, or one that said it came in time; exactly once, in the end, for every other. It comes when
//! the dead one's body is gone, and its reason is `noproc` or what that one was made to die of.

use std::collections::BTreeMap;

use atropos_kernel::{Cx, Pid, Reason, Received, Reference, Resumed, SpawnOptions};
use atropos_shuttle::ground::{Ground, chance, random};
use atropos_shuttle::notes::{Cause, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// What a watcher does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Expects silence after a `demonitor` that does not flush.
    DoesNotFlush,
    /// Takes what `demonitor` says the wrong way round.
    MisreadsTheAnswer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Account {
    /// In force: one DOWN is due when the target dies.
    Armed,
    /// It has come.
    Told,
    /// None may come any more.
    Silent,
    /// One waits already, and will be received.
    Waiting,
}

#[derive(Debug)]
enum Says {
    Crash,
}

#[derive(Default, Debug)]
struct Facts {
    targets: Vec<(Pid, usize)>,
    /// What was done to them; a crash only if the message came before the kill.
    struck: Vec<Vec<Cause>>,
    accounts: Vec<BTreeMap<Reference, (usize, Account)>>,
}

struct Watcher {
    who: usize,
    steps: usize,
    facts: Shared<Facts>,
    lives: Lives,
    wrong: Wrong,
}

impl Watcher {
    fn account<R>(&self, f: impl FnOnce(&mut BTreeMap<Reference, (usize, Account)>) -> R) -> R {
        self.facts.with(|facts| f(&mut facts.accounts[self.who]))
    }

    fn receive(&self, cx: &Cx<'_, Says>) {
        while let Some(received) = cx.receive() {
            let Received::Down(down) = received else { panic!("unexpected: {received:?}") };
            let (target, before) = self.account(|accounts| {
                let (target, account) = accounts.get_mut(&down.reference).expect("a reference of its own");
                (*target, std::mem::replace(account, Account::Told))
            });
            assert!(matches!(before, Account::Armed | Account::Waiting), "a DOWN, and it was {before:?}");
            let life = self.facts.with(|facts| facts.targets[target].1);
            assert!(!self.lives.lasts(life), "a DOWN of one whose body is not gone");
            let cause = Cause::of(&down.reason);
            let struck = self.facts.with(|facts| facts.struck[target].clone());
            assert!(cause == Cause::NoProc || struck.contains(&cause), "{target} did not die of {cause:?}");
        }
    }

    fn demonitor(&self, cx: &Cx<'_, Says>) {
        let armed: Vec<Reference> = self.account(|accounts| accounts.keys().copied().collect());
        if armed.is_empty() {
            return;
        }
        let reference = armed[random(armed.len())];
        let flush = chance(2);
        let in_time = cx.demonitor(reference, flush && self.wrong != Wrong::DoesNotFlush);
        let in_time = in_time != (self.wrong == Wrong::MisreadsTheAnswer);
        self.account(|accounts| {
            let (_, account) = accounts.get_mut(&reference).expect("it is there");
            *account = match *account {
                Account::Armed | Account::Waiting if flush || in_time => Account::Silent,
                Account::Armed => Account::Waiting,
                settled => settled,
            };
        });
    }

    fn resume(&mut self, cx: &Cx<'_, Says>) -> Resumed {
        loop {
            if !chance(3) {
                self.receive(cx);
            }
            if self.steps == 0 {
                self.receive(cx);
                return Resumed::Wait;
            }
            self.steps -= 1;
            if chance(3) {
                self.demonitor(cx);
            } else {
                let target = self.facts.with(|facts| random(facts.targets.len()));
                let pid = self.facts.with(|facts| facts.targets[target].0);
                let reference = cx.monitor(pid).expect("there is memory");
                let old = self.account(|accounts| accounts.insert(reference, (target, Account::Armed)));
                assert_eq!(old, None, "a reference is given out once");
            }
            if chance(2) {
                return Resumed::Yield;
            }
        }
    }
}

fn judge(facts: &Facts, alive: &[Pid]) {
    for (who, accounts) in facts.accounts.iter().enumerate() {
        for (target, account) in accounts.values() {
            let is_alive = alive.contains(&facts.targets[*target].0);
            match account {
                Account::Armed => assert!(is_alive, "{who} was not told of the death of {target}"),
                Account::Told => assert!(!is_alive, "{who} was told of the death of {target}"),
                Account::Silent => {}
                Account::Waiting => panic!("{who} has not received what waited for it"),
            }
        }
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::new(2 + random(2));
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let options = SpawnOptions::new();
    for who in 0..3 {
        let (life, lives) = (lives.begin(), lives.clone());
        let number = life.number();
        let target = body(life, move |cx: &Cx<'_, Says>| match cx.receive() {
            Some(Received::Message(Says::Crash)) => Resumed::Exit(Cause::crash(who, &lives)),
            _ => Resumed::Wait,
        });
        let pid = ground.guest().with(|host| host.spawn(&options, target)).expect("there is room").pid;
        facts.with(|facts| {
            facts.targets.push((pid, number));
            facts.struck.push(Vec::new());
        });
    }
    let mut watchers = Vec::new();
    for who in 0..2 + random(2) {
        facts.with(|facts| facts.accounts.push(BTreeMap::new()));
        let mut watcher = Watcher { who, steps: 4 + random(5), facts: facts.clone(), lives: lives.clone(), wrong };
        let watcher = body(lives.begin(), move |cx| watcher.resume(cx));
        watchers.push(ground.guest().with(|host| host.spawn(&options, watcher)).expect("there is room").pid);
    }
    ground.start();
    let spared = random(3);
    for half in [[0, 1], [1, 2]] {
        let facts = facts.clone();
        ground.host(move |guest| {
            for who in half.into_iter().filter(|who| *who != spared) {
                let pid = facts.with(|facts| facts.targets[who].0);
                let crash = chance(2);
                facts.with(|facts| {
                    facts.struck[who].push(if crash { Cause::Crash(who) } else { Cause::Killed });
                });
                if crash {
                    drop(guest.with(|host| host.send(pid, Says::Crash)));
                } else {
                    guest.kill(pid);
                }
            }
        });
    }
    ground.settle();
    let alive = ground.alive();
    facts.with(|facts| judge(facts, &alive));

    let last = facts.with(|facts| {
        facts.struck[spared].push(Cause::Shutdown);
        facts.targets[spared].0
    });
    assert!(ground.guest().exit(last, Reason::SHUTDOWN), "it was spared");
    ground.settle();
    let alive = ground.alive();
    facts.with(|facts| judge(facts, &alive));
    for watcher in watchers {
        assert!(ground.guest().kill(watcher), "nothing has harmed it");
    }
    ground.settle();
    ground.finish();
    assert_eq!(lives.count(), 0, "bodies or reasons have leaked");
}

#[test]
fn monitors() {
    web("monitors", || play(Wrong::Nothing));
}

#[test]
fn monitors_mutant_does_not_flush() {
    mutant("monitors: expects silence, and has not flushed", || play(Wrong::DoesNotFlush));
}

#[test]
fn monitors_mutant_misreads_the_answer() {
    mutant("monitors: takes the answer the wrong way round", || play(Wrong::MisreadsTheAnswer));
}
