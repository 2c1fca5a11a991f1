//! Requests and replies. `call`: many clients call one server. `selective_receive`: the caller's
//! mailbox is full of unrelated messages.
//!
//! Both use the library's server. A caller monitors it, and so learns of its death instead of
//! waiting for ever. The calls have no timeout, as in other systems' drivers.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos::otp::{CallError, Next, Reply, Server, ServerCx, ServerRef};
use atropos::{Context, Pid, Received};

use super::stage::Stage;
use super::times::Times;
use super::{Ask, Outcome};

/// A server that counts its calls and answers each with the number.
#[derive(Debug)]
struct Counter(u64);

/// A request.
#[derive(Debug)]
struct Ticket(Reply<u64>);

impl Server for Counter {
    type Message = Ticket;

    async fn handle(&mut self, Ticket(reply): Ticket, _: ServerCx<'_, Self>) -> Next<Ticket> {
        self.0 += 1;
        reply.send(self.0);
        Next::Wait
    }
}

async fn take_ticket<M: Send + 'static>(cx: &Context<M>, server: ServerRef<Counter>) -> Result<u64, CallError> {
    server.call_within(cx, None::<Duration>, Ticket).await
}

/// Starts a server without a link to a parent.
fn start_server(stage: &Stage) -> Result<ServerRef<Counter>> {
    let started = stage.runtime().block_on(async |cx: Context<()>| Counter(0).start().start(&cx).await);
    match started {
        Ok(Ok(server)) => Ok(server),
        other => anyhow::bail!("the server did not start: {other:?}"),
    }
}

/// p clients make n calls in total to one server, with one call per client in progress.
pub(super) fn call(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let server = start_server(&stage)?;
    let clients = ask.p(64);
    let (each, n) = ask.each(clients);
    let (done, ends) = channel();
    let mut waiting: Vec<Pid> = Vec::new();
    for _ in 0..clients {
        let done = done.clone();
        let client = stage.runtime().spawn(async move |cx: Context<()>| {
            let mut times = Times::new(each);
            cx.recv().await;
            for _ in 0..each {
                let begun = Instant::now();
                let answer = take_ticket(&cx, server).await;
                times.note(begun.elapsed().as_nanos() as u64);
                if let Err(error) = answer {
                    let _ = done.send(Err(error));
                    return;
                }
            }
            let _ = done.send(Ok((times, Instant::now())));
        })?;
        waiting.push(client.pid());
    }
    stage.settled()?;
    let begun = Instant::now();
    for client in waiting {
        stage.send(client, ())?;
    }
    let (mut all, mut end) = (Times::default(), begun);
    for _ in 0..clients {
        let (times, at) = stage.hear(&ends)??;
        all.extend([times]);
        end = end.max(at);
    }
    let served = stage.runtime().block_on(async move |cx: Context<()>| take_ticket(&cx, server).await);
    ensure!(matches!(served, Ok(Ok(number)) if number == n + 1), "{n} calls were made, and then {served:?}");
    ensure!(all.len() == n, "{} latencies", all.len());
    Ok(Outcome::timed(n, end - begun).with(all.latencies()?))
}

/// n calls by a process whose mailbox holds p unrelated messages.
pub(super) fn selective_receive(ask: &Ask) -> Result<Outcome> {
    let stage = Stage::new(ask)?;
    let server = start_server(&stage)?;
    let (n, unrelated) = (ask.n, ask.p(10_000));
    let result = stage.runtime().block_on(async move |cx: Context<u64>| {
        let me = cx.address();
        for number in 0..unrelated {
            anyhow::ensure!(cx.send(me, number).is_ok(), "the caller cannot send to itself");
        }
        let begun = Instant::now();
        for number in 1..=n {
            let answer = take_ticket(&cx, server).await?;
            anyhow::ensure!(answer == number, "call {number} was answered as {answer}");
        }
        let time = begun.elapsed();
        for number in 0..unrelated {
            let next = cx.recv().await;
            anyhow::ensure!(matches!(next, Received::Message(it) if it == number), "{next:?} instead of {number}");
        }
        anyhow::ensure!(cx.try_recv().is_none(), "an unexpected message is left");
        anyhow::Ok(time)
    });
    let time = result.map_err(|reason| anyhow::anyhow!("the caller ended: {reason}"))??;
    Ok(Outcome::timed(n, time))
}
