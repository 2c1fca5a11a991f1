//! The way out: [`Sender`], and one that writes down what it is given: [`RecordingSender`].

use alloc::vec::Vec;
use core::fmt;
use core::mem;

use crate::message::Routed;
use crate::sync::Mutex;

/// The message's connection is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoConnection;

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no connection to the node")
    }
}

impl core::error::Error for NoConnection {}

/// What brings a message to another node.
///
/// - It sends by the message's own connection or refuses: what was meant for an old connection must not go out on a new one.
/// - Messages of one connection arrive in the order in which the calls returned, or the connection is lost.
/// - A refusal says that the connection is lost: whoever refuses a message for another cause (a full queue, say) ends that
///   connection, and [`crate::ControlPlane::disconnected`] follows.
/// - What waits to be sent is the sender's to bound: a peer that asks and does not read has answers made for it.
/// - It is called by many threads at once, and with no lock of the plane held: it may call the plane. If it panics,
///   the panic reaches the plane's caller; the plane stays right, and the message counts as not sent.
pub trait Sender: Send + Sync {
    /// Sends, or queues to be sent.
    fn send(&self, message: Routed) -> Result<(), NoConnection>;
}

/// A sender that keeps what it is given, in order.
#[derive(Debug, Default)]
pub struct RecordingSender {
    sent: Mutex<Vec<Routed>>,
}

impl RecordingSender {
    /// Nothing sent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been sent since the last time.
    pub fn drain(&self) -> Vec<Routed> {
        mem::take(&mut *self.sent.lock())
    }
}

impl Sender for RecordingSender {
    fn send(&self, message: Routed) -> Result<(), NoConnection> {
        self.sent.lock().push(message);
        Ok(())
    }
}
