//! [`LoopbackPair`]: a loop-back connection between two planes of one operating-system process.
//!
//! It has two queues, one for each direction. A sent message is in transit until a caller delivers
//! it ([`LoopbackPair::pump`]). [`LoopbackPair::join`] connects the planes. [`LoopbackPair::cut`]
//! drops the connection with all messages in transit, as a network would, and reports the loss to
//! both planes. Each end is a [`Sender`] for one of the planes.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::{fmt, mem};

use crate::control_plane::ControlPlane;
use crate::message::{Connection, MonitorControlMessage, RoutedMessage};
use crate::model::PlaneRules;
use crate::sender::{NoConnection, Sender};
use crate::sync::Mutex;

/// A loop-back connection between two planes.
#[derive(Debug, Default)]
pub struct LoopbackPair {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The left plane's name for the connection, and the right plane's.
    ends: Option<[Connection; 2]>,
    /// The messages from the left, and from the right; each with the receiver's name for its
    /// connection.
    queues: [VecDeque<(Connection, MonitorControlMessage)>; 2],
    /// `true` while a thread empties this queue. Two threads would mix up the order.
    emptied: [bool; 2],
}

/// One end of a [`LoopbackPair`].
pub struct LoopbackEnd {
    cable: Arc<LoopbackPair>,
    side: usize,
}

impl fmt::Debug for LoopbackEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopBack").field("side", &self.side).finish_non_exhaustive()
    }
}

impl Sender for LoopbackEnd {
    fn send(&self, message: RoutedMessage) -> Result<(), NoConnection> {
        let mut state = self.cable.state.lock();
        let ends = state.ends.filter(|ends| ends[self.side] == message.connection);
        if let Some(ends) = ends {
            state.queues[self.side].push_back((ends[1 - self.side], message.message));
            return Ok(());
        }
        // The message is dropped after the guard: its reason's destructor is external code.
        drop(state);
        Err(NoConnection)
    }
}

/// Marks the queue as free when dropped, also after a panic of the receiver.
struct Emptying<'a> {
    cable: &'a LoopbackPair,
    from: usize,
}

impl Drop for Emptying<'_> {
    fn drop(&mut self) {
        self.cable.state.lock().emptied[self.from] = false;
    }
}

impl LoopbackPair {
    /// Creates a cable that connects no planes yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns the senders for the left plane and the right one.
    pub fn ends(self: &Arc<Self>) -> [Arc<LoopbackEnd>; 2] {
        [0, 1].map(|side| Arc::new(LoopbackEnd { cable: self.clone(), side }))
    }

    /// Connects the two planes. An existing connection ends.
    pub fn join<L: PlaneRules, R: PlaneRules>(&self, left: &ControlPlane<L>, right: &ControlPlane<R>) {
        self.cut(left, right);
        let ends =
            [left.connected(right.node(), right.incarnation()), right.connected(left.node(), left.incarnation())];
        self.state.lock().ends = Some(ends);
    }

    /// Drops the connection and returns `true`, or returns `false` if there is none.
    pub fn cut<L: PlaneRules, R: PlaneRules>(&self, left: &ControlPlane<L>, right: &ControlPlane<R>) -> bool {
        let mut state = self.state.lock();
        let (ends, on_the_way) = (state.ends.take(), mem::take(&mut state.queues));
        drop(state);
        drop(on_the_way);
        let Some(ends) = ends else { return false };
        left.disconnected(ends[0]);
        right.disconnected(ends[1]);
        true
    }

    /// Returns `true` if messages are in transit.
    pub fn is_busy(&self) -> bool {
        self.state.lock().queues.iter().any(|queue| !queue.is_empty())
    }

    /// Delivers up to `most` messages in each direction and returns their number.
    ///
    /// Messages that a plane refuses are dropped. A queue that another thread is emptying is
    /// skipped.
    pub fn pump<L: PlaneRules, R: PlaneRules>(
        &self,
        left: &ControlPlane<L>,
        right: &ControlPlane<R>,
        most: usize,
    ) -> usize {
        let to_right = self.empty(0, most, |connection, message| {
            let _ = right.receive(connection, message);
        });
        let to_left = self.empty(1, most, |connection, message| {
            let _ = left.receive(connection, message);
        });
        to_right + to_left
    }

    fn empty(&self, from: usize, most: usize, deliver: impl Fn(Connection, MonitorControlMessage)) -> usize {
        if mem::replace(&mut self.state.lock().emptied[from], true) {
            return 0;
        }
        let _emptying = Emptying { cable: self, from };
        for delivered in 0..most {
            // A separate binding, so that the lock is released before the delivery.
            let next = self.state.lock().queues[from].pop_front();
            let Some((connection, message)) = next else { return delivered };
            deliver(connection, message);
        }
        most
    }
}
