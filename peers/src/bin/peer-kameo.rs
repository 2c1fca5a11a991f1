//! A driver for kameo 0.22, with unbounded mailboxes. It has links between siblings, and no
//! monitors.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use atropos_bench::workloads::{Ask, Outcome};
use atropos_peers::common::{calls, churn, timer_fire};
use atropos_peers::driver::tokio_of;
use atropos_peers::{Flow, Message, Role, Special, System, drive};
use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message as Handles};

#[derive(Clone)]
struct Kameo;

#[derive(Clone)]
struct Address(ActorRef<Player>);

/// An actor that plays a role.
struct Player {
    role: Role<Kameo>,
    own: Address,
}

impl Actor for Player {
    type Args = Role<Kameo>;
    type Error = Infallible;

    async fn on_start(role: Role<Kameo>, own: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self { role, own: Address(own) })
    }
}

impl Handles<Message<Address>> for Player {
    type Reply = ();

    async fn handle(&mut self, message: Message<Address>, context: &mut Context<Self, ()>) {
        if self.role.step(&Kameo, &self.own, message).await == Flow::Stop {
            context.stop();
        }
    }
}

/// An actor that runs a closure once, when it starts.
struct Once;

impl Actor for Once {
    type Args = Box<dyn FnOnce() + Send + Sync>;
    type Error = Infallible;

    async fn on_start(job: Self::Args, own: ActorRef<Self>) -> Result<Self, Infallible> {
        job();
        let _ = own.stop_gracefully().await;
        Ok(Self)
    }
}

/// An actor that counts its calls.
struct Counter(u64);

impl Actor for Counter {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(own: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(own)
    }
}

struct Ticket;

impl Handles<Ticket> for Counter {
    type Reply = u64;

    async fn handle(&mut self, _: Ticket, _: &mut Context<Self, u64>) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl System for Kameo {
    type Address = Address;

    async fn start(&self, role: Role<Self>) -> Address {
        Address(Player::spawn_with_mailbox(role, mailbox::unbounded()))
    }

    async fn once(&self, job: impl FnOnce() + Send + Sync + 'static) {
        drop(Once::spawn_with_mailbox(Box::new(job), mailbox::unbounded()));
    }

    fn send(&self, to: &Address, message: Message<Address>) {
        // An unbounded mailbox cannot be full.
        assert!(to.0.tell(message).try_send().is_ok(), "the receiver is gone");
    }

    fn alive(&self) -> u64 {
        tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64
    }

    async fn breathe(&self) {
        tokio::task::consume_budget().await;
    }
}

impl Special for Kameo {
    const PEER: &'static str = "kameo";
    const VERSION: &'static str = "kameo 0.22.2";

    async fn special(&self, workload: &str, ask: &Ask) -> Option<Result<Outcome>> {
        let counter = || Counter::spawn_with_mailbox(Counter(0), mailbox::unbounded());
        Some(match workload {
            "call" => {
                let server = counter();
                let call = move || {
                    let server = server.clone();
                    async move { server.ask(Ticket).await.expect("it answers") }
                };
                calls(ask, call).await
            }
            "link_churn" => {
                let (own, target) = (counter(), counter());
                let tie = || async {
                    own.link(&target).await;
                    own.unlink(&target).await;
                };
                churn(self, ask, tie).await
            }
            "timer_churn" => {
                let own = counter();
                let timer = || {
                    own.tell(Ticket).send_after(Duration::from_secs(3600)).abort();
                    std::future::ready(())
                };
                churn(self, ask, timer).await
            }
            "timer_fire" => {
                let start = |to: &Address, after: Duration, due: u64| {
                    drop(to.0.tell(Message::Number(due)).send_after(after));
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
            runtime.get_or_init(|| tokio_of(threads));
            Kameo
        },
        |_, future| {
            let runtime = runtime.get().expect("made above");
            runtime.block_on(async { tokio::spawn(future).await? })
        },
    )
}
