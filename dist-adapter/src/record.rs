//! A monitor's record on either node: [`Outbound`] on the watcher's node, [`Inbound`] on the
//! target's node.
//!
//! Only a record's [`State`] changes. The record is in two maps: its local process's (`local`) and
//! its connection's (`session`). So the end of the process and the end of the connection each find
//! it without a look at unrelated records.

use crate::message::{Connection, MonitorControlMessage, RoutedMessage};
use crate::pid::RemotePid;
use crate::quota::Charge;
use crate::reference::RemoteReference;
use crate::state::State;

/// The identity of a monitor. Comparisons use all three fields.
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

/// A monitor of a remote process by a local process.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) key: Key,
    /// The connection that carried the request, and by which the exit notice must arrive.
    pub(crate) connection: Connection,
    pub(crate) state: State,
}

impl Outbound {
    pub(crate) fn new(key: Key, connection: Connection) -> Self {
        Self { key, connection, state: State::new() }
    }

    pub(crate) fn routed(&self, message: MonitorControlMessage) -> RoutedMessage {
        RoutedMessage { connection: self.connection, message }
    }
}

/// A monitor of a local process by a remote process.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) key: Key,
    /// The record's position among all registrations. Exit notices are sent in this order.
    pub(crate) order: u64,
    /// The connection that carried the request, and by which the exit notice is sent.
    pub(crate) connection: Connection,
    pub(crate) state: State,
    /// The charge on the account of the peer that sent the request, held until the record is freed.
    pub(crate) charge: Charge,
}

impl Inbound {
    pub(crate) fn new(key: Key, order: u64, connection: Connection, charge: Charge) -> Self {
        Self { key, order, connection, state: State::new(), charge }
    }
}
