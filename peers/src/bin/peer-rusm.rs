//! A driver for rusm-otp 0.7: processes on Tokio's tasks, messages of bytes, links, monitors,
//! supervisors. A monitor cannot be cancelled, and its interface has no call.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos_bench::workloads::tools::Left;
use atropos_bench::workloads::{Ask, Outcome};
use atropos_peers::common::{churn, drained, hear, settle, timer_fire};
use atropos_peers::driver::tokio_of;
use atropos_peers::{Flow, Message, Role, Special, System, drive};
use rusm_otp::{ExitReason, Pid, Received, Runtime, Strategy};
use tokio::sync::mpsc::unbounded_channel;

#[derive(Clone)]
struct Rusm(Runtime);

/// Encodes a message as its kind and its word.
fn encode(message: &Message<u64>) -> Vec<u8> {
    let (kind, word) = match *message {
        Message::Go => (0_u64, 0),
        Message::Number(number) => (1, number),
        Message::Ping(from) => (2, from),
        Message::Pong => (3, 0),
        Message::Next(next) => (4, next),
    };
    [kind.to_le_bytes(), word.to_le_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Message<u64> {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("sixteen bytes"));
    match word(0) {
        0 => Message::Go,
        1 => Message::Number(word(8)),
        2 => Message::Ping(word(8)),
        3 => Message::Pong,
        _ => Message::Next(word(8)),
    }
}

impl System for Rusm {
    type Address = u64;

    fn start(&self, mut role: Role<Self>) -> impl Future<Output = u64> + Send {
        let system = self.clone();
        let spawned = self.0.spawn(move |mut context| async move {
            let own = context.pid().raw();
            loop {
                let Received::Message(bytes) = context.recv().await else { panic!("something else than a message") };
                if role.step(&system, &own, decode(&bytes)).await == Flow::Stop {
                    return;
                }
            }
        });
        std::future::ready(spawned.pid().raw())
    }

    async fn once(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.0.spawn(move |_| async move { job() });
    }

    fn send(&self, to: &u64, message: Message<u64>) {
        assert!(self.0.send(Pid::from_raw(*to), encode(&message)), "the receiver is gone");
    }

    fn alive(&self) -> u64 {
        self.0.process_count() as u64
    }

    async fn breathe(&self) {
        tokio::task::consume_budget().await;
    }
}

impl Rusm {
    fn waits(&self) -> Pid {
        let spawned = self.0.spawn(|mut context| async move {
            loop {
                context.recv().await;
            }
        });
        spawned.pid()
    }

    async fn down_fanout(&self, ask: &Ask) -> Result<Outcome> {
        let target = self.waits();
        let left = Arc::new(Left::new(ask.n));
        let unarmed = Arc::new(Left::new(ask.n));
        let (done, mut end) = unbounded_channel();
        for _ in 0..ask.n {
            let (runtime, left, unarmed, done) = (self.0.clone(), left.clone(), unarmed.clone(), done.clone());
            self.0.spawn(move |mut context| async move {
                let monitor = runtime.monitor(context.pid(), target);
                unarmed.one_less();
                let down = context.recv().await;
                assert!(matches!(down, Received::Down { reference, .. } if reference == monitor), "its DOWN");
                if left.one_less() {
                    let _ = done.send(Instant::now());
                }
                context.recv().await;
            });
        }
        while unarmed.get() > 0 {
            settle().await;
        }
        let begun = Instant::now();
        self.0.exit(target, ExitReason::Crashed);
        let end = hear(&mut end).await?;
        Ok(Outcome::timed(ask.n, end - begun))
    }

    async fn down_collect(&self, ask: &Ask) -> Result<Outcome> {
        let targets: Arc<Vec<Pid>> = Arc::new((0..ask.n).map(|_| self.waits()).collect());
        let (ready, mut is_ready) = unbounded_channel();
        let (done, mut end) = unbounded_channel();
        let (runtime, all) = (self.0.clone(), targets.clone());
        self.0.spawn(move |mut context| async move {
            let mut armed: Vec<u64> = all.iter().map(|target| runtime.monitor(context.pid(), *target).raw()).collect();
            let _ = ready.send(());
            let mut got = Vec::with_capacity(armed.len());
            while got.len() < armed.len() {
                match context.recv().await {
                    Received::Down { reference, .. } => got.push(reference.raw()),
                    _ => panic!("something else than a DOWN"),
                }
            }
            let end = Instant::now();
            armed.sort_unstable();
            got.sort_unstable();
            let _ = done.send((end, armed == got));
        });
        hear(&mut is_ready).await?;
        let begun = Instant::now();
        for target in targets.iter() {
            self.0.kill(*target);
        }
        let (end, each_once) = hear(&mut end).await?;
        ensure!(each_once, "not exactly one DOWN for each monitor");
        Ok(Outcome::timed(ask.n, end - begun))
    }

    async fn cascade(&self, ask: &Ask, is_star: bool) -> Result<Outcome> {
        let hub = self.waits();
        let mut last = hub;
        let others = if is_star { ask.n } else { ask.n - 1 };
        for _ in 0..others {
            let next = self.waits();
            self.0.link(last, next);
            if !is_star {
                last = next;
            }
        }
        settle().await;
        ensure!(self.alive() == others + 1, "{} live", self.alive());
        let begun = Instant::now();
        self.0.exit(hub, ExitReason::Crashed);
        let end = drained(self, 0).await?;
        Ok(Outcome::timed(ask.n, end - begun))
    }

    async fn restart(&self, ask: &Ask, strategy: Strategy, children: u64) -> Result<Outcome> {
        let (up, mut ups) = unbounded_channel();
        let mut supervisor = self.0.supervisor(strategy).max_restarts(0).over_lifetime();
        for child in 0..children {
            let up = up.clone();
            supervisor = supervisor.child(move |runtime: &Runtime| {
                let up = up.clone();
                runtime.spawn(move |mut context| async move {
                    let _ = up.send((child, context.pid()));
                    loop {
                        context.recv().await;
                    }
                })
            });
        }
        let supervisor = supervisor.start();
        let mut begun = None;
        for restarts in 0..=ask.n {
            let (mut seen, mut victim) = (vec![false; children as usize], None);
            for _ in 0..children {
                let (child, pid) = hear(&mut ups).await?;
                ensure!(!std::mem::replace(&mut seen[child as usize], true), "a child was started twice");
                if child == 0 {
                    victim = Some(pid);
                }
            }
            begun.get_or_insert_with(Instant::now);
            if let Some(victim) = victim.filter(|_| restarts < ask.n) {
                ensure!(self.0.kill(victim), "it was dead");
            }
        }
        let time = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        ensure!(self.alive() == children + 1, "{} live", self.alive());
        supervisor.kill();
        Ok(Outcome::timed(ask.n, time))
    }
}

impl Special for Rusm {
    const PEER: &'static str = "rusm-otp";
    const VERSION: &'static str = "rusm-otp 0.7.0";

    async fn special(&self, workload: &str, ask: &Ask) -> Option<Result<Outcome>> {
        Some(match workload {
            "link_churn" => {
                let (own, target) = (self.waits(), self.waits());
                let tie = || {
                    self.0.link(own, target);
                    self.0.unlink(own, target);
                    std::future::ready(())
                };
                churn(self, ask, tie).await
            }
            "down_fanout" => self.down_fanout(ask).await,
            "down_collect" => self.down_collect(ask).await,
            "cascade_chain" => self.cascade(ask, false).await,
            "cascade_star" => self.cascade(ask, true).await,
            "restart_one" => self.restart(ask, Strategy::OneForOne, 1).await,
            "restart_all" => self.restart(ask, Strategy::OneForAll, ask.p(100)).await,
            "timer_churn" => {
                let own = self.waits();
                let timer = || {
                    self.0.send_after(own, Duration::from_secs(3600), vec![1]).cancel();
                    std::future::ready(())
                };
                churn(self, ask, timer).await
            }
            "timer_fire" => {
                let start = |to: &u64, after: Duration, due: u64| {
                    drop(self.0.send_after(Pid::from_raw(*to), after, encode(&Message::Number(due))));
                };
                timer_fire(self, ask, start).await
            }
            _ => return None,
        })
    }
}

fn main() -> ExitCode {
    let runtime = std::sync::OnceLock::new();
    drive(
        |threads| {
            let runtime = runtime.get_or_init(|| tokio_of(threads));
            let _entered = runtime.enter();
            Rusm(Runtime::new())
        },
        |_, future| {
            let runtime = runtime.get().expect("made above");
            runtime.block_on(async { tokio::spawn(future).await? })
        },
    )
}
