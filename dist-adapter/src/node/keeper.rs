//! Services: registered processes that are started again when they end, for whatever reason, until
//! the node ends.
//!
//! A service is watched by the runtime and not by a process, so no signal of a peer can end its
//! keeper.
//!
//! A node accepts connections only after its own services have begun ([`Node::services_begun`]): a
//! service subscribes to the events of nodes in its first slice, and would otherwise miss a peer
//! that connects before that.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atropos::{Pid, Reason, SpawnError, SpawnOptions};
use tokio::sync::watch;
use tracing::{error, warn};

use super::cx::NodeCx;
use super::inner::Node;

/// The delay before a service whose start has failed is started again.
const AGAIN: Duration = Duration::from_millis(10);

/// The services of a node, by name.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<Arc<str>, Service>>);

/// A service: its process, and whether it has ever had its first slice.
#[derive(Clone, Debug)]
struct Service {
    pid: Pid,
    begun: watch::Receiver<bool>,
}

impl Kept {
    fn set(&self, name: Arc<str>, service: Service) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, service);
    }

    fn services(&self) -> Vec<Service> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Returns the services that run.
    pub(super) fn all(&self) -> Vec<Pid> {
        self.services().iter().map(|service| service.pid).collect()
    }
}

/// Runs a service, and reports the end of its first slice.
async fn run<F: Future<Output = Reason>>(body: F, begun: Arc<watch::Sender<bool>>) -> Reason {
    let mut body = pin!(body);
    let mut begun = Some(begun);
    poll_fn(|task| {
        let polled = body.as_mut().poll(task);
        if let Some(begun) = begun.take() {
            begun.send_replace(true);
        }
        polled
    })
    .await
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
        let (sender, begun) = watch::channel(false);
        let sender = Arc::new(sender);
        let start = move |node: &Node, options: &SpawnOptions<'_>| {
            let (body, sender) = (body.clone(), sender.clone());
            node.start(options, None, move |cx| run(body(cx), sender))
        };
        self.keep_with(name.into(), Arc::new(start), begun)
    }

    /// Waits until each service that is kept now has had its first slice, or will never have
    /// one.
    pub(super) async fn services_begun(&self) {
        for mut service in self.0.kept.services() {
            // An error says that the service will not be started again: the node ends.
            let _ = service.begun.wait_for(|begun| *begun).await;
        }
    }

    fn keep_with(&self, name: Arc<str>, start: Arc<Start>, begun: watch::Receiver<bool>) -> Result<Pid, SpawnError> {
        let pid = start(self, &SpawnOptions::new().name(&name))?;
        self.note_name(&name);
        self.0.kept.set(name.clone(), Service { pid, begun: begun.clone() });
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
                node.restart(name, start, begun);
            }
        };
        if let Err(why) = self.runtime().on_exit(pid, again) {
            error!(node = self.name().as_str(), service = &*service, "a service is not watched: {why}");
        }
        Ok(pid)
    }

    fn restart(&self, name: Arc<str>, start: Arc<Start>, begun: watch::Receiver<bool>) {
        if let Err(why) = self.keep_with(name.clone(), start.clone(), begun.clone()) {
            if matches!(why, SpawnError::Closing) || self.is_stopping() {
                return;
            }
            error!(node = self.name().as_str(), service = &*name, "a service cannot be started: {why}");
            let node = self.clone();
            self.0.tokio.spawn(async move {
                tokio::time::sleep(AGAIN).await;
                node.restart(name, start, begun);
            });
        }
    }
}
