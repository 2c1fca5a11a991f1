//! `EXEC`: runs the commands since `MULTI`, with no other client's in between, and only if no
//! watched key has changed.
//!
//! One shard needs a single message: it carries out all ops of a message in one go. For several
//! shards, the connection first makes each of them serve only this connection ([`ToShard::Hold`]),
//! one after the other in the order of their numbers. So of two transactions that share shards, one
//! holds the first shared shard, and the other waits there and holds none behind it: they cannot
//! deadlock. Then each shard gets its ops, which end its hold. Between the first hold and the ops,
//! the connection waits for shards only, never for its client.
//!
//! Commands that are not for keys (such as `KEYS` and `INFO`) run after the others, in their order:
//! they may take long, and no shard is held for them.

use atropos::prelude::*;

use super::command::Command;
use super::connection::{Connection, ToConnection};
use super::resp::Reply;
use super::shard::{Guards, ToShard};
use super::store::Answer;

impl Connection {
    /// Returns the reply of `EXEC`.
    pub async fn exec(&mut self, cx: &mut Context<ToConnection>) -> Reply {
        let Some(transaction) = self.session.transaction.take() else { return Reply::err("EXEC without MULTI") };
        let watched = std::mem::take(&mut self.session.watched);
        if transaction.is_spoilt {
            return Reply::Error("EXECABORT Transaction discarded because of previous errors.".to_owned());
        }
        let mut guards: Vec<Guards> = self.shared.shards.iter().map(|_| Guards::new()).collect();
        for (key, version) in watched {
            let shard = self.shared.shard_of(&key);
            guards[shard].push((key, version));
        }
        // The batch holds the replies of the earlier commands; those of the transaction follow
        // them.
        let first = self.batch.len();
        let mut later = Vec::new();
        for command in transaction.commands {
            match command {
                Command::Now(reply) => self.batch.push(reply),
                Command::Keyed(keyed) => {
                    let shared = self.shared.clone();
                    self.batch.add(keyed, |key| shared.shard_of(key));
                }
                Command::Other(other) => {
                    later.push((self.batch.len(), other));
                    self.batch.push(Reply::Nil);
                }
            }
        }
        match self.transact(cx, guards).await {
            Outcome::Done => {}
            Outcome::Aborted => {
                self.batch.take_replies(first);
                return Reply::NilArray;
            }
            Outcome::Failed(reply) => {
                self.batch.take_replies(first);
                return reply;
            }
        }
        for (at, other) in later {
            let reply = self.outcome(cx, other).await;
            // All commands of a transaction run. A client that is beyond its limit is sent away
            // when they have, and its further replies are not kept.
            if !self.is_too_much() {
                self.batch.replace(at, reply);
            }
        }
        Reply::Array(self.batch.take_replies(first))
    }

    /// Lets the shards carry out the batch's ops, if the guards hold.
    async fn transact(&mut self, cx: &mut Context<ToConnection>, mut guards: Vec<Guards>) -> Outcome {
        let mut ops: Vec<_> = (0..guards.len()).map(|shard| self.batch.all_ops(shard)).collect();
        let taking_part = |shard: &usize| !ops[*shard].is_empty() || !guards[*shard].is_empty();
        let shards: Vec<usize> = (0..guards.len()).filter(taking_part).collect();
        let is_one_message = matches!(shards[..], [one] if !ops[one].is_empty());
        if !is_one_message {
            for (at, shard) in shards.iter().enumerate() {
                let held = self.hold(cx, *shard, std::mem::take(&mut guards[*shard])).await;
                if held == Outcome::Done {
                    continue;
                }
                for shard in &shards[..at] {
                    self.send(cx, *shard, ToShard::Release(cx.address()));
                }
                self.batch.forget(ops.into_iter().flatten());
                return held;
            }
        }
        for shard in shards {
            let (guards, ops) = (std::mem::take(&mut guards[shard]), std::mem::take(&mut ops[shard]));
            let from = cx.address();
            let is_watched_only = ops.is_empty();
            let message =
                if is_watched_only { ToShard::Release(from) } else { ToShard::Transact { from, guards, ops } };
            self.send(cx, shard, message);
        }
        self.await_answers(cx).await;
        if self.batch.take_aborted() { Outcome::Aborted } else { Outcome::Done }
    }

    /// Holds a shard, if its guards hold.
    async fn hold(&mut self, cx: &mut Context<ToConnection>, shard: usize, guards: Guards) -> Outcome {
        let ticket = self.batch.ticket(shard, Vec::new());
        let at = self.batch.expect_raw();
        self.send(cx, shard, ToShard::Hold { from: cx.address(), guards, ticket });
        while self.batch.is_missing(at) {
            let received = cx.recv().await;
            self.take(cx, received);
        }
        match self.batch.take_raw() {
            Some(Answer::Held(true)) => Outcome::Done,
            Some(Answer::Held(false)) => Outcome::Aborted,
            Some(Answer::Reply(error)) => Outcome::Failed(error),
            _ => Outcome::Failed(Reply::err("a shard died")),
        }
    }
}

/// The result of a transaction.
#[derive(Clone, PartialEq, Debug)]
enum Outcome {
    Done,
    /// A watched key has changed.
    Aborted,
    /// A shard is not running.
    Failed(Reply),
}
