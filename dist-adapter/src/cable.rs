//! [`LoopbackPair`]: the loop-back between two planes of one process.
//!
//! Two queues, one in each direction, that whoever likes empties ([`LoopbackPair::pump`]): what has been sent is on its way until
//! then. [`LoopbackPair::join`] connects the planes, [`LoopbackPair::cut`] takes the connection away with all that is on its way,
//! as a network would, and tells both. Each end is a [`Sender`] for one of the planes.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::{fmt, mem};

use crate::message::{Connection, MonitorControlMessage, Routed};
use crate::plane::ControlPlane;
use crate::rules::Rules;
use crate::sender::{NoConnection, Sender};
use crate::sync::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub struct LoopbackPair {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the left plane calls the connection, and the right one.
    ends: Option<[Connection; 2]>,
    /// From the left, and from the right; each with the connection by which the receiver gets it.
    queues: [VecDeque<(Connection, MonitorControlMessage)>; 2],
    /// Somebody empties this queue: two would mix up the order.
    emptied: [bool; 2],
}

/// One end of a [`LoopbackPair`].
pub struct LoopBack {
    cable: Arc<LoopbackPair>,
    side: usize,
}

impl fmt::Debug for LoopBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopBack").field("side", &self.side).finish_non_exhaustive()
    }
}

impl Sender for LoopBack {
    fn send(&self, message: Routed) -> Result<(), NoConnection> {
        let mut state = self.cable.state.lock();
        let ends = state.ends.filter(|ends| ends[self.side] == message.connection);
        if let Some(ends) = ends {
            state.queues[self.side].push_back((ends[1 - self.side], message.message));
            return Ok(());
        }
        // The message is dropped after the guard: its reason is foreign.
        drop(state);
        Err(NoConnection)
    }
}

/// Lets the queue go, whatever the receiver did.
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
    /// A cable that joins nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The senders for the left plane and the right one.
    pub fn ends(self: &Arc<Self>) -> [Arc<LoopBack>; 2] {
        [0, 1].map(|side| Arc::new(LoopBack { cable: self.clone(), side }))
    }

    /// Connects the two. A connection that there was ends.
    pub fn join<L: Rules, R: Rules>(&self, left: &ControlPlane<L>, right: &ControlPlane<R>) {
        self.cut(left, right);
        let ends =
            [left.connected(right.node(), right.incarnation()), right.connected(left.node(), left.incarnation())];
        self.state.lock().ends = Some(ends);
    }

    /// Takes the connection away; whether there was one.
    pub fn cut<L: Rules, R: Rules>(&self, left: &ControlPlane<L>, right: &ControlPlane<R>) -> bool {
        let mut state = self.state.lock();
        let (ends, on_the_way) = (state.ends.take(), mem::take(&mut state.queues));
        drop(state);
        drop(on_the_way);
        let Some(ends) = ends else { return false };
        left.disconnected(ends[0]);
        right.disconnected(ends[1]);
        true
    }

    /// Whether something is on its way.
    pub fn is_busy(&self) -> bool {
        self.state.lock().queues.iter().any(|queue| !queue.is_empty())
    }

    /// Delivers up to `most` messages in each direction, and says how many. What a plane refuses is dropped. A queue that
    /// another thread empties is left to it.
    pub fn pump<L: Rules, R: Rules>(&self, left: &ControlPlane<L>, right: &ControlPlane<R>, most: usize) -> usize {
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
            // Bound, so that the lock is let go before the delivery.
            let next = self.state.lock().queues[from].pop_front();
            let Some((connection, message)) = next else { return delivered };
            deliver(connection, message);
        }
        most
    }
}
