//! Many concurrent requests: [`RequestSet`].

use alloc::vec::Vec;
use core::task::{Context as TaskContext, Poll, Waker};
use core::time::Duration;

use atropos_kernel::{CatchDrop, CompletionOrder, CompletionTicket, Context, Cursor, Peek, Received};

use super::{CallError, PendingCall};
use crate::wait::{Deadline, poll_search};

/// A collection of open requests, each with a label. They are sent at once, and their replies are
/// collected in the order in which they arrive.
///
/// ```
/// use std::time::Duration;
/// use atropos_kernel::{Context, Reply};
/// use atropos_otp::{RequestSet, Server, ServerRef};
///
/// async fn all<S: Server<Message = Reply<u32>>>(cx: &Context<()>, servers: &[ServerRef<S>]) -> Vec<(usize, u32)> {
///     let mut calls = RequestSet::new();
///     for (place, server) in servers.iter().enumerate() {
///         if let Ok(request) = server.request(cx, |reply| reply) {
///             calls.add(place, request);
///         }
///     }
///     let mut answers = Vec::new();
///     // One deadline of 1 s for all of them together; then the loop ends.
///     while let Some((label, answer)) = calls.next(cx, Duration::from_secs(1)).await {
///         if let (Some(place), Ok(answer)) = (label, answer) {
///             answers.push((place, answer));
///         }
///     }
///     answers
/// }
/// ```
#[derive(Debug)]
pub struct RequestSet<L, T> {
    pending: Vec<Request<L, T>>,
    /// The order in which the replies arrive.
    row: CompletionOrder,
    /// The position up to which the mailbox was searched for the DOWNs of all requests.
    cursor: Cursor,
    patience: Patience,
}

#[derive(Debug)]
struct Request<L, T> {
    /// The panic of its destructor is caught, as that of an answer is: many may be dropped
    /// together.
    label: CatchDrop<L>,
    request: PendingCall<T>,
    /// It holds the waker of the task that polls, whose destructor may panic as well.
    arrival: CatchDrop<CompletionTicket>,
    /// `true` if it was polled with the arrival's waker and has been pending since.
    waits: bool,
}

/// The deadline of all requests of a collection.
#[derive(Clone, Copy, Debug)]
enum Patience {
    /// No deadline is set.
    Open,
    /// The deadline is this time of the platform's clock.
    Until(u64),
    /// The deadline has passed, and the caller has been told by `TimedOut`.
    Over,
}

impl<L, T> Default for RequestSet<L, T> {
    fn default() -> Self {
        Self { pending: Vec::new(), row: CompletionOrder::new(), cursor: Cursor::new(), patience: Patience::Open }
    }
}

impl<L, T: Send + 'static> RequestSet<L, T> {
    /// Creates an empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request.
    pub fn add(&mut self, label: L, mut request: PendingCall<T>) {
        // Its DOWN may be in the mailbox already.
        self.cursor = Cursor::new();
        // From now on its reply records its position on arrival, even if another task polls. No
        // task waits yet, so the waker is a no-op.
        let catcher = request.drop_catcher();
        let arrival = catcher.catch_drop(self.row.ticket(Waker::noop()));
        let waits = request.leave(&arrival.waker());
        if !waits {
            arrival.comes();
        }
        let label = catcher.catch_drop(label);
        self.pending.push(Request { label, request, arrival, waits });
    }

    /// Returns the number of requests without a reply.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Returns `true` if no request is open.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns the next reply, in order of arrival; `None` if no request is left.
    ///
    /// The first `within` that is given is the deadline of the collection, for all replies
    /// together. When it passes before all replies have arrived, this is reported once, by
    /// [`CallError::TimedOut`] without a label. Later calls return the replies that have arrived
    /// nevertheless, and then `None`. The requests stay open: [`RequestSet::reset_deadline`] waits
    /// for them again. If the future is dropped, nothing is lost.
    pub async fn next<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Option<(Option<L>, Result<T, CallError>)> {
        cx.checkpoint().await;
        if self.pending.is_empty() {
            self.reset_deadline();
            return None;
        }
        let now = cx.with(|cx| cx.now());
        if let (Patience::Open, Some(within)) = (self.patience, within.into()) {
            let within = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
            self.patience = Patience::Until(now.saturating_add(within));
        }
        let left = match self.patience {
            Patience::Open => None,
            Patience::Until(end) => Some(Duration::from_nanos(end.saturating_sub(now))),
            Patience::Over => Some(Duration::ZERO),
        };
        let mut alarm = match Deadline::start(cx, left) {
            Ok(alarm) => alarm,
            Err(error) => return Some((None, Err(error.into()))),
        };
        let ready = core::future::poll_fn(|task| {
            if cx.poll_proceed(task).is_pending() {
                return Poll::Pending;
            }
            match self.poll(cx, task) {
                Poll::Ready(ready) => Poll::Ready(Some(ready)),
                Poll::Pending => alarm.poll_rung(task, self.is_monitored()).map(|()| None),
            }
        });
        match ready.await {
            Some((index, result)) => {
                let Request { label, request, .. } = self.pending.remove(index);
                request.abandon(cx);
                Some((Some(label.into_inner()), result))
            }
            None if matches!(self.patience, Patience::Over) => None,
            None => {
                self.patience = Patience::Over;
                Some((None, Err(CallError::TimedOut)))
            }
        }
    }

    /// Returns `true` if one of them searches the mailbox for a DOWN.
    fn is_monitored(&self) -> bool {
        self.pending.iter().any(|request| request.request.monitor().is_some())
    }

    /// Returns the request whose result arrived first, and the result.
    fn poll<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        task: &mut TaskContext<'_>,
    ) -> Poll<(usize, Result<T, CallError>)> {
        for request in &mut self.pending {
            if request.arrival.place().is_none() && !(request.waits && request.arrival.passes_on_to(task.waker())) {
                // The polling task is another one than before: wake-ups go to it from now on.
                let arrival = request.arrival.catcher().catch_drop(self.row.ticket(task.waker()));
                let before = core::mem::replace(&mut request.arrival, arrival);
                request.waits = request.request.leave(&request.arrival.waker());
                if !request.waits {
                    match before.place() {
                        // It arrived just before the replacement.
                        Some(_) => request.arrival = before,
                        None => request.arrival.comes(),
                    }
                }
            }
        }
        // In the order of their arrival. A request whose reply was dropped may stay pending, until
        // it is known why.
        let mut come: Vec<_> =
            self.pending.iter().enumerate().filter_map(|(at, one)| Some((one.arrival.place()?, at))).collect();
        come.sort_unstable();
        for (_, at) in come {
            let Request { request, arrival, waits, .. } = &mut self.pending[at];
            if let Poll::Ready(result) = request.poll_answer(cx, task) {
                return Poll::Ready((at, result));
            }
            // It gets a new position when there is more.
            *arrival = arrival.catcher().catch_drop(self.row.ticket(task.waker()));
            let waker = arrival.waker();
            *waits = true;
            if let Poll::Ready(result) = request.poll_answer(cx, &mut TaskContext::from_waker(&waker)) {
                return Poll::Ready((at, result));
            }
        }
        if !self.is_monitored() {
            return Poll::Pending;
        }
        // One search for all: each signal is examined once.
        let Self { pending, cursor, .. } = self;
        let place = |monitor| pending.iter().position(|one| one.request.monitor() == Some(monitor));
        let down = |peek: Peek<'_, M>| matches!(peek, Peek::Down(down) if place(down.reference).is_some());
        match poll_search(cx, task, cursor, down) {
            Poll::Ready(Some(Received::Down(down))) => match place(down.reference) {
                Some(at) => Poll::Ready((at, pending[at].request.take_final_reply(cx, task, down.reason))),
                None => Poll::Pending,
            },
            _ => Poll::Pending,
        }
    }

    /// Clears the deadline: the next [`RequestSet::next`] with a time sets a new one.
    pub fn reset_deadline(&mut self) {
        self.patience = Patience::Open;
    }

    /// Abandons all open requests.
    pub fn abandon<M: Send + 'static>(&mut self, cx: &Context<M>) {
        self.reset_deadline();
        for Request { request, .. } in self.pending.drain(..) {
            request.abandon(cx);
        }
    }
}
