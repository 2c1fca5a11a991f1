//! Timers that are started, cancelled on whichever core their starter runs by then, fire, or end
//! with their receiver, while a host thread advances the clock.
//!
//! Every timer has an account. Its message arrives at most once, at its receiver, and not before
//! its due time. It never arrives after a cancel that reported success. In the end, when all time
//! has passed, it has arrived, if its receiver lives and the timer was not cancelled. An alarm
//! resumes its process.

use std::time::Duration;

use atropos_kernel::{BodyPoll, Cx, Pid, Received, Reference, SendTarget, SpawnOptions};
use atropos_shuttle::ground::{Ground, chance, random};
use atropos_shuttle::notes::{Cargo, Lives, Shared, body};
use atropos_shuttle::{mutant, web};

/// The fault in a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    /// Takes every cancel for one in time.
    TrustsEveryCancel,
    /// Reads the clock again after it has started a timer.
    LooksTwice,
}

/// The name of the first process, which no other process kills.
const SUNDIAL: &str = "sundial";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Armed,
    Cancelled,
    Come,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    to: usize,
    due: u64,
    state: State,
}

#[derive(Default, Debug)]
struct Facts {
    pids: Vec<Pid>,
    timers: Vec<Account>,
    /// For each process: the number of alarms that it has set and that have not fired.
    alarms: Vec<usize>,
}

type Mail = Cargo<usize>;

struct Process {
    who: usize,
    left: usize,
    own: Vec<(Reference, usize)>,
    alarms: Vec<Reference>,
    facts: Shared<Facts>,
    lives: Lives,
    wrong: Wrong,
}

impl Process {
    fn take(&self, cx: &Cx<'_, Mail>, mail: &Mail) {
        let (number, now) = (*mail.open(), cx.now());
        self.facts.with(|facts| {
            let account = &mut facts.timers[number];
            assert_eq!(account.to, self.who, "a message for another process");
            assert_eq!(account.state, State::Armed, "timer {number} fires");
            assert!(now >= account.due, "timer {number} fires at {now}, before {}", account.due);
            account.state = State::Come;
        });
    }

    fn start(&mut self, cx: &Cx<'_, Mail>) {
        let after = Duration::from_nanos(random(3_000_000) as u64);
        let to = if chance(3) { self.who } else { self.facts.with(|facts| random(facts.pids.len())) };
        // Recorded before the start, because the message may be received before this process
        // continues. The due time is the earliest possible.
        let due = cx.now() + after.as_nanos() as u64;
        let number = self.facts.with(|facts| {
            facts.timers.push(Account { to, due, state: State::Armed });
            facts.timers.len() - 1
        });
        let dest = if to == 0 && chance(2) {
            SendTarget::Name(SUNDIAL)
        } else {
            SendTarget::Pid(self.facts.with(|facts| facts.pids[to]))
        };
        let mail = Cargo::new(number, &self.lives);
        let labelled = chance(2);
        let started = if labelled { cx.start_timer(dest, after, mail) } else { cx.send_after(dest, after, mail) };
        self.own.push((started.expect("the kernel has memory"), number));
        if self.wrong == Wrong::LooksTwice {
            let due = cx.now() + after.as_nanos() as u64;
            self.facts.with(|facts| facts.timers[number].due = due);
        }
    }

    fn cancel(&mut self, cx: &Cx<'_, Mail>) {
        if self.own.is_empty() {
            return;
        }
        let (reference, number) = self.own.swap_remove(random(self.own.len()));
        let in_time = cx.cancel_timer(reference).is_some() || self.wrong == Wrong::TrustsEveryCancel;
        self.facts.with(|facts| {
            let account = &mut facts.timers[number];
            if in_time && account.state == State::Armed {
                account.state = State::Cancelled;
            } else {
                assert!(
                    !in_time || self.wrong != Wrong::Nothing,
                    "cancelled in time, but its state is {:?}",
                    account.state
                );
            }
        });
    }

    fn resume(&mut self, cx: &Cx<'_, Mail>) -> BodyPoll {
        loop {
            // Not in every round, so that fired timers are there to be cancelled too late.
            while self.left == 0 || chance(2) {
                let Some(received) = cx.receive() else { break };
                match received {
                    Received::Message(mail) => self.take(cx, &mail),
                    Received::Timer { message, .. } => self.take(cx, &message),
                    other => panic!("unexpected: {other:?}"),
                }
            }
            self.alarms.retain(|alarm| cx.read_timer(*alarm).is_some());
            self.facts.with(|facts| facts.alarms[self.who] = self.alarms.len());
            if self.left == 0 || cx.is_dying() {
                return BodyPoll::Wait;
            }
            self.left -= 1;
            match random(6) {
                0 | 1 => self.cancel(cx),
                2 => {
                    let after = Duration::from_nanos(random(2_000_000) as u64);
                    self.alarms.push(cx.alarm(after).expect("the kernel has memory"));
                }
                _ => self.start(cx),
            }
            if chance(2) {
                return BodyPoll::Yield;
            }
        }
    }
}

fn play(wrong: Wrong) {
    let mut ground = Ground::new(2 + random(2));
    let (facts, lives) = (Shared::<Facts>::default(), Lives::default());
    let count = 2 + random(2);
    for who in 0..count {
        let mut process = Process {
            who,
            left: 3 + random(4),
            own: Vec::new(),
            alarms: Vec::new(),
            facts: facts.clone(),
            lives: lives.clone(),
            wrong,
        };
        facts.with(|facts| facts.alarms.push(0));
        let process = body(lives.begin(), move |cx| process.resume(cx));
        let options = if who == 0 { SpawnOptions::new().name(SUNDIAL) } else { SpawnOptions::new() };
        let pid = ground.guest().with(|host| host.spawn(&options, process)).expect("the table has a free slot").pid;
        facts.with(|facts| facts.pids.push(pid));
    }
    ground.start();
    ground.host(|guest| {
        for _tick in 0..4 {
            guest.advance(random(2_000_000) as u64);
            shuttle::thread::yield_now();
        }
    });
    if chance(2) {
        let whom = facts.with(|facts| facts.pids[1 + random(count - 1)]);
        ground.host(move |guest| {
            guest.kill(whom);
        });
    }
    ground.settle();
    let alive = ground.alive();
    facts.with(|facts| {
        for (number, account) in facts.timers.iter().enumerate() {
            let lives = alive.contains(&facts.pids[account.to]);
            assert!(!lives || account.state != State::Armed, "timer {number} has not fired: {account:?}");
        }
        for (who, alarms) in facts.alarms.iter().enumerate() {
            assert!(*alarms == 0 || !alive.contains(&facts.pids[who]), "{who} waits for {alarms} alarms");
        }
    });
    for pid in alive {
        assert!(ground.guest().kill(pid), "the process was alive");
    }
    ground.settle();
    ground.finish();
    assert_eq!(lives.count(), 0, "bodies or messages have leaked");
}

#[test]
fn timers() {
    web("timers", || play(Wrong::Nothing));
}

#[test]
fn timers_mutant_trusts_every_cancel() {
    mutant("timers: takes every cancel for one in time", || play(Wrong::TrustsEveryCancel));
}

#[test]
fn timers_mutant_looks_twice() {
    mutant("timers: reads the clock twice", || play(Wrong::LooksTwice));
}
