//! [`Model`]: OTP's rules for the order of signals. It holds the signals that a process was sent
//! and has not handled, and those that it has handled and not received.
//!
//! Every signal goes to the end of the receiver's *inbox*, including a link, a monitor and a query.
//! A process *handles* its inbox in order when it is resumed and whenever it receives. Signals that
//! the process must see go to its *queue*. A fatal signal leaves the rest unhandled, and the
//! process's death answers them. So the model needs no clock, no cores and no memory order, only
//! the sequence of the processes' actions, which the driver reports.
//!
//! A link is a record that both ends know. An unlink by one end cuts it for both at once, so no
//! EXIT of it comes after an unlink, and an EXIT of an old link is never mistaken for one of a new
//! link. A monitor is a record as well.

pub mod claims;
pub mod timers;

use std::collections::{BTreeMap, VecDeque};

use atropos_kernel::{AliasMode, Overflow, Pid, Reason, Reference};

use self::timers::Timer;
use crate::program::{Birth, NAMES};

/// A process's number, in order of spawning.
pub type Id = usize;

/// A signal that was sent and is not handled yet.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    Letter { letter: u64, via: Option<Reference> },
    Exit { from: Option<Id>, reason: Reason },
    Kill,
    LinkExit { link: usize, reason: Reason },
    LinkRequest(usize),
    MonitorRequest(Reference),
    Down { monitor: Reference, reason: Reason, or_noproc: bool },
    Ask(u64),
}

/// A queue entry that was handled and is not received yet.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Letter(u64),
    Exit { from: Option<Id>, reason: Reason },
    Down { monitor: Reference, reason: Reason, or_noproc: bool },
}

/// The model of one process.
#[derive(Debug)]
pub(crate) struct Process {
    pub pid: Pid,
    /// The exit reason, if the process is dead.
    pub dead: Option<Reason>,
    /// The reason that the process will die of, if it is dying. It does nothing more.
    pub dying: Option<Reason>,
    pub inbox: VecDeque<Signal>,
    pub queue: VecDeque<Item>,
    pub trap: bool,
    pub limit: u32,
    pub overflow: Overflow,
    /// The number of letters that its full mailbox has dropped.
    pub dropped: usize,
    /// The receiver for whose mailbox capacity the process waits.
    pub in_line: Option<Id>,
    pub name: Option<usize>,
    /// Every name that the process ever had.
    pub had: [bool; NAMES],
    /// The links that the process knows of, oldest first.
    pub links: Vec<usize>,
    /// The monitors of this process that it has handled.
    pub watchers: Vec<Reference>,
    pub aliases: BTreeMap<Reference, AliasMode>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tie {
    InForce,
    Fired,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub ends: [Id; 2],
    pub state: Tie,
    /// Per end, `true` if an EXIT of the link is still accepted.
    pub wanted: [bool; 2],
}

/// The target of a monitor, as it was named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// A process.
    Process(Id),
    /// A name.
    Name(usize),
}

#[derive(Debug)]
pub(crate) struct Monitor {
    pub watcher: Id,
    pub on: On,
    pub target: Option<Id>,
    pub state: Tie,
    pub wanted: bool,
    /// `true` if the monitor's DOWN is in the queue.
    pub delivered: bool,
    /// `true` until the monitor is withdrawn or its DOWN is received.
    pub open: bool,
}

/// The sequential model of OTP's rules.
#[derive(Debug, Default)]
pub struct Model {
    pub(crate) processes: Vec<Process>,
    pub(crate) ids: BTreeMap<Pid, Id>,
    pub(crate) links: Vec<Link>,
    pub(crate) monitors: BTreeMap<Reference, Monitor>,
    pub(crate) names: [Option<Id>; NAMES],
    pub(crate) timers: Vec<Timer>,
    /// The letters that carry orders for their receiver.
    pub(crate) orders: std::collections::BTreeSet<u64>,
    /// Each query, and its answer: alive or not.
    pub(crate) answers: BTreeMap<u64, Option<bool>>,
    pub(crate) tombstones: bool,
    /// The limit of `Program::limit`, and the number of cores.
    pub(crate) limit: (u32, usize),
}

impl Model {
    /// Creates a model without processes.
    pub fn new(tombstones: bool, limit: u32, cores: usize) -> Self {
        Self { tombstones, limit: (limit, cores), ..Self::default() }
    }

    /// Returns the process with a pid.
    pub fn id(&self, pid: Pid) -> Option<Id> {
        self.ids.get(&pid).copied()
    }

    /// Returns the pid of a process.
    pub fn pid(&self, id: Id) -> Pid {
        self.processes[id].pid
    }

    /// Returns the number of processes ever started.
    pub fn count(&self) -> usize {
        self.processes.len()
    }

    /// Returns the live processes.
    pub fn alive(&self) -> impl Iterator<Item = Id> + '_ {
        (0..self.count()).filter(|id| self.is_alive(*id))
    }

    pub(crate) fn is_alive(&self, id: Id) -> bool {
        self.processes[id].dead.is_none()
    }

    pub(crate) fn is_dying(&self, id: Id) -> bool {
        self.processes[id].dying.is_some()
    }

    /// Returns the exit reason of a dead process.
    pub fn reason(&self, id: Id) -> Option<&Reason> {
        self.processes[id].dead.as_ref()
    }

    /// Adds a process, with the state that it has before its first instruction.
    pub(crate) fn born(&mut self, parent: Option<Id>, birth: &Birth, pid: Pid, monitor: Option<Reference>) {
        let id = self.count();
        self.ids.insert(pid, id);
        self.processes.push(Process {
            pid,
            dead: None,
            dying: None,
            inbox: VecDeque::new(),
            queue: VecDeque::new(),
            trap: birth.trap,
            limit: birth.limit,
            overflow: birth.overflow,
            dropped: 0,
            in_line: None,
            name: None,
            had: [false; NAMES],
            links: Vec::new(),
            watchers: Vec::new(),
            aliases: BTreeMap::new(),
        });
        if let Some(name) = birth.name {
            self.give_name(name, id);
        }
        let Some(parent) = parent else { return };
        if birth.link {
            let link = self.new_link(parent, id);
            self.processes[parent].links.push(link);
            self.processes[id].links.push(link);
        }
        if let Some(reference) = monitor {
            self.new_monitor(reference, parent, On::Process(id), Some(id));
            self.processes[id].watchers.push(reference);
        }
    }

    pub(crate) fn give_name(&mut self, name: usize, to: Id) {
        self.names[name] = Some(to);
        self.processes[to].name = Some(name);
        self.processes[to].had[name] = true;
    }

    pub(crate) fn new_link(&mut self, maker: Id, other: Id) -> usize {
        self.links.push(Link { ends: [maker, other], state: Tie::InForce, wanted: [true; 2] });
        self.links.len() - 1
    }

    pub(crate) fn new_monitor(&mut self, reference: Reference, watcher: Id, on: On, target: Option<Id>) {
        let state = Tie::InForce;
        let monitor = Monitor { watcher, on, target, state, wanted: true, delivered: false, open: true };
        self.monitors.insert(reference, monitor);
    }

    /// Returns the other end of a link.
    pub(crate) fn peer(&self, link: usize, id: Id) -> Id {
        let [one, two] = self.links[link].ends;
        if one == id { two } else { one }
    }

    fn side(&self, link: usize, id: Id) -> usize {
        usize::from(self.links[link].ends[0] != id)
    }

    /// Sends a signal. A signal to a dead process has no effect.
    pub(crate) fn signal(&mut self, to: Id, signal: Signal) {
        if self.is_alive(to) {
            self.processes[to].inbox.push_back(signal);
        }
    }

    /// Sends an exit signal, as `exit` does.
    pub fn exit(&mut self, from: Option<Id>, to: Id, reason: Reason) {
        let signal = if reason == Reason::KILL { Signal::Kill } else { Signal::Exit { from, reason } };
        self.signal(to, signal);
    }

    /// Handles a process's inbox, up to a signal that is fatal.
    pub(crate) fn fetch(&mut self, id: Id) {
        while self.meet_next(id) {}
        self.trim(id);
    }

    /// Drops the oldest letters over the limit. A bounded mailbox with that policy does so each
    /// time it has handled its inbox.
    fn trim(&mut self, id: Id) {
        let process = &mut self.processes[id];
        if process.limit == 0 || process.overflow != Overflow::DropOldest {
            return;
        }
        let is_letter = |item: &Item| matches!(item, Item::Letter(_));
        while process.queue.iter().filter(|item| is_letter(item)).count() > process.limit as usize {
            let oldest = process.queue.iter().position(is_letter).unwrap_or_default();
            process.queue.remove(oldest);
            process.dropped += 1;
        }
    }

    /// Handles the next signal. Returns `false` if none is left or the process must die.
    pub(crate) fn meet_next(&mut self, id: Id) -> bool {
        if self.is_dying(id) {
            return false;
        }
        let Some(signal) = self.processes[id].inbox.pop_front() else { return false };
        self.meet(id, signal);
        true
    }

    fn meet(&mut self, id: Id, signal: Signal) {
        match signal {
            Signal::Letter { letter, via } => self.meet_letter(id, letter, via),
            Signal::Exit { from, reason } => self.meet_exit(id, from, reason),
            Signal::Kill => self.processes[id].dying = Some(Reason::KILLED),
            Signal::LinkExit { link, reason } => self.meet_link_exit(id, link, reason),
            Signal::LinkRequest(link) => {
                if self.links[link].state != Tie::Ended {
                    self.processes[id].links.push(link);
                }
            }
            Signal::MonitorRequest(monitor) => {
                if self.monitors[&monitor].state == Tie::InForce {
                    self.processes[id].watchers.push(monitor);
                }
            }
            Signal::Down { monitor, reason, or_noproc } => {
                let record = self.monitors.get_mut(&monitor).expect("the monitor exists");
                if record.wanted {
                    record.delivered = true;
                    self.end_alias_of_monitor(id, monitor);
                    self.processes[id].queue.push_back(Item::Down { monitor, reason, or_noproc });
                }
            }
            Signal::Ask(question) => {
                self.answers.insert(question, Some(true));
            }
        }
    }

    fn meet_letter(&mut self, id: Id, letter: u64, via: Option<Reference>) {
        if let Some(via) = via {
            let Some(mode) = self.processes[id].aliases.get(&via).copied() else { return };
            if matches!(mode, AliasMode::Reply | AliasMode::ReplyDemonitor) {
                self.processes[id].aliases.remove(&via);
            }
            if mode == AliasMode::ReplyDemonitor {
                self.end_monitor(id, via, false);
            }
        }
        self.processes[id].queue.push_back(Item::Letter(letter));
    }

    fn meet_exit(&mut self, id: Id, from: Option<Id>, reason: Reason) {
        let process = &mut self.processes[id];
        if process.trap {
            process.queue.push_back(Item::Exit { from, reason });
        } else if reason != Reason::NORMAL || from == Some(id) {
            process.dying = Some(reason);
        }
    }

    fn meet_link_exit(&mut self, id: Id, link: usize, reason: Reason) {
        self.processes[id].links.retain(|known| *known != link);
        let side = self.side(link, id);
        if !self.links[link].wanted[side] {
            return;
        }
        let peer = self.peer(link, id);
        // One link gives one EXIT, also when both ends linked at once.
        self.cut(id, peer);
        let process = &mut self.processes[id];
        if process.trap {
            process.queue.push_back(Item::Exit { from: Some(peer), reason });
        } else if reason != Reason::NORMAL {
            process.dying = Some(reason);
        }
    }

    /// Ends every link with `peer` that the process knows of.
    pub(crate) fn cut(&mut self, id: Id, peer: Id) {
        let (cut, kept) =
            std::mem::take(&mut self.processes[id].links).into_iter().partition(|link| self.peer(*link, id) == peer);
        self.processes[id].links = kept;
        for link in cut {
            let side = self.side(link, id);
            match &mut self.links[link] {
                Link { state: state @ Tie::InForce, .. } => *state = Tie::Ended,
                record => record.wanted[side] = false,
            }
        }
    }

    /// Ends a finished monitor's alias, if the alias ends with the monitor.
    pub(crate) fn end_alias_of_monitor(&mut self, id: Id, monitor: Reference) {
        let aliases = &mut self.processes[id].aliases;
        if matches!(aliases.get(&monitor), Some(AliasMode::Demonitor | AliasMode::ReplyDemonitor)) {
            aliases.remove(&monitor);
        }
    }

    /// Performs a demonitor. Returns `true` if the monitor was active, or if its DOWN will no
    /// longer come.
    pub(crate) fn end_monitor(&mut self, id: Id, monitor: Reference, flush: bool) -> bool {
        self.end_alias_of_monitor(id, monitor);
        let Some(record) = self.monitors.get_mut(&monitor).filter(|record| record.watcher == id && record.open) else {
            return false;
        };
        if record.delivered {
            if flush {
                record.open = false;
                let queue = &mut self.processes[id].queue;
                queue.retain(|item| !matches!(item, Item::Down { monitor: m, .. } if *m == monitor));
            }
            return false;
        }
        record.open = false;
        match record.state {
            Tie::InForce => record.state = Tie::Ended,
            _ => record.wanted = false,
        }
        true
    }

    /// Sends an EXIT to a link's other end, unless it was sent before, because a process died or
    /// never existed.
    pub(crate) fn fire_link(&mut self, link: usize, by: Id, reason: &Reason) {
        if self.links[link].state == Tie::InForce {
            self.links[link].state = Tie::Fired;
            self.signal(self.peer(link, by), Signal::LinkExit { link, reason: reason.clone() });
        }
    }

    pub(crate) fn fire_monitor(&mut self, monitor: Reference, reason: &Reason, or_noproc: bool) {
        let record = self.monitors.get_mut(&monitor).expect("the monitor exists");
        if record.state == Tie::InForce {
            record.state = Tie::Fired;
            let watcher = record.watcher;
            self.signal(watcher, Signal::Down { monitor, reason: reason.clone(), or_noproc });
        }
    }

    /// Performs a process's death: notifies its links and monitors, and answers its unhandled
    /// signals.
    pub(crate) fn bury(&mut self, id: Id, reason: Reason) {
        let process = &mut self.processes[id];
        process.dead = Some(reason.clone());
        process.queue.clear();
        process.aliases.clear();
        let (links, watchers, unmet) = (
            std::mem::take(&mut process.links),
            std::mem::take(&mut process.watchers),
            std::mem::take(&mut process.inbox),
        );
        if let Some(name) = process.name.take() {
            self.names[name] = None;
        }
        self.end_timers_to(id);
        for record in self.monitors.values_mut().filter(|record| record.watcher == id && record.open) {
            record.open = false;
            if record.state == Tie::InForce {
                record.state = Tie::Ended;
            }
        }
        for link in links {
            self.fire_link(link, id, &reason);
        }
        for monitor in watchers {
            self.fire_monitor(monitor, &reason, false);
        }
        for signal in unmet {
            match signal {
                Signal::LinkRequest(link) => self.fire_link(link, id, &Reason::NOPROC),
                Signal::MonitorRequest(monitor) if self.tombstones => self.fire_monitor(monitor, &reason, false),
                Signal::MonitorRequest(monitor) => self.fire_monitor(monitor, &Reason::NOPROC, false),
                Signal::Ask(question) => drop(self.answers.insert(question, Some(false))),
                _ => {}
            }
        }
    }
}
