//! A monitor on either side: [`Outbound`] where its watcher is, [`Inbound`] where its target is.
//!
//! A record never changes but for its [`State`]. It is in two maps: that of its local process (`local`) and that of its
//! connection (`session`), so that the end of either finds it without a look at any other.

use crate::account::Charge;
use crate::message::{Connection, MonitorControlMessage, Routed};
use crate::pid::RemotePid;
use crate::reference::RemoteReference;
use crate::state::State;

/// What names a monitor: all of it is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) reference: RemoteReference,
    pub(crate) watcher: RemotePid,
    pub(crate) target: RemotePid,
}

impl Key {
    pub(crate) fn request(self) -> MonitorControlMessage {
        let Self { reference, watcher, target } = self;
        MonitorControlMessage::MonitorP { reference, watcher, target }
    }

    pub(crate) fn withdrawal(self) -> MonitorControlMessage {
        let Self { reference, watcher, target } = self;
        MonitorControlMessage::DemonitorP { reference, watcher, target }
    }

    pub(crate) fn notice(self, reason: atropos_kernel::Reason) -> MonitorControlMessage {
        let Self { reference, watcher, target } = self;
        MonitorControlMessage::MonitorPExit { reference, watcher, target, reason }
    }
}

/// A monitor of a remote process by a local one.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) key: Key,
    /// By which its request went, and by which its answer must come.
    pub(crate) connection: Connection,
    pub(crate) state: State,
}

impl Outbound {
    pub(crate) fn new(key: Key, connection: Connection) -> Self {
        Self { key, connection, state: State::new() }
    }

    pub(crate) fn routed(&self, message: MonitorControlMessage) -> Routed {
        Routed { connection: self.connection, message }
    }
}

/// A monitor of a local process by a remote one.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) key: Key,
    /// Its place among all registrations: notices go out in this order.
    pub(crate) order: u64,
    /// By which its request came, and by which its answer goes.
    pub(crate) connection: Connection,
    pub(crate) state: State,
    /// On the account of the peer that asked, until the record is freed.
    pub(crate) charge: Charge,
}

impl Inbound {
    pub(crate) fn new(key: Key, order: u64, connection: Connection, charge: Charge) -> Self {
        Self { key, order, connection, state: State::new(), charge }
    }
}
