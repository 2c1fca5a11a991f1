//! Who is there for what: [`Registry`] (Elixir's).
//!
//! A kernel's names are like atoms: few, and for ever. A registry has keys of any type and any number, each with a value: one process for a
//! key ([`Registry::unique`]), or many ([`Registry::duplicate`]). Entries go with their process. A registry is a server, to be
//! supervised like one; it is asked through a [`RegistryRef`].
//!
//! A lookup never finds the dead: before it answers, the registry asks each process that it found whether it is alive,
//! which keeps its place behind whatever the registry, or one whom it has answered, had sent there before; one that is
//! not is forgotten on the spot, also when another wants its unique key. (A process that dies after the answer was given is dead then.)
//!
//! [`Via`] names whoever has a key, for calls.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use atropos_kernel::{Context, Down, Held, Pid, Reference, Reply, SendError};

use crate::call::{CallError, PATIENCE, Pending};
use crate::server::{Next, Server, ServerRef, Serving};
use crate::wait::{breathe, pid_of};

/// What can be a key.
pub trait Key: Ord + Clone + Send + Sync + 'static {}
impl<K: Ord + Clone + Send + Sync + 'static> Key for K {}

/// What can be a value.
pub trait Value: Clone + Send + Sync + 'static {}
impl<V: Clone + Send + Sync + 'static> Value for V {}

/// Why nothing was registered.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// Another process has the key, or this one has it already.
    Taken(Pid),
    /// The process is dead.
    NoProc,
    /// There was no answer.
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

/// A registry; see the module.
pub struct Registry<K, V> {
    unique: bool,
    entries: BTreeMap<K, Vec<(Pid, Held<V>)>>,
    owners: BTreeMap<Pid, Owner<K>>,
}

struct Owner<K> {
    monitor: Reference,
    keys: Vec<K>,
}

/// What a registry is asked.
pub struct Request<K, V>(Ask<K, V>);

enum Ask<K, V> {
    Register(K, Pid, V, Reply<Result<(), RegistryError>>),
    Unregister(K, Pid, Reply<bool>),
    Lookup(K, Reply<Vec<(Pid, V)>>),
    Keys(Pid, Reply<Vec<K>>),
    Count(Reply<usize>),
    All(Reply<Vec<(K, Pid, V)>>),
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
        Self { unique, entries: BTreeMap::new(), owners: BTreeMap::new() }
    }

    /// One process for a key.
    pub fn unique() -> Self {
        Self::new(true)
    }

    /// Any number of processes for a key, each as often as it registers.
    pub fn duplicate() -> Self {
        Self::new(false)
    }

    /// Forgets all of a process.
    fn forget(&mut self, pid: Pid, cx: Serving<'_, Self>) {
        let Some(owner) = self.owners.remove(&pid) else { return };
        cx.demonitor(owner.monitor, true);
        for key in owner.keys {
            self.remove(&key, pid);
        }
    }

    fn remove(&mut self, key: &K, pid: Pid) -> bool {
        let Some(entries) = self.entries.get_mut(key) else { return false };
        let before = entries.len();
        entries.retain(|(owner, _)| *owner != pid);
        let removed = entries.len() < before;
        if entries.is_empty() {
            self.entries.remove(key);
        }
        removed
    }

    /// Forgets those who have a key and are dead.
    async fn bury(&mut self, key: &K, cx: Serving<'_, Self>) {
        let Some(entries) = self.entries.get(key) else { return };
        let pids: Vec<Pid> = entries.iter().map(|(pid, _)| *pid).collect();
        for pid in pids {
            if !cx.is_alive(pid).await {
                self.forget(pid, cx);
            }
        }
    }

    async fn register(&mut self, key: K, pid: Pid, value: Held<V>, cx: Serving<'_, Self>) -> Result<(), RegistryError> {
        if self.unique {
            self.bury(&key, cx).await;
            if let Some((owner, _)) = self.entries.get(&key).and_then(|entries| entries.first()) {
                return Err(RegistryError::Taken(*owner));
            }
        }
        if !cx.is_alive(pid).await {
            return Err(RegistryError::NoProc);
        }
        let owner = match self.owners.entry(pid) {
            Entry::Occupied(owner) => owner.into_mut(),
            Entry::Vacant(place) => {
                let monitor = cx.monitor(pid).map_err(CallError::from)?;
                place.insert(Owner { monitor, keys: Vec::new() })
            }
        };
        if !owner.keys.contains(&key) {
            owner.keys.push(key.clone());
        }
        self.entries.entry(key).or_default().push((pid, value));
        Ok(())
    }

    fn unregister(&mut self, key: &K, pid: Pid, cx: Serving<'_, Self>) -> bool {
        if !self.remove(key, pid) {
            return false;
        }
        if let Some(owner) = self.owners.get_mut(&pid) {
            owner.keys.retain(|other| other != key);
            if owner.keys.is_empty() {
                self.forget(pid, cx);
            }
        }
        true
    }

    async fn all(&self, cx: Serving<'_, Self>) -> Vec<(K, Pid, V)> {
        let mut all = Vec::new();
        for (key, entries) in &self.entries {
            for (pid, value) in entries {
                if cx.is_alive(*pid).await {
                    all.push((key.clone(), *pid, V::clone(value)));
                }
            }
            breathe(cx.context()).await;
        }
        all
    }
}

impl<K: Key, V: Value> Server for Registry<K, V> {
    type Message = Request<K, V>;

    async fn handle(&mut self, request: Request<K, V>, cx: Serving<'_, Self>) -> Next<Request<K, V>> {
        match request.0 {
            Ask::Register(key, pid, value, reply) => {
                // Held first: one that is not registered is dropped.
                let value = cx.with(|cx| cx.hold(value));
                let registered = self.register(key, pid, value, cx).await;
                reply.send(registered);
            }
            Ask::Unregister(key, pid, reply) => reply.send(self.unregister(&key, pid, cx)),
            Ask::Lookup(key, reply) => {
                self.bury(&key, cx).await;
                let entries = self.entries.get(&key).into_iter().flatten();
                answer(cx, reply, entries.map(|(pid, value)| (*pid, V::clone(value))).collect());
            }
            Ask::Keys(pid, reply) => {
                if !cx.is_alive(pid).await {
                    self.forget(pid, cx);
                }
                reply.send(self.owners.get(&pid).map_or_else(Vec::new, |owner| owner.keys.clone()));
            }
            Ask::Count(reply) => reply.send(self.entries.values().map(Vec::len).sum()),
            Ask::All(reply) => {
                let all = self.all(cx).await;
                answer(cx, reply, all);
            }
        }
        Next::Wait
    }

    async fn down(&mut self, down: Down, cx: Serving<'_, Self>) -> Next<Request<K, V>> {
        if let Some(pid) = pid_of(&down.object)
            && self.owners.get(&pid).is_some_and(|owner| owner.monitor == down.reference)
        {
            self.forget(pid, cx);
        }
        Next::Wait
    }
}

/// Answers; what comes too late is dropped, and the faults of its values' destructors are not the registry's.
fn answer<K: Key, V: Value, T: Send + 'static>(cx: Serving<'_, Registry<K, V>>, reply: Reply<Vec<T>>, found: Vec<T>) {
    if let Err(late) = reply.try_send(found) {
        late.into_iter().for_each(|one| cx.with(|cx| cx.let_go(one)));
    }
}

/// A registry, for who asks it.
pub type RegistryRef<K, V> = ServerRef<Registry<K, V>>;

impl<K: Key, V: Value> ServerRef<Registry<K, V>> {
    async fn put<M, T>(self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> Ask<K, V>) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.call(cx, |reply| Request(make(reply))).await
    }

    /// Registers the caller.
    pub async fn register<M: Send + 'static>(self, cx: &Context<M>, key: K, value: V) -> Result<(), RegistryError> {
        self.register_other(cx, cx.pid(), key, value).await
    }

    /// Registers another process.
    pub async fn register_other<M: Send + 'static>(
        self,
        cx: &Context<M>,
        pid: impl Into<Pid>,
        key: K,
        value: V,
    ) -> Result<(), RegistryError> {
        let pid = pid.into();
        self.put(cx, |reply| Ask::Register(key, pid, value, reply)).await?
    }

    /// Takes a key from a process; whether it had it.
    pub async fn unregister<M: Send + 'static>(
        self,
        cx: &Context<M>,
        pid: impl Into<Pid>,
        key: K,
    ) -> Result<bool, CallError> {
        let pid = pid.into();
        self.put(cx, |reply| Ask::Unregister(key, pid, reply)).await
    }

    /// Who has a key, oldest first, with their values: all alive.
    pub async fn lookup<M: Send + 'static>(self, cx: &Context<M>, key: K) -> Result<Vec<(Pid, V)>, CallError> {
        self.put(cx, |reply| Ask::Lookup(key, reply)).await
    }

    /// The one who has a key.
    pub async fn whereis<M: Send + 'static>(self, cx: &Context<M>, key: K) -> Result<Option<Pid>, CallError> {
        Ok(self.lookup(cx, key).await?.first().map(|(pid, _)| *pid))
    }

    /// The keys of a process, oldest first.
    pub async fn keys<M: Send + 'static>(self, cx: &Context<M>, pid: impl Into<Pid>) -> Result<Vec<K>, CallError> {
        let pid = pid.into();
        self.put(cx, |reply| Ask::Keys(pid, reply)).await
    }

    /// Entries.
    pub async fn count<M: Send + 'static>(self, cx: &Context<M>) -> Result<usize, CallError> {
        self.put(cx, Ask::Count).await
    }

    /// All entries whose processes are alive, by key.
    pub async fn all<M: Send + 'static>(self, cx: &Context<M>) -> Result<Vec<(K, Pid, V)>, CallError> {
        self.put(cx, Ask::All).await
    }

    /// Sends a message to all who have a key; to how many it was sent.
    pub async fn dispatch<M, N>(self, cx: &Context<M>, key: K, message: N) -> Result<usize, CallError>
    where
        M: Send + 'static,
        N: Clone + Send + 'static,
    {
        let entries = self.lookup(cx, key).await?;
        Ok(entries.into_iter().filter(|(pid, _)| cx.send(*pid, message.clone()).is_ok()).count())
    }

    /// Whoever has a key, if it is a server of type `S`.
    pub const fn via<S: Server>(self, key: K) -> Via<K, V, S> {
        Via { registry: self, key, serves: core::marker::PhantomData }
    }
}

/// Whoever has a key in a registry, if it is a server of type `S`: looked up for each request.
pub struct Via<K, V, S> {
    registry: ServerRef<Registry<K, V>>,
    key: K,
    serves: core::marker::PhantomData<fn() -> S>,
}

impl<K: Clone, V, S> Clone for Via<K, V, S> {
    fn clone(&self) -> Self {
        Self { registry: self.registry, key: self.key.clone(), serves: core::marker::PhantomData }
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for Via<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({:?}, {:?})", self.registry, self.key)
    }
}

impl<K: Key, V: Value, S: Server> Via<K, V, S> {
    /// Who has it now.
    pub async fn find<M: Send + 'static>(&self, cx: &Context<M>) -> Result<ServerRef<S>, CallError> {
        let found = self.registry.whereis(cx, self.key.clone()).await?;
        found.map(ServerRef::new).ok_or(CallError::NoName)
    }

    /// See [`ServerRef::call`].
    pub async fn call<M, T>(&self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> S::Message) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.call_within(cx, PATIENCE, make).await
    }

    /// See [`ServerRef::call_within`].
    pub async fn call_within<M, T>(
        &self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.find(cx).await?.call_within(cx, within, make).await
    }

    /// See [`ServerRef::request`]: [`crate::Calls`] gathers the answers of many.
    pub async fn request<M, T>(
        &self,
        cx: &Context<M>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<Pending<T>, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.find(cx).await?.request(cx, make)
    }

    /// See [`ServerRef::cast`].
    pub async fn cast<M: Send + 'static>(
        &self,
        cx: &Context<M>,
        message: S::Message,
    ) -> Result<(), SendError<S::Message>> {
        match self.find(cx).await {
            Ok(server) => server.cast(cx, message),
            Err(_) => Err(SendError::NoName(message)),
        }
    }
}
