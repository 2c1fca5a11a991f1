//! Models of the relations of a node (`atropos_dist::machine`): the machine under the node's one
//! lock, beside a process that dies, a peer that answers and a connection that is lost. Each mutant
//! breaks a rule that the machine's surroundings keep.
#![cfg(loom)]

use std::sync::Arc;

use atropos_dist::machine::{
    Abilities, Action, ConnectionId, ExternalOrLocal, Machine, Object, Signal, SpawnOutcome, SpawnRequest,
};
use atropos_dist::term::{Atom, ErlPid, ErlReference, Term};
use atropos_loom::{model, mutant};
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

const CABLE: ConnectionId = ConnectionId(1);
/// The raw pid of the process of this node.
const PROCESS: u64 = 7;

// The states of the process.
const UNWATCHED: usize = 0;
const WATCHED: usize = 1;
const DEAD: usize = 2;

/// The rules of the machine's surroundings.
#[derive(Clone, Copy)]
struct Rules {
    /// The actions of an event are performed under the lock of the event (W1).
    one_lock: bool,
    /// A watch of a dead process reports it (M4).
    reports_the_dead: bool,
}

const ALL: Rules = Rules { one_lock: true, reports_the_dead: true };
const TWO_LOCKS: Rules = Rules { one_lock: false, ..ALL };
const DEAD_UNREPORTED: Rules = Rules { reports_the_dead: false, ..ALL };

struct State {
    machine: Machine<()>,
    /// The signals for the peer, in the order of the connection's queue.
    sent: Vec<Signal>,
    /// What is in the mailbox of the process.
    told: Vec<Action>,
    /// The events, in their order.
    order: Vec<&'static str>,
}

/// A node with one process and one connection.
struct Surroundings {
    state: Mutex<State>,
    process: AtomicUsize,
    rules: Rules,
}

fn atom(text: &str) -> Atom {
    Atom::new(text).expect("short")
}

/// The peer's process.
fn there() -> ErlPid {
    ErlPid::new(atom("b@b"), 9, 1)
}

impl Surroundings {
    fn new(rules: Rules) -> Arc<Self> {
        let mut machine = Machine::new(10);
        machine.opened(CABLE, &atom("b@b"), ());
        machine.up(CABLE, Abilities { monitors: true, unlink_ids: true, spawns: true, hidden: false });
        let _ = machine.take_actions();
        let state = State { machine, sent: Vec::new(), told: Vec::new(), order: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), process: AtomicUsize::new(UNWATCHED), rules })
    }

    fn event<R>(&self, name: &'static str, event: impl FnOnce(&mut Machine<()>) -> R) -> R {
        let mut state = self.state.lock().unwrap();
        state.order.push(name);
        let result = event(&mut state.machine);
        let mut actions = state.machine.take_actions();
        if !self.rules.one_lock {
            drop(state);
            state = self.state.lock().unwrap();
        }
        while !actions.is_empty() {
            actions.into_iter().for_each(|action| self.perform(&mut state, action));
            actions = state.machine.take_actions();
        }
        result
    }

    fn perform(&self, state: &mut State, action: Action) {
        match action {
            Action::Send { signal, .. } => state.sent.push(signal),
            Action::Watch(raw) => {
                let watched = self.process.compare_exchange(UNWATCHED, WATCHED, Ordering::AcqRel, Ordering::Acquire);
                if watched == Err(DEAD) && self.rules.reports_the_dead {
                    state.machine.exited(raw, &Term::atom("noproc"));
                }
            }
            told => state.told.push(told),
        }
    }

    fn is_alive(&self) -> bool {
        self.process.load(Ordering::Acquire) != DEAD
    }

    fn die(&self) {
        if self.process.swap(DEAD, Ordering::AcqRel) == WATCHED {
            self.event("death", |machine| machine.exited(PROCESS, &Term::atom("died")));
        }
    }

    fn cut(&self) {
        self.event("cut", |machine| machine.lost(CABLE, Term::atom("connection_closed")));
    }

    fn sent(&self, wanted: impl Fn(&Signal) -> bool) -> usize {
        self.state.lock().unwrap().sent.iter().filter(|signal| wanted(signal)).count()
    }

    fn told(&self, wanted: impl Fn(&Action) -> bool) -> usize {
        self.state.lock().unwrap().told.iter().filter(|told| wanted(told)).count()
    }

    /// Asserts that no relation is left.
    fn is_empty(&self) {
        let counts = self.state.lock().unwrap().machine.counts();
        assert_eq!((counts.links, counts.monitors, counts.monitored_by), (0, 0, 0));
    }
}

/// LINK and MONITOR_P arrive for a process that dies: one EXIT and one DOWN, and nothing is left.
fn arrive_or_die(rules: Rules) {
    let node = Surroundings::new(rules);
    let dying = node.clone();
    let process = thread::spawn(move || dying.die());
    node.event("link", |machine| machine.link_arrived(CABLE, &there(), PROCESS, None, node.is_alive()));
    let reference = ErlReference::new(atom("b@b"), 5, 1);
    node.event("monitor", |machine| {
        machine.monitor_arrived(CABLE, &there(), &reference, PROCESS, None, node.is_alive());
    });
    process.join().unwrap();
    assert_eq!(node.sent(|signal| matches!(signal, Signal::Exit { .. })), 1);
    assert_eq!(node.sent(|signal| matches!(signal, Signal::Down { .. })), 1);
    node.is_empty();
}

/// MONITOR_P arrives for a process that dies while the connection is lost: at most one DOWN, none
/// after the loss, and nothing is left.
fn arrive_or_lose() {
    let node = Surroundings::new(ALL);
    let (dying, losing) = (node.clone(), node.clone());
    let process = thread::spawn(move || dying.die());
    let loss = thread::spawn(move || losing.cut());
    let reference = ErlReference::new(atom("b@b"), 5, 1);
    node.event("monitor", |machine| {
        machine.monitor_arrived(CABLE, &there(), &reference, PROCESS, None, node.is_alive());
    });
    process.join().unwrap();
    loss.join().unwrap();
    assert!(node.sent(|signal| matches!(signal, Signal::Down { .. })) <= 1);
    node.is_empty();
}

/// The peer's UNLINK_ID arrives while the process links again: both nodes agree on the link. The
/// acknowledgement goes out before a LINK that came after it.
fn unlink_or_link(rules: Rules) {
    let node = Surroundings::new(rules);
    node.event("link", |machine| machine.link(PROCESS, &there()));
    node.state.lock().unwrap().sent.clear();
    let arriving = node.clone();
    let reader = thread::spawn(move || {
        let to = ExternalOrLocal::Local(PROCESS);
        arriving.event("unlink", |machine| machine.unlink_arrived(CABLE, 1, &there(), to));
    });
    node.event("link", |machine| machine.link(PROCESS, &there()));
    reader.join().unwrap();
    // The peer's entry: it has unlinked, and waits for the acknowledgement.
    let (mut waits, mut is_linked) = (true, false);
    let state = node.state.lock().unwrap();
    for signal in &state.sent {
        match signal {
            Signal::UnlinkAck { id: 1, .. } => waits = false,
            Signal::Link { .. } => is_linked |= !waits,
            other => panic!("{other:?}"),
        }
    }
    assert!(!waits);
    assert_eq!(!state.machine.links_of(PROCESS).is_empty(), is_linked, "both nodes agree");
}

/// A DOWN arrives while the process withdraws its monitor: after `demonitor` with `flush` there is
/// none.
fn withdraw_or_down(rules: Rules) {
    let node = Surroundings::new(rules);
    let number = node.event("monitor", |machine| {
        let number = machine.new_reference();
        machine.monitor(PROCESS, number, Object::Pid(there()));
        number
    });
    let arriving = node.clone();
    let reader = thread::spawn(move || {
        arriving.event("down", |machine| machine.down_arrived(CABLE, PROCESS, number, Term::atom("x")));
    });
    let is_down = |told: &Action| matches!(told, Action::Down { .. });
    let was_active = node.event("demonitor", |machine| machine.demonitor(PROCESS, number));
    assert!(!was_active || node.told(is_down) == 0, "answered and withdrawn");
    node.state.lock().unwrap().told.retain(|told| !is_down(told));
    reader.join().unwrap();
    assert_eq!(node.told(is_down), 0, "a DOWN after demonitor");
    node.is_empty();
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

fn reply(node: &Surroundings, number: u64) {
    node.event("reply", |machine| {
        machine.spawn_reply_arrived(CABLE, number, true, true, SpawnOutcome::Ok(there()));
    });
}

/// The reply to a spawn request arrives while the parent dies and the connection is lost: one
/// answer to a parent that lives, one EXIT to a child whose parent has died, and nothing is left.
fn reply_or_die_or_lose() {
    let node = Surroundings::new(ALL);
    let number = node.event("spawn", |machine| {
        let number = machine.new_reference();
        machine.spawn(&atom("b@b"), number, request());
        number
    });
    let (dying, losing) = (node.clone(), node.clone());
    let process = thread::spawn(move || dying.die());
    let loss = thread::spawn(move || losing.cut());
    reply(&node, number);
    process.join().unwrap();
    loss.join().unwrap();
    let order = node.state.lock().unwrap().order.clone();
    let at = |name| order.iter().position(|event| *event == name).expect("each has happened");
    let (reply, death, cut) = (at("reply"), at("death"), at("cut"));
    let answered = node.told(|told| matches!(told, Action::Spawned { .. }));
    assert_eq!(answered, usize::from(reply.min(cut) < death), "{order:?}");
    let exits = node.sent(|signal| matches!(signal, Signal::Exit { .. }));
    assert_eq!(exits, usize::from(reply < cut && death < cut), "{order:?}");
    node.is_empty();
}

/// A process dies while it asks for a linked child, whose reply arrives later: the child is told.
fn ask_or_die(rules: Rules) {
    let node = Surroundings::new(rules);
    let dying = node.clone();
    let process = thread::spawn(move || dying.die());
    let number = node.event("spawn", |machine| {
        let number = machine.new_reference();
        machine.spawn(&atom("b@b"), number, request());
        number
    });
    process.join().unwrap();
    reply(&node, number);
    assert_eq!(node.sent(|signal| matches!(signal, Signal::Exit { .. })), 1);
    node.is_empty();
}

#[test]
fn relations_end_once() {
    model("machine: arrivals || death", None, || arrive_or_die(ALL));
    model("machine: MONITOR_P || death || loss", None, arrive_or_lose);
    model("machine: UNLINK_ID || link", None, || unlink_or_link(ALL));
    model("machine: DOWN || demonitor", None, || withdraw_or_down(ALL));
    model("machine: reply || parent's death || loss", None, reply_or_die_or_lose);
    model("machine: spawn || parent's death", None, || ask_or_die(ALL));
}

#[test]
fn each_rule_of_the_surroundings_is_needed() {
    mutant("machine, the dead are not reported", None, || arrive_or_die(DEAD_UNREPORTED));
    mutant("machine, signals sent behind the lock", None, || unlink_or_link(TWO_LOCKS));
    mutant("machine, mail delivered behind the lock", None, || withdraw_or_down(TWO_LOCKS));
    mutant("machine, a dead parent is not reported", None, || ask_or_die(DEAD_UNREPORTED));
}
