//! A registry of processes by key: [`Registry`] (Elixir's `Registry`).
//!
//! The kernel's names are like atoms: few, and never freed. A registry has keys of any type and
//! number, each with a value: one process per key ([`Registry::unique`]), or many
//! ([`Registry::duplicate`]). The entries of a process are removed when it dies. A registry is a
//! server, supervised like one; its clients use a [`RegistryRef`].
//!
//! - **R1, it never waits for a member.** The registry reads the state of the processes that it
//!   knows and sends them no query ([`Cx::is_gone`]). So a member that is busy or blocks delays no
//!   reply.
//! - **R2, a lookup never finds a dead process.** The registry removes a process as soon as it sees
//!   that it is dead, also when another process wants its unique key. An exit signal from the
//!   *caller* to a process that was found may still be in flight. So the caller itself queries the
//!   processes with pending signals, all at once and for at most [`MOMENT`]; each query is ordered
//!   behind the caller's earlier signals. A process that is too busy to reply counts as alive. (A
//!   process may still die after the reply was sent.)
//! - **R3, a member learns of the registry's exit.** The registry links itself with a process while
//!   that has a key, as Elixir's registries do. A registry that crashes thus terminates its
//!   members; their supervisors restart them, and they register again. A member that traps exits
//!   gets the EXIT. [`Registry::unlinked`] is for members that prefer a monitor. The registry's
//!   parent is never linked (it is linked already, or has chosen not to be). If a member has linked
//!   itself with the registry, that link is removed with its last key.
//! - **R4, linear work.** However many processes share a key, and however many keys a process has,
//!   registering, unregistering and the exit of a process take logarithmic time for each entry.
//!
//! [`Via`] addresses the server that has a key, for calls.
//!
//! [`Cx::is_gone`]: atropos_kernel::Cx::is_gone

mod client;
mod via;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use atropos_kernel::{CatchDrop, CatchEach, Down, Exit, Pid, Reference, Reply};

use crate::call::CallError;
use crate::server::{InitError, Next, Server, ServerCx};
use crate::wait::{pid_of, yield_if_exhausted};

pub use client::{MOMENT, RegistryRef};
pub use via::Via;

/// A type that can be a key.
pub trait Key: Ord + Clone + Send + Sync + 'static {}
impl<K: Ord + Clone + Send + Sync + 'static> Key for K {}

/// A type that can be a value.
pub trait Value: Clone + Send + Sync + 'static {}
impl<V: Clone + Send + Sync + 'static> Value for V {}

/// The reason why nothing was registered.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// The key is taken, by another process or by this one.
    Taken(Pid),
    /// The process is dead.
    NoProc,
    /// The call got no reply.
    Call(CallError),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(pid) => write!(f, "{pid} has the key"),
            Self::NoProc => f.write_str("there is no such process"),
            Self::Call(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for RegistryError {}

impl From<CallError> for RegistryError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// A registry of processes by key.
pub struct Registry<K, V> {
    unique: bool,
    /// `true` if members are linked (R3).
    links: bool,
    /// The entries by key, in the order of their registration.
    entries: BTreeMap<(CatchDrop<K>, Turn), (Pid, CatchDrop<V>)>,
    /// The same entries by process. The key is always `Some`: a tuple with `None` sorts before all
    /// entries of its process.
    held: BTreeSet<(Pid, Option<CatchDrop<K>>, Turn)>,
    members: BTreeMap<Pid, Tie>,
    next: Turn,
}

/// The sequence number of a registration; it increases.
type Turn = u64;

/// The link and monitor of a process that has keys, or is in groups.
pub(crate) struct Tie {
    pub(crate) monitor: Reference,
    linked: bool,
}

impl Tie {
    /// Monitors a process, and links it if `links` (R3).
    pub(crate) fn new<S: Server>(pid: Pid, links: bool, cx: ServerCx<'_, S>) -> Result<Self, CallError> {
        let monitor = cx.monitor(pid)?;
        let linked = links && Some(pid) != cx.parent() && pid != cx.pid();
        // To a process that traps exits a dead target is no error: the DOWN is on its way.
        if linked && cx.link(pid).is_err() {
            cx.demonitor(monitor, true);
            return Err(CallError::NoMemory);
        }
        Ok(Self { monitor, linked })
    }

    /// Removes the monitor and the link.
    pub(crate) fn undo<S: Server>(self, pid: Pid, cx: ServerCx<'_, S>) {
        cx.demonitor(self.monitor, true);
        if self.linked {
            cx.unlink(pid);
        }
    }
}

/// Handles an EXIT that is not the parent's, for a registry or a group scope, which trap exits
/// because of their links. The EXIT of a dead process comes from the link, and its DOWN is handled
/// instead. A signal that a live process has sent has the effect that it has on a process that does
/// not trap exits.
pub(crate) fn not_a_parents<S: Server>(exit: Exit, cx: ServerCx<'_, S>) -> Next<S::Message> {
    let heeded = exit.from.is_some_and(|from| !cx.is_gone(from)) && !exit.reason.is_normal();
    if heeded { Next::Stop(exit.reason) } else { Next::Wait }
}

/// The message type of a registry.
pub struct Request<K, V>(Ask<K, V>);

/// Entries for an answer. The panic of each value's destructor is caught, wherever the answer is
/// dropped.
type Found<V> = CatchEach<Vec<(Pid, V)>>;

/// All entries, with keys and values that are dropped as those of [`Found`] are.
type Entries<K, V> = Vec<(CatchDrop<K>, Pid, CatchDrop<V>)>;

enum Ask<K, V> {
    Register(CatchDrop<K>, Pid, CatchDrop<V>, Reply<Result<(), RegistryError>>),
    Unregister(CatchDrop<K>, Pid, Reply<bool>),
    Lookup(CatchDrop<K>, Reply<Found<V>>),
    Keys(Pid, Reply<CatchEach<Vec<K>>>),
    Count(Reply<usize>),
    All(Reply<Entries<K, V>>),
}

impl<K, V> fmt::Debug for Registry<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("keys", &self.entries.len()).finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for Request<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl<K: Key, V: Value> Registry<K, V> {
    fn new(unique: bool) -> Self {
        let (entries, held, members) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { unique, links: true, entries, held, members, next: 0 }
    }

    /// Creates a registry with one process per key.
    pub fn unique() -> Self {
        Self::new(true)
    }

    /// Creates a registry with any number of processes per key; a process may register a key more
    /// than once.
    pub fn duplicate() -> Self {
        Self::new(false)
    }

    /// Does not link members with the registry (R3): they survive its crash, and are in no registry
    /// then.
    pub fn unlinked(mut self) -> Self {
        self.links = false;
        self
    }

    /// Returns the first registration of a process, under one key or under any.
    fn first_held(&self, pid: Pid, key: Option<&CatchDrop<K>>) -> Option<(CatchDrop<K>, Turn)> {
        let from = (pid, key.cloned(), 0);
        let (owner, held, turn) = self.held.range(from..).next()?;
        let held = held.as_ref().filter(|held| *owner == pid && key.is_none_or(|key| key == *held))?;
        Some((held.clone(), *turn))
    }

    /// Removes one registration.
    fn take_out(&mut self, pid: Pid, key: CatchDrop<K>, turn: Turn) {
        let place = (pid, Some(key), turn);
        self.held.remove(&place);
        if let (_, Some(key), _) = place {
            self.entries.remove(&(key, turn));
        }
    }

    /// Removes all registrations of a process.
    async fn forget(&mut self, pid: Pid, cx: ServerCx<'_, Self>) {
        let Some(tie) = self.members.remove(&pid) else { return };
        tie.undo(pid, cx);
        while let Some((key, turn)) = self.first_held(pid, None) {
            self.take_out(pid, key, turn);
            yield_if_exhausted(cx.context()).await;
        }
    }

    /// Returns the first entry of a key from this registration on.
    fn entry(&self, key: &CatchDrop<K>, from: Turn) -> Option<(Turn, Pid)> {
        let ((found, turn), (pid, _)) = self.entries.range((key.clone(), from)..).next()?;
        (found == key).then_some((*turn, *pid))
    }

    /// Removes the dead processes that have a key.
    async fn forget_dead(&mut self, key: &CatchDrop<K>, cx: ServerCx<'_, Self>) {
        let mut from = 0;
        while let Some((turn, pid)) = self.entry(key, from) {
            from = turn + 1;
            if cx.is_gone(pid) {
                self.forget(pid, cx).await;
            }
            yield_if_exhausted(cx.context()).await;
        }
    }

    async fn register(
        &mut self,
        key: CatchDrop<K>,
        pid: Pid,
        value: CatchDrop<V>,
        cx: ServerCx<'_, Self>,
    ) -> Result<(), RegistryError> {
        if self.unique {
            self.forget_dead(&key, cx).await;
            if let Some((_, owner)) = self.entry(&key, 0) {
                return Err(RegistryError::Taken(owner));
            }
        }
        if cx.is_gone(pid) {
            return Err(RegistryError::NoProc);
        }
        if !self.members.contains_key(&pid) {
            self.members.insert(pid, Tie::new(pid, self.links, cx)?);
        }
        let turn = self.next;
        self.next += 1;
        self.held.insert((pid, Some(key.clone()), turn));
        self.entries.insert((key, turn), (pid, value));
        Ok(())
    }

    async fn unregister(&mut self, key: &CatchDrop<K>, pid: Pid, cx: ServerCx<'_, Self>) -> bool {
        let mut any = false;
        while let Some((key, turn)) = self.first_held(pid, Some(key)) {
            self.take_out(pid, key, turn);
            any = true;
            yield_if_exhausted(cx.context()).await;
        }
        if any && self.first_held(pid, None).is_none() {
            self.forget(pid, cx).await;
        }
        any
    }

    async fn lookup(&mut self, key: &CatchDrop<K>, cx: ServerCx<'_, Self>) -> Found<V> {
        self.forget_dead(key, cx).await;
        let (mut found, mut from) = (key.catcher().catch_each(Vec::new()), 0);
        while let Some((turn, _)) = self.entry(key, from) {
            from = turn + 1;
            let entry = self.entries.get(&(key.clone(), turn));
            found.extend(entry.map(|(pid, value)| (*pid, V::clone(value))));
            yield_if_exhausted(cx.context()).await;
        }
        found
    }

    /// Returns the keys of a process, oldest first.
    async fn keys(&mut self, pid: Pid, cx: ServerCx<'_, Self>) -> CatchEach<Vec<K>> {
        if cx.is_gone(pid) {
            self.forget(pid, cx).await;
        }
        let catcher = cx.with(|cx| cx.drop_catcher());
        let mut keys = catcher.catch_each(Vec::new());
        for (owner, key, turn) in self.held.range((pid, None, 0)..) {
            if *owner != pid {
                break;
            }
            keys.extend(key.as_deref().map(|key| (*turn, key.clone())));
            yield_if_exhausted(cx.context()).await;
        }
        keys.sort_unstable_by_key(|(turn, _)| *turn);
        catcher.catch_each(keys.into_inner().into_iter().map(|(_, key)| key).collect())
    }

    async fn all(&self, cx: ServerCx<'_, Self>) -> Entries<K, V> {
        let mut all = Vec::new();
        for ((key, _), (pid, value)) in &self.entries {
            if !cx.is_gone(*pid) {
                all.push((key.clone(), *pid, value.clone()));
            }
            yield_if_exhausted(cx.context()).await;
        }
        all
    }
}

impl<K: Key, V: Value> Server for Registry<K, V> {
    type Message = Request<K, V>;

    async fn init(&mut self, cx: ServerCx<'_, Self>) -> Result<Next<Request<K, V>>, InitError> {
        if self.links {
            // A member's exit must not end the registry.
            cx.trap_exit(true);
        }
        Ok(Next::Wait)
    }

    async fn handle(&mut self, request: Request<K, V>, cx: ServerCx<'_, Self>) -> Next<Request<K, V>> {
        match request.0 {
            Ask::Register(key, pid, value, reply) => {
                let registered = self.register(key, pid, value, cx).await;
                reply.send(registered);
            }
            Ask::Unregister(key, pid, reply) => {
                let unregistered = self.unregister(&key, pid, cx).await;
                reply.send(unregistered);
            }
            Ask::Lookup(key, reply) => {
                let found = self.lookup(&key, cx).await;
                reply.send(found);
            }
            Ask::Keys(pid, reply) => {
                let keys = self.keys(pid, cx).await;
                reply.send(keys);
            }
            Ask::Count(reply) => reply.send(self.entries.len()),
            Ask::All(reply) => {
                let all = self.all(cx).await;
                reply.send(all);
            }
        }
        Next::Wait
    }

    async fn down(&mut self, down: Down, cx: ServerCx<'_, Self>) -> Next<Request<K, V>> {
        if let Some(pid) = pid_of(&down.target)
            && self.members.get(&pid).is_some_and(|tie| tie.monitor == down.reference)
        {
            self.forget(pid, cx).await;
        }
        Next::Wait
    }

    async fn exit(&mut self, exit: Exit, cx: ServerCx<'_, Self>) -> Next<Request<K, V>> {
        not_a_parents(exit, cx)
    }
}
