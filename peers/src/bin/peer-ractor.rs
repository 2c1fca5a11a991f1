//! A driver for ractor 0.16. Its links are its supervision: an actor has at most one supervisor,
//! whose death ends it.

use std::future::Future;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atropos_bench::workloads::{Ask, Outcome};
use atropos_peers::common::{calls, churn, drained, settle, timer_fire};
use atropos_peers::driver::tokio_of;
use atropos_peers::{Flow, Message, Role, Special, System, drive};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

#[derive(Clone)]
struct Ractor;

#[derive(Clone)]
struct Address(ActorRef<Mail>);

struct Mail(Message<Address>);

/// An actor that plays a role.
struct Player;

impl Actor for Player {
    type Msg = Mail;
    type State = (Role<Ractor>, Address);
    type Arguments = Role<Ractor>;

    async fn pre_start(&self, own: ActorRef<Mail>, role: Role<Ractor>) -> Result<Self::State, ActorProcessingErr> {
        Ok((role, Address(own)))
    }

    async fn handle(
        &self,
        own: ActorRef<Mail>,
        mail: Mail,
        (role, address): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if role.step(&Ractor, address, mail.0).await == Flow::Stop {
            own.stop(None);
        }
        Ok(())
    }
}

/// An actor that runs a closure once, when it has started.
struct Once;

impl Actor for Once {
    type Msg = ();
    type State = Option<Box<dyn FnOnce() + Send + Sync>>;
    type Arguments = Box<dyn FnOnce() + Send + Sync>;

    async fn pre_start(&self, _: ActorRef<()>, job: Self::Arguments) -> Result<Self::State, ActorProcessingErr> {
        Ok(Some(job))
    }

    async fn post_start(&self, own: ActorRef<()>, job: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let Some(job) = job.take() {
            job();
        }
        own.stop(None);
        Ok(())
    }
}

/// An actor that waits, and fails at its first message.
struct Waits;

impl Actor for Waits {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("the end".into())
    }
}

struct Counter;

impl Actor for Counter {
    type Msg = RpcReplyPort<u64>;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        reply: Self::Msg,
        served: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *served += 1;
        reply.send(*served)?;
        Ok(())
    }
}

impl System for Ractor {
    type Address = Address;

    async fn start(&self, role: Role<Self>) -> Address {
        // Boxed, because the library's starts nest in the tree of `skynet`.
        let start: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(Actor::spawn(None, Player, role));
        Address(start.await.expect("it starts").0)
    }

    async fn once(&self, job: impl FnOnce() + Send + Sync + 'static) {
        Actor::spawn(None, Once, Box::new(job) as Box<dyn FnOnce() + Send + Sync>).await.expect("it starts");
    }

    fn send(&self, to: &Address, message: Message<Address>) {
        to.0.cast(Mail(message)).expect("the receiver lives");
    }

    fn alive(&self) -> u64 {
        tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64
    }

    async fn breathe(&self) {
        tokio::task::consume_budget().await;
    }
}

async fn waits() -> ActorRef<()> {
    Actor::spawn(None, Waits, ()).await.expect("it starts").0
}

impl Special for Ractor {
    const PEER: &'static str = "ractor";
    const VERSION: &'static str = "ractor 0.16.5";

    async fn special(&self, workload: &str, ask: &Ask) -> Option<Result<Outcome>> {
        Some(match workload {
            "call" => {
                let server = Actor::spawn(None, Counter, ()).await.expect("it starts").0;
                let call = move || {
                    let server = server.clone();
                    async move { server.call(|reply| reply, None).await.expect("it lives").expect("it answers") }
                };
                calls(ask, call).await
            }
            "monitor_churn" | "link_churn" => {
                let (own, target) = (waits().await.get_cell(), waits().await.get_cell());
                let is_monitor = workload == "monitor_churn";
                let tie = || {
                    if is_monitor {
                        own.monitor(target.clone());
                        own.unmonitor(target.clone());
                    } else {
                        own.link(target.clone());
                        own.unlink(target.clone());
                    }
                    std::future::ready(())
                };
                churn(self, ask, tie).await
            }
            "cascade_chain" => cascade(ask, false).await,
            "cascade_star" => cascade(ask, true).await,
            "timer_churn" => {
                let own = waits().await;
                let timer = || {
                    own.send_after(Duration::from_secs(3600), || ()).abort();
                    std::future::ready(())
                };
                churn(self, ask, timer).await
            }
            "timer_fire" => {
                let start = |to: &Address, after: Duration, due: u64| {
                    drop(to.0.send_after(after, move || Mail(Message::Number(due))));
                };
                timer_fire(self, ask, start).await
            }
            _ => return None,
        })
    }
}

async fn cascade(ask: &Ask, is_star: bool) -> Result<Outcome> {
    let base = Ractor.alive();
    let hub = waits().await;
    let mut above = hub.get_cell();
    let others = if is_star { ask.n } else { ask.n - 1 };
    for _ in 0..others {
        let (next, _) = Actor::spawn_linked(None, Waits, (), above.clone()).await.expect("it starts");
        if !is_star {
            above = next.get_cell();
        }
    }
    settle().await;
    ensure!(Ractor.alive() - base == others + 1, "{} live", Ractor.alive() - base);
    let begun = Instant::now();
    hub.cast(()).expect("it lives");
    let end = drained(&Ractor, base).await?;
    Ok(Outcome::timed(ask.n, end - begun))
}

fn main() -> ExitCode {
    let runtime = std::sync::OnceLock::new();
    drive(
        |threads| {
            runtime.get_or_init(|| tokio_of(threads));
            Ractor
        },
        |_, future| {
            let runtime = runtime.get().expect("made above");
            runtime.block_on(async { tokio::spawn(future).await? })
        },
    )
}
