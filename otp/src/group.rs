//! Named groups of processes: [`ProcessGroups`] (OTP's `pg`).
//!
//! A scope is a process: a server, supervised like one. Scopes are independent of each other. A
//! process may join a group more than once: joins are counted, and it must leave as often. When it
//! dies it is removed from all groups.
//!
//! - **G1, a member learns of the scope's exit.** The scope links itself with a process while that
//!   is in a group, as a registry does (`registry`, R3). A scope that crashes thus terminates its
//!   members; their supervisors restart them, and they join again. A member that traps exits gets
//!   the EXIT. OTP's `pg` leaves its members in no group without notice; so does
//!   [`ProcessGroups::unlinked`].
//! - **G2, linear work.** Joining, leaving and the exit of a member take logarithmic time for each
//!   membership, plus one message for each watcher of that group or of all groups.
//!
//! A process that monitors a scope, or one group of it, gets a snapshot of the members and from
//! then on each [`MembershipChange`], as a message of its own type. No change is reported twice or
//! missed, because the scope itself takes the snapshot and sends the changes, one after the other.
//! (A watcher with a bounded mailbox misses the messages that the mailbox refuses or drops.)

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{CatchDrop, CatchEach, Context, Down, DropCatcher, Exit, Pid, Reference, Reply};

use crate::call::CallError;
use crate::registry::{Key, Tie, not_a_parents};
use crate::server::{Envelope, InitError, Next, Server, ServerCx, ServerRef};
use crate::wait::{pid_of, yield_if_exhausted};

/// The members of groups, in a snapshot.
pub type Members<G> = Vec<(G, Vec<Pid>)>;

/// A change of a group's members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembershipChange<G> {
    /// These processes have joined, each as often as it is listed.
    Joined(G, Vec<Pid>),
    /// These processes have left.
    Left(G, Vec<Pid>),
}

impl<G> MembershipChange<G> {
    /// Returns the group.
    pub fn group(&self) -> &G {
        match self {
            Self::Joined(group, _) | Self::Left(group, _) => group,
        }
    }
}

type NotifyFn<G> = Box<dyn Fn(&Context<Envelope<ProcessGroups<G>>>, &MembershipChange<G>) + Send>;

struct Watcher<G: Key> {
    tell: CatchDrop<NotifyFn<G>>,
    /// The scope's own monitor of the watcher.
    monitor: Reference,
}

/// The sequence number of a join or of a watcher; it increases.
type Turn = u64;

/// The key of a watcher: the group that it watches, or `None`, and its number.
type WatcherKey<G> = (Option<CatchDrop<G>>, Turn);

/// A scope of process groups.
pub struct ProcessGroups<G: Key> {
    /// `true` if members are linked (G1).
    links: bool,
    /// The members of each group, in the order of their joins.
    groups: BTreeMap<CatchDrop<G>, BTreeMap<Turn, Pid>>,
    /// The same memberships by process. The group is always `Some`: a key with `None` sorts before
    /// all memberships of its process.
    joined: BTreeSet<(Pid, Option<CatchDrop<G>>, Turn)>,
    members: BTreeMap<Pid, Tie>,
    /// The watchers by the group that they watch, `None` for all groups, in the order of their
    /// subscription.
    watchers: BTreeMap<WatcherKey<G>, Watcher<G>>,
    /// The key of the watcher with this monitor.
    watching: BTreeMap<u64, WatcherKey<G>>,
    next: Turn,
}

/// The message type of a scope.
pub struct Request<G: Key>(Ask<G>);

/// A new group monitor, and the snapshot that it begins with. The panic of each group's destructor
/// is caught, wherever this answer is dropped.
type Watched<G> = (GroupMonitor, CatchEach<Members<G>>);

enum Ask<G: Key> {
    Join(CatchDrop<G>, Vec<Pid>, Reply<Result<(), CallError>>),
    Leave(CatchDrop<G>, Vec<Pid>, Reply<bool>),
    Members(CatchDrop<G>, Reply<Vec<Pid>>),
    Which(Reply<CatchEach<Vec<G>>>),
    Watch(Pid, Option<CatchDrop<G>>, CatchDrop<NotifyFn<G>>, Reply<Result<Watched<G>, CallError>>),
    Unwatch(GroupMonitor, Reply<bool>),
}

/// A handle to a group monitor, with which its owner ends it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupMonitor(Reference);

impl<G: Key> fmt::Debug for ProcessGroups<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessGroups").field("groups", &self.groups.len()).finish_non_exhaustive()
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
    /// Creates a scope without groups.
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

    /// Does not link members with the scope (G1): they survive its crash, and are in no group then.
    pub const fn unlinked(mut self) -> Self {
        self.links = false;
        self
    }

    fn turn(&mut self) -> Turn {
        self.next += 1;
        self.next
    }

    /// Notifies the watchers of all groups, and those of this group.
    async fn tell(&mut self, change: CatchDrop<MembershipChange<G>>, cx: ServerCx<'_, Self>) {
        let group = change.catcher().catch_drop(change.group().clone());
        for watched in [None, Some(group)] {
            let mut next = Some((watched, 0));
            while let Some(place) = next {
                next = self.tell_one(place, &change, cx);
                yield_if_exhausted(cx.context()).await;
            }
        }
    }

    /// Notifies the first watcher of the same group from this key on; returns the key after it.
    fn tell_one(
        &self,
        from: WatcherKey<G>,
        change: &MembershipChange<G>,
        cx: ServerCx<'_, Self>,
    ) -> Option<WatcherKey<G>> {
        let ((_, turn), watcher) = self.watchers.range(from.clone()..).next().filter(|(place, _)| place.0 == from.0)?;
        // The watcher's function is user code; its panic does not hit the scope.
        let _ = cx.with(|inner| inner.catch_panic(|| (watcher.tell)(cx.context(), change)));
        Some((from.0, turn + 1))
    }

    async fn join(&mut self, group: CatchDrop<G>, pids: Vec<Pid>, cx: ServerCx<'_, Self>) -> Result<(), CallError> {
        for pid in &pids {
            if !self.members.contains_key(pid) {
                // A process that is dead already leaves when its DOWN is handled.
                self.members.insert(*pid, Tie::new(*pid, self.links, cx)?);
            }
            yield_if_exhausted(cx.context()).await;
        }
        for pid in &pids {
            let turn = self.turn();
            self.joined.insert((*pid, Some(group.clone()), turn));
            self.groups.entry(group.clone()).or_default().insert(turn, *pid);
            yield_if_exhausted(cx.context()).await;
        }
        self.tell(change(MembershipChange::Joined, group, pids), cx).await;
        Ok(())
    }

    /// Returns the first membership of a process, in one group or in any.
    fn first_joined(&self, pid: Pid, group: Option<&CatchDrop<G>>) -> Option<(CatchDrop<G>, Turn)> {
        let (member, joined, turn) = self.joined.range((pid, group.cloned(), 0)..).next()?;
        let joined = joined.as_ref().filter(|joined| *member == pid && group.is_none_or(|group| group == *joined))?;
        Some((joined.clone(), *turn))
    }

    fn take_out(&mut self, pid: Pid, group: &CatchDrop<G>, turn: Turn) {
        self.joined.remove(&(pid, Some(group.clone()), turn));
        if let Some(members) = self.groups.get_mut(group) {
            members.remove(&turn);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Removes the link and monitor of a process that is in no group.
    fn release_if_unused(&mut self, pid: Pid, cx: ServerCx<'_, Self>) {
        if self.first_joined(pid, None).is_none()
            && let Some(tie) = self.members.remove(&pid)
        {
            tie.undo(pid, cx);
        }
    }

    /// Removes one membership of each process. Returns `true` if there was any.
    async fn leave(&mut self, group: CatchDrop<G>, pids: Vec<Pid>, cx: ServerCx<'_, Self>) -> bool {
        let mut left = Vec::new();
        for pid in pids {
            if let Some((_, turn)) = self.first_joined(pid, Some(&group)) {
                self.take_out(pid, &group, turn);
                self.release_if_unused(pid, cx);
                left.push(pid);
            }
            yield_if_exhausted(cx.context()).await;
        }
        let any = !left.is_empty();
        if any {
            self.tell(change(MembershipChange::Left, group, left), cx).await;
        }
        any
    }

    async fn died(&mut self, pid: Pid, cx: ServerCx<'_, Self>) {
        while let Some((group, _)) = self.first_joined(pid, None) {
            let mut left = Vec::new();
            while let Some((_, turn)) = self.first_joined(pid, Some(&group)) {
                self.take_out(pid, &group, turn);
                left.push(pid);
                yield_if_exhausted(cx.context()).await;
            }
            self.tell(change(MembershipChange::Left, group, left), cx).await;
        }
        self.release_if_unused(pid, cx);
    }

    async fn members(&mut self, group: &CatchDrop<G>, cx: ServerCx<'_, Self>) -> Vec<Pid> {
        let (mut members, mut from) = (Vec::new(), 0);
        while let Some((turn, pid)) = self.groups.get(group).and_then(|members| members.range(from..).next()) {
            members.push(*pid);
            from = turn + 1;
            yield_if_exhausted(cx.context()).await;
        }
        members
    }

    async fn watch(
        &mut self,
        who: Pid,
        group: Option<CatchDrop<G>>,
        tell: CatchDrop<NotifyFn<G>>,
        cx: ServerCx<'_, Self>,
    ) -> Result<Watched<G>, CallError> {
        let monitor = cx.monitor(who)?;
        let mut snapshot: CatchEach<Members<G>> = tell.catcher().catch_each(Vec::new());
        match &group {
            Some(group) => {
                let members = self.members(group, cx).await;
                snapshot.push((G::clone(group), members));
            }
            None => {
                let mut next = self.groups.keys().next().cloned();
                while let Some(group) = next {
                    let members = self.members(&group, cx).await;
                    next = self.groups.range(group.clone()..).nth(1).map(|(group, _)| group.clone());
                    snapshot.push((group.into_inner(), members));
                }
            }
        }
        let turn = self.turn();
        self.watching.insert(monitor.to_raw(), (group.clone(), turn));
        self.watchers.insert((group, turn), Watcher { tell, monitor });
        Ok((GroupMonitor(monitor), snapshot))
    }

    fn unwatch(&mut self, watching: GroupMonitor, cx: ServerCx<'_, Self>) -> bool {
        let Some(place) = self.watching.remove(&watching.0.to_raw()) else { return false };
        let Some(watcher) = self.watchers.remove(&place) else { return false };
        cx.demonitor(watcher.monitor, true);
        true
    }
}

impl<G: Key> Server for ProcessGroups<G> {
    type Message = Request<G>;

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<Request<G>>, InitError> {
        if self.links {
            // A member's exit must not end the scope.
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
            Ask::Which(reply) => {
                let groups = self.groups.keys().map(|group| G::clone(group)).collect();
                reply.send(cx.with(|cx| cx.drop_catcher()).catch_each(groups));
            }
            Ask::Watch(who, group, tell, reply) => {
                let watching = self.watch(who, group, tell, cx).await;
                reply.send(watching);
            }
            Ask::Unwatch(watching, reply) => reply.send(self.unwatch(watching, cx)),
        }
        Next::Wait
    }

    async fn down(&mut self, down: Down, cx: ServerCx<'_, Self>) -> Next<Request<G>> {
        let Some(pid) = pid_of(&down.target) else { return Next::Wait };
        if self.members.get(&pid).is_some_and(|tie| tie.monitor == down.reference) {
            self.died(pid, cx).await;
        }
        self.unwatch(GroupMonitor(down.reference), cx);
        Next::Wait
    }

    async fn exit(&mut self, exit: Exit, cx: ServerCx<'_, Self>) -> Next<Request<G>> {
        not_a_parents(exit, cx)
    }
}

/// Returns a change for the watchers, whose own copy of the group is dropped here.
fn change<G: Key>(
    of: impl FnOnce(G, Vec<Pid>) -> MembershipChange<G>,
    group: CatchDrop<G>,
    pids: Vec<Pid>,
) -> CatchDrop<MembershipChange<G>> {
    let catcher = group.catcher();
    catcher.catch_drop(of(group.into_inner(), pids))
}

/// Returns the platform's way to catch the panics of destructors.
fn catcher<M: Send + 'static>(cx: &Context<M>) -> DropCatcher {
    cx.with(|cx| cx.drop_catcher())
}

/// A handle to a scope.
pub type GroupsRef<G> = ServerRef<ProcessGroups<G>>;

impl<G: Key> ServerRef<ProcessGroups<G>> {
    /// Makes processes join a group, each as often as it is listed.
    pub async fn join<M: Send + 'static>(
        self,
        cx: &Context<M>,
        group: G,
        pids: impl IntoIterator<Item = Pid>,
    ) -> Result<(), CallError> {
        let (group, pids) = (catcher(cx).catch_drop(group), pids.into_iter().collect());
        self.call(cx, |reply| Request(Ask::Join(group, pids, reply))).await?
    }

    /// Makes processes leave a group: removes one membership of each. Returns `true` if there was
    /// any.
    pub async fn leave<M: Send + 'static>(
        self,
        cx: &Context<M>,
        group: G,
        pids: impl IntoIterator<Item = Pid>,
    ) -> Result<bool, CallError> {
        let (group, pids) = (catcher(cx).catch_drop(group), pids.into_iter().collect());
        self.call(cx, |reply| Request(Ask::Leave(group, pids, reply))).await
    }

    /// Returns the members of a group, each as often as it has joined.
    pub async fn members<M: Send + 'static>(self, cx: &Context<M>, group: G) -> Result<Vec<Pid>, CallError> {
        let group = catcher(cx).catch_drop(group);
        self.call(cx, |reply| Request(Ask::Members(group, reply))).await
    }

    /// Returns the groups that have members.
    pub async fn which_groups<M: Send + 'static>(self, cx: &Context<M>) -> Result<Vec<G>, CallError> {
        Ok(self.call(cx, |reply| Request(Ask::Which(reply))).await?.into_inner())
    }

    /// Monitors the scope or one group: returns a snapshot of it. From then on each change arrives
    /// as a message, made by `into`.
    pub async fn monitor_group<M, F>(
        self,
        cx: &Context<M>,
        group: Option<G>,
        into: F,
    ) -> Result<(GroupMonitor, Members<G>), CallError>
    where
        M: Send + 'static,
        F: Fn(MembershipChange<G>) -> M + Send + 'static,
    {
        let (who, catcher) = (cx.pid(), catcher(cx));
        let group = group.map(|group| catcher.catch_drop(group));
        let tell: NotifyFn<G> = Box::new(move |cx, change| {
            // A dead or full watcher gets nothing; a dead one is removed when its DOWN arrives.
            let _ = cx.send(who, into(change.clone()));
        });
        let tell = catcher.catch_drop(tell);
        let (monitor, members) = self.call(cx, |reply| Request(Ask::Watch(who, group, tell, reply))).await??;
        Ok((monitor, members.into_inner()))
    }

    /// Ends a group monitor; a change whose message is on its way still arrives.
    pub async fn demonitor_group<M: Send + 'static>(
        self,
        cx: &Context<M>,
        watching: GroupMonitor,
    ) -> Result<bool, CallError> {
        self.call(cx, |reply| Request(Ask::Unwatch(watching, reply))).await
    }
}
