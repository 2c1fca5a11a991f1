//! [`Local`]: a local process and its relations with other nodes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::term::{Atom, ErlPid, ErlReference};

use super::action::Object;

/// One side of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    /// The processes are linked.
    Active,
    /// The same, and the local process is linked with this proxy of the remote one, which gets the
    /// EXIT in its place.
    Proxied(u64),
    /// This side has unlinked with this id, and the peer has not acknowledged it.
    Unlinking(u64),
}

impl Link {
    pub(super) fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::Proxied(_))
    }

    /// Returns the process that gets the EXIT of an active link of `pid`.
    pub(super) fn receiver(self, pid: u64) -> Option<u64> {
        match self {
            Self::Active => Some(pid),
            Self::Proxied(proxy) => Some(proxy),
            Self::Unlinking(_) => None,
        }
    }
}

/// A monitor of a remote process by a local one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outbound {
    pub(super) object: Object,
}

/// The name of a peer's monitor: the watcher, and its reference.
pub(super) type InboundKey = (ErlPid, ErlReference);

/// The relations of one local process.
#[derive(Clone, Default, Debug)]
pub(super) struct Local {
    pub(super) links: BTreeMap<ErlPid, Link>,
    /// Its monitors of remote processes, by reference, which is the order in which they were made.
    pub(super) outbound: BTreeMap<u64, Outbound>,
    /// The monitors of it by remote processes, with the name by which they found it.
    pub(super) inbound: BTreeMap<InboundKey, Option<Atom>>,
    /// Its spawn requests without a reply, and the node of each.
    pub(super) spawns: BTreeSet<(Atom, u64)>,
    /// The process is told of nodes.
    pub(super) subscribed: bool,
}

impl Local {
    pub(super) fn active_links(&self) -> Vec<ErlPid> {
        self.links.iter().filter(|(_, link)| link.is_active()).map(|(pid, _)| pid.clone()).collect()
    }
}
