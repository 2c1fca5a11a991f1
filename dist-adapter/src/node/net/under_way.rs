//! [`UnderWay`]: the handshakes of peers that this node has accepted and that are not over.
//!
//! Two sockets of the same two nodes must not both be on their way to become the connection: each
//! node could drop the other's. So an attempt to dial and an accepted handshake exclude each other.
//!
//! - **M1.** A peer's name is answered, and its handshake entered, in one step ([`Node::answer`]).
//!   An attempt of this node's is visible as a pending connection before it checks that no
//!   handshake is under way ([`UnderWay::none`]). So the peer is answered by the table for nodes
//!   that dial each other (`Status::of`), or the attempt waits for the peer's handshake.
//! - **M2.** A handshake that is over replaces only the connection that was up when the peer was
//!   answered (`alive`). If another one has come up since, the socket is dropped.
//! - **M3.** An attempt writes only while its connection is pending. The task of an attempt may run
//!   late, when its connection has been made by the peer's handshake and has ended. If it wrote its
//!   name, answered the challenge and then closed the socket, the peer would adopt that socket.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::machine::ConnectionId;
use crate::node::connection::Stage;
use crate::node::inner::Node;
use crate::term::Atom;
use crate::wire::Status;

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

/// The answer to a peer's name.
pub(super) struct Answer {
    pub(super) status: Status,
    /// The connection that was up then, which the peer's handshake replaces (M2).
    pub(super) replaces: Option<ConnectionId>,
    /// The handshake, if it goes on.
    pub(super) entered: Option<Entered>,
}

impl Node {
    /// Decides the answer to a peer's name, and enters its handshake if that goes on (M1).
    pub(super) fn answer(&self, name: &str) -> Answer {
        let mut counts = self.0.accepting.lock();
        let (status, replaces) = self.status_of(name);
        let goes_on = matches!(status, Status::Ok | Status::OkSimultaneous | Status::Alive);
        if goes_on {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        drop(counts);
        if goes_on {
            self.0.accepting.changed.notify_waiters();
        }
        let entered = goes_on.then(|| Entered { node: self.clone(), name: name.to_owned() });
        Answer { status, replaces, entered }
    }

    fn status_of(&self, name: &str) -> (Status, Option<ConnectionId>) {
        let Ok(peer) = Atom::new(name) else { return (Status::NotAllowed, None) };
        if self.is_stopping() {
            return (Status::NotAllowed, None);
        }
        let current = self.connection(&peer);
        let stage = current.as_ref().map(|connection| *connection.stage.borrow());
        let up = current.filter(|_| stage == Some(Stage::Up)).map(|connection| connection.id);
        (Status::of(self.name().as_str(), name, up.is_some(), stage == Some(Stage::Pending)), up)
    }
}
