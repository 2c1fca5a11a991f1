//! The client's side of a registry: [`RegistryRef`].

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;

use atropos_kernel::{Context, DropCatcher, MaybeReady, Pid, QueryFuture, Reply};

use crate::call::CallError;
use crate::registry::{Ask, Found, Key, Registry, RegistryError, Request, Value, Via};
use crate::server::{Server, ServerRef};
use crate::wait::{Deadline, yield_if_exhausted};

/// The time that a caller waits for the replies of processes with pending signals to the query
/// whether they are alive (R2).
pub const MOMENT: Duration = Duration::from_millis(10);

/// A handle to a registry.
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

    /// Registers another process, which is from then on linked with the registry, as if it had
    /// registered itself.
    pub async fn register_other<M: Send + 'static>(
        self,
        cx: &Context<M>,
        pid: impl Into<Pid>,
        key: K,
        value: V,
    ) -> Result<(), RegistryError> {
        let pid = pid.into();
        let catcher = catcher(cx);
        let (key, value) = (catcher.catch_drop(key), catcher.catch_drop(value));
        if pid != cx.pid() && !dead_of(cx, core::iter::once(pid)).await.is_empty() {
            return Err(RegistryError::NoProc);
        }
        let (again, other) = (key.clone(), value.clone());
        let registered = self.put(cx, |reply| Ask::Register(key, pid, value, reply)).await?;
        let Err(RegistryError::Taken(owner)) = registered else { return registered };
        // An owner that the caller has killed does not block the key: if the query says that it is
        // dead now, the registry sees that as well.
        if owner == pid || dead_of(cx, core::iter::once(owner)).await.is_empty() {
            return registered;
        }
        self.put(cx, |reply| Ask::Register(again, pid, other, reply)).await?
    }

    /// Unregisters a process from a key. Returns `true` if it had the key.
    pub async fn unregister<M: Send + 'static>(
        self,
        cx: &Context<M>,
        pid: impl Into<Pid>,
        key: K,
    ) -> Result<bool, CallError> {
        let (pid, key) = (pid.into(), catcher(cx).catch_drop(key));
        self.put(cx, |reply| Ask::Unregister(key, pid, reply)).await
    }

    /// Returns the processes that have a key, oldest first, with their values; all are alive (R2).
    /// It does not wait for a busy process.
    pub async fn lookup<M: Send + 'static>(self, cx: &Context<M>, key: K) -> Result<Vec<(Pid, V)>, CallError> {
        Ok(self.find_alive(cx, key).await?.into_inner())
    }

    /// Looks up a key as [`ServerRef::lookup`] does.
    async fn find_alive<M: Send + 'static>(self, cx: &Context<M>, key: K) -> Result<Found<V>, CallError> {
        let found = self.find_all(cx, key).await?;
        let dead = dead_of(cx, found.iter().map(|(pid, _)| *pid)).await;
        if dead.is_empty() {
            return Ok(found);
        }
        let catcher = found.catcher();
        let (gone, alive) = found.into_inner().into_iter().partition(|(pid, _)| dead.contains(pid));
        // Dropped here, by the library, so no panic of theirs hits the caller.
        drop::<Found<V>>(catcher.catch_each(gone));
        Ok(catcher.catch_each(alive))
    }

    /// Looks up a key as [`ServerRef::lookup`] does, without the caller's own queries.
    async fn find_all<M: Send + 'static>(self, cx: &Context<M>, key: K) -> Result<Found<V>, CallError> {
        let key = catcher(cx).catch_drop(key);
        self.put(cx, |reply| Ask::Lookup(key, reply)).await
    }

    /// Returns the process that has a key.
    pub async fn whereis<M: Send + 'static>(self, cx: &Context<M>, key: K) -> Result<Option<Pid>, CallError> {
        Ok(self.find_alive(cx, key).await?.first().map(|(pid, _)| *pid))
    }

    /// Returns the keys of a process, oldest first, each as often as it is registered.
    pub async fn keys<M: Send + 'static>(self, cx: &Context<M>, pid: impl Into<Pid>) -> Result<Vec<K>, CallError> {
        let pid = pid.into();
        let keys = self.put(cx, |reply| Ask::Keys(pid, reply)).await?;
        let dead = !keys.is_empty() && !dead_of(cx, core::iter::once(pid)).await.is_empty();
        Ok(if dead { Vec::new() } else { keys.into_inner() })
    }

    /// Returns the number of entries.
    pub async fn count<M: Send + 'static>(self, cx: &Context<M>) -> Result<usize, CallError> {
        self.put(cx, Ask::Count).await
    }

    /// Returns all entries whose processes are alive, by key.
    pub async fn all<M: Send + 'static>(self, cx: &Context<M>) -> Result<Vec<(K, Pid, V)>, CallError> {
        let mut all = self.put(cx, Ask::All).await?;
        let dead = dead_of(cx, all.iter().map(|(_, pid, _)| *pid)).await;
        all.retain(|(_, pid, _)| !dead.contains(pid));
        Ok(all.into_iter().map(|(key, pid, value)| (key.into_inner(), pid, value.into_inner())).collect())
    }

    /// Sends a message to each process that has a key; returns the number of messages sent.
    pub async fn dispatch<M, N>(self, cx: &Context<M>, key: K, message: N) -> Result<usize, CallError>
    where
        M: Send + 'static,
        N: Clone + Send + 'static,
    {
        // The template of the messages is dropped here, as are those that are refused.
        let message = catcher(cx).catch_drop(message);
        // No queries are needed: a message to a dead process just fails.
        let mut sent = 0;
        for (pid, _) in self.find_all(cx, key).await?.iter() {
            match cx.send(*pid, N::clone(&message)) {
                Ok(()) => sent += 1,
                Err(refused) => cx.with(|cx| cx.drop_caught(refused)),
            }
            yield_if_exhausted(cx).await;
        }
        Ok(sent)
    }

    /// Returns an address of the server of type `S` that has a key.
    pub const fn via<S: Server>(self, key: K) -> Via<K, V, S> {
        Via { registry: self, key, serves: core::marker::PhantomData }
    }
}

/// Returns the platform's way to catch the panics of destructors.
fn catcher<M: Send + 'static>(cx: &Context<M>) -> DropCatcher {
    cx.with(|cx| cx.drop_catcher())
}

/// Returns those of `pids` that are dead to the caller, queried behind all its earlier signals to
/// them (R2).
async fn dead_of<M: Send + 'static>(cx: &Context<M>, pids: impl Iterator<Item = Pid>) -> BTreeSet<Pid> {
    let (mut dead, mut asked) = (BTreeSet::new(), BTreeMap::<Pid, QueryFuture<bool>>::new());
    for pid in pids {
        if !dead.contains(&pid) && !asked.contains_key(&pid) {
            match cx.with(|cx| cx.is_alive(pid)) {
                Ok(MaybeReady::Ready(false)) => _ = dead.insert(pid),
                Ok(MaybeReady::Pending(waiting)) => _ = asked.insert(pid, waiting),
                // Without memory for a query the registry's view stands.
                Ok(MaybeReady::Ready(true)) | Err(_) => {}
            }
        }
        yield_if_exhausted(cx).await;
    }
    if asked.is_empty() {
        return dead;
    }
    let Ok(mut alarm) = Deadline::start(cx, Some(MOMENT)) else { return dead };
    for (pid, mut waiting) in asked {
        let said = core::future::poll_fn(|task| match Pin::new(&mut waiting).poll(task) {
            Poll::Ready(said) => Poll::Ready(Some(said)),
            Poll::Pending => alarm.poll_rung(task, false).map(|()| None),
        });
        if said.await == Some(false) {
            dead.insert(pid);
        }
        yield_if_exhausted(cx).await;
    }
    dead
}
