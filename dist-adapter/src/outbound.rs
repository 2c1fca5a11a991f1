//! Monitors of remote processes by local ones: ask, withdraw, be answered.
//!
//! `monitor_remote` makes a record, puts it where both ends are found (D2), sends the request and arms the record. In
//! between it can be ended by others. If it was answered (the node is lost), the watcher has its DOWN and gets the
//! reference, even when the request could not be sent: an error as well would be a second answer. If it was withdrawn
//! (the watcher has died), nobody else could send the withdrawal after the request, so it is sent here.

use alloc::sync::Arc;
use core::{fmt, mem};

use atropos_kernel::Reason;

use crate::local::{AttachError, AttachGuard};
use crate::pid::RemotePid;
use crate::plane::ControlPlane;
use crate::record::{Key, Outbound};
use crate::reference::RemoteReference;
use crate::rules::Rules;
use crate::sender::NoConnection;
use crate::state::{Cancelled, Ended};

/// Why a remote process is not monitored. No DOWN comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MonitorError {
    /// There is no connection to its node: connect, and ask again; or take it for a DOWN with `noconnection`.
    NoConnection,
    /// All references have been given out, for good.
    ReferenceExhausted,
    /// The watcher is dead.
    NoCaller,
    /// There is no memory to watch the watcher.
    NoMemory,
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoConnection => "there is no connection to the node",
            Self::ReferenceExhausted => "all references of remote monitors have been used",
            Self::NoCaller => "the watcher is dead",
            Self::NoMemory => "out of memory",
        })
    }
}

impl core::error::Error for MonitorError {}

impl From<NoConnection> for MonitorError {
    fn from(NoConnection: NoConnection) -> Self {
        Self::NoConnection
    }
}

impl From<AttachError> for MonitorError {
    fn from(untied: AttachError) -> Self {
        match untied {
            AttachError::Gone => Self::NoCaller,
            AttachError::NoMemory => Self::NoMemory,
        }
    }
}

/// A request that is being sent: if the sender panics, it was not.
struct Asking<'a, R: Rules> {
    plane: &'a ControlPlane<R>,
    record: &'a Arc<Outbound>,
}

impl<R: Rules> Drop for Asking<'_, R> {
    fn drop(&mut self) {
        let _ = self.record.state.cancel::<R>();
        self.plane.forget_outbound(self.record);
    }
}

impl<R: Rules> ControlPlane<R> {
    /// Monitors a process of another node for a local one: it gets one DOWN ([`crate::Watchers::deliver_down`]) when the
    /// target ends or its node is lost, and possibly before this returns; none when this fails.
    pub fn monitor_remote(&self, watcher: u64, target: RemotePid) -> Result<RemoteReference, MonitorError> {
        self.resume();
        let session = self.sessions.get(target.node.number()).ok_or(MonitorError::NoConnection)?;
        let reference = self.references.next().ok_or(MonitorError::ReferenceExhausted)?;
        let key = Key { reference, watcher: self.name_of(watcher), target };
        let record = Arc::new(Outbound::new(key, session.connection));
        self.locals.tie::<R>(&*self.watchers, watcher, &AttachGuard::Outbound(&record))?;
        if !session.place_outbound(&record) && R::REFUSE_LOST {
            // Only the watcher's death can have found it, and that needs no answer.
            let _ = record.state.cancel::<R>();
            self.forget_outbound(&record);
            return Err(MonitorError::NoConnection);
        }
        let asking = Asking { plane: self, record: &record };
        let sent = self.sender.send(record.routed(key.request()));
        mem::forget(asking);
        if let Err(NoConnection) = sent {
            let cancelled = record.state.cancel::<R>();
            self.forget_outbound(&record);
            return match cancelled {
                Cancelled::TooLate(Ended::Fired) if R::HEED_ANSWER => Ok(reference),
                _ => Err(MonitorError::NoConnection),
            };
        }
        if let Err(ended) = record.state.arm::<R>() {
            self.forget_outbound(&record);
            if ended == Ended::Cancelled && R::WITHDRAW_AFTER_REQUEST {
                self.send_withdrawal(&record);
            }
        }
        Ok(reference)
    }

    /// Ends a monitor of this watcher; true when it was still in force. No DOWN of it comes then, and there is nothing that
    /// could fail: where the connection is gone, the peer has forgotten the monitor with it. When false, its DOWN has been
    /// delivered or is on the way; or there was no such monitor.
    pub fn demonitor_remote(&self, watcher: u64, reference: RemoteReference) -> bool {
        self.resume();
        let record = self.locals.get(watcher).and_then(|local| local.take_outbound(reference));
        record.is_some_and(|record| self.withdraw(&record))
    }

    /// Withdraws a monitor here and at the peer; whether it was in force.
    pub(crate) fn withdraw(&self, record: &Arc<Outbound>) -> bool {
        let cancelled = record.state.cancel::<R>();
        if let Cancelled::TooLate(_) = cancelled {
            return false;
        }
        self.forget_outbound(record);
        if cancelled == Cancelled::Armed || !R::WITHDRAW_AFTER_REQUEST {
            self.send_withdrawal(record);
        }
        true
    }

    fn send_withdrawal(&self, record: &Outbound) {
        // Refused: the connection is gone, and the peer has forgotten the monitor with it.
        let _ = self.sender.send(record.routed(record.key.withdrawal()));
    }

    /// Brings a monitor its answer, if nobody else has ended it.
    pub(crate) fn answer_outbound(&self, record: &Arc<Outbound>, reason: Reason) {
        if record.state.fire::<R>() {
            self.forget_outbound(record);
            let Key { reference, watcher, target } = record.key;
            self.watchers.deliver_down(watcher.number, reference, target, reason);
        }
    }

    /// Takes it out of its maps, where it still is.
    fn forget_outbound(&self, record: &Outbound) {
        let Key { reference, watcher, .. } = record.key;
        if let Some(local) = self.locals.get(watcher.number) {
            let _record = local.take_outbound(reference);
        }
        // References are never used again, so a newer session has none of this name.
        if let Some(session) = self.sessions.get(record.connection.node.number()) {
            session.remove_outbound(reference);
        }
    }
}
