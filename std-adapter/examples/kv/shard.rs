//! Shards: processes that hold the data, and the keeper that starts them again.
//!
//! Each shard is registered as `shard.N`. The keeper monitors all; one that dies is started
//! again, empty, and what was lost is said in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use atropos::prelude::*;

use super::connection::ToConnection;
use super::resp::Reply;
use super::server::Shared;
use super::store::{Op, Store};

/// What a shard is sent.
pub enum ToShard {
    /// Ops, each with a ticket for its answer.
    Do {
        /// Who wants the answers.
        from: Address<ToConnection>,
        /// What to do, in order.
        ops: Vec<(u64, Op)>,
    },
    /// A bug.
    Crash,
}

/// The registered name of a shard.
pub fn name(number: usize) -> String {
    format!("shard.{number}")
}

async fn shard(mut cx: Context<ToShard>, keys: Arc<AtomicUsize>) {
    let mut store = Store::default();
    loop {
        let received = match store.expire(Instant::now()) {
            Some(patience) => cx.recv_timeout(patience).await,
            None => Some(cx.recv().await),
        };
        let now = Instant::now();
        store.expire(now);
        match received {
            Some(Received::Message(ToShard::Do { from, ops })) => {
                let answers: Vec<(u64, Reply)> =
                    ops.into_iter().map(|(ticket, op)| (ticket, store.perform(op, now))).collect();
                // A connection that has died meanwhile wants no answers.
                let _ = cx.send(from, ToConnection::Answers(answers));
            }
            Some(Received::Message(ToShard::Crash)) => panic!("SHARD CRASH was asked for"),
            _ => {}
        }
        keys.store(store.len(), Ordering::Relaxed);
    }
}

/// Starts the shards, and again those that die.
pub async fn keep(mut cx: Context<()>, shared: Arc<Shared>) {
    let start = |cx: &Context<()>, number: usize| {
        let keys = shared.shards[number].clone();
        keys.store(0, Ordering::Relaxed);
        let name = name(number);
        let options = SpawnOptions::new().monitor().name(&name);
        let (_, monitor) = cx.spawn_with(&options, move |cx| shard(cx, keys)).expect("room for a shard");
        monitor.expect("asked for")
    };
    let mut monitors: Vec<Reference> = (0..shared.shards.len()).map(|number| start(&cx, number)).collect();
    loop {
        let Received::Down(down) = cx.recv().await else { continue };
        let Some(number) = monitors.iter().position(|monitor| *monitor == down.reference) else { continue };
        let lost = shared.shards[number].load(Ordering::Relaxed);
        monitors[number] = start(&cx, number);
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        (shared.log)(format!("shard {number} died ({}): {lost} keys are lost; it starts again, empty", down.reason));
    }
}
