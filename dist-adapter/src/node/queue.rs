//! [`Queue`]: what waits for a peer, in the order in which it may leave.
//!
//! Small messages leave in the order in which they came. A large message leaves in parts, so it
//! becomes a *stream* when it is its turn. While a sender has a stream, what it sends is put behind
//! the stream, so it keeps its order; the messages of other senders go past it (W2).
//!
//! The queue knows no bytes and no sockets: the writer of a connection takes a batch of small
//! messages, and the next streams to begin, and reports when a stream has ended.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

/// The sender of signals that no process sends. Their order is kept among themselves.
pub(super) const NOBODY: u64 = 0;

/// A message that waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// The process that sends it, whose order is kept.
    pub(super) sender: u64,
    /// About how many bytes it takes.
    pub(super) size: usize,
    pub(super) message: T,
}

/// What may leave next.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// A small message.
    Small(Waiting<T>),
    /// A large message: until [`Queue::stream_ended`] nothing else of this sender leaves.
    Stream(Waiting<T>),
}

/// What waits for a peer.
#[derive(Debug)]
pub(super) struct Queue<T> {
    ready: VecDeque<Waiting<T>>,
    /// What is behind the stream of each sender that has one.
    behind: BTreeMap<u64, VecDeque<Waiting<T>>>,
    /// The bytes of everything that has not been written, that of streams included.
    bytes: usize,
    large: usize,
    waiters: Vec<Waker>,
    /// More than the limit has waited, and less than half of it has not been reached since.
    busy: bool,
    closed: bool,
}

impl<T> Queue<T> {
    /// Creates an empty queue. A message of more than `large` bytes becomes a stream.
    pub(super) fn new(large: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            behind: BTreeMap::new(),
            bytes: 0,
            large,
            waiters: Vec::new(),
            busy: false,
            closed: false,
        }
    }

    /// Puts a message at its sender's end. Returns `false`, and drops it, once the queue is closed.
    pub(super) fn push(&mut self, waiting: Waiting<T>) -> bool {
        if self.closed {
            return false;
        }
        self.bytes += waiting.size;
        // Also if its sender has a stream: what came before it may still be among the ready ones.
        self.ready.push_back(waiting);
        true
    }

    /// Takes what may leave next.
    pub(super) fn pop(&mut self) -> Option<Next<T>> {
        loop {
            let waiting = self.ready.pop_front()?;
            if let Some(behind) = self.behind.get_mut(&waiting.sender) {
                behind.push_back(waiting);
                continue;
            }
            if waiting.size <= self.large {
                return Some(Next::Small(waiting));
            }
            self.behind.insert(waiting.sender, VecDeque::new());
            return Some(Next::Stream(waiting));
        }
    }

    /// Lets what is behind a sender's stream leave.
    pub(super) fn stream_ended(&mut self, sender: u64) {
        let Some(behind) = self.behind.remove(&sender) else { return };
        // It goes to the front: it has waited longer than what is ready, and a sender's messages
        // that are ready came later.
        for waiting in behind.into_iter().rev() {
            self.ready.push_front(waiting);
        }
    }

    /// Reports that bytes have been written. Returns the senders that may go on, if less than
    /// `limit` is left.
    #[must_use = "the wakers are to be woken outside of the lock"]
    pub(super) fn written(&mut self, bytes: usize, limit: usize) -> Vec<Waker> {
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.bytes >= limit {
            return Vec::new();
        }
        self.busy = false;
        std::mem::take(&mut self.waiters)
    }

    /// Returns how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds senders back, from now until less than the limit of [`written`](Self::written) waits.
    pub(super) fn hold_back(&mut self) {
        self.busy = !self.closed;
    }

    /// Returns `true` while senders are held back.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Returns `true` if nothing may leave now.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Has the waker woken when bytes have been written, or the queue is closed.
    pub(super) fn wait(&mut self, waker: &Waker) {
        if !self.waiters.iter().any(|other| other.will_wake(waker)) {
            self.waiters.push(waker.clone());
        }
    }

    /// Closes the queue. Returns what waited, to be dropped outside of the lock, and the senders
    /// that were held back.
    #[must_use = "the wakers are to be woken outside of the lock"]
    pub(super) fn close(&mut self) -> (Vec<Waiting<T>>, Vec<Waker>) {
        self.closed = true;
        self.busy = false;
        self.bytes = 0;
        let behind = std::mem::take(&mut self.behind).into_values().flatten();
        let left = self.ready.drain(..).chain(behind).collect();
        (left, std::mem::take(&mut self.waiters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut Queue<u32>, sender: u64, size: usize, message: u32) {
        assert!(queue.push(Waiting { sender, size, message }));
    }

    fn small(queue: &mut Queue<u32>) -> Option<u32> {
        match queue.pop() {
            Some(Next::Small(waiting)) => Some(waiting.message),
            Some(Next::Stream(waiting)) => panic!("a stream: {waiting:?}"),
            None => None,
        }
    }

    #[test]
    fn small_messages_keep_their_order() {
        let mut queue = Queue::new(10);
        for message in 0..5 {
            push(&mut queue, u64::from(message % 2), 10, message);
        }
        assert_eq!((0..5).map(|_| small(&mut queue)).collect::<Vec<_>>(), (0..5).map(Some).collect::<Vec<_>>());
        assert_eq!(small(&mut queue), None);
    }

    #[test]
    fn a_stream_holds_up_its_own_sender_only() {
        let mut queue = Queue::new(10);
        push(&mut queue, 1, 1, 10);
        push(&mut queue, 1, 11, 11);
        push(&mut queue, 2, 1, 20);
        push(&mut queue, 1, 1, 12);
        assert_eq!(small(&mut queue), Some(10));
        assert!(matches!(queue.pop(), Some(Next::Stream(Waiting { message: 11, .. }))));
        push(&mut queue, 1, 1, 13);
        assert_eq!(small(&mut queue), Some(20));
        assert_eq!(small(&mut queue), None, "the rest is behind the stream");
        push(&mut queue, 2, 1, 21);
        queue.stream_ended(1);
        push(&mut queue, 1, 1, 14);
        let rest: Vec<_> = std::iter::from_fn(|| small(&mut queue)).collect();
        assert_eq!(rest, [12, 13, 21, 14]);
    }

    #[test]
    fn a_second_stream_of_a_sender_waits_for_the_first() {
        let mut queue = Queue::new(10);
        push(&mut queue, 1, 11, 1);
        push(&mut queue, 1, 11, 2);
        push(&mut queue, 1, 1, 3);
        assert!(matches!(queue.pop(), Some(Next::Stream(Waiting { message: 1, .. }))));
        assert!(queue.pop().is_none());
        queue.stream_ended(1);
        assert!(matches!(queue.pop(), Some(Next::Stream(Waiting { message: 2, .. }))));
        assert!(queue.pop().is_none());
        queue.stream_ended(1);
        assert_eq!(small(&mut queue), Some(3));
    }

    #[test]
    fn senders_go_on_below_the_limit_and_at_the_end() {
        let mut queue = Queue::new(10);
        push(&mut queue, 1, 100, 1);
        queue.hold_back();
        queue.wait(Waker::noop());
        assert!(queue.written(50, 50).is_empty());
        // Between the limits all senders are held back, not only the one that waits.
        assert_eq!((queue.bytes(), queue.is_busy()), (50, true));
        assert_eq!(queue.written(1, 50).len(), 1);
        assert!(!queue.is_busy());
        queue.hold_back();
        queue.wait(Waker::noop());
        let (left, woken) = queue.close();
        assert_eq!((left.len(), woken.len(), queue.is_busy()), (1, 1, false));
        assert!(!queue.push(Waiting { sender: 1, size: 1, message: 2 }));
    }
}
