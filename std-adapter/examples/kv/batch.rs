//! [`Batch`]: commands that are in the hands of a connection, and what has been answered of them.
//!
//! Commands for keys become ops for shards. Each shard gets about [`MOST`] keys in one message, and the next when it has
//! answered: pipelining costs a message a shard, not one a request, and a command with a million keys leaves other clients
//! their turns. A shard gets a connection's ops in the order of its commands.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::command::Keyed;
use super::resp::Reply;
use super::shard::MOST;
use super::store::{Answer, Op, TOP};

/// What the answers of a command become.
enum Got {
    One(Option<Reply>),
    Sum(i64),
    Ok,
    Values(Vec<Reply>),
    /// An answer that is not for the client.
    Raw(Option<Answer>),
}

/// A command.
enum Slot {
    Done(Reply),
    Waiting {
        got: Got,
        missing: usize,
        error: Option<Reply>,
    },
    /// For its asker: [`Batch::take_raw`].
    Raw(Option<Answer>),
}

/// Where an answer goes.
struct Ticket {
    slot: usize,
    shard: usize,
    /// The places of an array's values.
    places: Vec<u32>,
}

/// See the module.
pub struct Batch {
    slots: Vec<Slot>,
    tickets: HashMap<u64, Ticket>,
    /// For each shard, what it has not been asked.
    queues: Vec<VecDeque<(u64, Op)>>,
    next_ticket: u64,
    /// A transaction's guards did not hold.
    is_aborted: bool,
}

/// How many keys an op is for.
fn weight(op: &Op) -> usize {
    match op {
        Op::GetMany(keys) | Op::Delete(keys) | Op::Count(keys) => keys.len(),
        Op::SetMany(pairs) => pairs.len(),
        Op::Scan { most, .. } => *most,
        _ => 1,
    }
}

impl Batch {
    /// An empty one, for so many shards. The tickets of the last batch were below `next_ticket`.
    pub fn new(shards: usize, next_ticket: u64) -> Self {
        let queues = (0..shards).map(|_| VecDeque::new()).collect();
        Self { slots: Vec::new(), tickets: HashMap::new(), queues, next_ticket, is_aborted: false }
    }

    /// The first ticket of the next batch.
    pub fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no answer is missing.
    pub fn is_settled(&self) -> bool {
        self.tickets.is_empty()
    }

    /// A command that has its reply.
    pub fn push(&mut self, reply: Reply) {
        self.slots.push(Slot::Done(reply));
    }

    /// A reply in the place of another command's.
    pub fn replace(&mut self, at: usize, reply: Reply) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Slot::Done(reply);
        }
    }

    /// A ticket for a command that is to be the next; it is for what is sent past the queues, too.
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

    /// A command for keys; `shard` says where a key is.
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

    /// Ops of at most [`MOST`] items each, for the items' shards.
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

    /// An op whose answer is for its asker; where [`Batch::take_raw`] finds it.
    pub fn add_raw(&mut self, shard: usize, op: Op) -> usize {
        self.enqueue(shard, op, Vec::new());
        self.expect_raw()
    }

    /// The slot for the ticket that was made last.
    pub fn expect_raw(&mut self) -> usize {
        self.wait(Got::Raw(None), 1);
        self.slots.len() - 1
    }

    /// The answer to the last command, which leaves the batch; `None` if the shard has died.
    pub fn take_raw(&mut self) -> Option<Answer> {
        match self.slots.pop() {
            Some(Slot::Raw(answer)) => answer,
            _ => None,
        }
    }

    /// What a shard is to be asked next.
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

    /// All that a shard is to be asked: a transaction.
    pub fn all_ops(&mut self, shard: usize) -> Vec<(u64, Op)> {
        self.queues[shard].drain(..).collect()
    }

    /// The shards that are to be asked something.
    pub fn asked(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.queues.len()).filter(|shard| !self.queues[*shard].is_empty())
    }

    /// An answer has come; from which shard, if it was waited for.
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
                    got => Slot::Done(done(got, error)),
                };
            }
        }
        Some(shard)
    }

    /// Whether a command waits for an answer.
    pub fn is_missing(&self, at: usize) -> bool {
        matches!(self.slots.get(at), Some(Slot::Waiting { .. }))
    }

    /// Whether the guards of a transaction did not hold, asked once.
    pub fn take_aborted(&mut self) -> bool {
        std::mem::take(&mut self.is_aborted)
    }

    /// Ops that are not sent: nothing waits for them.
    pub fn forget(&mut self, ops: impl Iterator<Item = (u64, Op)>) {
        for (ticket, _) in ops {
            self.tickets.remove(&ticket);
        }
    }

    /// A shard does not answer any more.
    pub fn fail(&mut self, shard: usize, why: &str) {
        self.queues[shard].clear();
        let of_it = self.tickets.iter().filter(|(_, ticket)| ticket.shard == shard);
        let tickets: Vec<u64> = of_it.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.answer(ticket, Answer::Reply(Reply::err(why)));
        }
    }

    /// The replies from this command on, which leave the batch.
    pub fn take_replies(&mut self, from: usize) -> Vec<Reply> {
        let replies = self.slots.drain(from..);
        replies.map(|slot| if let Slot::Done(reply) = slot { reply } else { Reply::Nil }).collect()
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

/// Where a `SCAN` is: in which shard, and before which place of it. As a cursor it is one integer; 0 is the beginning and
/// the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Walk {
    /// The shard.
    pub shard: usize,
    /// See [`Op::Scan`].
    pub before: u64,
}

impl Walk {
    /// Where the cursor is, if there is such a place with so many shards.
    pub fn of(cursor: u64, shards: usize) -> Option<Self> {
        if cursor == 0 {
            return Some(Self { shard: 0, before: TOP });
        }
        let shards = shards as u64;
        let walk = Self { shard: (cursor % shards) as usize, before: cursor / shards };
        (walk.before <= TOP).then_some(walk)
    }

    /// After the walk has come before this place; `None` at its end.
    pub fn next(self, before: u64, shards: usize) -> Option<Self> {
        match before {
            0 if self.shard + 1 < shards => Some(Self { shard: self.shard + 1, before: TOP }),
            0 => None,
            before => Some(Self { before, ..self }),
        }
    }

    /// As an integer.
    pub fn cursor(self, shards: usize) -> u64 {
        self.before * shards as u64 + self.shard as u64
    }
}
