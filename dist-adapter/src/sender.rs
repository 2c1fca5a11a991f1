//! [`Sender`]: the interface to the transport, and [`RecordingSender`], which stores its messages.

use alloc::vec::Vec;
use core::fmt;
use core::mem;

use crate::message::RoutedMessage;
use crate::sync::Mutex;

/// The error of a message whose connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoConnection;

impl fmt::Display for NoConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no connection to the node")
    }
}

impl core::error::Error for NoConnection {}

/// The transport that carries messages to other nodes.
///
/// - It sends a message on the message's own connection or refuses it: a message for an old
///   connection must not leave on a new one.
/// - Messages of one connection arrive in the order in which the calls returned, or the connection
///   is lost.
/// - A refusal means that the connection is lost. A sender that refuses a message for another
///   reason (a full queue, say) ends that connection, and calls
///   [`crate::ControlPlane::disconnected`] afterwards.
/// - The sender bounds the messages that wait for transmission: a peer that sends requests and does
///   not read causes answers to pile up.
/// - Many threads call it at once, and the plane holds no lock during a call: it may call the
///   plane. If it panics, the panic reaches the plane's caller. The plane stays consistent, and the
///   message counts as not sent.
pub trait Sender: Send + Sync {
    /// Sends a message, or queues it for transmission.
    fn send(&self, message: RoutedMessage) -> Result<(), NoConnection>;
}

/// A sender that stores its messages, in order.
#[derive(Debug, Default)]
pub struct RecordingSender {
    sent: Mutex<Vec<RoutedMessage>>,
}

impl RecordingSender {
    /// Creates a sender without messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the messages sent since the last call.
    pub fn drain(&self) -> Vec<RoutedMessage> {
        mem::take(&mut *self.sent.lock())
    }
}

impl Sender for RecordingSender {
    fn send(&self, message: RoutedMessage) -> Result<(), NoConnection> {
        self.sent.lock().push(message);
        Ok(())
    }
}
