//! What comes from peers: [`ControlPlane::receive`], and monitors of local processes by remote ones.
//!
//! A message is taken only from the connection that the plane has to that node now, and only for what is the peer's own: a
//! watcher that it says is its own must be (in this life of it), a target must be ours, and a notice must name a
//! monitor that went to this very connection, with its watcher and its target. Of what is refused nothing is kept, and
//! the transport learns of it: a peer that forges is not one to stay connected to.

use alloc::sync::Arc;
use core::fmt;

use atropos_kernel::Reason;

use crate::local::{AttachError, AttachGuard, Left};
use crate::message::{Connection, MonitorControlMessage, Routed};
use crate::plane::ControlPlane;
use crate::record::{Inbound, Key};
use crate::rules::Rules;
use crate::session::{InboundLimit, Noticed, Session};
use crate::state::Cancelled;
use crate::sync::Ordering;

/// Why a peer's message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Its connection has ended.
    Stale,
    /// It speaks for processes that are not the peer's, to processes that are not ours, or of a monitor that is another's.
    Forged,
    /// The node keeps as much for the peer as its quota allows, what the peer has withdrawn and is not collected yet
    /// included; it has been answered.
    Quota,
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "the connection has ended",
            Self::Forged => "the message is not its sender's to send",
            Self::Quota => "the peer holds too many monitors",
        })
    }
}

impl core::error::Error for ReceiveError {}

impl<R: Rules> ControlPlane<R> {
    /// A message has come by this connection. Those of one connection are given in the order in which they came.
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
                    Noticed::Found(record) => self.answer_outbound(&record, reason),
                    Noticed::Unknown => {}
                    Noticed::Another => return Err(ReceiveError::Forged),
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
            // Of an older life of this node, or with a serial that none of ours has.
            self.notify(session.connection, key, Reason::NOPROC);
            return Ok(());
        }
        // Looked at before anything is made or watched, and again when it is placed.
        match session.room(&key) {
            InboundLimit::Free => {}
            taken => return not_placed(taken),
        }
        let Some(charge) = session.account.claim::<R>() else {
            self.notify(session.connection, key, Reason::NOCONNECTION);
            return Err(ReceiveError::Quota);
        };
        // Relaxed: the number only has to be a greater one than those that this thread knows of.
        let order = self.orders.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Inbound::new(key, order, session.connection, charge));
        match self.locals.tie::<R>(&*self.watchers, key.target.number, &AttachGuard::Inbound(&record)) {
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
            InboundLimit::Free => {}
            taken => {
                // The target's end may have answered it; else it is answered below, if at all.
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

    /// Tells a watcher that its target has ended, if nobody else has ended the monitor.
    pub(crate) fn answer_inbound(&self, record: &Arc<Inbound>, reason: Reason) {
        if record.state.fire::<R>() {
            self.forget_inbound(record);
            self.notify(record.connection, record.key, reason);
        }
    }

    fn notify(&self, connection: Connection, key: Key, reason: Reason) {
        // Refused: the connection is gone, and the peer answers its monitors itself.
        let _ = self.sender.send(Routed { connection, message: key.notice(reason) });
    }

    /// Takes it out of its maps, where it still is.
    pub(crate) fn forget_inbound(&self, record: &Arc<Inbound>) {
        if let Some(session) = self.sessions.get(record.connection.node.number()) {
            session.remove_inbound(record);
        }
        let local = self.locals.get(record.key.target.number);
        if local.is_some_and(|local| local.take_inbound(record.order) == Left::Idle) {
            self.watchers.unwatch(record.key.target.number);
        }
    }

    /// The peer has withdrawn it, or is gone.
    pub(crate) fn withdraw_inbound(&self, record: &Arc<Inbound>) {
        if let Cancelled::Armed | Cancelled::Placing = record.state.cancel::<R>() {
            self.forget_inbound(record);
        }
    }

    /// The runtime takes a watch back that it was asked to drop ([`crate::Watchers::unwatch`]). True when no monitor needs
    /// it: the runtime drops it, and [`crate::Watchers::watch`] is called before it is needed again. False when it is
    /// needed meanwhile: the runtime keeps it.
    pub fn release(&self, pid: u64) -> bool {
        self.locals.release::<R>(pid)
    }
}

fn not_placed(room: InboundLimit) -> Result<(), ReceiveError> {
    match room {
        InboundLimit::Free | InboundLimit::Known => Ok(()),
        InboundLimit::Closed => Err(ReceiveError::Stale),
    }
}
