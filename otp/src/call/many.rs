//! Many requests at a time: [`Calls`].

use alloc::vec::Vec;
use core::task::Poll;
use core::time::Duration;

use atropos_kernel::{Context, Cursor, Peek, Received};

use super::{CallError, Pending};
use crate::wait::Alarm;

/// Requests under way, each with a label: sent at once, gathered as the answers come.
#[derive(Debug)]
pub struct Calls<L, T> {
    pending: Vec<(L, Pending<T>)>,
    /// Up to where the mailbox has been searched for DOWNs of all.
    cursor: Cursor,
}

impl<L, T> Default for Calls<L, T> {
    fn default() -> Self {
        Self { pending: Vec::new(), cursor: Cursor::new() }
    }
}

impl<L, T: Send + 'static> Calls<L, T> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn add(&mut self, label: L, request: Pending<T>) {
        // Its DOWN may be here already.
        self.cursor = Cursor::new();
        self.pending.push((label, request));
    }

    /// Requests that are not answered yet.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The next answer, whosever comes first; `None` when there is no request left. With
    /// [`CallError::TimedOut`] and no label when nothing has come in time: the requests go on.
    pub async fn next<M: Send + 'static>(
        &mut self,
        cx: &Context<M>,
        within: impl Into<Option<Duration>>,
    ) -> Option<(Option<L>, Result<T, CallError>)> {
        if self.pending.is_empty() {
            return None;
        }
        let alarm = match Alarm::start(cx, within.into()) {
            Ok(alarm) => alarm,
            Err(error) => return Some((None, Err(error.into()))),
        };
        let Self { pending, cursor } = self;
        let ready = core::future::poll_fn(|task| {
            for (index, (_, request)) in pending.iter_mut().enumerate() {
                if let Poll::Ready(result) = request.poll_answer(cx, task) {
                    return Poll::Ready(Some((index, result)));
                }
            }
            // One search for all: each signal is looked at once.
            let place = |monitor| pending.iter().position(|(_, request)| request.monitor() == Some(monitor));
            let down = |peek: Peek<'_, M>| matches!(peek, Peek::Down(down) if place(down.reference).is_some());
            if let Some(Received::Down(down)) = cx.with(|cx| cx.receive_match(cursor, down))
                && let Some(index) = place(down.reference)
            {
                let (_, request) = &mut pending[index];
                return Poll::Ready(Some((index, request.last_words(cx, task, down.reason))));
            }
            if alarm.has_rung() { Poll::Ready(None) } else { Poll::Pending }
        });
        Some(match ready.await {
            Some((index, result)) => {
                let (label, request) = self.pending.remove(index);
                request.abandon(cx);
                (Some(label), result)
            }
            None => (None, Err(CallError::TimedOut)),
        })
    }

    /// Gives up all that is left.
    pub fn abandon<M: Send + 'static>(&mut self, cx: &Context<M>) {
        for (_, request) in self.pending.drain(..) {
            request.abandon(cx);
        }
    }
}
