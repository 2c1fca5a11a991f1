//! Shards: the processes that hold the data, and the keeper that restarts them.
//!
//! Each shard is registered as `shard.N`. The keeper monitors all of them. It restarts a shard that
//! dies, empty, and logs the loss.
//!
//! No client can occupy a shard: each message to it is short work ([`MOST`], `store`), and a
//! connection sends the next one only after the answers. So the clients take turns. A transaction
//! over several shards holds them ([`ToShard::Hold`]) between two messages of its connection's
//! process, which waits for nothing else in between. If that process dies, the hold ends with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos::prelude::*;
use bytes::Bytes;

use super::clock::Clock;
use super::connection::ToConnection;
use super::server::Shared;
use super::store::{Answer, Next, Op, Store};

/// About how many keys one message to a shard may cover.
pub const MOST: usize = 256;

/// The version of each key that a transaction has watched.
pub type Guards = Vec<(Bytes, u64)>;

/// A message to a shard.
pub enum ToShard {
    /// Ops, each with a ticket for its answer.
    Do {
        /// The connection that gets the answers.
        from: Address<ToConnection>,
        /// The ops, in order.
        ops: Vec<(u64, Op)>,
    },
    /// The ops of a transaction, all or none, with no other client's ops in between. Ends a hold.
    Transact {
        /// The connection that gets the answers.
        from: Address<ToConnection>,
        /// The guards; if one fails, each op is answered with [`Answer::Aborted`].
        guards: Guards,
        /// The ops, in order.
        ops: Vec<(u64, Op)>,
    },
    /// Holds the shard for one connection, if the guards hold.
    Hold {
        /// The connection that holds the shard.
        from: Address<ToConnection>,
        /// The guards of the transaction.
        guards: Guards,
        /// The ticket for [`Answer::Held`].
        ticket: u64,
    },
    /// Ends a hold.
    Release(Address<ToConnection>),
    /// Makes the shard crash, as a bug would.
    Crash,
}

/// Returns the registered name of a shard.
pub fn name(number: usize) -> String {
    format!("shard.{number}")
}

/// The key counts of a shard, readable by other processes.
#[derive(Default)]
pub struct Gauge {
    /// The number of all keys.
    pub keys: AtomicUsize,
    /// The number of keys with an expiry.
    pub expiring: AtomicUsize,
}

struct Shard {
    clock: Clock,
    store: Store,
    /// The process whose transaction holds the shard, and its monitor.
    holder: Option<(Pid, Reference)>,
    /// The messages that arrived during the hold.
    deferred: VecDeque<ToShard>,
}

async fn shard(cx: Context<ToShard>, gauge: Arc<Gauge>, clock: Clock) {
    let mut shard = Shard { clock, store: Store::new(clock.now()), holder: None, deferred: VecDeque::new() };
    loop {
        let received = match shard.store.collect(clock.now(), MOST) {
            Next::Never => Some(cx.recv().await),
            Next::After(time) => cx.recv_timeout(time).await,
            Next::Now => {
                cx.yield_now().await;
                cx.try_recv()
            }
        };
        match received {
            Some(Received::Message(message)) => shard.take(&cx, message).await,
            Some(Received::Down(down)) if shard.holder.is_some_and(|(_, monitor)| monitor == down.reference) => {
                shard.holder = None;
            }
            _ => {}
        }
        while shard.holder.is_none()
            && let Some(message) = shard.deferred.pop_front()
        {
            shard.take(&cx, message).await;
        }
        gauge.keys.store(shard.store.len(), Ordering::Relaxed);
        gauge.expiring.store(shard.store.expiring(), Ordering::Relaxed);
    }
}

impl Shard {
    async fn take(&mut self, cx: &Context<ToShard>, message: ToShard) {
        let holder = self.holder.map(|(holder, _)| holder);
        match message {
            ToShard::Crash => panic!("SHARD CRASH was requested"),
            ToShard::Do { from, ops } if holder.is_none() => {
                let now = self.clock.now();
                let answers = ops.into_iter().map(|(ticket, op)| (ticket, self.store.perform(op, now))).collect();
                self.answer(cx, from, answers);
            }
            ToShard::Transact { from, guards, ops } if holder.is_none_or(|holder| holder == from.pid()) => {
                self.release(cx);
                let may = self.hold(&guards);
                let mut answers = Vec::new();
                for (at, (ticket, op)) in ops.into_iter().enumerate() {
                    if at % MOST == MOST - 1 {
                        // Other processes run here; this shard's mailbox waits, so the transaction
                        // stays atomic.
                        cx.yield_now().await;
                    }
                    let now = self.clock.now();
                    answers.push((ticket, if may { self.store.perform(op, now) } else { Answer::Aborted }));
                }
                self.answer(cx, from, answers);
            }
            ToShard::Hold { from, guards, ticket } if holder.is_none() => {
                let may = self.hold(&guards);
                // Without memory for a monitor, the shard is not held: the hold would never end if
                // the process died.
                self.holder = cx.monitor(from).ok().filter(|_| may).map(|monitor| (from.pid(), monitor));
                self.answer(cx, from, vec![(ticket, Answer::Held(self.holder.is_some()))]);
            }
            ToShard::Release(from) if holder == Some(from.pid()) => self.release(cx),
            ToShard::Release(_) => {}
            other => self.deferred.push_back(other),
        }
    }

    fn release(&mut self, cx: &Context<ToShard>) {
        if let Some((_, monitor)) = self.holder.take() {
            cx.demonitor(monitor, true);
        }
    }

    fn hold(&self, guards: &Guards) -> bool {
        let now = self.clock.now();
        guards.iter().all(|(key, version)| self.store.version_of(key, now) == *version)
    }

    fn answer(&mut self, cx: &Context<ToShard>, to: Address<ToConnection>, answers: Vec<(u64, Answer)>) {
        // The answers to a connection that has died are dropped.
        let _ = cx.send(to, ToConnection::Answers(answers));
        if let Some(mut garbage) = self.store.garbage.take() {
            // If no process can be spawned, the garbage is dropped here.
            let _ = cx.spawn(async move |cx: Context<()>| {
                while garbage.sweep(MOST) {
                    cx.yield_now().await;
                }
            });
        }
    }
}

/// Starts the shards, and restarts those that die.
pub async fn keep(cx: Context<()>, shared: Arc<Shared>) {
    let start = |cx: &Context<()>, number: usize| {
        let gauge = shared.shards[number].clone();
        gauge.keys.store(0, Ordering::Relaxed);
        let (name, clock) = (name(number), shared.clock);
        let options = SpawnOptions::new().monitor().name(&name);
        let (_, monitor) = cx.spawn_with(&options, move |cx| shard(cx, gauge, clock)).expect("room for a shard");
        monitor.expect("asked for")
    };
    let mut monitors: Vec<Reference> = (0..shared.shards.len()).map(|number| start(&cx, number)).collect();
    loop {
        let Received::Down(down) = cx.recv().await else { continue };
        let Some(number) = monitors.iter().position(|monitor| *monitor == down.reference) else { continue };
        let lost = shared.shards[number].keys.load(Ordering::Relaxed);
        monitors[number] = start(&cx, number);
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        (shared.log)(format!("shard {number} died ({}): {lost} keys are lost; it starts again, empty", down.reason));
    }
}
