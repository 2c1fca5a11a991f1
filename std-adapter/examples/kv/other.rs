//! Commands that wait until all earlier ones are done: scans of the keys, the connection's own
//! state, other clients.

use std::sync::atomic::Ordering;

use atropos::prelude::*;
use bytes::Bytes;

use super::batch::Walk;
use super::clients::{self, ToClients, Which};
use super::command::{self, Other, Scan};
use super::connection::{Connection, Then, ToConnection};
use super::glob::Glob;
use super::resp::Reply;
use super::session::{Client, Transaction, Watched};
use super::shard::{self, MOST, ToShard};
use super::store::{Answer, Op, TOP};

/// The number of match steps that the process makes before it yields.
const STEPS: usize = 10_000;

impl Connection {
    /// Carries out a command.
    pub async fn perform(&mut self, cx: &mut Context<ToConnection>, other: Other) -> Then {
        let reply = match other {
            Other::Multi if self.session.transaction.is_some() => Reply::err("MULTI calls can not be nested"),
            Other::Multi => {
                self.session.transaction = Some(Transaction::default());
                Reply::OK
            }
            Other::Exec => self.exec(cx).await,
            Other::Discard if self.session.transaction.is_none() => Reply::err("DISCARD without MULTI"),
            Other::Discard => {
                self.session.transaction = None;
                self.session.watched = Watched::default();
                Reply::OK
            }
            Other::Watch(_) if self.session.transaction.is_some() => Reply::err("WATCH inside MULTI is not allowed"),
            Other::Watch(keys) => self.watch(cx, keys).await,
            Other::Unwatch => {
                self.session.watched = Watched::default();
                Reply::OK
            }
            Other::Quit => {
                self.batch.push(Reply::OK);
                return Then::Ends;
            }
            Other::Attack => {
                return self.send_away(
                    "possible SECURITY ATTACK: it sends POST or Host:, as a browser does on behalf of a web page",
                );
            }
            other => self.outcome(cx, other).await,
        };
        self.batch.push(reply);
        if self.session.is_ending { Then::Ends } else { Then::Goes }
    }

    /// Returns the reply to a command that may be in a transaction.
    pub async fn outcome(&mut self, cx: &mut Context<ToConnection>, other: Other) -> Reply {
        match other {
            Other::Keys { pattern } => self.keys(cx, &pattern).await,
            Other::Scan(scan) => self.scan(cx, scan).await,
            Other::Info(sections) => Reply::Text(self.shared.info(&sections)),
            Other::Command(arguments) => command::describe(&arguments),
            Other::Config(arguments) => self.shared.config.command(&arguments),
            Other::Client(arguments) => self.client(cx, &arguments).await,
            Other::Hello(arguments) => {
                let reply = self.session.hello(&arguments);
                self.speak(self.session.version);
                self.says(cx);
                reply
            }
            Other::Reset => {
                self.session.reset();
                self.speak(self.session.version);
                self.says(cx);
                Reply::Simple("RESET")
            }
            Other::Unwatch => Reply::OK,
            Other::Crash(number) => match cx.send_name(&shard::name(number), ToShard::Crash) {
                Ok(()) => Reply::OK,
                Err(_) => Reply::err("no such shard"),
            },
            Other::Multi | Other::Exec | Other::Discard | Other::Watch(_) | Other::Quit | Other::Attack => {
                Reply::err("this command is not allowed in a transaction")
            }
        }
    }

    /// Queries a shard on the connection's own behalf, not the client's.
    async fn ask_raw(&mut self, cx: &mut Context<ToConnection>, shard: usize, op: Op) -> Option<Answer> {
        self.batch.add_raw(shard, op);
        self.settle(cx).await;
        self.batch.take_raw()
    }

    async fn watch(&mut self, cx: &mut Context<ToConnection>, keys: Vec<Bytes>) -> Reply {
        let limit = self.shared.config.query_buffer.load(Ordering::Relaxed);
        for key in keys {
            // A key that is watched already keeps its first version.
            if self.session.watched.contains(&key) {
                continue;
            }
            if !self.session.watched.has_room(key.len(), limit) {
                return Reply::err("too many keys are watched");
            }
            match self.ask_raw(cx, self.shared.shard_of(&key), Op::Version(key.clone())).await {
                Some(Answer::Version(version)) => self.session.watched.insert(key, version),
                Some(Answer::Reply(error)) => return error,
                _ => return Reply::err("the key's shard died"),
            }
        }
        Reply::OK
    }

    /// Returns the keys that match. This runs here and not in the shard, because a match may take
    /// long.
    async fn matching(&self, cx: &Context<ToConnection>, keys: Vec<Bytes>, pattern: Option<&Bytes>) -> Vec<Bytes> {
        let Some(pattern) = pattern.filter(|pattern| &pattern[..] != b"*") else { return keys };
        let (mut found, mut budget) = (Vec::new(), STEPS);
        for key in keys {
            let mut glob = Glob::new(pattern, &key);
            let does_match = loop {
                if let Some(does_match) = glob.run(&mut budget) {
                    break does_match;
                }
                cx.yield_now().await;
                budget = STEPS;
            };
            if does_match {
                found.push(key);
            }
        }
        found
    }

    /// Looks at up to `most` keys from here on, and adds those that match. Returns the new
    /// position, or the error reply.
    async fn walk(
        &mut self,
        cx: &mut Context<ToConnection>,
        mut walk: Walk,
        mut most: usize,
        pattern: Option<&Bytes>,
        found: &mut Vec<Bytes>,
    ) -> Result<Option<Walk>, Reply> {
        while most > 0 {
            let slice = most.min(MOST);
            most -= slice;
            let next = match self.ask_raw(cx, walk.shard, Op::Scan { before: walk.before, most: slice }).await {
                Some(Answer::Keys(before, keys)) => {
                    let next = walk.next(before, self.shared.shards.len());
                    found.extend(self.matching(cx, keys, pattern).await);
                    next
                }
                Some(Answer::Reply(error)) => return Err(error),
                _ => return Err(Reply::err("a shard died")),
            };
            match next {
                Some(next) => walk = next,
                None => return Ok(None),
            }
            cx.yield_now().await;
        }
        Ok(Some(walk))
    }

    async fn keys(&mut self, cx: &mut Context<ToConnection>, pattern: &Bytes) -> Reply {
        let (mut found, start) = (Vec::new(), Walk { shard: 0, before: TOP });
        if let Err(error) = self.walk(cx, start, usize::MAX, Some(pattern), &mut found).await {
            return error;
        }
        // A deletion during the scan may have returned a key twice (`store`, S4).
        let mut seen = std::collections::HashSet::with_capacity(found.len());
        let mut replies = Vec::new();
        for (at, key) in found.into_iter().enumerate() {
            if seen.insert(key.clone()) {
                replies.push(Reply::Bulk(key));
            }
            if at % STEPS == STEPS - 1 {
                cx.yield_now().await;
            }
        }
        Reply::Array(replies)
    }

    async fn scan(&mut self, cx: &mut Context<ToConnection>, scan: Scan) -> Reply {
        let Scan { cursor, pattern, count, is_type } = scan;
        let shards = self.shared.shards.len();
        let Some(start) = Walk::of(cursor, shards) else {
            return Reply::Array(vec![Reply::text("0"), Reply::Array(Vec::new())]);
        };
        let mut found = Vec::new();
        match self.walk(cx, start, count, pattern.as_ref(), &mut found).await {
            Err(error) => error,
            Ok(next) => {
                if !is_type {
                    found.clear();
                }
                let cursor = next.map_or(0, |walk| walk.cursor(shards));
                let keys = found.into_iter().map(Reply::Bulk).collect();
                Reply::Array(vec![Reply::text(cursor.to_string()), Reply::Array(keys)])
            }
        }
    }

    /// Sends the client's properties to the client list.
    fn says(&self, cx: &Context<ToConnection>) {
        // If the client list is not running, no process needs them.
        let _ = cx.send_name(clients::NAME, ToClients::Says(self.session.id, self.session.said.clone()));
    }

    async fn ask_clients(
        &mut self,
        cx: &mut Context<ToConnection>,
        question: impl FnOnce(Address<ToConnection>, u64) -> ToClients,
    ) -> Reply {
        // No shard has this number.
        let ticket = self.batch.ticket(usize::MAX, Vec::new());
        self.batch.expect_raw();
        if cx.send_name(clients::NAME, question(cx.address(), ticket)).is_err() {
            self.batch.answer(ticket, Answer::Reply(Reply::err("the client list is not running")));
        }
        self.await_answers(cx).await;
        match self.batch.take_raw() {
            Some(Answer::Reply(reply)) => reply,
            _ => Reply::err("the client list does not answer"),
        }
    }

    async fn client(&mut self, cx: &mut Context<ToConnection>, arguments: &[Bytes]) -> Reply {
        match self.session.client(arguments) {
            Client::Now(reply) => reply,
            Client::Says => {
                self.says(cx);
                Reply::OK
            }
            Client::List(which) => self.ask_clients(cx, |from, ticket| ToClients::List(from, ticket, which)).await,
            Client::Kill { which, is_old } => {
                let reply = self.kill(cx, which).await;
                match reply {
                    Reply::Integer(0) if is_old => Reply::err("No such client"),
                    Reply::Integer(_) if is_old => Reply::OK,
                    reply => reply,
                }
            }
        }
    }

    async fn kill(&mut self, cx: &mut Context<ToConnection>, mut which: Which) -> Reply {
        // A client that kills itself gets its reply first, and is then disconnected.
        let mine = Which { ids: vec![self.session.id], address: which.address.clone(), but: None };
        let is_named = which.ids.is_empty() || which.ids.binary_search(&self.session.id).is_ok();
        let is_meant = is_named && which.but.is_none();
        let mut is_me = false;
        if is_meant {
            let listed = self.ask_clients(cx, |from, ticket| ToClients::List(from, ticket, mine)).await;
            is_me = matches!(listed, Reply::Text(list) if !list.is_empty());
        }
        which.but = Some(self.session.id);
        let killed = self.ask_clients(cx, |from, ticket| ToClients::Kill(from, ticket, which)).await;
        self.session.is_ending |= is_me;
        match killed {
            Reply::Integer(count) => Reply::Integer(count + i64::from(is_me)),
            other => other,
        }
    }
}
