//! Named groups of processes: [`Groups`] (OTP's `pg`).
//!
//! A scope is a process, a server to be supervised like one; scopes know nothing of each other. A process may be in a group
//! more than once: joins are counted, and it has to leave as often. It is out when it dies, of all.
//!
//! Who monitors a scope, or one group of it, gets a snapshot of the members and from then on each [`Change`], as a message
//! of its own type: none that is in the snapshot, and none of the later ones is missed, because both are the scope's own work,
//! done in turn. (A watcher with a bounded mailbox misses what that refuses or drops.)

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{Context, Down, MonitorError, Pid, Reference, Reply};

use crate::call::CallError;
use crate::registry::Key;
use crate::server::{Envelope, Next, Server, ServerRef, Serving};
use crate::wait::pid_of;

/// Members of groups, as a snapshot has them.
pub type Members<G> = Vec<(G, Vec<Pid>)>;

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<G> {
    /// These have joined, each as often as it is named.
    Joined(G, Vec<Pid>),
    /// These have left.
    Left(G, Vec<Pid>),
}

impl<G> Change<G> {
    /// The group.
    pub fn group(&self) -> &G {
        match self {
            Self::Joined(group, _) | Self::Left(group, _) => group,
        }
    }
}

type Tell<G> = Box<dyn Fn(&Context<Envelope<Groups<G>>>, &Change<G>) + Send>;

struct Watcher<G: Key> {
    who: Pid,
    /// `None`: all groups.
    group: Option<G>,
    tell: Tell<G>,
    /// The scope's own monitor of it, which names it.
    monitor: Reference,
}

struct Member<G> {
    monitor: Reference,
    groups: Vec<G>,
}

/// A scope; see the module.
pub struct Groups<G: Key> {
    groups: BTreeMap<G, Vec<Pid>>,
    members: BTreeMap<Pid, Member<G>>,
    watchers: Vec<Watcher<G>>,
}

/// What a scope is asked.
pub struct Request<G: Key>(Ask<G>);

enum Ask<G: Key> {
    Join(G, Vec<Pid>, Reply<Result<(), CallError>>),
    Leave(G, Vec<Pid>, Reply<bool>),
    Members(G, Reply<Vec<Pid>>),
    Which(Reply<Vec<G>>),
    Watch(Pid, Option<G>, Tell<G>, Reply<Result<(Watching, Members<G>), CallError>>),
    Unwatch(Watching, Reply<bool>),
}

/// A monitor of a scope, for who wants to end it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Watching(Reference);

impl<G: Key> fmt::Debug for Groups<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

impl<G: Key> fmt::Debug for Request<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl<G: Key> Default for Groups<G> {
    fn default() -> Self {
        Self::new()
    }
}

/// The change that is told of.
fn tell<G: Key>(watchers: &[Watcher<G>], cx: Serving<'_, Groups<G>>, change: &Change<G>) {
    for watcher in watchers {
        if watcher.group.as_ref().is_none_or(|group| group == change.group()) {
            (watcher.tell)(cx.context(), change);
        }
    }
}

impl<G: Key> Groups<G> {
    /// A scope without a group.
    pub const fn new() -> Self {
        Self { groups: BTreeMap::new(), members: BTreeMap::new(), watchers: Vec::new() }
    }

    fn join(&mut self, group: &G, pids: Vec<Pid>, cx: Serving<'_, Self>) -> Result<(), MonitorError> {
        for pid in &pids {
            if !self.members.contains_key(pid) {
                // One that is dead already leaves when its DOWN is met.
                let monitor = cx.monitor(*pid)?;
                self.members.insert(*pid, Member { monitor, groups: Vec::new() });
            }
        }
        for pid in &pids {
            if let Some(member) = self.members.get_mut(pid) {
                member.groups.push(group.clone());
            }
        }
        self.groups.entry(group.clone()).or_default().extend(&pids);
        tell(&self.watchers, cx, &Change::Joined(group.clone(), pids));
        Ok(())
    }

    /// Takes one membership of each; whether any was one.
    fn leave(&mut self, group: &G, pids: Vec<Pid>, cx: Serving<'_, Self>) -> bool {
        let mut left = Vec::new();
        for pid in pids {
            let Some(members) = self.groups.get_mut(group) else { break };
            let Some(place) = members.iter().position(|member| *member == pid) else { continue };
            members.remove(place);
            if members.is_empty() {
                self.groups.remove(group);
            }
            if let Some(member) = self.members.get_mut(&pid) {
                if let Some(place) = member.groups.iter().position(|other| other == group) {
                    member.groups.swap_remove(place);
                }
                if member.groups.is_empty() {
                    cx.demonitor(member.monitor, true);
                    self.members.remove(&pid);
                }
            }
            left.push(pid);
        }
        if left.is_empty() {
            return false;
        }
        tell(&self.watchers, cx, &Change::Left(group.clone(), left));
        true
    }

    fn died(&mut self, pid: Pid, cx: Serving<'_, Self>) {
        let Some(member) = self.members.get(&pid) else { return };
        let mut groups = member.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let joined = self.groups.get(&group).map_or(0, |members| members.iter().filter(|m| **m == pid).count());
            self.leave(&group, alloc::vec![pid; joined], cx);
        }
    }

    fn watch(
        &mut self,
        who: Pid,
        group: Option<G>,
        tell: Tell<G>,
        cx: Serving<'_, Self>,
    ) -> Result<(Watching, Members<G>), CallError> {
        let monitor = cx.monitor(who)?;
        let snapshot = match &group {
            Some(group) => {
                let members = self.groups.get(group).cloned().unwrap_or_default();
                alloc::vec![(group.clone(), members)]
            }
            None => self.groups.iter().map(|(group, members)| (group.clone(), members.clone())).collect(),
        };
        self.watchers.push(Watcher { who, group, tell, monitor });
        Ok((Watching(monitor), snapshot))
    }

    fn unwatch(&mut self, watching: Watching, cx: Serving<'_, Self>) -> bool {
        let before = self.watchers.len();
        self.watchers.retain(|watcher| watcher.monitor != watching.0);
        cx.demonitor(watching.0, true);
        self.watchers.len() < before
    }
}

impl<G: Key> Server for Groups<G> {
    type Message = Request<G>;

    // Plain work, none of it waits; the watchers' closures need not be `Sync`.
    #[allow(clippy::manual_async_fn, reason = "an async fn would hold `&self` over its body")]
    fn handle(&mut self, request: Request<G>, cx: Serving<'_, Self>) -> impl Future<Output = Next<Request<G>>> + Send {
        match request.0 {
            Ask::Join(group, pids, reply) => reply.send(self.join(&group, pids, cx).map_err(CallError::from)),
            Ask::Leave(group, pids, reply) => reply.send(self.leave(&group, pids, cx)),
            Ask::Members(group, reply) => reply.send(self.groups.get(&group).cloned().unwrap_or_default()),
            Ask::Which(reply) => reply.send(self.groups.keys().cloned().collect()),
            Ask::Watch(who, group, tell, reply) => reply.send(self.watch(who, group, tell, cx)),
            Ask::Unwatch(watching, reply) => reply.send(self.unwatch(watching, cx)),
        }
        core::future::ready(Next::Wait)
    }

    async fn down(&mut self, down: Down, cx: Serving<'_, Self>) -> Next<Request<G>> {
        let Some(pid) = pid_of(&down.object) else { return Next::Wait };
        if self.members.get(&pid).is_some_and(|member| member.monitor == down.reference) {
            self.died(pid, cx);
        }
        self.watchers.retain(|watcher| watcher.who != pid || watcher.monitor != down.reference);
        Next::Wait
    }
}

/// A scope, for who asks it.
pub type GroupsRef<G> = ServerRef<Groups<G>>;

impl<G: Key> ServerRef<Groups<G>> {
    /// Has processes join a group, each as often as it is named.
    pub async fn join<M: Send + 'static>(
        self,
        cx: &Context<M>,
        group: G,
        pids: impl IntoIterator<Item = Pid>,
    ) -> Result<(), CallError> {
        let pids = pids.into_iter().collect();
        self.call(cx, |reply| Request(Ask::Join(group, pids, reply))).await?
    }

    /// Takes one membership of each; whether any was one.
    pub async fn leave<M: Send + 'static>(
        self,
        cx: &Context<M>,
        group: G,
        pids: impl IntoIterator<Item = Pid>,
    ) -> Result<bool, CallError> {
        let pids = pids.into_iter().collect();
        self.call(cx, |reply| Request(Ask::Leave(group, pids, reply))).await
    }

    /// Who is in a group, each as often as it has joined.
    pub async fn members<M: Send + 'static>(self, cx: &Context<M>, group: G) -> Result<Vec<Pid>, CallError> {
        self.call(cx, |reply| Request(Ask::Members(group, reply))).await
    }

    /// The groups that have members.
    pub async fn which_groups<M: Send + 'static>(self, cx: &Context<M>) -> Result<Vec<G>, CallError> {
        self.call(cx, |reply| Request(Ask::Which(reply))).await
    }

    /// A snapshot of the scope, or of one group; from then on each change comes as a message that `into` makes.
    pub async fn monitor_group<M, F>(
        self,
        cx: &Context<M>,
        group: Option<G>,
        into: F,
    ) -> Result<(Watching, Members<G>), CallError>
    where
        M: Send + 'static,
        F: Fn(Change<G>) -> M + Send + 'static,
    {
        let who = cx.pid();
        let tell: Tell<G> = Box::new(move |cx, change| {
            // A dead or full watcher gets nothing; a dead one is forgotten when its DOWN comes.
            let _ = cx.send(who, into(change.clone()));
        });
        self.call(cx, |reply| Request(Ask::Watch(who, group, tell, reply))).await?
    }

    /// Ends such a monitor; a change that is on its way still comes.
    pub async fn demonitor_group<M: Send + 'static>(
        self,
        cx: &Context<M>,
        watching: Watching,
    ) -> Result<bool, CallError> {
        self.call(cx, |reply| Request(Ask::Unwatch(watching, reply))).await
    }
}
