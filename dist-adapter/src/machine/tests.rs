//! Two machines and a cable: every interleaving of what the processes do and what arrives.
//!
//! A [`World`] is two nodes with one process each, and the messages on their way, which arrive in
//! order in each direction. [`explore`] runs a script of each process against the other in every
//! order, and looks at each end.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::term::ErlReference;

const CABLE: ConnectionId = ConnectionId(1);
/// The raw pid of the process of each node.
const PROCESS: u64 = 7;
const ALL: Abilities = Abilities { monitors: true, unlink_ids: true, spawns: true, hidden: false };

fn node(index: usize) -> Atom {
    atom(["a@b", "b@b"][index])
}

fn pid(index: usize) -> ErlPid {
    ErlPid::new(node(index), PROCESS, 1)
}

fn reference(index: usize, number: u64) -> ErlReference {
    ErlReference::new(node(index), number, 1)
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    Link,
    Unlink,
    Monitor,
    /// Withdraws its first monitor.
    Demonitor,
    Die,
}

/// What a process was told.
#[derive(Clone, PartialEq, Debug)]
enum Told {
    Exit(Term),
    Down(u64, Term),
}

#[derive(Clone)]
struct World {
    nodes: [Machine<()>; 2],
    alive: [bool; 2],
    /// What is on its way to each node.
    wire: [VecDeque<Signal>; 2],
    told: [Vec<Told>; 2],
    monitors: [Vec<u64>; 2],
    /// Monitors that `demonitor` said were active.
    withdrawn: [Vec<u64>; 2],
    up: bool,
}

impl World {
    fn new() -> Self {
        let mut nodes = [Machine::new(100), Machine::new(100)];
        for (index, machine) in nodes.iter_mut().enumerate() {
            machine.opened(CABLE, &node(1 - index), ());
            machine.up(CABLE, ALL);
        }
        Self {
            nodes,
            alive: [true; 2],
            wire: Default::default(),
            told: Default::default(),
            monitors: Default::default(),
            withdrawn: Default::default(),
            up: true,
        }
    }

    /// Performs the actions of a node.
    fn settle(&mut self, index: usize) {
        for action in self.nodes[index].take_actions() {
            match action {
                Action::Send { connection, signal } => {
                    assert_eq!(connection, CABLE);
                    if self.up {
                        self.wire[1 - index].push_back(signal);
                    }
                }
                Action::Watch(raw) => assert_eq!(raw, PROCESS),
                Action::Down { watcher, reference, reason, .. } => {
                    assert_eq!(watcher, PROCESS);
                    if self.alive[index] {
                        self.told[index].push(Told::Down(reference, reason));
                    }
                }
                Action::Exit { to, from, reason } => {
                    assert_eq!((to, from), (PROCESS, pid(1 - index)));
                    if self.alive[index] {
                        self.told[index].push(Told::Exit(reason));
                    }
                }
                other => panic!("not in these scripts: {other:?}"),
            }
        }
    }

    fn act(&mut self, index: usize, step: Step) {
        let other = pid(1 - index);
        let machine = &mut self.nodes[index];
        match step {
            Step::Link => machine.link(PROCESS, &other),
            Step::Unlink => machine.unlink(PROCESS, &other),
            Step::Monitor => {
                let reference = machine.new_reference();
                self.monitors[index].push(reference);
                machine.monitor(PROCESS, reference, Object::Pid(other));
            }
            Step::Demonitor => {
                let reference = self.monitors[index][0];
                if machine.demonitor(PROCESS, reference) {
                    self.withdrawn[index].push(reference);
                }
            }
            Step::Die => {
                self.alive[index] = false;
                machine.exited(PROCESS, &Term::atom("died"));
            }
        }
        self.settle(index);
    }

    /// Delivers the next signal to a node.
    fn deliver(&mut self, index: usize) {
        let Some(signal) = self.wire[index].pop_front() else { return };
        let alive = self.alive[index];
        let machine = &mut self.nodes[index];
        let from = pid(1 - index);
        match signal {
            Signal::Link { .. } => drop(machine.link_arrived(CABLE, &from, PROCESS, None, alive)),
            Signal::Unlink { id, .. } => machine.unlink_arrived(CABLE, id, &from, ExternalOrLocal::Local(PROCESS)),
            Signal::UnlinkAck { id, .. } => machine.ack_arrived(CABLE, id, &from, PROCESS),
            Signal::Exit { reason, .. } => machine.exit_arrived(CABLE, &from, PROCESS, reason),
            Signal::Monitor { reference: number, .. } => {
                machine.monitor_arrived(CABLE, &from, &reference(1 - index, number), PROCESS, None, alive);
            }
            Signal::Demonitor { reference: number, .. } => {
                machine.demonitor_arrived(CABLE, &from, &reference(1 - index, number));
            }
            Signal::Down { reference, reason, .. } => {
                machine.down_arrived(CABLE, PROCESS, reference.number().expect("one of ours"), reason);
            }
            other => panic!("not in these scripts: {other:?}"),
        }
        self.settle(index);
    }

    fn cut(&mut self) {
        self.up = false;
        self.wire = Default::default();
        for index in 0..2 {
            assert!(self.nodes[index].lost(CABLE, Term::atom("connection_closed")));
            self.settle(index);
        }
    }

    fn is_linked(&self, index: usize) -> bool {
        !self.nodes[index].links_of(PROCESS).is_empty()
    }

    fn exits(&self, index: usize) -> usize {
        self.told[index].iter().filter(|told| matches!(told, Told::Exit(_))).count()
    }

    fn downs(&self, index: usize, reference: u64) -> usize {
        self.told[index].iter().filter(|told| matches!(told, Told::Down(other, _) if *other == reference)).count()
    }
}

/// Runs both scripts in every order of steps and deliveries, with a cut of the cable at every place
/// if `cuts`. Calls `check` at each end. Returns the number of ends.
fn explore(scripts: [&[Step]; 2], cuts: bool, check: &dyn Fn(&World)) -> usize {
    let mut ends = 0;
    let mut stack = vec![(World::new(), [0, 0])];
    while let Some((world, at)) = stack.pop() {
        let mut is_end = true;
        for index in 0..2 {
            if let Some(step) = scripts[index].get(at[index]) {
                is_end = false;
                let (mut world, mut at) = (world.clone(), at);
                world.act(index, *step);
                at[index] += 1;
                stack.push((world, at));
            }
            if !world.wire[index].is_empty() {
                is_end = false;
                let mut world = world.clone();
                world.deliver(index);
                stack.push((world, at));
            }
        }
        if cuts && world.up {
            // What the scripts do after the cut is another subject.
            let mut world = world.clone();
            world.cut();
            ends += 1;
            check(&world);
        }
        if is_end {
            ends += 1;
            check(&world);
        }
    }
    ends
}

#[test]
fn both_sides_agree_on_a_link() {
    use Step::{Link, Unlink};
    for scripts in [
        [&[Link, Unlink, Link][..], &[Link][..]],
        [&[Link, Unlink], &[Link, Unlink]],
        [&[Link, Unlink, Link, Unlink], &[Link]],
        [&[Link, Unlink], &[Unlink, Link]],
    ] {
        let ends = explore(scripts, false, &|world| {
            assert_eq!(world.is_linked(0), world.is_linked(1), "{scripts:?}");
            assert!(world.told.iter().all(Vec::is_empty), "no process has died: {scripts:?}");
        });
        assert!(ends > 10, "{ends} for {scripts:?}");
    }
}

#[test]
fn a_link_that_crosses_an_unlink_does_not_link() {
    let mut world = World::new();
    world.act(0, Step::Link);
    world.deliver(1);
    world.act(0, Step::Unlink);
    // The other process links before it learns of the unlink: to it, they are linked already.
    world.act(1, Step::Link);
    world.deliver(1);
    world.deliver(0);
    assert!(!world.is_linked(0) && !world.is_linked(1));
}

#[test]
fn a_link_behind_the_own_unlink_links() {
    let mut world = World::new();
    world.act(0, Step::Link);
    world.act(0, Step::Unlink);
    world.act(0, Step::Link);
    while !world.wire[1].is_empty() {
        world.deliver(1);
    }
    world.deliver(0);
    assert!(world.is_linked(0) && world.is_linked(1), "the acknowledgement is for an unlink that is no more");
}

#[test]
fn the_end_of_a_linked_process_is_told_once() {
    use Step::{Die, Link, Unlink};
    for scripts in [
        [&[Link][..], &[Die][..]],
        [&[Link, Unlink], &[Die]],
        [&[Link, Unlink, Link], &[Die]],
        [&[Link], &[Link, Die]],
        [&[Link, Unlink], &[Link, Die]],
    ] {
        explore(scripts, false, &|world| {
            // Each link has its own end. A process may link again after the end of a link that the
            // other one made, and each link to the dead is answered.
            let links = scripts.iter().flat_map(|steps| steps.iter()).filter(|step| **step == Link).count();
            let died = Told::Exit(Term::atom("died"));
            assert!(world.exits(0) <= links, "{scripts:?}: {:?}", world.told);
            assert!(world.told[0].iter().filter(|told| **told == died).count() <= 1, "{scripts:?}: {:?}", world.told);
            if scripts[0].last() == Some(&Link) {
                assert!(world.exits(0) >= 1, "{scripts:?}");
            }
            assert!(!world.is_linked(0) && !world.is_linked(1), "nothing is left behind: {scripts:?}");
            assert_eq!(world.exits(1), 0);
        });
    }
}

#[test]
fn no_exit_follows_an_unlink() {
    // Whatever the order: an EXIT that comes after the unlink is no signal.
    let mut world = World::new();
    world.act(0, Step::Link);
    world.deliver(1);
    world.act(1, Step::Die);
    world.act(0, Step::Unlink);
    while world.wire.iter().any(|wire| !wire.is_empty()) {
        world.deliver(0);
        world.deliver(1);
    }
    assert_eq!(world.exits(0), 0);
    assert_eq!(world.nodes[0].counts(), Counts { connections: 1, ..Counts::default() });
}

#[test]
fn a_cut_answers_each_link_once() {
    use Step::{Die, Link, Unlink};
    for scripts in [[&[Link][..], &[Link][..]], [&[Link, Unlink], &[Link]], [&[Link], &[Die]]] {
        explore(scripts, true, &|world| {
            assert!(world.exits(0) <= 1 && world.exits(1) <= 1, "{scripts:?}: {:?}", world.told);
            if !world.up {
                assert!(!world.is_linked(0) && !world.is_linked(1));
            }
        });
    }
}

#[test]
fn each_monitor_is_answered_once_or_withdrawn() {
    use Step::{Demonitor, Die, Link, Monitor, Unlink};
    for scripts in [
        [&[Monitor][..], &[Die][..]],
        [&[Monitor, Demonitor], &[Die]],
        [&[Monitor, Monitor, Demonitor], &[Die]],
        [&[Link, Monitor, Unlink], &[Monitor, Die]],
        [&[Monitor, Die], &[Monitor, Die]],
    ] {
        explore(scripts, true, &|world| {
            for index in 0..2 {
                for monitor in &world.monitors[index] {
                    let (downs, withdrawn) = (world.downs(index, *monitor), world.withdrawn[index].contains(monitor));
                    assert!(downs <= 1, "{scripts:?}: answered twice");
                    assert!(!(withdrawn && downs > 0), "{scripts:?}: answered and withdrawn");
                    let is_due = !world.alive[1 - index] || !world.up;
                    if is_due && world.alive[index] && !withdrawn {
                        assert_eq!(downs, 1, "{scripts:?}: no answer, alive {:?}, up {}", world.alive, world.up);
                    }
                }
                if !world.alive.iter().any(|alive| *alive) || !world.up {
                    let counts = world.nodes[index].counts();
                    assert_eq!((counts.links, counts.monitors, counts.monitored_by), (0, 0, 0), "{scripts:?}");
                }
            }
        });
    }
}

fn one_node() -> Machine<()> {
    let mut machine = Machine::new(3);
    machine.opened(CABLE, &node(1), ());
    machine.up(CABLE, ALL);
    machine
}

#[test]
fn an_unlink_is_acknowledged_before_anything_else_also_for_the_dead() {
    let mut machine = one_node();
    let (from, gone) = (pid(1), ErlPid::new(node(0), 99, 0));
    machine.unlink_arrived(CABLE, u64::MAX, &from, ExternalOrLocal::External(gone.clone()));
    let ack = Signal::UnlinkAck { id: u64::MAX, from: ExternalOrLocal::External(gone), to: from };
    assert_eq!(machine.take_actions(), [Action::Send { connection: CABLE, signal: ack }]);
}

#[test]
fn a_lie_has_no_effect() {
    let mut machine = one_node();
    let number = machine.new_reference();
    machine.monitor(PROCESS, number, Object::Pid(pid(1)));
    let _ = machine.take_actions();
    let second = ConnectionId(2);
    machine.opened(second, &atom("c@b"), ());
    machine.up(second, ALL);
    // Another connection, another watcher, another reference; then the right one, twice.
    machine.down_arrived(second, PROCESS, number, Term::atom("lie"));
    machine.down_arrived(CABLE, PROCESS + 1, number, Term::atom("lie"));
    machine.down_arrived(CABLE, PROCESS, number + 1, Term::atom("lie"));
    machine.exit_arrived(CABLE, &pid(1), PROCESS, Term::atom("lie"));
    machine.ack_arrived(CABLE, 1, &pid(1), PROCESS);
    machine.spawn_reply_arrived(CABLE, number, true, true, SpawnOutcome::Ok(pid(1)));
    assert_eq!(machine.take_actions(), []);
    machine.down_arrived(CABLE, PROCESS, number, Term::atom("truth"));
    machine.down_arrived(CABLE, PROCESS, number, Term::atom("again"));
    let object = Object::Pid(pid(1));
    let down = Action::Down { watcher: PROCESS, reference: number, object, reason: Term::atom("truth") };
    assert_eq!(machine.take_actions(), [down]);
}

#[test]
fn what_was_asked_over_an_old_connection_does_not_hold_on_a_new_one() {
    let mut machine = one_node();
    let number = machine.new_reference();
    machine.monitor(PROCESS, number, Object::Pid(pid(1)));
    let _ = machine.take_actions();
    let second = ConnectionId(2);
    machine.opened(second, &node(1), ());
    let object = Object::Pid(pid(1));
    let down = Action::Down { watcher: PROCESS, reference: number, object, reason: Term::atom("noconnection") };
    assert_eq!(machine.take_actions(), [down]);
    machine.up(second, ALL);
    machine.down_arrived(second, PROCESS, number, Term::atom("late"));
    machine.down_arrived(CABLE, PROCESS, number, Term::atom("late"));
    assert!(!machine.lost(CABLE, Term::atom("late")), "it has ended");
    assert_eq!(machine.take_actions(), []);
    assert_eq!(machine.connected(), [(node(1), false)]);
}

#[test]
fn one_relation_beyond_the_quota_ends_the_connection() {
    let mut machine = one_node();
    machine.link_arrived(CABLE, &pid(1), PROCESS, None, true);
    machine.monitor_arrived(CABLE, &pid(1), &reference(1, 1), PROCESS, None, true);
    // The same monitor twice is one registration.
    machine.monitor_arrived(CABLE, &pid(1), &reference(1, 1), PROCESS, None, true);
    machine.monitor_arrived(CABLE, &pid(1), &reference(1, 2), PROCESS, None, true);
    assert_eq!(machine.take_actions(), [Action::Watch(PROCESS)]);
    machine.monitor_arrived(CABLE, &pid(1), &reference(1, 3), PROCESS, None, true);
    assert!(matches!(machine.take_actions()[..], [Action::Close { connection: CABLE, .. }]));
    // What is withdrawn is not charged.
    machine.demonitor_arrived(CABLE, &pid(1), &reference(1, 1));
    machine.monitor_arrived(CABLE, &pid(1), &reference(1, 3), PROCESS, None, true);
    assert_eq!(machine.take_actions(), []);
    assert_eq!(machine.counts(), Counts { connections: 1, links: 1, monitors: 0, monitored_by: 2 });
}

fn request() -> SpawnRequest {
    SpawnRequest {
        parent: PROCESS,
        leader: Term::NIL,
        module: atom("m"),
        function: atom("f"),
        arguments: Term::NIL,
        arity: 0,
        options: Term::NIL,
    }
}

#[test]
fn a_child_is_linked_and_monitored_from_its_reply_on() {
    let mut machine = one_node();
    let number = machine.new_reference();
    machine.spawn(&node(1), number, request());
    let _ = machine.take_actions();
    machine.spawn_reply_arrived(CABLE, number, true, true, SpawnOutcome::Ok(pid(1)));
    machine.exit_arrived(CABLE, &pid(1), PROCESS, Term::atom("x"));
    machine.down_arrived(CABLE, PROCESS, number, Term::atom("x"));
    let outcome = SpawnOutcome::Ok(pid(1));
    let reason = || Term::atom("x");
    assert_eq!(
        machine.take_actions(),
        [
            Action::Spawned { parent: PROCESS, reference: number, outcome },
            Action::Exit { to: PROCESS, from: pid(1), reason: reason() },
            Action::Down { watcher: PROCESS, reference: number, object: Object::Pid(pid(1)), reason: reason() },
        ]
    );
}

#[test]
fn the_child_of_a_dead_parent_is_told() {
    let mut machine = one_node();
    let number = machine.new_reference();
    machine.spawn(&node(1), number, request());
    machine.exited(PROCESS, &Term::atom("gone"));
    let _ = machine.take_actions();
    machine.spawn_reply_arrived(CABLE, number, true, true, SpawnOutcome::Ok(pid(1)));
    let from = ExternalOrLocal::Local(PROCESS);
    let exit = Signal::Exit { from, to: pid(1), reason: Term::atom("gone") };
    let demonitor = Signal::Demonitor { from: PROCESS, object: Object::Pid(pid(1)), reference: number };
    let send = |signal| Action::Send { connection: CABLE, signal };
    assert_eq!(machine.take_actions(), [send(exit), send(demonitor)]);
}

#[test]
fn a_request_without_a_reply_is_answered_when_the_connection_is_lost() {
    let mut machine = one_node();
    let number = machine.new_reference();
    machine.spawn(&node(1), number, request());
    let _ = machine.take_actions();
    machine.lost(CABLE, Term::atom("connection_closed"));
    machine.spawn(&node(1), number + 1, request());
    let outcome = SpawnOutcome::Error(atom("noconnection"));
    let failed = |reference| Action::Spawned { parent: PROCESS, reference, outcome: outcome.clone() };
    assert_eq!(machine.take_actions(), [failed(number), failed(number + 1)]);
}

#[test]
fn what_a_peer_cannot_do_is_answered_here() {
    let mut machine: Machine<()> = Machine::new(3);
    machine.opened(CABLE, &node(1), ());
    let (monitor, spawn) = (machine.new_reference(), machine.new_reference());
    machine.monitor(PROCESS, monitor, Object::Name(atom("x"), node(1)));
    machine.spawn(&node(1), spawn, request());
    machine.link(PROCESS, &pid(1));
    machine.unlink(PROCESS, &pid(1));
    let _ = machine.take_actions();
    machine.up(CABLE, Abilities { monitors: false, unlink_ids: false, spawns: false, hidden: true });
    let object = Object::Name(atom("x"), node(1));
    let reason = Term::atom("noconnection");
    let outcome = SpawnOutcome::Error(atom("notsup"));
    assert_eq!(
        machine.take_actions(),
        [
            Action::Down { watcher: PROCESS, reference: monitor, object, reason },
            Action::Spawned { parent: PROCESS, reference: spawn, outcome },
        ]
    );
    // No acknowledgement will come: the link is gone at once.
    machine.link(PROCESS, &pid(1));
    machine.unlink(PROCESS, &pid(1));
    machine.exited(PROCESS, &Term::atom("x"));
    let sent = machine.take_actions();
    assert!(matches!(
        sent[..],
        [Action::Send { signal: Signal::Link { .. }, .. }, Action::Send { signal: Signal::Unlink { .. }, .. }]
    ));
}

#[test]
fn subscribers_are_told_of_the_nodes_they_asked_for() {
    let mut machine: Machine<()> = Machine::new(3);
    let all = Subscription { types: Some(NodeTypes::All), reason: true };
    machine.subscribe(1, Subscription::default());
    machine.subscribe(1, Subscription::default());
    machine.subscribe(2, all);
    machine.opened(CABLE, &node(1), ());
    machine.monitor_node(3, &node(1));
    let _ = machine.take_actions();
    machine.up(CABLE, Abilities { hidden: true, ..ALL });
    machine.lost(CABLE, Term::atom("disconnect"));
    let kind = (atom("node_type"), Term::atom("hidden"));
    let why = (atom("nodedown_reason"), Term::atom("disconnect"));
    let event = |to, up, info| Action::Node { to, event: NodeEvent { node: node(1), up, info } };
    assert_eq!(
        machine.take_actions(),
        [event(2, true, Some(vec![kind.clone()])), event(2, false, Some(vec![why, kind])), event(3, false, None),]
    );
    machine.opened(ConnectionId(2), &node(1), ());
    machine.up(ConnectionId(2), ALL);
    assert_eq!(machine.take_actions().len(), 3, "two subscriptions are told twice");
    machine.unsubscribe(1, Subscription::default());
    machine.exited(2, &Term::atom("x"));
    machine.lost(ConnectionId(2), Term::atom("x"));
    assert_eq!(machine.take_actions(), []);
}

const PROXY: u64 = 77;

/// A machine with a connection, and a link of the local process by its proxy of `pid(1)`.
fn proxied() -> Machine<()> {
    let mut machine = one_node();
    machine.link_by(PROXY, PROCESS, &pid(1));
    let made = machine.take_actions();
    assert!(matches!(
        &made[..],
        [Action::Watch(PROCESS), Action::Send { signal: Signal::Link { from: PROCESS, .. }, .. }]
    ));
    // The same link twice is one.
    machine.link_by(PROXY, PROCESS, &pid(1));
    machine.link(PROCESS, &pid(1));
    assert_eq!(machine.take_actions(), []);
    assert!(machine.is_linked(PROCESS, &pid(1)) && machine.is_proxied(PROXY, &pid(1)));
    assert!(!machine.is_proxied(PROXY, &pid(0)) && !machine.is_proxied(PROCESS, &pid(1)));
    machine
}

#[test]
fn the_exit_of_a_link_by_a_proxy_goes_to_the_proxy() {
    let exit = |reason: &str| Action::Exit { to: PROXY, from: pid(1), reason: Term::atom(reason) };
    let mut machine = proxied();
    machine.exit_arrived(CABLE, &pid(1), PROCESS, Term::atom("gone"));
    assert_eq!(machine.take_actions(), [exit("gone")]);
    assert_eq!(machine.counts().links, 0);
    let mut machine = proxied();
    machine.lost(CABLE, Term::atom("x"));
    assert_eq!(machine.take_actions(), [exit("noconnection")]);
    machine.link_by(PROXY, PROCESS, &pid(1));
    assert_eq!(machine.take_actions(), [exit("noconnection")], "there is no connection");
}

#[test]
fn a_link_by_a_proxy_ends_with_its_process_and_with_the_proxy() {
    let mut machine = proxied();
    machine.exited(PROCESS, &Term::atom("gone"));
    let (from, reason) = (ExternalOrLocal::Local(PROCESS), Term::atom("gone"));
    let exit = Signal::Exit { from, to: pid(1), reason };
    assert_eq!(machine.take_actions(), [Action::Send { connection: CABLE, signal: exit }]);
    let mut machine = proxied();
    machine.end_proxy(PROXY, &pid(0));
    assert_eq!(machine.take_actions(), [], "it stands for another process");
    machine.end_proxy(PROXY, &pid(1));
    assert!(matches!(&machine.take_actions()[..], [Action::Send { signal: Signal::Unlink { from: PROCESS, .. }, .. }]));
    assert!(!machine.is_linked(PROCESS, &pid(1)));
}

#[test]
fn the_proxy_is_told_of_an_unlink_by_the_other_side() {
    let mut machine = proxied();
    machine.unlink_arrived(CABLE, 5, &pid(1), ExternalOrLocal::Local(PROCESS));
    let told = machine.take_actions();
    let unlinked = Action::Unlinked { proxy: PROXY, pid: PROCESS };
    assert!(matches!(&told[..], [first, Action::Send { signal: Signal::UnlinkAck { .. }, .. }] if *first == unlinked));
    // What arrives as a link by a proxy is one.
    assert!(machine.link_arrived(CABLE, &pid(1), PROCESS, Some(PROXY), true));
    assert!(!machine.link_arrived(CABLE, &pid(1), PROCESS, Some(PROXY), true));
    assert!(machine.is_proxied(PROXY, &pid(1)));
    assert!(!machine.has_monitors(PROXY));
}

#[test]
fn the_end_of_a_process_is_told_to_a_busy_node_later() {
    let mut machine = proxied();
    machine.monitor_arrived(CABLE, &pid(1), &reference(1, 4), PROCESS, None, true);
    let gone = Term::atom("gone");
    let later = machine.exited_except(PROCESS, &gone, |at| *at == node(1));
    assert_eq!(later.into_iter().collect::<Vec<_>>(), [node(1)]);
    assert_eq!(machine.take_actions(), []);
    assert!(machine.exited_except(PROCESS, &gone, |at| *at != node(1)).is_empty());
    let told = machine.take_actions();
    assert!(matches!(
        &told[..],
        [Action::Send { signal: Signal::Exit { .. }, .. }, Action::Send { signal: Signal::Down { .. }, .. }]
    ));
    assert_eq!(machine.counts(), Counts { connections: 1, ..Counts::default() });
}
