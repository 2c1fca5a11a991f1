//! Monitors of remote processes by local ones: set-up, withdrawal and DOWN.
//!
//! `monitor_remote` creates a record, inserts it where the end of the process and of the connection
//! find it (D2), sends the request and arms the record. Other threads can end the record in
//! between. If the monitor was answered (the node is lost), the watcher has its DOWN, and the
//! caller gets the reference even when the request could not be sent: an error as well would be a
//! second answer. If the monitor was withdrawn (the watcher has died), only this thread can send
//! the withdrawal after the request, so it does.

use alloc::sync::Arc;
use core::{fmt, mem};

use atropos_kernel::Reason;

use crate::control_plane::ControlPlane;
use crate::local::{AttachError, AttachGuard};
use crate::model::PlaneRules;
use crate::pid::RemotePid;
use crate::record::{Key, Outbound};
use crate::reference::RemoteReference;
use crate::sender::NoConnection;
use crate::state::{Cancelled, Ended};

/// The reason why a remote process is not monitored. No DOWN comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MonitorError {
    /// There is no connection to the target's node. The caller connects and tries again, or treats
    /// this as a DOWN with `noconnection`.
    NoConnection,
    /// All references are used up, for good.
    ReferenceExhausted,
    /// The watcher is dead.
    NoCaller,
    /// There is no memory for a watch of the watcher.
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

/// A request in transmission. Its drop withdraws the monitor, because a sender that panics has not
/// sent the request.
struct Asking<'a, R: PlaneRules> {
    plane: &'a ControlPlane<R>,
    record: &'a Arc<Outbound>,
}

impl<R: PlaneRules> Drop for Asking<'_, R> {
    fn drop(&mut self) {
        let _ = self.record.state.cancel::<R>();
        self.plane.forget_outbound(self.record);
    }
}

impl<R: PlaneRules> ControlPlane<R> {
    /// Monitors a process of another node for a local process.
    ///
    /// The watcher gets one DOWN ([`crate::RuntimeHooks::deliver_down`]) when the target ends or
    /// its node is lost, possibly before this returns.
    ///
    /// # Errors
    ///
    /// Returns [`MonitorError`] if the monitor could not be set up. The watcher then gets no DOWN.
    pub fn monitor_remote(&self, watcher: u64, target: RemotePid) -> Result<RemoteReference, MonitorError> {
        self.resume();
        let session = self.sessions.get(target.node.number()).ok_or(MonitorError::NoConnection)?;
        let reference = self.references.next().ok_or(MonitorError::ReferenceExhausted)?;
        let key = Key { reference, watcher: self.name_of(watcher), target };
        let record = Arc::new(Outbound::new(key, session.connection));
        self.locals.tie::<R>(&*self.hooks, watcher, &AttachGuard::Outbound(&record))?;
        if !session.place_outbound(&record) && R::REFUSE_LOST {
            // Only the watcher's death can have found the record, and it needs no answer.
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

    /// Withdraws a monitor of this watcher, and returns `true` if it was active.
    ///
    /// No DOWN comes after `true`. There is no error: if the connection is gone, the peer has
    /// discarded the monitor with it. After `false`, the DOWN has been delivered or is in transit,
    /// or there was no such monitor.
    pub fn demonitor_remote(&self, watcher: u64, reference: RemoteReference) -> bool {
        self.resume();
        let record = self.locals.get(watcher).and_then(|local| local.take_outbound(reference));
        record.is_some_and(|record| self.withdraw(&record))
    }

    /// Withdraws a monitor here and at the peer, and returns `true` if it was active.
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
        // A refusal means that the connection is gone: the peer has discarded the monitor with it.
        let _ = self.sender.send(record.routed(record.key.withdrawal()));
    }

    /// Delivers the DOWN to the watcher, unless another thread has ended the monitor.
    pub(crate) fn answer_outbound(&self, record: &Arc<Outbound>, reason: Reason) {
        if record.state.fire::<R>() {
            self.forget_outbound(record);
            let Key { reference, watcher, target } = record.key;
            self.hooks.deliver_down(watcher.number, reference, target, reason);
        }
    }

    /// Removes a record from the maps that still hold it.
    fn forget_outbound(&self, record: &Outbound) {
        let Key { reference, watcher, .. } = record.key;
        if let Some(local) = self.locals.get(watcher.number) {
            let _record = local.take_outbound(reference);
        }
        // References are never reused, so a newer session has no monitor with this one.
        if let Some(session) = self.sessions.get(record.connection.node.number()) {
            session.remove_outbound(reference);
        }
    }
}
