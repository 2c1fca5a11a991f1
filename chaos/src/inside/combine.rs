//! Futures that a process drops half-way, combines, or leaves to other threads.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use atropos::otp::Task;
use atropos::prelude::*;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::actor::{Me, Told};
use crate::classes::Class;
use crate::inside::{PATIENCE, race};
use crate::ledger::{Kind, PLANNED, Tracked, count};
use crate::random::Random;
use crate::services::{self, Ask, Service, tally};

pub(super) async fn cancel(cx: &mut Context<Told>, me: &mut Me, random: &mut Random) {
    let (world, pid, time) = (me.world.clone(), cx.pid(), random.time(2_000));
    let given_up = match random.below(5) {
        0 => {
            // Two sleeps race; both are dropped.
            race(cx.sleep(time), cx.sleep(random.time(2_000))).await.is_none()
        }
        1 => {
            // A receive that is polled once.
            let mut received = None;
            {
                let mut receive = pin!(cx.recv());
                poll_fn(|task| {
                    if let Poll::Ready(message) = receive.as_mut().poll(task) {
                        received = Some(message);
                    }
                    Poll::Ready(())
                })
                .await;
            }
            match received {
                Some(received) => _ = me.meet(cx, received),
                None => count(&world.ledger.given_up),
            }
            return;
        }
        2 => {
            let server = ServerName::<Service>::new(random.one_of(&services::SERVERS));
            let seed = random.next();
            let call = server.call(cx, |reply| Ask::Ping(reply, seed));
            match race(call, cx.sleep(time)).await {
                Some(answer) => {
                    tally(&world, answer);
                    false
                }
                None => true,
            }
        }
        3 => {
            let Some(to) = world.any(random).filter(|to| *to != pid) else { return };
            let send = cx.send_wait(to, Told::random(&world, random), None);
            match race(send, cx.sleep(time)).await {
                Some(Err(error)) => {
                    error.into_message().token.returned();
                    false
                }
                Some(Ok(())) => false,
                None => true,
            }
        }
        _ => {
            let Some(to) = world.any(random) else { return };
            race(world.handle.wait(to), cx.sleep(time)).await.is_none()
        }
    };
    if given_up {
        count(&world.ledger.given_up);
    }
}

pub(super) async fn cancel_otp(cx: &Context<Told>, me: &mut Me, random: &mut Random) {
    let (world, time, seed) = (&me.world.clone(), random.time(1_000), random.next());
    match random.below(4) {
        0 => {
            let held = Tracked::new(&world.ledger, Kind::Job);
            let Ok(task) = Task::start(cx, async move |cx: Context<()>| {
                cx.sleep(Random::new(seed).time(2_000)).await;
                held
            }) else {
                return;
            };
            me.note("an abandoned join");
            let _ = race(task.join(cx, None), cx.sleep(time)).await;
        }
        1 => {
            let Ok(server) = ServerName::<Service>::new(random.one_of(&services::SERVERS)).find(cx) else { return };
            me.note("an abandoned stop");
            let _ = race(server.stop(cx, Reason::NORMAL, None), cx.sleep(time)).await;
        }
        2 => {
            let Ok(server) = ServerName::<Service>::new(random.one_of(&services::SERVERS)).find(cx) else { return };
            me.note("an abandoned call that waits for capacity");
            let call = server.call_wait(cx, None, |reply| Ask::Ping(reply, seed));
            let _ = race(call, cx.sleep(time)).await;
        }
        _ => {
            me.note("an abandoned start");
            let start = Service::new(world, seed).start().start(cx);
            if let Some(Ok(server)) = race(start, cx.sleep(time)).await {
                let _ = cx.exit(server, Reason::KILL);
            }
        }
    }
}

/// A future whose destructor contains its panics. A dropped `FuturesUnordered` leaks its other
/// futures when the destructor of one panics.
struct Quiet<F>(Option<Pin<Box<F>>>);

impl<F: Future> Quiet<F> {
    fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F: Future> Future for Quiet<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().expect("the future exists until the drop").as_mut().poll(task)
    }
}

impl<F> Drop for Quiet<F> {
    fn drop(&mut self) {
        let future = self.0.take();
        // The panic hook counts panics that were not planned.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(future)));
    }
}

pub(super) async fn combine(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let sleeps: FuturesUnordered<_> = (0..4).map(|_| cx.sleep(random.time(1_500))).collect();
    let mut sleeps = pin!(sleeps);
    let mut most = 1 + random.below(4);
    while most > 0 && sleeps.next().await.is_some() {
        most -= 1;
    }
    let server = ServerName::<Service>::new(random.one_of(&services::SERVERS));
    let seed = random.next();
    let server = &server;
    let ask = |add| server.call_within(cx, PATIENCE, move |reply| Ask::Ping(reply, seed + add));
    let mut calls: FuturesUnordered<_> = (0..3).map(|add| Quiet::new(ask(add))).collect();
    while let Some(answer) = calls.next().await {
        tally(&me.world, answer);
    }
}

pub(super) async fn blocking(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let (held, time) = (Tracked::new(&me.world.ledger, Kind::Job), random.time(800));
    let panics = me.world.has(Class::Panics) && random.once_in(6);
    let job = me.world.handle.blocking(move || {
        std::thread::sleep(time);
        assert!(!panics, "{PLANNED}a job");
        held
    });
    match random.below(3) {
        0 => drop(job),
        1 => _ = race(job, cx.sleep(time)).await,
        _ => _ = job.await,
    }
}
