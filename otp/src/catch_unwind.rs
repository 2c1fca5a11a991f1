//! The unwind boundary around a callback's future: [`catch_unwind`].
//!
//! Each poll of the future runs inside `PanicScope::catch_panic`, so a panic becomes an exit reason
//! and the process continues: to reply to its callers, to clean up, to start the next child. The
//! caller of the callback decides what to do with state that is half changed. On a platform that
//! cannot catch panics there is nothing to decide.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

use atropos_kernel::{PanicScope, Reason};

/// Polls the future inside the boundary; returns its output, or the crash that ended it. The future
/// stays where the caller has pinned it: moving it right after it was made would stall on store
/// forwarding.
pub(crate) fn catch_unwind<M, F>(
    container: &PanicScope<M>,
    mut future: Pin<&mut F>,
) -> impl Future<Output = Result<F::Output, Reason>>
where
    M: Send + 'static,
    F: Future,
{
    poll_fn(move |task| match container.catch_panic(|| future.as_mut().poll(task)) {
        Ok(poll) => poll.map(Ok),
        Err(crash) => Poll::Ready(Err(crash)),
    })
}
