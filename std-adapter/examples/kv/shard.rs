//! Shards: processes that hold the data, and the keeper that starts them again.
//!
//! Each shard is registered as `shard.N`. The keeper monitors all; one that dies is started
//! again, empty, and what was lost is said in the log.
//!
//! No client holds a shard: what it is asked at one time is short ([`MOST`], `store`), a connection asks again when it has its
//! answers, and so the clients' turns alternate. A transaction of several shards holds them ([`ToShard::Hold`]) between two
//! messages of its connection's process, which waits for nothing else meanwhile; if it dies, the hold dies with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos::prelude::*;
use bytes::Bytes;

use super::clock::Clock;
use super::connection::ToConnection;
use super::server::Shared;
use super::store::{Answer, Next, Op, Store};

/// About how many keys a shard is asked about at one time.
pub const MOST: usize = 256;

/// The version of each key that a transaction has watched.
pub type Guards = Vec<(Bytes, u64)>;

/// What a shard is sent.
pub enum ToShard {
    /// Ops, each with a ticket for its answer.
    Do {
        /// Who wants the answers.
        from: Address<ToConnection>,
        /// What to do, in order.
        ops: Vec<(u64, Op)>,
    },
    /// Ops of a transaction, all or none, with nobody's between them. Ends a hold.
    Transact {
        /// Who wants the answers.
        from: Address<ToConnection>,
        /// What must hold, or each op is answered with [`Answer::Aborted`].
        guards: Guards,
        /// What to do, in order.
        ops: Vec<(u64, Op)>,
    },
    /// Serve nobody else, if the guards hold.
    Hold {
        /// Whom.
        from: Address<ToConnection>,
        /// What must hold.
        guards: Guards,
        /// For [`Answer::Held`].
        ticket: u64,
    },
    /// The end of a hold.
    Release(Address<ToConnection>),
    /// A bug.
    Crash,
}

/// The registered name of a shard.
pub fn name(number: usize) -> String {
    format!("shard.{number}")
}

/// Keys of a shard, and those that expire, for who asks how many there are.
#[derive(Default)]
pub struct Gauge {
    /// All.
    pub keys: AtomicUsize,
    /// With an expiry.
    pub expiring: AtomicUsize,
}

struct Shard {
    clock: Clock,
    store: Store,
    /// Whose transaction holds it, and the monitor of that process.
    holder: Option<(Pid, Reference)>,
    /// What has come meanwhile.
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
            ToShard::Crash => panic!("SHARD CRASH was asked for"),
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
                        // Other processes run; this shard's mailbox waits, as a transaction promises.
                        cx.yield_now().await;
                    }
                    let now = self.clock.now();
                    answers.push((ticket, if may { self.store.perform(op, now) } else { Answer::Aborted }));
                }
                self.answer(cx, from, answers);
            }
            ToShard::Hold { from, guards, ticket } if holder.is_none() => {
                let may = self.hold(&guards);
                // Without memory for a monitor nothing would end the hold of a process that dies.
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
        // A connection that has died meanwhile wants no answers.
        let _ = cx.send(to, ToConnection::Answers(answers));
        if let Some(mut garbage) = self.store.garbage.take() {
            // Without room for a process it is dropped here.
            let _ = cx.spawn(async move |cx: Context<()>| {
                while garbage.sweep(MOST) {
                    cx.yield_now().await;
                }
            });
        }
    }
}

/// Starts the shards, and again those that die.
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
