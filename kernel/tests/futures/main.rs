//! The futures of a `Context` among other futures (issue 14, items 7, 8, 14, 15): in combinators
//! that poll only futures that were woken, several in one process, cancelled, and always ready.

#[path = "../common/mod.rs"]
mod common;
mod pollers;
mod receives;
mod scans;
mod turns;
mod wakers;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Duration;

use atropos_kernel::{Context, Pid, SpawnOptions};

use common::Stage;

/// The state of one part of a combinator: whether it was woken, and the waker of the combinator.
#[derive(Default)]
struct Flag {
    woken: AtomicBool,
    times: AtomicUsize,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.woken.store(true, Ordering::Relaxed);
        let outer = self.outer.lock().unwrap().take();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

type Part<'f> = (Option<Pin<Box<dyn Future<Output = ()> + Send + 'f>>>, Arc<Flag>);

/// A combinator that waits for all of its futures, and polls only those that were woken.
#[derive(Default)]
struct Picky<'f>(Vec<Part<'f>>);

impl<'f> Picky<'f> {
    fn with(mut self, future: impl Future<Output = ()> + Send + 'f) -> Self {
        let flag = Arc::new(Flag::default());
        flag.woken.store(true, Ordering::Relaxed);
        self.0.push((Some(Box::pin(future)), flag));
        self
    }
}

impl Future for Picky<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let mut left = false;
        for (future, flag) in &mut self.0 {
            let Some(running) = future else { continue };
            *flag.outer.lock().unwrap() = Some(task.waker().clone());
            if flag.woken.swap(false, Ordering::Relaxed) {
                let waker = Waker::from(flag.clone());
                if running.as_mut().poll(&mut Task::from_waker(&waker)).is_ready() {
                    *future = None;
                    continue;
                }
            }
            left = true;
        }
        if left { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Polls the future with this waker.
fn by<F: Future>(waker: &Waker, future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Task::from_waker(waker))
}

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Starts a process whose end is recorded.
fn run<M, F>(stage: &Stage, body: impl FnOnce(Context<M>) -> F + Send + 'static) -> (Pid, Arc<AtomicBool>)
where
    M: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let done = Arc::new(AtomicBool::new(false));
    let note = done.clone();
    let start = move |cx| {
        let body = body(cx);
        async move {
            body.await;
            note.store(true, Ordering::Relaxed);
        }
    };
    (stage.host().spawn_async(&SpawnOptions::new(), start).unwrap().pid(), done)
}

fn is_done(done: &AtomicBool) -> bool {
    done.load(Ordering::Relaxed)
}

/// Polls both futures, alternating as `select!` does; returns the first that is ready.
async fn either<A: Future, B: Future>(a: A, b: B) -> Result<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let mut turn = false;
    poll_fn(move |task| {
        turn = !turn;
        for first in [turn, !turn] {
            if first {
                if let Poll::Ready(ready) = a.as_mut().poll(task) {
                    return Poll::Ready(Ok(ready));
                }
            } else if let Poll::Ready(ready) = b.as_mut().poll(task) {
                return Poll::Ready(Err(ready));
            }
        }
        Poll::Pending
    })
    .await
}
