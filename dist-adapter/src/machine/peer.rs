//! [`Peer`]: a connection to a node, and the relations that go over it.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::term::ErlPid;

use super::action::ConnectionId;
use super::local::InboundKey;
use super::spawn::Pending;

/// What the two nodes of a connection have agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is one flag of the protocol")]
pub struct Abilities {
    /// The peer takes monitors.
    pub monitors: bool,
    /// The peer acknowledges unlinks.
    pub unlink_ids: bool,
    /// The peer takes spawn requests.
    pub spawns: bool,
    /// The peer is hidden.
    pub hidden: bool,
}

/// A connection and what goes over it.
#[derive(Clone, Debug)]
pub(super) struct Peer<C> {
    pub(super) connection: ConnectionId,
    pub(super) handle: C,
    /// `None` while the connection is being made.
    pub(super) abilities: Option<Abilities>,
    pub(super) links: BTreeSet<(ErlPid, u64)>,
    /// Monitors of the peer's processes: by reference, the watcher.
    pub(super) outbound: BTreeMap<u64, u64>,
    /// Monitors by the peer's processes: the target.
    pub(super) inbound: BTreeMap<InboundKey, u64>,
    pub(super) spawns: BTreeMap<u64, Pending>,
}

impl<C> Peer<C> {
    pub(super) fn new(connection: ConnectionId, handle: C) -> Self {
        Self {
            connection,
            handle,
            abilities: None,
            links: BTreeSet::new(),
            outbound: BTreeMap::new(),
            inbound: BTreeMap::new(),
            spawns: BTreeMap::new(),
        }
    }

    /// Returns how many relations the peer may be charged for.
    pub(super) fn charges(&self) -> usize {
        self.links.len() + self.inbound.len()
    }

    /// Returns `true` if the connection is up and its peer does not acknowledge unlinks.
    pub(super) fn unlinks_at_once(&self) -> bool {
        self.abilities.is_some_and(|abilities| !abilities.unlink_ids)
    }
}
