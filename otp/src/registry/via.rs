//! [`Via`]: a server by its key in a registry.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use atropos_kernel::{Context, Reply, SendError};

use crate::call::{CallError, DEFAULT_TIMEOUT, PendingCall};
use crate::registry::{Key, Registry, Value};
use crate::server::{Server, ServerRef};

/// The address of the server of type `S` that has a key. It is looked up for each request.
pub struct Via<K, V, S> {
    pub(super) registry: ServerRef<Registry<K, V>>,
    pub(super) key: K,
    pub(super) serves: PhantomData<fn() -> S>,
}

impl<K: Clone, V, S> Clone for Via<K, V, S> {
    fn clone(&self) -> Self {
        Self { registry: self.registry, key: self.key.clone(), serves: PhantomData }
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for Via<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({:?}, {:?})", self.registry, self.key)
    }
}

impl<K: Key, V: Value, S: Server> Via<K, V, S> {
    /// Returns the server that has the key now.
    pub async fn find<M: Send + 'static>(&self, cx: &Context<M>) -> Result<ServerRef<S>, CallError> {
        let found = self.registry.whereis(cx, self.key.clone()).await?;
        found.map(ServerRef::new).ok_or(CallError::NoName)
    }

    /// Calls the server, see [`ServerRef::call`].
    pub async fn call<M, T>(&self, cx: &Context<M>, make: impl FnOnce(Reply<T>) -> S::Message) -> Result<T, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.call_within(cx, DEFAULT_TIMEOUT, make).await
    }

    /// Calls the server, see [`ServerRef::call_within`].
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

    /// Sends a request, see [`ServerRef::request`]; [`crate::RequestSet`] collects the replies of
    /// many.
    pub async fn request<M, T>(
        &self,
        cx: &Context<M>,
        make: impl FnOnce(Reply<T>) -> S::Message,
    ) -> Result<PendingCall<T>, CallError>
    where
        M: Send + 'static,
        T: Send + 'static,
    {
        self.find(cx).await?.request(cx, make)
    }

    /// Sends a message, see [`ServerRef::cast`].
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
