//! One answer, from one who gives it to one who waits: [`Reply`] and [`ReplyFuture`], or [`RequestFuture`].
//!
//! A process takes messages of one type, so an answer to a question it has asked cannot come through its
//! mailbox without everybody's answers being in its type. It comes through a cell of its own: the asker puts the
//! [`Reply`] into its message and awaits the [`ReplyFuture`], which is woken like by any waker. What is answered late finds
//! nobody and is dropped: the cell is the asker's alias for this one answer. A `Reply` that is dropped unused, by a
//! server that forgot it or by the mailbox of a dead one, says so.
//!
//! A process that asks by [`crate::Cx::request`] has a [`RequestFuture`] instead: the same cell is its monitor of whom it asks.
//! So a request and its answer are two signals, one record, and nothing to be looked up or cancelled.
//!
//! | noun | module |
//! | --- | --- |
//! | the answerer's end | `answering` |
//! | the asker's | `asking` |
//! | the word that all parties share, and who may do what when | `cell` |
//! | a request, and who waits for its answer | `request` |
//! | its watch: on its way, and with who receives it | `watch` |
//! | in which order answers to several requests have come | `arrivals` |
//! | where its ends are used: on a core of its kernel, or elsewhere | `place` |
//!
//! All operations are wait-free, but for an asker's look at what it waits for ([`RequestFuture::poll`]), which is lock-free. Making
//! the ends is the only one that allocates.

mod answering;
pub mod arrivals;
mod asking;
pub mod cell;
mod place;
pub mod request;
pub mod watch;

pub use answering::Reply;
pub use arrivals::{CompletionTicket, CompletionOrder};
pub use asking::{NoReply, ReplyFuture};
pub use cell::{RequestHead, Orders, Shipped};
pub use request::{RequestError, RequestFuture, request_with};
pub use watch::DeathWatch;

use crate::memory::{self, NoMemory};
use cell::Cell;

/// The two ends of one answer, with whatever orderings.
pub type Pair<T, O> = (Reply<T, O>, ReplyFuture<T, O>);

/// The two ends of one answer.
pub fn reply<T: Send>() -> Result<(Reply<T>, ReplyFuture<T>), NoMemory> {
    reply_with()
}

/// As [`reply`], with other orderings: for the models.
pub fn reply_with<T: Send, O: Orders>() -> Result<Pair<T, O>, NoMemory> {
    let head = memory::try_new(Cell::<T>::new(None, false)).map_err(|_| NoMemory)?.cast();
    Ok((Reply::new(head), ReplyFuture::new(head)))
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
        assert_eq!(Arc::strong_count(&woken), wakers - 1, "who waits no longer leaves no waker");
        assert!(!give.is_wanted());
        give.send(value.clone());
        assert_eq!(Arc::strong_count(&value), 1, "a late answer is dropped");

        let (give, wait) = reply().expect("memory");
        drop(wait);
        assert_eq!(give.try_send(value.clone()), Err(value.clone()), "or given back");
        let (give, wait) = reply().expect("memory");
        assert_eq!(give.try_send(value.clone()), Ok(()));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(wait);
        assert_eq!(Arc::strong_count(&value), 1, "dropped with who could have taken it");
    }

    #[test]
    fn between_threads() {
        for round in 0..1000 {
            let (give, wait) = reply().expect("memory");
            let asker = std::thread::spawn(move || {
                let waker = Waker::from(Arc::new(Counting(Count::new(0))));
                let mut wait = wait;
                loop {
                    if let Poll::Ready(answer) = Pin::new(&mut wait).poll(&mut Context::from_waker(&waker)) {
                        return answer;
                    }
                }
            });
            give.send(round);
            assert_eq!(asker.join().expect("no panic"), Ok(round));
        }
    }
}
