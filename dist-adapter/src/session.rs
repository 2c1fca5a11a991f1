//! [`Session`]: all that goes over one connection to a node.
//!
//! It holds the monitors that were asked for over this connection, in both directions, and no others: the node's loss
//! takes both maps as they are and walks them, whatever other nodes hold. An exit notice is looked up here too, so a
//! notice from another node, or from an older life of this one, finds nothing.
//!
//! Once closed a session takes no record: whoever comes with one learns that the connection is gone, and undoes what it
//! has done so far.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::mem;

use crate::account::Account;
use crate::message::Connection;
use crate::record::{Inbound, Key, Outbound};
use crate::reference::RemoteReference;
use crate::sync::Mutex;

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// Of the node, as it said when it connected.
    pub(crate) incarnation: u32,
    /// Of the node, for as long as anything is kept for it.
    pub(crate) account: Arc<Account>,
    records: Mutex<Option<Records>>,
}

/// References grow, so both maps are in the order of registration at their watcher's node.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) outbound: BTreeMap<RemoteReference, Arc<Outbound>>,
    pub(crate) inbound: BTreeMap<Key, Arc<Inbound>>,
}

/// Whether a registration of the peer can be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InboundLimit {
    /// Yes; or it has been taken.
    Free,
    /// The same has been registered before.
    Known,
    /// The connection is gone.
    Closed,
}

/// What an exit notice has found.
#[derive(Debug)]
pub(crate) enum Noticed {
    /// The monitor, taken out.
    Found(Arc<Outbound>),
    /// No monitor of this connection: it was withdrawn while the notice was on its way, or answered.
    Unknown,
    /// A monitor of another target or watcher, left as it is.
    Another,
}

impl Session {
    pub(crate) fn new(connection: Connection, incarnation: u32, account: Arc<Account>) -> Self {
        Self { connection, incarnation, account, records: Mutex::new(Some(Records::default())) }
    }

    /// Takes a monitor of ours; whether the connection is still there.
    #[must_use = "a refused record must be taken back"]
    pub(crate) fn place_outbound(&self, record: &Arc<Outbound>) -> bool {
        let mut records = self.records.lock();
        let Some(records) = &mut *records else { return false };
        records.outbound.insert(record.key.reference, record.clone());
        true
    }

    pub(crate) fn remove_outbound(&self, reference: RemoteReference) {
        // Bound, so that the record is dropped after the guard.
        let _record = self.records.lock().as_mut().and_then(|records| records.outbound.remove(&reference));
    }

    /// What a notice of this reference means; it is `right` for one monitor.
    pub(crate) fn take_noticed(&self, reference: RemoteReference, right: impl Fn(&Key) -> bool) -> Noticed {
        let mut records = self.records.lock();
        let Some(records) = &mut *records else { return Noticed::Unknown };
        match records.outbound.get(&reference) {
            None => Noticed::Unknown,
            Some(record) if !right(&record.key) => Noticed::Another,
            Some(_) => records.outbound.remove(&reference).map_or(Noticed::Unknown, Noticed::Found),
        }
    }

    fn room_in(records: Option<&Records>, key: &Key) -> InboundLimit {
        match records {
            None => InboundLimit::Closed,
            Some(records) if records.inbound.contains_key(key) => InboundLimit::Known,
            Some(_) => InboundLimit::Free,
        }
    }

    /// Whether a registration would be taken now.
    pub(crate) fn room(&self, key: &Key) -> InboundLimit {
        Self::room_in(self.records.lock().as_ref(), key)
    }

    /// Takes a registration of the peer, unless it is known.
    #[must_use = "a refused record must be taken back"]
    pub(crate) fn place_inbound(&self, record: &Arc<Inbound>) -> InboundLimit {
        let mut records = self.records.lock();
        let room = Self::room_in(records.as_ref(), &record.key);
        if room == InboundLimit::Free
            && let Some(records) = &mut *records
        {
            records.inbound.insert(record.key, record.clone());
        }
        room
    }

    /// The registration, taken out.
    pub(crate) fn take_inbound(&self, key: &Key) -> Option<Arc<Inbound>> {
        self.records.lock().as_mut()?.inbound.remove(key)
    }

    /// Takes this very registration out. Another of the same name may have come after it.
    pub(crate) fn remove_inbound(&self, record: &Arc<Inbound>) {
        let mut guard = self.records.lock();
        if let Some(records) = &mut *guard
            && records.inbound.get(&record.key).is_some_and(|held| Arc::ptr_eq(held, record))
        {
            records.inbound.remove(&record.key);
        }
    }

    /// Closes it for good; what was in it, once.
    #[must_use = "the records must be answered or forgotten"]
    pub(crate) fn close(&self) -> Records {
        mem::take(&mut *self.records.lock()).unwrap_or_default()
    }

    /// How many monitors it holds: ours, and the peer's.
    pub(crate) fn len(&self) -> (usize, usize) {
        self.records.lock().as_ref().map_or((0, 0), |records| (records.outbound.len(), records.inbound.len()))
    }
}
