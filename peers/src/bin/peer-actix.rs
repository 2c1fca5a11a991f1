//! A driver for actix 0.13. An actor stays on its arbiter, a thread, for life. Actors that the
//! driver starts are distributed over the arbiters round-robin; actors that an actor starts stay on
//! its own arbiter. No links, no monitors.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use actix::prelude::*;
use actix_rt::ArbiterHandle;
use anyhow::Result;
use atropos_bench::workloads::{Ask, Outcome};
use atropos_peers::common::{calls, timer_fire};
use atropos_peers::{Flow, Message, Role, Special, System, drive, ready};

#[derive(Clone)]
struct Actix(Arc<Inner>);

struct Inner {
    driver: ThreadId,
    arbiters: Vec<ArbiterHandle>,
    next: AtomicUsize,
    alive: AtomicU64,
}

#[derive(Clone)]
struct Address(Addr<Player>);

#[derive(actix::Message)]
#[rtype("()")]
struct Mail(Message<Address>);

/// A guard that counts its live instances.
struct Alive(Actix);

impl Alive {
    fn new(system: &Actix) -> Self {
        system.0.alive.fetch_add(1, Ordering::AcqRel);
        Self(system.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An actor that plays a role.
struct Player(Alive, Role<Actix>);

impl Actor for Player {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(0);
    }
}

impl Handler<Mail> for Player {
    type Result = ();

    fn handle(&mut self, mail: Mail, context: &mut Context<Self>) {
        let Self(alive, role) = self;
        if ready(role.step(&alive.0, &Address(context.address()), mail.0)) == Flow::Stop {
            context.stop();
        }
    }
}

/// An actor that runs a closure once, when it has started.
struct Once<F>(#[allow(dead_code, reason = "counts while it lives")] Alive, Option<F>);

impl<F: FnOnce() + Unpin + 'static> Actor for Once<F> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if let Some(job) = self.1.take() {
            job();
        }
        context.stop();
    }
}

struct Counter(u64);

#[derive(actix::Message)]
#[rtype("u64")]
struct Ticket;

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Ticket> for Counter {
    type Result = u64;

    fn handle(&mut self, _: Ticket, _: &mut Context<Self>) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl Actix {
    fn is_driver(&self) -> bool {
        std::thread::current().id() == self.0.driver
    }

    fn arbiter(&self) -> &ArbiterHandle {
        let next = self.0.next.fetch_add(1, Ordering::Relaxed);
        &self.0.arbiters[next % self.0.arbiters.len()]
    }
}

impl System for Actix {
    type Address = Address;

    async fn start(&self, role: Role<Self>) -> Address {
        let player = Player(Alive::new(self), role);
        Address(if self.is_driver() {
            Player::start_in_arbiter(self.arbiter(), move |_| player)
        } else {
            player.start()
        })
    }

    async fn once(&self, job: impl FnOnce() + Send + Sync + 'static) {
        // Boxed, because an actor's state must be `Unpin`.
        let job = Box::new(job);
        Once(Alive::new(self), Some(move || job())).start();
    }

    fn send(&self, to: &Address, message: Message<Address>) {
        to.0.do_send(Mail(message));
    }

    fn alive(&self) -> u64 {
        self.0.alive.load(Ordering::Acquire)
    }

    async fn breathe(&self) {
        // The driver is a task; an actor's handler is not.
        if self.is_driver() {
            tokio::task::yield_now().await;
        }
    }
}

impl Special for Actix {
    const PEER: &'static str = "actix";
    const VERSION: &'static str = "actix 0.13.5";

    async fn special(&self, workload: &str, ask: &Ask) -> Option<Result<Outcome>> {
        Some(match workload {
            "call" => {
                let server = Counter::start_in_arbiter(self.arbiter(), |_| Counter(0));
                let call = move || {
                    let answer = server.send(Ticket);
                    async move { answer.await.expect("it answers") }
                };
                calls(ask, call).await
            }
            "timer_fire" => {
                let start = |to: &Address, after: Duration, due: u64| {
                    let to = to.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(after).await;
                        to.0.do_send(Mail(Message::Number(due)));
                    });
                };
                timer_fire(self, ask, start).await
            }
            _ => return None,
        })
    }
}

fn main() -> ExitCode {
    let workload = std::env::args().nth(1).unwrap_or_default();
    if workload == "hog_latency" {
        let why = "an actor that sends to itself never lets go of its arbiter";
        println!("{}", serde_json::json!({ "peer": Actix::PEER, "workload": workload, "unsupported": why }));
        return ExitCode::SUCCESS;
    }
    let system = actix::System::new();
    drive(
        |threads| {
            // Actors that exchange messages in turn are fastest on one thread, where an actor
            // starts another one by itself.
            let threads = if matches!(&*workload, "ping_pong" | "ring") { 1 } else { threads };
            let arbiters = system.block_on(async { (0..threads).map(|_| Arbiter::new().handle()).collect() });
            let driver = std::thread::current().id();
            Actix(Arc::new(Inner { driver, arbiters, next: AtomicUsize::new(0), alive: AtomicU64::new(0) }))
        },
        |_, future| system.block_on(future),
    )
}
