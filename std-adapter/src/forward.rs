//! Code that takes messages for proxies in the thread of their sender: [`Forward`].

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use atropos_kernel::{AnyMessage, Forwarded, Pid};

/// Takes messages for proxies ([`atropos_kernel::SpawnOptions::proxy`]) where they are sent. No
/// method may panic.
pub trait Forward: Send + Sync {
    /// Takes a message for a proxy that a process, or a host thread, sends now. See
    /// [`atropos_kernel::Platform::forward`]. A message for a proxy of another owner is returned as
    /// an error.
    ///
    /// # Errors
    /// The message, if the proxy belongs to other code.
    fn forward(&self, proxy: Pid, sender: Option<Pid>, message: AnyMessage) -> Result<Forwarded, AnyMessage>;

    /// Handles an EXIT of a process that goes into the mailbox of a proxy, which may be another
    /// owner's. Must not call the kernel.
    fn on_proxy_signal(&self, proxy: Pid);

    /// Takes a message back that was to be queued and could not be. Returns it as it was before.
    fn not_queued(&self, proxy: Pid, message: AnyMessage) -> AnyMessage;
}

/// The forwarders of a runtime.
#[derive(Default)]
pub(crate) struct Forwarders(RwLock<Arc<Vec<Arc<dyn Forward>>>>);

impl fmt::Debug for Forwarders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarders")
    }
}

impl Forwarders {
    pub(crate) fn add(&self, forwarder: Arc<dyn Forward>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut all).push(forwarder);
    }

    /// Returns the forwarders. No lock is held while they run.
    fn all(&self) -> Arc<Vec<Arc<dyn Forward>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn forward(&self, proxy: Pid, sender: Option<Pid>, mut message: AnyMessage) -> Forwarded {
        for forwarder in &*self.all() {
            match forwarder.forward(proxy, sender, message) {
                Ok(forwarded) => return forwarded,
                Err(back) => message = back,
            }
        }
        Forwarded::Queue(message)
    }

    pub(crate) fn on_proxy_signal(&self, proxy: Pid) {
        self.all().iter().for_each(|forwarder| forwarder.on_proxy_signal(proxy));
    }

    pub(crate) fn not_queued(&self, proxy: Pid, mut message: AnyMessage) -> AnyMessage {
        for forwarder in &*self.all() {
            message = forwarder.not_queued(proxy, message);
        }
        message
    }
}
