//! [`Session`]: the monitors of one connection to a node.
//!
//! It holds the monitors that were requested on this connection, in both directions, and no others.
//! The loss of the node takes both maps as they are and visits their records, independent of other
//! nodes. Exit notices are looked up here too, so a notice from another node, or from an older
//! creation of this one, finds no monitor.
//!
//! A closed session accepts no record. A thread that tries to insert one sees that the connection
//! is gone, and undoes its earlier steps.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::mem;

use crate::message::Connection;
use crate::quota::Account;
use crate::record::{Inbound, Key, Outbound};
use crate::reference::RemoteReference;
use crate::sync::Mutex;

/// The monitors of one connection to a node.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// The node's creation, as the node reported it at the connection set-up.
    pub(crate) incarnation: u32,
    /// The node's account, which lives as long as a resource is kept for the node.
    pub(crate) account: Arc<Account>,
    records: Mutex<Option<Records>>,
}

/// A session's records. References grow, so both maps have the registration order of the watcher's
/// node.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) outbound: BTreeMap<RemoteReference, Arc<Outbound>>,
    pub(crate) inbound: BTreeMap<Key, Arc<Inbound>>,
}

/// The outcome of placing a peer's registration, or of the check before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// The registration can be placed, or has been placed.
    Free,
    /// The same registration exists already.
    Known,
    /// The connection is gone.
    Closed,
}

/// The outcome of the look-up for an exit notice.
#[derive(Debug)]
pub(crate) enum RecordLookup {
    /// The monitor, removed from the session.
    Found(Arc<Outbound>),
    /// The connection has no such monitor: it was answered, or withdrawn while the notice was in
    /// transit.
    Unknown,
    /// The monitor has another target or watcher, and is left in place.
    Another,
}

impl Session {
    pub(crate) fn new(connection: Connection, incarnation: u32, account: Arc<Account>) -> Self {
        Self { connection, incarnation, account, records: Mutex::new(Some(Records::default())) }
    }

    /// Inserts a local watcher's monitor. Returns `false` if the connection is gone.
    #[must_use = "a refused record must be taken back"]
    pub(crate) fn place_outbound(&self, record: &Arc<Outbound>) -> bool {
        let mut records = self.records.lock();
        let Some(records) = &mut *records else { return false };
        records.outbound.insert(record.key.reference, record.clone());
        true
    }

    pub(crate) fn remove_outbound(&self, reference: RemoteReference) {
        // A separate binding, so that the record is dropped after the guard.
        let _record = self.records.lock().as_mut().and_then(|records| records.outbound.remove(&reference));
    }

    /// Looks up the monitor for an exit notice, and removes it if `right` accepts its key.
    pub(crate) fn take_noticed(&self, reference: RemoteReference, right: impl Fn(&Key) -> bool) -> RecordLookup {
        let mut records = self.records.lock();
        let Some(records) = &mut *records else { return RecordLookup::Unknown };
        match records.outbound.get(&reference) {
            None => RecordLookup::Unknown,
            Some(record) if !right(&record.key) => RecordLookup::Another,
            Some(_) => records.outbound.remove(&reference).map_or(RecordLookup::Unknown, RecordLookup::Found),
        }
    }

    fn room_in(records: Option<&Records>, key: &Key) -> Placement {
        match records {
            None => Placement::Closed,
            Some(records) if records.inbound.contains_key(key) => Placement::Known,
            Some(_) => Placement::Free,
        }
    }

    /// Checks if a registration could be placed now.
    pub(crate) fn room(&self, key: &Key) -> Placement {
        Self::room_in(self.records.lock().as_ref(), key)
    }

    /// Places a peer's registration, unless it exists already or the session is closed.
    #[must_use = "a refused record must be taken back"]
    pub(crate) fn place_inbound(&self, record: &Arc<Inbound>) -> Placement {
        let mut records = self.records.lock();
        let room = Self::room_in(records.as_ref(), &record.key);
        if room == Placement::Free
            && let Some(records) = &mut *records
        {
            records.inbound.insert(record.key, record.clone());
        }
        room
    }

    /// Removes and returns a registration.
    pub(crate) fn take_inbound(&self, key: &Key) -> Option<Arc<Inbound>> {
        self.records.lock().as_mut()?.inbound.remove(key)
    }

    /// Removes exactly this registration. A newer one may have the same key.
    pub(crate) fn remove_inbound(&self, record: &Arc<Inbound>) {
        let mut guard = self.records.lock();
        if let Some(records) = &mut *guard
            && records.inbound.get(&record.key).is_some_and(|held| Arc::ptr_eq(held, record))
        {
            records.inbound.remove(&record.key);
        }
    }

    /// Closes the session for good. The first call returns its records, later ones nothing.
    #[must_use = "the records must be answered or forgotten"]
    pub(crate) fn close(&self) -> Records {
        mem::take(&mut *self.records.lock()).unwrap_or_default()
    }

    /// Returns the numbers of monitors: the local watchers', and the peer's.
    pub(crate) fn len(&self) -> (usize, usize) {
        self.records.lock().as_ref().map_or((0, 0), |records| (records.outbound.len(), records.inbound.len()))
    }
}
