//! Services: registered processes that are started again when they end, for whatever reason, until
//! the node ends.
//!
//! A service is watched by the runtime and not by a process, so no signal of a peer can end its
//! keeper.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atropos::{Pid, Reason, SpawnError, SpawnOptions};
use tracing::{error, warn};

use super::cx::NodeCx;
use super::inner::Node;

/// The delay before a service whose start has failed is started again.
const AGAIN: Duration = Duration::from_millis(10);

/// The services of a node, by name.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<Arc<str>, Pid>>);

impl Kept {
    fn set(&self, name: Arc<str>, pid: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, pid);
    }

    /// Returns the services that run.
    pub(super) fn all(&self) -> Vec<Pid> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }
}

/// Starts a service's process.
type Start = dyn Fn(&Node, &SpawnOptions<'_>) -> Result<Pid, SpawnError> + Send + Sync;

impl Node {
    /// Keeps a service: a process with this name, which is started again when it ends.
    ///
    /// # Errors
    /// [`SpawnError`] if it cannot be started now, for example because the name is taken.
    pub fn keep<S, F>(&self, name: &str, body: S) -> Result<Pid, SpawnError>
    where
        S: FnOnce(NodeCx) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Reason> + Send + 'static,
    {
        let start = move |node: &Node, options: &SpawnOptions<'_>| node.start(options, None, body.clone());
        self.keep_with(name.into(), Arc::new(start))
    }

    fn keep_with(&self, name: Arc<str>, start: Arc<Start>) -> Result<Pid, SpawnError> {
        let pid = start(self, &SpawnOptions::new().name(&name))?;
        self.note_name(&name);
        self.0.kept.set(name.clone(), pid);
        let node = self.clone();
        let service = name.clone();
        let again = move |outcome: atropos::Outcome| {
            if !node.is_stopping() {
                let reason = outcome.reason.as_ref().map_or_else(String::new, |reason| format!("{reason:.200}"));
                warn!(
                    node = node.name().as_str(),
                    service = &*name,
                    reason,
                    "a service has ended; it is started again"
                );
                node.restart(name, start);
            }
        };
        if let Err(why) = self.runtime().on_exit(pid, again) {
            error!(node = self.name().as_str(), service = &*service, "a service is not watched: {why}");
        }
        Ok(pid)
    }

    fn restart(&self, name: Arc<str>, start: Arc<Start>) {
        if let Err(why) = self.keep_with(name.clone(), start.clone()) {
            if matches!(why, SpawnError::Closing) || self.is_stopping() {
                return;
            }
            error!(node = self.name().as_str(), service = &*name, "a service cannot be started: {why}");
            let node = self.clone();
            self.0.tokio.spawn(async move {
                tokio::time::sleep(AGAIN).await;
                node.restart(name, start);
            });
        }
    }
}
