//! One-shot replies: [`Reply`] for the side that answers, [`ReplyFuture`] or [`RequestFuture`] for
//! the side that waits.
//!
//! A process receives messages of one type. An answer could arrive through its mailbox only if that
//! type had a variant for the answers of every process that it queries. So the answer arrives
//! through a cell of its own: the *requester* puts the [`Reply`] into its message and awaits the
//! [`ReplyFuture`], a future that wakes its task through a waker like any other. A late answer
//! finds no requester and is dropped: the cell is the requester's alias for this one answer. A
//! `Reply` that is dropped unused, by a server that forgot it or by the mailbox of a dead process,
//! reports this.
//!
//! A process that uses [`crate::Cx::request`] has a [`RequestFuture`] instead: the same cell is
//! also its monitor of the receiver. So a request and its answer need two signals and one record,
//! and no code has to look up or cancel anything.
//!
//! | noun | module |
//! | --- | --- |
//! | the responder's end | `reply` |
//! | the requester's end | `call` |
//! | the word that all parties share, and which party may do what when | `process::request_cell` |
//! | a request, and the wait for its answer | `open_request` |
//! | the watch of a request: in transit, and at the receiver | `process::request_watch` |
//! | what happens when the receiver dies | `watch` |
//! | the order in which answers to several requests arrive | `completion` |
//! | the place where an end is used: on a core of its kernel, or elsewhere | `call_site` |
//!
//! All operations are wait-free, except [`RequestFuture::poll`], the requester's check for an
//! answer, which is lock-free. Only creating the ends allocates.

pub(crate) mod call;
pub(crate) mod call_site;
pub mod completion;
pub mod open_request;
pub(crate) mod reply;
pub(crate) mod watch;

pub use crate::ops::request::call::{NoReply, ReplyFuture, RequesterEnd};
pub use crate::ops::request::completion::{CompletionOrder, CompletionTicket};
pub use crate::ops::request::open_request::{RequestError, RequestFuture, request_with};
pub use crate::ops::request::reply::{Reply, ReplyEnd};
pub use crate::process::request_cell::{Orders, RequestHead};
pub use crate::process::request_watch::DeathWatch;

use crate::memory::NoMemory;
use crate::process::request_cell::Cell;

/// The two ends of one answer, with the orderings `O`.
pub type Pair<T, O> = (ReplyEnd<T, O>, RequesterEnd<T, O>);

/// Creates the two ends of one answer.
pub fn reply<T: Send>() -> Result<(Reply<T>, ReplyFuture<T>), NoMemory> {
    let (responder, requester) = reply_with()?;
    Ok((Reply::of(responder), ReplyFuture::of(requester)))
}

/// Creates the two ends as [`reply()`] does, with other orderings: for the models.
pub fn reply_with<T: Send, O: Orders>() -> Result<Pair<T, O>, NoMemory> {
    let (responder, requester) = Cell::try_unwatched()?;
    Ok((ReplyEnd::new(responder), RequesterEnd::new(requester)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use core::future::Future;
    use core::pin::Pin;
    use core::sync::atomic::{AtomicUsize as Count, Ordering};
    use core::task::{Context, Poll, Waker};
    use std::task::Wake;

    struct Counting(Count);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn answers_drops_and_late_answers() {
        let woken = Arc::new(Counting(Count::new(0)));
        let waker = Waker::from(woken.clone());
        let mut task = Context::from_waker(&waker);
        let value = Arc::new(7);

        let (give, mut wait) = reply().expect("memory");
        assert!(Pin::new(&mut wait).poll(&mut task).is_pending());
        assert!(Pin::new(&mut wait).poll(&mut task).is_pending());
        assert!(give.is_wanted());
        give.send(value.clone());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(Pin::new(&mut wait).poll(&mut task), Poll::Ready(Ok(value.clone())));

        let (give, mut wait) = reply::<u8>().expect("memory");
        drop(give);
        assert_eq!(Pin::new(&mut wait).poll(&mut task), Poll::Ready(Err(NoReply)));

        let (give, mut wait) = reply().expect("memory");
        assert!(Pin::new(&mut wait).poll(&mut task).is_pending());
        let wakers = Arc::strong_count(&woken);
        drop(wait);
        assert_eq!(Arc::strong_count(&woken), wakers - 1, "a cancelled wait leaves no waker");
        assert!(!give.is_wanted());
        give.send(value.clone());
        assert_eq!(Arc::strong_count(&value), 1, "a late answer is dropped");

        let (give, wait) = reply().expect("memory");
        drop(wait);
        assert_eq!(give.try_send(value.clone()), Err(value.clone()), "a late answer is given back");
        let (give, wait) = reply().expect("memory");
        assert_eq!(give.try_send(value.clone()), Ok(()));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(wait);
        assert_eq!(Arc::strong_count(&value), 1, "dropped together with the requester's end");
    }

    #[test]
    fn between_threads() {
        for round in 0..1000 {
            let (give, wait) = reply().expect("memory");
            let requester = std::thread::spawn(move || {
                let waker = Waker::from(Arc::new(Counting(Count::new(0))));
                let mut wait = wait;
                loop {
                    if let Poll::Ready(answer) = Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)) {
                        return answer;
                    }
                }
            });
            give.send(round);
            assert_eq!(requester.join().expect("no panic"), Ok(round));
        }
    }
}
