//! Callbacks whose panics are their caller's business: [`contained`].
//!
//! Each poll of the future runs inside `PanicScope::catch_panic`, so a panic becomes a reason and the process goes on: to tell
//! its callers, to clean up, to start the next child. What the callback has left half done is judged by whoever
//! called it; in a world that cannot catch panics there is nothing to judge.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::Poll;

use atropos_kernel::{PanicScope, Reason};

/// What the future brings, or the crash that it ended with. It stays where its caller has pinned it: what is moved right after
/// it was made is waited for.
pub(crate) fn contained<M, F>(
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
