//! The workloads that need only processes and messages, written once for all systems.
//!
//! They run as a task. While something is timed, the task waits on channels, and polls nothing but
//! the number of processes that are left.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atropos_bench::workloads::tools::{Left, Random, resident, touched};
use atropos_bench::workloads::{Ask, Outcome, Times};

use crate::role::{Above, Message, Role};
use crate::system::System;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel as channel};

const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for processes to become idle, where a system does not report it.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Waits for a value from a process.
pub async fn hear<T>(said: &mut UnboundedReceiver<T>) -> Result<T> {
    let heard = tokio::time::timeout(PATIENCE, said.recv()).await;
    heard.ok().flatten().context("a process has not done what it should")
}

/// Waits until at most this many processes are alive.
pub async fn drained(system: &impl System, left: u64) -> Result<Instant> {
    let begun = Instant::now();
    loop {
        let alive = system.alive();
        if alive <= left {
            return Ok(Instant::now());
        }
        ensure!(begun.elapsed() < PATIENCE, "{alive} processes are left");
        if alive > left + 1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Runs clients that call one server; `call` returns how many calls the server has answered.
pub async fn calls<F>(ask: &Ask, call: impl Fn() -> F + Clone + Send + 'static) -> Result<Outcome>
where
    F: Future<Output = u64> + Send,
{
    let clients = ask.p(64);
    let (each, n) = ask.each(clients);
    let begin = Arc::new(tokio::sync::Barrier::new(clients as usize + 1));
    let mut running = Vec::new();
    for _ in 0..clients {
        let (call, begin) = (call.clone(), begin.clone());
        running.push(tokio::spawn(async move {
            let mut times = Times::new(each);
            begin.wait().await;
            for _ in 0..each {
                let begun = Instant::now();
                call().await;
                times.note(begun.elapsed().as_nanos() as u64);
            }
            (times, Instant::now())
        }));
    }
    settle().await;
    let begun = Instant::now();
    begin.wait().await;
    let (mut all, mut end) = (Times::default(), begun);
    for client in running {
        let (times, at) = client.await?;
        all.extend([times]);
        end = end.max(at);
    }
    let served = call().await;
    ensure!(served == n + 1 && all.len() == n, "{n} calls were made, and then {served}");
    Ok(Outcome::timed(n, end - begun).with(all.latencies()?))
}

/// Does and undoes something n times, and waits until any processes that this leaves behind are
/// gone.
pub async fn churn<F>(system: &impl System, ask: &Ask, mut once: impl FnMut() -> F) -> Result<Outcome>
where
    F: Future<Output = ()> + Send,
{
    let base = system.alive();
    let begun = Instant::now();
    for done in 0..ask.n {
        once().await;
        if done % 128 == 127 {
            tokio::task::consume_budget().await;
        }
    }
    let end = drained(system, base).await?;
    Ok(Outcome::timed(ask.n, end - begun))
}

/// Starts n timers that are due within a second; `start` sends a number after a delay.
pub async fn timer_fire<S: System>(
    system: &S,
    ask: &Ask,
    start: impl Fn(&S::Address, Duration, u64),
) -> Result<Outcome> {
    let since = Instant::now();
    let (done, mut end) = channel();
    let late = system.start(Role::late(ask.n, since, done)).await;
    let mut random = Random::new(42);
    for _ in 0..ask.n {
        let due = 500_000_000 + random.below(1_000_000_000);
        start(&late, Duration::from_nanos(due).saturating_sub(since.elapsed()), due);
    }
    let (end, times) = hear(&mut end).await?;
    ensure!(times.len() == ask.n, "{} timers came", times.len());
    Ok(Outcome::timed(ask.n, end - since).with(times.latencies()?).not_per_operation())
}

/// Runs a common workload; `None` if there is none of this name.
pub async fn run<S: System>(system: &S, workload: &str, ask: &Ask) -> Option<Result<Outcome>> {
    Some(match workload {
        "spawn" => spawn(system, ask).await,
        "idle_memory" => idle_memory(system, ask).await,
        "ping_pong" => ping_pong(system, ask, false).await,
        "hog_latency" => hog_latency(system, ask).await,
        "ring" => ring(system, ask).await,
        "fan_in" => fan_in(system, ask).await,
        "fan_out" => fan_out(system, ask).await,
        "big" => big(system, ask).await,
        "skynet" => skynet(system, ask).await,
        _ => return None,
    })
}

async fn spawn<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    let left = Arc::new(Left::new(ask.n));
    let base = system.alive();
    let begun = Instant::now();
    for started in 0..ask.n {
        let left = left.clone();
        let count = move || {
            left.one_less();
        };
        system.once(count).await;
        if started % 128 == 127 {
            system.breathe().await;
        }
    }
    let end = drained(system, base).await?;
    ensure!(left.get() == 0, "{} have not run", left.get());
    Ok(Outcome::timed(ask.n, end - begun))
}

async fn idle_memory<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    let left = Arc::new(Left::new(ask.n));
    let mut waiting = touched(ask.count());
    let base = system.alive();
    let before = resident()?;
    for place in &mut waiting {
        *place = Some(system.start(Role::Waits(left.clone())).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = resident()?;
    ensure!(system.alive() >= base + ask.n, "only {} wait", system.alive());
    for address in waiting.iter().flatten() {
        system.send(address, Message::Number(1));
    }
    drained(system, base).await?;
    ensure!(left.get() == 0, "{} mailboxes were of no use", left.get());
    Ok(Outcome::bytes(ask.n, after.saturating_sub(before) as f64 / ask.n as f64))
}

async fn ping_pong<S: System>(system: &S, ask: &Ask, timed: bool) -> Result<Outcome> {
    let ponger = system.start(Role::Ponger).await;
    let (done, mut end) = channel();
    let pinger = system.start(Role::pinger(ponger, ask.n, timed, done)).await;
    settle().await;
    system.send(&pinger, Message::Go);
    let (begun, end, times) = hear(&mut end).await?;
    let outcome = Outcome::timed(ask.n, end - begun);
    Ok(match times {
        Some(times) => {
            ensure!(times.len() == ask.n, "{} round trips", times.len());
            outcome.with(times.latencies()?)
        }
        None => outcome,
    })
}

async fn hog_latency<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    for _ in 0..ask.threads {
        let hog = system.start(Role::Hog).await;
        system.send(&hog, Message::Number(0));
    }
    settle().await;
    ping_pong(system, ask, true).await
}

async fn ring<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    let (done, mut end) = channel();
    let first = system.start(Role::member(None, done.clone())).await;
    let mut last = first.clone();
    for _ in 1..ask.p(1000) {
        last = system.start(Role::member(Some(last), done.clone())).await;
    }
    system.send(&first, Message::Next(last));
    settle().await;
    let begun = Instant::now();
    system.send(&first, Message::Number(ask.n));
    let end = hear(&mut end).await?;
    Ok(Outcome::timed(ask.n, end - begun))
}

async fn fan_in<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    let (each, n) = ask.each(ask.p(64));
    let (done, mut end) = channel();
    let all = Arc::new(Left::new(1));
    let consumer = system.start(Role::consumer(n, all, done)).await;
    let mut producers = Vec::new();
    for _ in 0..ask.p(64) {
        producers.push(system.start(Role::producer(vec![consumer.clone()], each)).await);
    }
    settle().await;
    let begun = Instant::now();
    for producer in &producers {
        system.send(producer, Message::Go);
    }
    let end = hear(&mut end).await?;
    Ok(Outcome::timed(n, end - begun))
}

async fn fan_out<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    let count = ask.p(1000);
    let (each, n) = ask.each(count);
    let (done, mut end) = channel();
    let left = Arc::new(Left::new(count));
    let mut consumers = Vec::new();
    for _ in 0..count {
        consumers.push(system.start(Role::consumer(each, left.clone(), done.clone())).await);
    }
    let producer = system.start(Role::producer(consumers, each)).await;
    settle().await;
    let begun = Instant::now();
    system.send(&producer, Message::Go);
    let end = hear(&mut end).await?;
    ensure!(left.get() == 0, "{} consumers have not got all", left.get());
    Ok(Outcome::timed(n, end - begun))
}

async fn big<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    let count = ask.p(1000).max(2);
    let (each, n) = ask.each(count);
    let (done, mut ends) = channel();
    let (others, answered) = (Arc::new(OnceLock::new()), Arc::new(Left::new(n)));
    let mut all = Vec::new();
    for own in 0..count {
        all.push(system.start(Role::peer(own, others.clone(), each, answered.clone(), done.clone())).await);
    }
    ensure!(others.set(all.clone()).is_ok(), "set once");
    settle().await;
    let begun = Instant::now();
    for peer in &all {
        system.send(peer, Message::Go);
    }
    let mut end = begun;
    for _ in 0..count {
        end = end.max(hear(&mut ends).await?);
    }
    ensure!(answered.get() == 0, "{} pings were not answered", answered.get());
    Ok(Outcome::timed(n, end - begun))
}

async fn skynet<S: System>(system: &S, ask: &Ask) -> Result<Outcome> {
    let leaves = 10_u64.pow(ask.n.max(10).ilog10());
    let (done, mut end) = channel();
    let begun = Instant::now();
    let root = system.start(Role::node(Above::Root(done), 0, leaves)).await;
    system.send(&root, Message::Go);
    let (sum, end) = hear(&mut end).await?;
    ensure!(sum == leaves * (leaves - 1) / 2, "the sum is {sum}");
    Ok(Outcome::timed(leaves, end - begun))
}
