//! A driver for plain Tokio: a task and an unbounded channel for each process, as a program without
//! an actor library has them. No links, no monitors.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos_bench::workloads::{Ask, Outcome};
use atropos_peers::common::{calls, churn, timer_fire};
use atropos_peers::driver::tokio_of;
use atropos_peers::{Flow, Message, Role, Special, System, drive};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

#[derive(Clone)]
struct Tasks;

#[derive(Clone)]
struct Address(UnboundedSender<Message<Address>>);

impl System for Tasks {
    type Address = Address;

    fn start(&self, mut role: Role<Self>) -> impl Future<Output = Address> + Send {
        let (send, mut receive) = unbounded_channel();
        let address = Address(send);
        let own = address.clone();
        tokio::spawn(async move {
            while let Some(message) = receive.recv().await {
                if role.step(&Tasks, &own, message).await == Flow::Stop {
                    return;
                }
            }
        });
        std::future::ready(address)
    }

    fn once(&self, job: impl FnOnce() + Send + Sync + 'static) -> impl Future<Output = ()> + Send {
        tokio::spawn(async move { job() });
        std::future::ready(())
    }

    fn send(&self, to: &Address, message: Message<Address>) {
        assert!(to.0.send(message).is_ok(), "the receiver is gone");
    }

    fn alive(&self) -> u64 {
        tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64
    }

    async fn breathe(&self) {
        tokio::task::consume_budget().await;
    }
}

impl Special for Tasks {
    const PEER: &'static str = "tokio";
    const VERSION: &'static str = "tokio 1";

    async fn special(&self, workload: &str, ask: &Ask) -> Option<Result<Outcome>> {
        Some(match workload {
            "call" => {
                let (requests, mut receive) = unbounded_channel::<oneshot::Sender<u64>>();
                tokio::spawn(async move {
                    let mut served = 0;
                    while let Some(reply) = receive.recv().await {
                        served += 1;
                        let _ = reply.send(served);
                    }
                });
                let call = move || {
                    let (reply, answer) = oneshot::channel();
                    let sent = requests.send(reply);
                    async move {
                        sent.expect("the server lives");
                        answer.await.expect("the server answers")
                    }
                };
                calls(ask, call).await
            }
            "restart_one" => restart(ask, 1).await,
            "restart_all" => restart(ask, ask.p(100)).await,
            "timer_churn" => {
                let timer = || {
                    tokio::spawn(tokio::time::sleep(Duration::from_secs(3600))).abort();
                    std::future::ready(())
                };
                churn(self, ask, timer).await
            }
            "timer_fire" => {
                let start = |to: &Address, after: Duration, due: u64| {
                    let to = to.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        Tasks.send(&to, Message::Number(due));
                    });
                };
                timer_fire(self, ask, start).await
            }
            _ => return None,
        })
    }
}

/// Runs a loop that starts a set of tasks, waits until one is aborted, aborts the others, and
/// starts them again.
async fn restart(ask: &Ask, children: u64) -> Result<Outcome> {
    let (up, mut ups) = unbounded_channel::<Option<AbortHandle>>();
    let generations = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = generations.clone();
    tokio::spawn(async move {
        loop {
            let mut set = JoinSet::new();
            for child in 0..children {
                let told = up.clone();
                let (give, given) = oneshot::channel();
                let handle = set.spawn(async move {
                    let _ = told.send(given.await.ok());
                    std::future::pending::<()>().await;
                });
                // The first task is the one to abort.
                if child == 0 {
                    let _ = give.send(handle);
                }
            }
            let ended = set.join_next().await;
            assert!(ended.is_some_and(|ended| ended.is_err_and(|error| error.is_cancelled())), "one was aborted");
            set.shutdown().await;
            counted.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        }
    });
    let mut begun = None;
    for _ in 0..=ask.n {
        let mut victim = None;
        for _ in 0..children {
            victim = victim.or(ups.recv().await.flatten());
        }
        begun.get_or_insert_with(Instant::now);
        if generations.load(std::sync::atomic::Ordering::Acquire) < ask.n {
            victim.expect("the first is among them").abort();
        }
    }
    let time = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
    let restarts = generations.load(std::sync::atomic::Ordering::Acquire);
    ensure!(restarts == ask.n, "{restarts} restarts");
    Ok(Outcome::timed(ask.n, time))
}

fn main() -> ExitCode {
    let runtime = std::sync::OnceLock::new();
    drive(
        |threads| {
            runtime.get_or_init(|| tokio_of(threads));
            Tasks
        },
        |_, future| {
            let runtime = runtime.get().expect("made above");
            runtime.block_on(async { tokio::spawn(future).await? })
        },
    )
}
