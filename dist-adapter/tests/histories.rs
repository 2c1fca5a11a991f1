//! Seeded random histories, one step at a time, compared with a plain model. The model knows the
//! dead processes, the connection of each monitor and how each monitor ended. The test checks every
//! DOWN on arrival. Whenever no message is in transit, both nodes must hold exactly the monitors
//! that the model holds.

mod common;

use std::collections::{BTreeMap, HashMap};

use atropos_dist::{MonitorError, RemotePid, RemoteReference};
use atropos_kernel::Reason;
use common::*;

const PROCESSES: u64 = 12;

struct Monitor {
    watcher: u64,
    target: RemotePid,
    /// The number of the connection that the monitor was set up on.
    connection: u64,
}

/// The model: the expected state of both nodes.
#[derive(Default)]
struct Right {
    dead: [HashMap<u64, Reason>; 2],
    open: [BTreeMap<RemoteReference, Monitor>; 2],
    joined: bool,
    connections: u64,
    answers: [usize; 3],
}

struct History {
    pair: Pair,
    right: Right,
    random: Random,
}

impl History {
    fn new(seed: u64) -> Self {
        let right = Right { joined: true, connections: 1, ..Right::default() };
        Self { pair: Pair::new(), right, random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) }
    }

    fn site(&self, side: usize) -> &Site {
        [&self.pair.left, &self.pair.right][side]
    }

    fn step(&mut self) {
        let (side, pid) = (self.random.below(2) as usize, 1 + self.random.below(PROCESSES));
        match self.random.below(80) {
            0 if self.right.joined => {
                self.pair.cut();
                self.right.joined = false;
            }
            0 | 1 => self.rejoin(),
            2..=20 if !self.right.joined => self.rejoin(),
            2..=5 => {
                let reason = Reason::value(self.random.below(1000));
                self.right.dead[side].entry(pid).or_insert_with(|| reason.clone());
                self.site(side).world.kill(pid, &reason);
                self.right.open[side].retain(|_, monitor| monitor.watcher != pid);
            }
            6..=29 => self.ask(side, pid),
            30..=37 => self.withdraw(side),
            _ => {
                let most = 1 + self.random.below(3) as usize;
                self.pair.cable.pump(&self.pair.left.plane, &self.pair.right.plane, most);
            }
        }
        self.judge_downs();
        if !self.right.joined {
            assert!(self.right.open.iter().all(BTreeMap::is_empty), "the loss has answered every monitor");
        }
    }

    fn rejoin(&mut self) {
        self.pair.cable.join(&self.pair.left.plane, &self.pair.right.plane);
        self.right.connections += 1;
        self.right.joined = true;
    }

    fn ask(&mut self, side: usize, watcher: u64) {
        let number = 1 + self.random.below(PROCESSES);
        // Now and then a process that never existed, of another creation.
        let never = self.random.below(20) == 0;
        let other = [there, here][side](number);
        let target = if never { RemotePid { incarnation: 9, ..other } } else { other };
        match self.site(side).plane.monitor_remote(watcher, target) {
            Ok(reference) => {
                assert!(self.right.joined && !self.right.dead[side].contains_key(&watcher));
                let monitor = Monitor { watcher, target, connection: self.right.connections };
                assert!(self.right.open[side].insert(reference, monitor).is_none());
            }
            Err(MonitorError::NoConnection) => assert!(!self.right.joined),
            Err(MonitorError::NoCaller) => assert!(self.right.dead[side].contains_key(&watcher)),
            Err(error) => panic!("{error}"),
        }
    }

    fn withdraw(&mut self, side: usize) {
        let open = &self.right.open[side];
        if open.is_empty() {
            return;
        }
        let index = self.random.below(open.len() as u64) as usize;
        let (reference, watcher) =
            open.iter().nth(index).map(|(reference, monitor)| (*reference, monitor.watcher)).unwrap();
        assert!(!self.site(side).plane.demonitor_remote(watcher + 1, reference), "not its own");
        assert!(self.site(side).plane.demonitor_remote(watcher, reference));
        self.right.open[side].remove(&reference);
    }

    fn judge_downs(&mut self) {
        for side in 0..2 {
            for down in self.site(side).world.drain() {
                let monitor = self.right.open[side].remove(&down.reference).expect("an open monitor");
                assert_eq!((down.watcher, down.target), (monitor.watcher, monitor.target));
                let died = self.right.dead[1 - side].get(&down.target.number);
                if down.reason == Reason::NOCONNECTION {
                    let lost = !self.right.joined || monitor.connection < self.right.connections;
                    assert!(lost, "the monitor's connection is still alive");
                    self.right.answers[0] += 1;
                } else if down.reason == Reason::NOPROC {
                    assert!(died.is_some() || down.target.incarnation == 9, "the target is still alive");
                    self.right.answers[1] += 1;
                } else {
                    assert_eq!(Some(&down.reason), died, "the target's own reason");
                    self.right.answers[2] += 1;
                }
            }
        }
    }

    fn settle(&mut self) {
        self.pair.pump();
        self.judge_downs();
        let (left, right) = (self.pair.left.plane.monitors_with(THERE), self.pair.right.plane.monitors_with(HERE));
        let open = [0, 1].map(|side| self.right.open[side].len());
        assert_eq!((left, right), ((open[0], open[1]), (open[1], open[0])));
        for side in 0..2 {
            for pid in 1..=PROCESSES {
                let open = self.right.open[side].iter().filter(|(_, monitor)| monitor.watcher == pid);
                let open: Vec<_> = open.map(|(reference, monitor)| (*reference, monitor.target)).collect();
                assert_eq!(self.site(side).plane.monitors_of(pid), open);
                let open = self.right.open[side].iter().filter(|(_, monitor)| monitor.target.number == pid);
                let mut open: Vec<_> = open.map(|(reference, monitor)| (*reference, monitor.watcher)).collect();
                let told = self.site(1 - side).plane.monitored_by(pid);
                let mut told: Vec<_> =
                    told.into_iter().map(|(reference, watcher)| (reference, watcher.number)).collect();
                open.sort_unstable();
                told.sort_unstable();
                assert_eq!(told, open);
                if self.right.dead[1 - side].contains_key(&pid) {
                    assert!(self.right.open[side].values().all(|monitor| monitor.target.number != pid), "answered");
                    assert_eq!(self.site(1 - side).plane.monitored_by(pid), []);
                }
            }
        }
    }
}

#[test]
fn random_histories_match_the_model() {
    let mut answers = [0; 3];
    for seed in 1..=3000 {
        let run = std::panic::catch_unwind(|| {
            let mut history = History::new(seed);
            for step in 0..150 {
                history.step();
                if step % 25 == 24 {
                    history.settle();
                }
            }
            history.settle();
            history.right.answers
        });
        let of_run = run.unwrap_or_else(|_| panic!("seed {seed}"));
        (0..3).for_each(|kind| answers[kind] += of_run[kind]);
    }
    println!("{} losses, {} never or no longer there, {} deaths", answers[0], answers[1], answers[2]);
    assert!(answers.iter().all(|count| *count > 1000), "{answers:?}");
}
