//! Named groups of processes: [`ProcessGroups`] (OTP's `pg`).
//!
//! A scope is a process, a server to be supervised like one; scopes know nothing of each other. A process may be in a group
//! more than once: joins are counted, and it has to leave as often. It is out when it dies, of all.
//!
//! - **G1, a member learns of the scope's end.** The scope links itself with a process while that is in a group, as a registry does
//!   (`registry`, R3): a scope that crashes takes its members along, and their supervisors start them, and have them join, anew; a member that
//!   traps exits gets the EXIT. OTP's `pg` leaves them in no group, and silent; [`ProcessGroups::unlinked`] does.
//! - **G2, linear work.** Joining, leaving and the death of a member take a logarithmic time for each membership, and one message for
//!   each watcher of that group, or of all.
//!
//! Who monitors a scope, or one group of it, gets a snapshot of the members and from then on each [`MembershipChange`], as a message
//! of its own type: none that is in the snapshot, and none of the later ones is missed, because both are the scope's own work,
//! done in turn. (A watcher with a bounded mailbox misses what that refuses or drops.)

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{Context, Down, Exit, Pid, Reference, Reply};

use crate::call::CallError;
use crate::registry::{Key, Tie, not_a_parents};
use crate::server::{Envelope, Next, InitError, Server, ServerRef, ServerCx};
use crate::wait::{breathe, pid_of};

/// Members of groups, as a snapshot has them.
pub type Members<G> = Vec<(G, Vec<Pid>)>;

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembershipChange<G> {
    /// These have joined, each as often as it is named.
    Joined(G, Vec<Pid>),
    /// These have left.
    Left(G, Vec<Pid>),
}

impl<G> MembershipChange<G> {
    /// The group.
    pub fn group(&self) -> &G {
        match self {
            Self::Joined(group, _) | Self::Left(group, _) => group,
        }
    }
}

type NotifyFn<G> = Box<dyn Fn(&Context<Envelope<ProcessGroups<G>>>, &MembershipChange<G>) + Send>;

struct Watcher<G: Key> {
    tell: NotifyFn<G>,
    /// The scope's own monitor of it.
    monitor: Reference,
}

/// The number of a join, or of a watcher: later ones have greater ones.
type Turn = u64;

/// A scope; see the module.
pub struct ProcessGroups<G: Key> {
    /// Whether members are linked (G1).
    links: bool,
    /// The members of each group, in the order of their joins.
    groups: BTreeMap<G, BTreeMap<Turn, Pid>>,
    /// The same by process. The group is always there: without one a place is before all of the process's.
    joined: BTreeSet<(Pid, Option<G>, Turn)>,
    members: BTreeMap<Pid, Tie>,
    /// By what they watch, `None` for all groups, and in the order in which they came.
    watchers: BTreeMap<(Option<G>, Turn), Watcher<G>>,
    /// What the watcher with this monitor watches.
    watching: BTreeMap<u64, (Option<G>, Turn)>,
    next: Turn,
}

/// What a scope is asked.
pub struct Request<G: Key>(Ask<G>);

enum Ask<G: Key> {
    Join(G, Vec<Pid>, Reply<Result<(), CallError>>),
    Leave(G, Vec<Pid>, Reply<bool>),
    Members(G, Reply<Vec<Pid>>),
    Which(Reply<Vec<G>>),
    Watch(Pid, Option<G>, NotifyFn<G>, Reply<Result<(Watching, Members<G>), CallError>>),
    Unwatch(Watching, Reply<bool>),
}

/// A monitor of a scope, for who wants to end it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Watching(Reference);

impl<G: Key> fmt::Debug for ProcessGroups<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

impl<G: Key> fmt::Debug for Request<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl<G: Key> Default for ProcessGroups<G> {
    fn default() -> Self {
        Self::new()
    }
}

impl<G: Key> ProcessGroups<G> {
    /// A scope without a group.
    pub const fn new() -> Self {
        Self {
            links: true,
            groups: BTreeMap::new(),
            joined: BTreeSet::new(),
            members: BTreeMap::new(),
            watchers: BTreeMap::new(),
            watching: BTreeMap::new(),
            next: 0,
        }
    }

    /// Its members are not linked with it (G1): they live on when it crashes, and are in no group then.
    pub const fn unlinked(mut self) -> Self {
        self.links = false;
        self
    }

    fn turn(&mut self) -> Turn {
        self.next += 1;
        self.next
    }

    /// Tells the watchers of all groups, and those of this one.
    async fn tell(&mut self, change: MembershipChange<G>, cx: ServerCx<'_, Self>) {
        for watched in [None, Some(change.group().clone())] {
            let mut next = Some((watched, 0));
            while let Some(place) = next {
                next = self.tell_one(place, &change, cx);
                breathe(cx.context()).await;
            }
        }
    }

    /// Tells the first watcher from this place on that watches the same; the place behind it.
    fn tell_one(
        &self,
        from: (Option<G>, Turn),
        change: &MembershipChange<G>,
        cx: ServerCx<'_, Self>,
    ) -> Option<(Option<G>, Turn)> {
        let ((_, turn), watcher) = self.watchers.range(from.clone()..).next().filter(|(place, _)| place.0 == from.0)?;
        // What a watcher makes of it is foreign, and its faults are its own.
        let _ = cx.with(|inner| inner.catch_panic(|| (watcher.tell)(cx.context(), change)));
        Some((from.0, turn + 1))
    }

    async fn join(&mut self, group: G, pids: Vec<Pid>, cx: ServerCx<'_, Self>) -> Result<(), CallError> {
        for pid in &pids {
            if !self.members.contains_key(pid) {
                // One that is dead already leaves when its DOWN is met.
                self.members.insert(*pid, Tie::new(*pid, self.links, cx)?);
            }
            breathe(cx.context()).await;
        }
        for pid in &pids {
            let turn = self.turn();
            self.joined.insert((*pid, Some(group.clone()), turn));
            self.groups.entry(group.clone()).or_default().insert(turn, *pid);
            breathe(cx.context()).await;
        }
        self.tell(MembershipChange::Joined(group, pids), cx).await;
        Ok(())
    }

    /// The first membership of a process, in a group or in any.
    fn first_joined(&self, pid: Pid, group: Option<&G>) -> Option<(G, Turn)> {
        let (member, joined, turn) = self.joined.range((pid, group.cloned(), 0)..).next()?;
        let joined = joined.as_ref().filter(|joined| *member == pid && group.is_none_or(|group| group == *joined))?;
        Some((joined.clone(), *turn))
    }

    fn take_out(&mut self, pid: Pid, group: &G, turn: Turn) {
        self.joined.remove(&(pid, Some(group.clone()), turn));
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&turn);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Lets go of a process that is in no group any more.
    fn let_go(&mut self, pid: Pid, cx: ServerCx<'_, Self>) {
        if self.first_joined(pid, None).is_none()
            && let Some(tie) = self.members.remove(&pid)
        {
            tie.undo(pid, cx);
        }
    }

    /// Takes one membership of each; whether any was one.
    async fn leave(&mut self, group: G, pids: Vec<Pid>, cx: ServerCx<'_, Self>) -> bool {
        let mut left = Vec::new();
        for pid in pids {
            if let Some((_, turn)) = self.first_joined(pid, Some(&group)) {
                self.take_out(pid, &group, turn);
                self.let_go(pid, cx);
                left.push(pid);
            }
            breathe(cx.context()).await;
        }
        let any = !left.is_empty();
        if any {
            self.tell(MembershipChange::Left(group, left), cx).await;
        }
        any
    }

    async fn died(&mut self, pid: Pid, cx: ServerCx<'_, Self>) {
        while let Some((group, _)) = self.first_joined(pid, None) {
            let mut left = Vec::new();
            while let Some((_, turn)) = self.first_joined(pid, Some(&group)) {
                self.take_out(pid, &group, turn);
                left.push(pid);
                breathe(cx.context()).await;
            }
            self.tell(MembershipChange::Left(group, left), cx).await;
        }
        self.let_go(pid, cx);
    }

    async fn members(&mut self, group: &G, cx: ServerCx<'_, Self>) -> Vec<Pid> {
        let (mut members, mut from) = (Vec::new(), 0);
        while let Some((turn, pid)) = self.groups.get(group).and_then(|members| members.range(from..).next()) {
            members.push(*pid);
            from = turn + 1;
            breathe(cx.context()).await;
        }
        members
    }

    async fn watch(
        &mut self,
        who: Pid,
        group: Option<G>,
        tell: NotifyFn<G>,
        cx: ServerCx<'_, Self>,
    ) -> Result<(Watching, Members<G>), CallError> {
        let monitor = cx.monitor(who)?;
        let mut snapshot = Vec::new();
        match &group {
            Some(group) => snapshot.push((group.clone(), self.members(group, cx).await)),
            None => {
                let mut next = self.groups.keys().next().cloned();
                while let Some(group) = next {
                    let members = self.members(&group, cx).await;
                    next = self.groups.range(group.clone()..).nth(1).map(|(group, _)| group.clone());
                    snapshot.push((group, members));
                }
            }
        }
        let turn = self.turn();
        self.watching.insert(monitor.to_raw(), (group.clone(), turn));
        self.watchers.insert((group, turn), Watcher { tell, monitor });
        Ok((Watching(monitor), snapshot))
    }

    fn unwatch(&mut self, watching: Watching, cx: ServerCx<'_, Self>) -> bool {
        let Some(place) = self.watching.remove(&watching.0.to_raw()) else { return false };
        let Some(watcher) = self.watchers.remove(&place) else { return false };
        cx.demonitor(watcher.monitor, true);
        let _ = cx.with(|cx| cx.catch_panic(|| drop(watcher)));
        true
    }
}

impl<G: Key> Server for ProcessGroups<G> {
    type Message = Request<G>;

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<Request<G>>, InitError> {
        if self.links {
            // The end of a member is no end of the scope.
            cx.trap_exit(true);
        }
        Ok(Next::Wait)
    }

    async fn handle(&mut self, request: Request<G>, cx: ServerCx<'_, Self>) -> Next<Request<G>> {
        match request.0 {
            Ask::Join(group, pids, reply) => {
                let joined = self.join(group, pids, cx).await;
                reply.send(joined);
            }
            Ask::Leave(group, pids, reply) => {
                let left = self.leave(group, pids, cx).await;
                reply.send(left);
            }
            Ask::Members(group, reply) => {
                let members = self.members(&group, cx).await;
                reply.send(members);
            }
            Ask::Which(reply) => reply.send(self.groups.keys().cloned().collect()),
            Ask::Watch(who, group, tell, reply) => {
                let watching = self.watch(who, group, tell, cx).await;
                reply.send(watching);
            }
            Ask::Unwatch(watching, reply) => reply.send(self.unwatch(watching, cx)),
        }
        Next::Wait
    }

    async fn down(&mut self, down: Down, cx: ServerCx<'_, Self>) -> Next<Request<G>> {
        let Some(pid) = pid_of(&down.object) else { return Next::Wait };
        if self.members.get(&pid).is_some_and(|tie| tie.monitor == down.reference) {
            self.died(pid, cx).await;
        }
        self.unwatch(Watching(down.reference), cx);
        Next::Wait
    }

    async fn exit(&mut self, exit: Exit, cx: ServerCx<'_, Self>) -> Next<Request<G>> {
        not_a_parents(exit, cx)
    }
}

/// A scope, for who asks it.
pub type GroupsRef<G> = ServerRef<ProcessGroups<G>>;

impl<G: Key> ServerRef<ProcessGroups<G>> {
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
        F: Fn(MembershipChange<G>) -> M + Send + 'static,
    {
        let who = cx.pid();
        let tell: NotifyFn<G> = Box::new(move |cx, change| {
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
