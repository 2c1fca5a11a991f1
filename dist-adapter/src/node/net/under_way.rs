//! [`UnderWay`]: the handshakes of peers that this node has accepted and that are not over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::node::inner::Node;

/// How many handshakes of each peer are under way that this node has accepted.
#[derive(Debug, Default)]
pub(in crate::node) struct UnderWay {
    counts: Mutex<BTreeMap<String, usize>>,
    changed: Notify,
}

/// One such handshake.
pub(super) struct Entered {
    node: Node,
    name: String,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let accepting = &self.node.0.accepting;
        let mut counts = accepting.lock();
        if let Some(count) = counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
        drop(counts);
        accepting.changed.notify_waiters();
    }
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_under_way(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// Waits until no handshake of the peer is under way.
    pub(super) async fn none(&self, name: &str) {
        self.becomes(name, false).await;
    }

    /// Waits until a handshake of the peer is under way.
    pub(super) async fn some(&self, name: &str) {
        self.becomes(name, true).await;
    }

    async fn becomes(&self, name: &str, under_way: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_under_way(name) == under_way {
                return;
            }
            changed.await;
        }
    }
}

impl Node {
    pub(super) fn enter_handshake(&self, name: &str) -> Entered {
        *self.0.accepting.lock().entry(name.to_owned()).or_default() += 1;
        self.0.accepting.changed.notify_waiters();
        Entered { node: self.clone(), name: name.to_owned() }
    }
}
