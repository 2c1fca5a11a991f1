//! Messages from peers ([`ControlPlane::receive`]), and monitors of local processes by remote ones.
//!
//! The plane accepts a message only from its current connection to that node, and only for
//! processes of the peer. The watcher of a request must belong to the peer (under its creation on
//! this connection), and the target must be local. An exit notice must name a monitor that was
//! requested on this connection, with its watcher and its target. The plane keeps nothing of a
//! refused message and returns the refusal to the transport, which should disconnect a peer that
//! forges messages.

use alloc::sync::Arc;
use core::fmt;

use atropos_kernel::Reason;

use crate::control_plane::ControlPlane;
use crate::local::{AttachError, AttachGuard, Left};
use crate::message::{Connection, MonitorControlMessage, RoutedMessage};
use crate::model::PlaneRules;
use crate::record::{Inbound, Key};
use crate::session::{Placement, RecordLookup, Session};
use crate::state::Cancelled;
use crate::sync::Ordering;

/// The reason why a peer's message was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The message's connection has ended.
    Stale,
    /// The message claims a process that does not belong to the peer, addresses a process that is
    /// not local, or names another process's monitor.
    Forged,
    /// The peer's quota is used up, including withdrawn monitors that the runtime has not collected
    /// yet. The request was answered with `noconnection`.
    Quota,
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the connection has ended",
            Self::Forged => "the peer has no right to send this message",
            Self::Quota => "the peer's quota is used up",
        })
    }
}

impl core::error::Error for ReceiveError {}

impl<R: PlaneRules> ControlPlane<R> {
    /// Handles a message that arrived on this connection. Callers pass the messages of one
    /// connection in their order of arrival.
    ///
    /// # Errors
    ///
    /// Returns [`ReceiveError`] if the message was not accepted.
    pub fn receive(&self, connection: Connection, message: MonitorControlMessage) -> Result<(), ReceiveError> {
        self.resume();
        let session = self.sessions.get(connection.node.number()).ok_or(ReceiveError::Stale)?;
        if R::REFUSE_OLD && session.connection != connection {
            return Err(ReceiveError::Stale);
        }
        match message {
            MonitorControlMessage::MonitorP { reference, watcher, target } => {
                self.register(&session, Key { reference, watcher, target })
            }
            MonitorControlMessage::DemonitorP { reference, watcher, target } => {
                self.unregister(&session, &Key { reference, watcher, target })
            }
            MonitorControlMessage::MonitorPExit { reference, watcher, target, reason } => {
                let named = Key { reference, watcher, target };
                match session.take_noticed(reference, |key| *key == named || !R::MATCH_WHOLE) {
                    RecordLookup::Found(record) => self.answer_outbound(&record, reason),
                    RecordLookup::Unknown => {}
                    RecordLookup::Another => return Err(ReceiveError::Forged),
                }
                Ok(())
            }
        }
    }

    fn is_of(&self, session: &Session, key: &Key) -> bool {
        key.watcher.node == session.connection.node
            && key.watcher.incarnation == session.incarnation
            && key.target.node == self.node
    }

    fn register(&self, session: &Arc<Session>, key: Key) -> Result<(), ReceiveError> {
        if !self.is_of(session, &key) {
            return Err(ReceiveError::Forged);
        }
        if key.target != self.name_of(key.target.number) {
            // The target belongs to an older creation of this node, or has a serial that no local
            // process has.
            self.notify(session.connection, key, Reason::NOPROC);
            return Ok(());
        }
        // A check before anything is created or watched. It is repeated when the record is placed.
        match session.room(&key) {
            Placement::Free => {}
            taken => return not_placed(taken),
        }
        let Some(charge) = session.account.claim::<R>() else {
            self.notify(session.connection, key, Reason::NOCONNECTION);
            return Err(ReceiveError::Quota);
        };
        // Relaxed: the number only needs to be larger than the numbers that this thread has seen.
        let order = self.orders.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Inbound::new(key, order, session.connection, charge));
        match self.locals.tie::<R>(&*self.hooks, key.target.number, &AttachGuard::Inbound(&record)) {
            Ok(()) => {}
            Err(AttachError::Gone) => {
                self.notify(session.connection, key, Reason::NOPROC);
                return Ok(());
            }
            Err(AttachError::NoMemory) => {
                self.notify(session.connection, key, Reason::NOCONNECTION);
                return Ok(());
            }
        }
        match session.place_inbound(&record) {
            Placement::Free => {}
            taken => {
                // The target's end may have answered the request. Otherwise the caller answers it,
                // if an answer is due.
                let cancelled = record.state.cancel::<R>();
                self.forget_inbound(&record);
                return if let Cancelled::TooLate(_) = cancelled { Ok(()) } else { not_placed(taken) };
            }
        }
        if record.state.arm::<R>().is_err() {
            self.forget_inbound(&record);
        }
        Ok(())
    }

    fn unregister(&self, session: &Session, key: &Key) -> Result<(), ReceiveError> {
        if !self.is_of(session, key) {
            return Err(ReceiveError::Forged);
        }
        if let Some(record) = session.take_inbound(key) {
            self.withdraw_inbound(&record);
        }
        Ok(())
    }

    /// Sends an exit notice to the watcher, unless another thread has ended the monitor.
    pub(crate) fn answer_inbound(&self, record: &Arc<Inbound>, reason: Reason) {
        if record.state.fire::<R>() {
            self.forget_inbound(record);
            self.notify(record.connection, record.key, reason);
        }
    }

    fn notify(&self, connection: Connection, key: Key, reason: Reason) {
        // A refusal means that the connection is gone: the peer answers its monitors itself.
        let _ = self.sender.send(RoutedMessage { connection, message: key.notice(reason) });
    }

    /// Removes a record from the maps that still hold it.
    pub(crate) fn forget_inbound(&self, record: &Arc<Inbound>) {
        if let Some(session) = self.sessions.get(record.connection.node.number()) {
            session.remove_inbound(record);
        }
        let local = self.locals.get(record.key.target.number);
        if local.is_some_and(|local| local.take_inbound(record.order) == Left::Idle) {
            self.hooks.unwatch(record.key.target.number);
        }
    }

    /// Withdraws a registration, because the peer has withdrawn it or is lost.
    pub(crate) fn withdraw_inbound(&self, record: &Arc<Inbound>) {
        if let Cancelled::Armed | Cancelled::Placing = record.state.cancel::<R>() {
            self.forget_inbound(record);
        }
    }

    /// Releases a watch before the runtime drops it ([`crate::RuntimeHooks::unwatch`]).
    ///
    /// Returns `true` if no monitor needs the watch. The runtime then drops it, and the plane calls
    /// [`crate::RuntimeHooks::watch`] before it needs it again. Returns `false` if a monitor has
    /// needed the watch since then: the runtime keeps it.
    pub fn release(&self, pid: u64) -> bool {
        self.locals.release::<R>(pid)
    }
}

fn not_placed(room: Placement) -> Result<(), ReceiveError> {
    match room {
        Placement::Free | Placement::Known => Ok(()),
        Placement::Closed => Err(ReceiveError::Stale),
    }
}
