//! Futures in servers, state machines and their callers: beside other futures, dropped, or ready at
//! once for ever (issue 14, numbers 7, 8, 15, 16, 18, 28).

mod collections;
#[path = "../common/mod.rs"]
mod common;
mod selects;
mod timeouts;
mod turns;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use atropos_kernel::{Reason, Reply};
use atropos_otp::{Next, Server, ServerCx};

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Polls both and resolves to the first that is ready; the other one is dropped.
async fn either<A: Future, B: Future>(a: A, b: B) -> Result<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|task| match a.as_mut().poll(task) {
        Poll::Ready(ready) => Poll::Ready(Ok(ready)),
        Poll::Pending => b.as_mut().poll(task).map(Err),
    })
    .await
}

/// A server that replies after a time.
struct Slow;

enum Ask {
    Slow(u64, Reply<u64>),
    Never(Reply<u64>),
    Die,
}

impl Server for Slow {
    type Message = Ask;

    async fn handle(&mut self, ask: Ask, cx: ServerCx<'_, Self>) -> Next<Ask> {
        match ask {
            Ask::Slow(time, reply) => {
                cx.sleep(ms(time)).await;
                reply.send(time);
            }
            Ask::Never(reply) => std::mem::forget(reply),
            Ask::Die => return Next::Stop(Reason::NORMAL),
        }
        Next::Wait
    }
}
