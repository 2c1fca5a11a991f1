//! [`ExitStream`]: a stream of every exit of a runtime.
//!
//! Each subscriber has a bounded ring buffer. A dying core puts the exit in the ring or, if the
//! ring is full, counts it as missed: it never waits. The next exit that finds a slot carries the
//! count. So the subscriber learns where in the stream it lagged, and by how many exits
//! ([`ExitEvent::Missed`]), as with Tokio's broadcast channel. With no subscriber, a death pays one
//! relaxed load. (`exit_ring` has the ring, `subscribers` the list of the rings.)

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use atropos_kernel::{Pid, Reason};

use crate::block_on;
use crate::exit_ring::{ExitRecord, Ring};
use crate::handle::Handle;
use crate::platform::poll_proceed;
use crate::role::may_block;

/// An event of an exit stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExitEvent {
    /// A process has exited.
    Exited {
        /// The process that has exited.
        pid: Pid,
        /// The exit reason, with the process's result if it had one.
        reason: Reason,
    },
    /// The number of exits that found the ring full at this point of the stream.
    Missed(u64),
}

/// A stream of the exits of a runtime since it was subscribed: see [`Handle::exits`].
pub struct ExitStream {
    ring: Arc<Ring>,
    handle: Handle,
    position: usize,
    /// An exit that was taken from the ring, and is delivered after its `Missed`.
    next: Option<(Pid, Reason)>,
}

impl fmt::Debug for ExitStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitStream").field("places", &self.ring.capacity()).finish_non_exhaustive()
    }
}

impl ExitStream {
    /// Returns the next event, if there is one now. Never blocks.
    pub fn try_next(&mut self) -> Option<ExitEvent> {
        if let Some((pid, reason)) = self.next.take() {
            return Some(ExitEvent::Exited { pid, reason });
        }
        // SAFETY: `&mut self` makes this the one consumer, and the position advances by one for
        // each exit that is taken.
        match unsafe { self.ring.take(self.position) } {
            Some(ExitRecord { pid, reason, missed }) => {
                self.position = self.position.wrapping_add(1);
                if missed == 0 {
                    return Some(ExitEvent::Exited { pid, reason });
                }
                self.next = Some((pid, reason));
                Some(ExitEvent::Missed(missed))
            }
            // The exits missed last have no later exit that would carry their count.
            None => match self.ring.take_missed() {
                0 => None,
                missed => Some(ExitEvent::Missed(missed)),
            },
        }
    }

    /// Polls for the next event, like [`Future::poll`]; `None` when the runtime has ended and every
    /// event has been taken.
    pub fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Option<ExitEvent>> {
        self.handle.inner().born.check();
        ready!(poll_proceed(task));
        if let Some(event) = self.try_next() {
            return Poll::Ready(Some(event));
        }
        self.ring.leave(task.waker());
        // First, so that the check below sees every put from before the close.
        let closed = self.ring.is_closed();
        match self.try_next() {
            None if !closed => Poll::Pending,
            event => Poll::Ready(event),
        }
    }

    /// Waits for the next event; `None` when the runtime has ended and every event has been taken.
    pub async fn next(&mut self) -> Option<ExitEvent> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// Blocks this thread until the next event; `None` at the timeout, or when the runtime has
    /// ended.
    ///
    /// # Panics
    /// Panics inside a process. A process uses [`ExitStream::next`].
    #[track_caller]
    pub fn next_blocking(&mut self, within: Duration) -> Option<ExitEvent> {
        may_block();
        block_on::wait_until(self.next(), Instant::now().checked_add(within)).flatten()
    }
}

/// The stream as a `Stream` for tasks of any executor.
impl futures_core::Stream for ExitStream {
    type Item = ExitEvent;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<ExitEvent>> {
        ExitStream::poll_next(self.get_mut(), task)
    }
}

impl Drop for ExitStream {
    fn drop(&mut self) {
        if self.handle.inner().born.is_gone() {
            // After a fork, a thread of the parent program may hold the lock.
            return;
        }
        self.handle.inner().world.subscribers().remove(&self.ring, self.handle.kernel());
        // Drops the exits that were not taken. A core that found the old list may still put one,
        // which is dropped with the ring.
        while self.try_next().is_some() {}
    }
}

impl Handle {
    /// Subscribes to every exit of this runtime from now on. At most `capacity` exits (at least 2,
    /// at most 1,048,576) wait to be taken; further ones are missed, and counted. Each subscriber
    /// has its own stream, and there may be any number of them.
    pub fn exits(&self, capacity: usize) -> ExitStream {
        self.inner().born.check();
        let ring = self.inner().world.subscribers().add(capacity, self.kernel());
        ExitStream { ring, handle: self.clone(), position: 0, next: None }
    }
}
