//! [`Batch`]: the commands that a connection is working on, and their replies so far.
//!
//! Commands for keys become ops for shards. Each shard gets about [`MOST`] keys in one message, and
//! the next message when it has answered. So pipelining costs one message per shard rather than one
//! per request, and a command with a million keys lets other clients run in between. A shard gets a
//! connection's ops in the order of its commands.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::command::Keyed;
use super::resp::Reply;
use super::shard::MOST;
use super::store::{Answer, Op, TOP};

/// How the answers to a command are combined.
enum Got {
    One(Option<Reply>),
    Sum(i64),
    Ok,
    Values(Vec<Reply>),
    /// An answer for the connection itself, not for the client.
    Raw(Option<Answer>),
}

/// The state of a command.
enum Slot {
    Done(Reply),
    Waiting {
        got: Got,
        missing: usize,
        error: Option<Reply>,
    },
    /// An answer for the caller: [`Batch::take_raw`].
    Raw(Option<Answer>),
}

/// The destination of an answer.
struct Ticket {
    slot: usize,
    shard: usize,
    /// The positions of the values in an array reply.
    places: Vec<u32>,
}

/// A batch of commands and their replies.
pub struct Batch {
    slots: Vec<Slot>,
    tickets: HashMap<u64, Ticket>,
    /// For each shard, the ops that have not been sent.
    queues: Vec<VecDeque<(u64, Op)>>,
    next_ticket: u64,
    /// About how many bytes the replies so far take when they are written.
    weight: usize,
    /// `true` if a guard of a transaction failed.
    is_aborted: bool,
}

/// Returns the number of keys that an op is for.
fn weight(op: &Op) -> usize {
    match op {
        Op::GetMany(keys) | Op::Delete(keys) | Op::Count(keys) => keys.len(),
        Op::SetMany(pairs) => pairs.len(),
        Op::Scan { most, .. } => *most,
        _ => 1,
    }
}

impl Batch {
    /// Returns an empty batch for this many shards. The tickets of the last batch were below
    /// `next_ticket`.
    pub fn new(shards: usize, next_ticket: u64) -> Self {
        let queues = (0..shards).map(|_| VecDeque::new()).collect();
        Self { slots: Vec::new(), tickets: HashMap::new(), queues, next_ticket, weight: 0, is_aborted: false }
    }

    /// Returns the first ticket of the next batch.
    pub fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Returns the number of commands.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns about how many bytes the replies so far take when they are written.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Returns `true` if no answer is missing.
    pub fn is_settled(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Adds a command that has its reply.
    pub fn push(&mut self, reply: Reply) {
        self.weight += reply.weight();
        self.slots.push(Slot::Done(reply));
    }

    /// Replaces the reply of a command.
    pub fn replace(&mut self, at: usize, reply: Reply) {
        if let Some(slot) = self.slots.get_mut(at) {
            self.weight += reply.weight();
            *slot = Slot::Done(reply);
        }
    }

    /// Returns a ticket for the next command; also used for messages that bypass the queues.
    pub fn ticket(&mut self, shard: usize, places: Vec<u32>) -> u64 {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, Ticket { slot: self.slots.len(), shard, places });
        self.next_ticket
    }

    fn enqueue(&mut self, shard: usize, op: Op, places: Vec<u32>) {
        let ticket = self.ticket(shard, places);
        self.queues[shard].push_back((ticket, op));
    }

    fn wait(&mut self, got: Got, missing: usize) {
        self.slots.push(match missing {
            0 => Slot::Done(done(got, None)),
            _ => Slot::Waiting { got, missing, error: None },
        });
    }

    /// Adds a command for keys; `shard` returns the shard of a key.
    pub fn add(&mut self, keyed: Keyed, shard: impl Fn(&Bytes) -> usize) {
        let before = self.tickets.len();
        let got = match keyed {
            Keyed::One(key, op) => {
                self.enqueue(shard(&key), op, Vec::new());
                Got::One(None)
            }
            Keyed::Values(keys) => {
                let values = vec![Reply::Nil; keys.len()];
                let keys = (0_u32..).zip(keys);
                self.divide(
                    keys,
                    |(_, key)| shard(key),
                    |part| {
                        let (places, keys) = part.into_iter().unzip();
                        (Op::GetMany(keys), places)
                    },
                );
                Got::Values(values)
            }
            Keyed::SetAll(pairs) => {
                self.divide(pairs, |(key, _)| shard(key), |pairs| (Op::SetMany(pairs), Vec::new()));
                Got::Ok
            }
            Keyed::Delete(keys) => {
                self.divide(keys, &shard, |keys| (Op::Delete(keys), Vec::new()));
                Got::Sum(0)
            }
            Keyed::Count(keys) => {
                self.divide(keys, &shard, |keys| (Op::Count(keys), Vec::new()));
                Got::Sum(0)
            }
            Keyed::Size => {
                self.enqueue_all(&Op::Size);
                Got::Sum(0)
            }
            Keyed::Flush => {
                self.enqueue_all(&Op::Flush);
                Got::Ok
            }
        };
        self.wait(got, self.tickets.len() - before);
    }

    fn enqueue_all(&mut self, op: &Op) {
        (0..self.queues.len()).for_each(|shard| self.enqueue(shard, op.clone(), Vec::new()));
    }

    /// Adds ops of at most [`MOST`] items each, for the shards of the items.
    fn divide<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        shard: impl Fn(&T) -> usize,
        op: impl Fn(Vec<T>) -> (Op, Vec<u32>),
    ) {
        let mut parts: Vec<Vec<T>> = self.queues.iter().map(|_| Vec::new()).collect();
        for item in items {
            let shard = shard(&item);
            parts[shard].push(item);
            if parts[shard].len() == MOST {
                let (op, places) = op(std::mem::take(&mut parts[shard]));
                self.enqueue(shard, op, places);
            }
        }
        for (shard, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            let (op, places) = op(part);
            self.enqueue(shard, op, places);
        }
    }

    /// Adds an op whose answer is for the caller. Returns the slot from which [`Batch::take_raw`]
    /// takes it.
    pub fn add_raw(&mut self, shard: usize, op: Op) -> usize {
        self.enqueue(shard, op, Vec::new());
        self.expect_raw()
    }

    /// Adds the slot for the last ticket.
    pub fn expect_raw(&mut self) -> usize {
        self.wait(Got::Raw(None), 1);
        self.slots.len() - 1
    }

    /// Removes the last command from the batch, and returns its answer; `None` if the shard has
    /// died.
    pub fn take_raw(&mut self) -> Option<Answer> {
        match self.slots.pop() {
            Some(Slot::Raw(answer)) => answer,
            _ => None,
        }
    }

    /// Returns the ops that a shard gets next.
    pub fn next_ops(&mut self, shard: usize) -> Vec<(u64, Op)> {
        let (mut ops, mut keys) = (Vec::new(), 0);
        while keys < MOST
            && let Some((ticket, op)) = self.queues[shard].pop_front()
        {
            keys += weight(&op);
            ops.push((ticket, op));
        }
        ops
    }

    /// Returns all queued ops of a shard, for a transaction.
    pub fn all_ops(&mut self, shard: usize) -> Vec<(u64, Op)> {
        self.queues[shard].drain(..).collect()
    }

    /// Returns the shards that have queued ops.
    pub fn asked(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.queues.len()).filter(|shard| !self.queues[*shard].is_empty())
    }

    /// Records an answer. Returns its shard, if the answer was expected.
    pub fn answer(&mut self, ticket: u64, answer: Answer) -> Option<usize> {
        let Ticket { slot, shard, places } = self.tickets.remove(&ticket)?;
        self.is_aborted |= answer == Answer::Aborted;
        if let Some(Slot::Waiting { got, missing, error }) = self.slots.get_mut(slot) {
            *missing -= 1;
            match (got, answer) {
                (Got::Raw(raw), answer) => *raw = Some(answer),
                (_, Answer::Reply(reply @ Reply::Error(_))) => *error = Some(reply),
                (Got::One(one), Answer::Reply(reply)) => *one = Some(reply),
                (Got::Sum(sum), Answer::Reply(Reply::Integer(number))) => *sum += number,
                (Got::Values(values), Answer::Reply(Reply::Array(items))) => {
                    for (place, item) in places.into_iter().zip(items) {
                        values[place as usize] = item;
                    }
                }
                _ => {}
            }
            if *missing == 0
                && let Slot::Waiting { got, error, .. } = std::mem::replace(&mut self.slots[slot], Slot::Raw(None))
            {
                self.slots[slot] = match got {
                    Got::Raw(answer) => Slot::Raw(answer),
                    got => {
                        let reply = done(got, error);
                        self.weight += reply.weight();
                        Slot::Done(reply)
                    }
                };
            }
        }
        Some(shard)
    }

    /// Returns `true` if a command waits for an answer.
    pub fn is_missing(&self, at: usize) -> bool {
        matches!(self.slots.get(at), Some(Slot::Waiting { .. }))
    }

    /// Returns `true` if a guard of a transaction failed, and resets that.
    pub fn take_aborted(&mut self) -> bool {
        std::mem::take(&mut self.is_aborted)
    }

    /// Drops ops that are not sent, so that the batch does not wait for their answers.
    pub fn forget(&mut self, ops: impl Iterator<Item = (u64, Op)>) {
        for (ticket, _) in ops {
            self.tickets.remove(&ticket);
        }
    }

    /// Fails everything that waits for a shard, which no longer answers.
    pub fn fail(&mut self, shard: usize, why: &str) {
        self.queues[shard].clear();
        let of_it = self.tickets.iter().filter(|(_, ticket)| ticket.shard == shard);
        let tickets: Vec<u64> = of_it.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.answer(ticket, Answer::Reply(Reply::err(why)));
        }
    }

    /// Removes the replies from this command on, and returns them.
    pub fn take_replies(&mut self, from: usize) -> Vec<Reply> {
        let replies = self.slots.drain(from..);
        let replies: Vec<_> =
            replies.map(|slot| if let Slot::Done(reply) = slot { reply } else { Reply::Nil }).collect();
        self.weight = self.weight.saturating_sub(replies.iter().map(Reply::weight).sum());
        replies
    }
}

fn done(got: Got, error: Option<Reply>) -> Reply {
    if let Some(error) = error {
        return error;
    }
    match got {
        Got::One(reply) => reply.unwrap_or(Reply::Nil),
        Got::Sum(sum) => Reply::Integer(sum),
        Got::Ok => Reply::OK,
        Got::Values(values) => Reply::Array(values),
        Got::Raw(_) => Reply::Nil,
    }
}

/// The position of a `SCAN`: a shard, and the entry index in that shard before which it continues.
/// As a cursor it is one integer; 0 is both the beginning and the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    /// The shard's number.
    pub shard: usize,
    /// The index before which the scan continues: see [`Op::Scan`].
    pub before: u64,
}

impl Walk {
    /// Returns the position of a cursor, if it is valid for this many shards.
    pub fn of(cursor: u64, shards: usize) -> Option<Self> {
        if cursor == 0 {
            return Some(Self { shard: 0, before: TOP });
        }
        let shards = shards as u64;
        let walk = Self { shard: (cursor % shards) as usize, before: cursor / shards };
        (walk.before <= TOP).then_some(walk)
    }

    /// Returns the position after the scan of this shard has come to `before`; `None` at the end.
    pub fn next(self, before: u64, shards: usize) -> Option<Self> {
        match before {
            0 if self.shard + 1 < shards => Some(Self { shard: self.shard + 1, before: TOP }),
            0 => None,
            before => Some(Self { before, ..self }),
        }
    }

    /// Returns the cursor of this position.
    pub fn cursor(self, shards: usize) -> u64 {
        self.before * shards as u64 + self.shard as u64
    }
}
