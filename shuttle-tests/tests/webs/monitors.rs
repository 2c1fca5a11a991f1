//! Processes that monitor and demonitor others, which die at the same time.
//!
//! Each watcher keeps an account of every reference that it received. A DOWN arrives at most once.
//! It never arrives after a `demonitor` that flushed, or after one that reported success. For every
//! other monitor it arrives exactly once in the end. It arrives when the dead process's body is
//! dropped, and its reason is `noproc` or the cause of that process's death. The reason is always
//! `noproc` when the watcher sent the target an exit before the monitor, since signals keep their
//! order. The same holds for a link.

use std::collections::BTreeMap;

use atropos_kernel::{BodyPoll, Cx, Pid, Reason, Received, Reference, SpawnOptions};
use atropos_shuttle::ground::{Ground, chance, random};
use atropos_shuttle::notes::{Cause, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// The fault in a watcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Expects no DOWN after a `demonitor` that does not flush.
    DoesNotFlush,
    /// Reads the result of `demonitor` inverted.
    MisreadsTheAnswer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Account {
    /// In force: one DOWN is due when the target dies.
    Armed,
    /// The DOWN has arrived.
    Told,
    /// No DOWN may arrive.
    Silent,
    /// A DOWN waits already, and will be received.
    Waiting,
}

/// The record of one reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Watch {
    target: usize,
    account: Account,
    /// `true` if the watcher sent the target an exit before the monitor.
    posthumous: bool,
}

#[derive(Debug)]
enum Says {
    Crash,
}

#[derive(Default, Debug)]
struct Facts {
    targets: Vec<(Pid, usize)>,
    /// The causes inflicted on each target; a crash only if the message came before the kill.
    struck: Vec<Vec<Cause>>,
    /// The target to which only the main thread sends an exit.
    spared: usize,
    /// For each watcher: the senders of the EXITs due to it, for links to processes to which it had
    /// sent an exit before.
    exits: Vec<Vec<Pid>>,
    accounts: Vec<BTreeMap<Reference, Watch>>,
}

struct Watcher {
    who: usize,
    steps: usize,
    facts: Shared<Facts>,
    lives: Lives,
    wrong: Wrong,
}

impl Watcher {
    fn account<R>(&self, f: impl FnOnce(&mut BTreeMap<Reference, Watch>) -> R) -> R {
        self.facts.with(|facts| f(&mut facts.accounts[self.who]))
    }

    fn receive(&self, cx: &Cx<'_, Says>) {
        while let Some(received) = cx.receive() {
            let down = match received {
                Received::Down(down) => down,
                Received::Exit(exit) => {
                    assert_eq!(
                        Cause::of(&exit.reason),
                        Cause::NoProc,
                        "a link to a process that was sent an exit before"
                    );
                    self.facts.with(|facts| {
                        let due = facts.exits[self.who].iter().position(|pid| exit.from == Some(*pid));
                        facts.exits[self.who].swap_remove(due.expect("an EXIT is due, once"));
                    });
                    continue;
                }
                other => panic!("unexpected: {other:?}"),
            };
            let Watch { target, account: before, posthumous } = self.account(|accounts| {
                let watch = accounts.get_mut(&down.reference).expect("a reference of its own");
                std::mem::replace(watch, Watch { account: Account::Told, ..*watch })
            });
            assert!(matches!(before, Account::Armed | Account::Waiting), "a DOWN in state {before:?}");
            let life = self.facts.with(|facts| facts.targets[target].1);
            assert!(!self.lives.lasts(life), "a DOWN of a process whose body is not dropped");
            let cause = Cause::of(&down.reason);
            assert!(
                !posthumous || cause == Cause::NoProc,
                "a monitor of a process that was sent an exit before: {cause:?}"
            );
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
            let Watch { account, .. } = accounts.get_mut(&reference).expect("the watcher has this reference");
            *account = match *account {
                Account::Armed | Account::Waiting if flush || in_time => Account::Silent,
                Account::Armed => Account::Waiting,
                settled => settled,
            };
        });
    }

    fn resume(&mut self, cx: &Cx<'_, Says>) -> BodyPoll {
        loop {
            if !chance(3) {
                self.receive(cx);
            }
            if self.steps == 0 {
                self.receive(cx);
                return BodyPoll::Wait;
            }
            self.steps -= 1;
            if chance(3) {
                self.demonitor(cx);
            } else {
                let target = self.facts.with(|facts| random(facts.targets.len()));
                let posthumous = chance(4) && target != self.facts.with(|facts| facts.spared);
                let pid = self.facts.with(|facts| facts.targets[target].0);
                if posthumous {
                    self.facts.with(|facts| facts.struck[target].push(Cause::Shutdown));
                    cx.exit(pid, Reason::SHUTDOWN).expect("the kernel has memory");
                    // Not again before the EXIT has come: it would be the same link.
                    if !self.facts.with(|facts| facts.exits[self.who].contains(&pid)) {
                        self.facts.with(|facts| facts.exits[self.who].push(pid));
                        cx.link(pid).expect("a watcher traps exits");
                    }
                }
                let reference = cx.monitor(pid).expect("the kernel has memory");
                let watch = Watch { target, account: Account::Armed, posthumous };
                let old = self.account(|accounts| accounts.insert(reference, watch));
                assert_eq!(old, None, "a reference is allocated once");
            }
            if chance(2) {
                return BodyPoll::Yield;
            }
        }
    }
}

fn judge(facts: &Facts, alive: &[Pid]) {
    for (who, accounts) in facts.accounts.iter().enumerate() {
        assert_eq!(facts.exits[who], [], "EXITs that {who} has not received");
        for Watch { target, account, .. } in accounts.values() {
            let is_alive = alive.contains(&facts.targets[*target].0);
            match account {
                Account::Armed => assert!(is_alive, "{who} got no DOWN of {target}, which is dead"),
                Account::Told => assert!(!is_alive, "{who} got a DOWN of {target}, which lives"),
                Account::Silent => {}
                Account::Waiting => panic!("{who} has not received the DOWN that waited for it"),
            }
        }
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::new(2 + random(2));
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let options = SpawnOptions::new();
    let spared = random(3);
    facts.with(|facts| facts.spared = spared);
    for who in 0..3 {
        let (life, lives) = (lives.begin(), lives.clone());
        let number = life.number();
        let target = body(life, move |cx: &Cx<'_, Says>| match cx.receive() {
            Some(Received::Message(Says::Crash)) => BodyPoll::Exit(Cause::crash(who, &lives)),
            _ => BodyPoll::Wait,
        });
        let pid = ground.guest().with(|host| host.spawn(&options, target)).expect("the table has a free slot").pid;
        facts.with(|facts| {
            facts.targets.push((pid, number));
            facts.struck.push(Vec::new());
        });
    }
    let mut watchers = Vec::new();
    for who in 0..2 + random(2) {
        facts.with(|facts| {
            facts.accounts.push(BTreeMap::new());
            facts.exits.push(Vec::new());
        });
        let mut watcher = Watcher { who, steps: 4 + random(5), facts: facts.clone(), lives: lives.clone(), wrong };
        let watcher = body(lives.begin(), move |cx| watcher.resume(cx));
        let options = SpawnOptions::new().trap_exit(true);
        watchers
            .push(ground.guest().with(|host| host.spawn(&options, watcher)).expect("the table has a free slot").pid);
    }
    ground.start();
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
    assert!(ground.guest().exit(last, Reason::SHUTDOWN), "the spared target was alive");
    ground.settle();
    let alive = ground.alive();
    facts.with(|facts| judge(facts, &alive));
    for watcher in watchers {
        assert!(ground.guest().kill(watcher), "the watcher was alive");
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
    mutant("monitors: expects no DOWN without a flush", || play(Wrong::DoesNotFlush));
}

#[test]
fn monitors_mutant_misreads_the_answer() {
    mutant("monitors: reads the result inverted", || play(Wrong::MisreadsTheAnswer));
}
