//! Which local processes are told of nodes that come and go: `monitor_nodes` and `monitor_node`.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::term::{Atom, Term};

use super::action::{Action, NodeEvent};
use super::{Machine, atom};

/// Which nodes a subscription is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeTypes {
    /// Visible nodes.
    Visible,
    /// Hidden nodes.
    Hidden,
    /// All nodes.
    All,
}

/// The options of one subscription. Two are the same if their options are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Subscription {
    /// Which nodes; `None` is the visible ones, and no `node_type` in the information.
    pub types: Option<NodeTypes>,
    /// The reason of nodedown is in the information.
    pub reason: bool,
}

impl Subscription {
    fn is_about(self, hidden: bool) -> bool {
        match self.types {
            None | Some(NodeTypes::Visible) => !hidden,
            Some(NodeTypes::Hidden) => hidden,
            Some(NodeTypes::All) => true,
        }
    }

    fn info(self, hidden: bool, reason: Option<&Term>) -> Option<Vec<(Atom, Term)>> {
        if self == Self::default() {
            return None;
        }
        let mut info = Vec::new();
        if let (true, Some(reason)) = (self.reason, reason) {
            info.push((atom("nodedown_reason"), reason.clone()));
        }
        if self.types.is_some() {
            let kind = if hidden { "hidden" } else { "visible" };
            info.push((atom("node_type"), Term::atom(kind)));
        }
        Some(info)
    }
}

/// All subscriptions.
#[derive(Clone, Default, Debug)]
pub(super) struct Subscriptions {
    /// `monitor_nodes`, in the order of subscription.
    all: BTreeMap<u64, Vec<Subscription>>,
    /// `monitor_node`: how often each process has asked for each node.
    one: BTreeMap<Atom, BTreeMap<u64, usize>>,
    /// The nodes that a process has asked for.
    of: BTreeMap<u64, Vec<Atom>>,
}

impl Subscriptions {
    pub(super) fn up(&self, node: &Atom, hidden: bool) -> Vec<(u64, NodeEvent)> {
        self.events(node, true, hidden, None)
    }

    /// Returns the events of a node that is lost. `hidden` is `None` if it never was up.
    pub(super) fn down(&mut self, node: &Atom, hidden: Option<bool>, why: &Term) -> Vec<(u64, NodeEvent)> {
        let mut events = hidden.map_or(vec![], |hidden| self.events(node, false, hidden, Some(why)));
        for (pid, times) in self.one.remove(node).unwrap_or_default() {
            if let Some(nodes) = self.of.get_mut(&pid) {
                nodes.retain(|asked| asked != node);
            }
            let event = NodeEvent { node: node.clone(), up: false, info: None };
            events.extend((0..times).map(|_| (pid, event.clone())));
        }
        events
    }

    fn events(&self, node: &Atom, up: bool, hidden: bool, why: Option<&Term>) -> Vec<(u64, NodeEvent)> {
        let mut events = Vec::new();
        for (pid, subscriptions) in &self.all {
            for subscription in subscriptions.iter().filter(|subscription| subscription.is_about(hidden)) {
                let info = subscription.info(hidden, why);
                events.push((*pid, NodeEvent { node: node.clone(), up, info }));
            }
        }
        events
    }

    pub(super) fn forget(&mut self, pid: u64) {
        self.all.remove(&pid);
        for node in self.of.remove(&pid).unwrap_or_default() {
            if let Some(pids) = self.one.get_mut(&node) {
                pids.remove(&pid);
                if pids.is_empty() {
                    self.one.remove(&node);
                }
            }
        }
    }
}

impl<C: Clone> Machine<C> {
    /// Tells a process of nodes from now on, in addition to its other subscriptions.
    pub fn subscribe(&mut self, pid: u64, subscription: Subscription) {
        self.local(pid).subscribed = true;
        self.subscriptions.all.entry(pid).or_default().push(subscription);
    }

    /// Takes back all subscriptions of a process with these options.
    pub fn unsubscribe(&mut self, pid: u64, subscription: Subscription) {
        if let Some(subscriptions) = self.subscriptions.all.get_mut(&pid) {
            subscriptions.retain(|other| *other != subscription);
        }
    }

    /// Tells a process once when the connection to a node is lost, or cannot be made. Without a
    /// connection, even one that is being made, that is at once.
    pub fn monitor_node(&mut self, pid: u64, node: &Atom) {
        if !self.peers.contains_key(node) {
            let event = NodeEvent { node: node.clone(), up: false, info: None };
            self.act(Action::Node { to: pid, event });
            return;
        }
        self.local(pid).subscribed = true;
        let times = self.subscriptions.one.entry(node.clone()).or_default().entry(pid).or_default();
        *times += 1;
        if *times == 1 {
            self.subscriptions.of.entry(pid).or_default().push(node.clone());
        }
    }

    /// Takes back one [`Machine::monitor_node`].
    pub fn demonitor_node(&mut self, pid: u64, node: &Atom) {
        let subscriptions = &mut self.subscriptions;
        let Some(pids) = subscriptions.one.get_mut(node) else { return };
        let Some(times) = pids.get_mut(&pid) else { return };
        *times -= 1;
        if *times == 0 {
            pids.remove(&pid);
            if let Some(nodes) = subscriptions.of.get_mut(&pid) {
                nodes.retain(|asked| asked != node);
            }
        }
    }
}
