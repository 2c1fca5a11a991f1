//! A connection: a process that reads requests, asks the shards, and writes replies in order.
//!
//! It takes all the requests that have come, sends each shard its ops in one message, waits until
//! all are answered, and writes all replies at once: pipelining costs a message a shard, not one a
//! request. It monitors the shards that it asks; when one dies, what it was asked is answered with an error, and the
//! connection goes on.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use atropos::prelude::*;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clients::{self, ToClients};
use super::command::{self, Command};
use super::resp::{self, Reply};
use super::server::Shared;
use super::shard::{self, ToShard};
use super::store::Op;

/// What a connection is sent.
pub enum ToConnection {
    /// Answers to what it has asked, by ticket.
    Answers(Vec<(u64, Reply)>),
}

/// How the answers of a command become its reply.
enum Fold {
    One,
    Sum,
    Array,
    Concatenated,
    Ok,
}

struct Waiting {
    fold: Fold,
    answers: Vec<Option<Reply>>,
    missing: usize,
}

impl Waiting {
    fn reply(self) -> Reply {
        let mut answers: Vec<Reply> = self.answers.into_iter().flatten().collect();
        if let Some(error) = answers.iter().position(|answer| matches!(answer, Reply::Error(_)))
            && !matches!(self.fold, Fold::Array)
        {
            return answers.swap_remove(error);
        }
        match self.fold {
            Fold::One => answers.pop().unwrap_or(Reply::NIL),
            Fold::Ok => Reply::OK,
            Fold::Array => Reply::Array(answers),
            Fold::Sum => Reply::Integer(
                answers.iter().map(|answer| if let Reply::Integer(number) = answer { *number } else { 0 }).sum(),
            ),
            Fold::Concatenated => Reply::Array(
                answers
                    .into_iter()
                    .flat_map(|answer| if let Reply::Array(items) = answer { items } else { Vec::new() })
                    .collect(),
            ),
        }
    }
}

/// What is known of a shard that has been asked.
struct Known {
    pid: Pid,
    monitor: Reference,
}

struct Connection {
    id: u64,
    shared: Arc<Shared>,
    shards: Vec<Option<Known>>,
    next_ticket: u64,
    /// Of the batch: the command and the place in its answers that a ticket is for, and the shard asked.
    tickets: HashMap<u64, (usize, usize, Option<usize>)>,
    commands: Vec<Result<Reply, Waiting>>,
    batches: BTreeMap<usize, Vec<(u64, Op)>>,
}

/// Serves a client until it leaves.
pub async fn serve(mut cx: Context<ToConnection>, mut socket: TcpStream, id: u64, shared: Arc<Shared>) {
    let peer = socket.peer_addr();
    if let Ok(peer) = peer {
        let _ = cx.send_name(clients::NAME, ToClients::Enter { id, peer, pid: cx.pid() });
    }
    let shards = (0..shared.shards.len()).map(|_| None).collect();
    let mut connection = Connection {
        id,
        shared,
        shards,
        next_ticket: 0,
        tickets: HashMap::new(),
        commands: Vec::new(),
        batches: BTreeMap::new(),
    };
    // A client that goes away is nobody's failure: the socket's errors end the process as its end does.
    let _ = connection.run(&mut cx, &mut socket).await;
}

impl Connection {
    async fn run(&mut self, cx: &mut Context<ToConnection>, socket: &mut TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        loop {
            let read = tokio::select! {
                read = socket.read_buf(&mut input) => read?,
                received = cx.recv() => {
                    self.take(received);
                    continue;
                }
            };
            if read == 0 {
                return Ok(());
            }
            let mut end = false;
            while !end {
                match resp::parse(&mut input) {
                    Ok(None) => break,
                    Ok(Some(request)) if request.is_empty() => {}
                    Ok(Some(request)) => end = self.begin(cx, command::read(request)),
                    Err(error) => {
                        self.commands.push(Ok(Reply::err(error.0)));
                        end = true;
                    }
                }
            }
            self.ask(cx);
            while !self.tickets.is_empty() {
                let received = cx.recv().await;
                self.take(received);
            }
            for command in self.commands.drain(..) {
                command.unwrap_or_else(Waiting::reply).write(&mut output);
            }
            socket.write_all(&output).await?;
            output.clear();
            if end {
                return socket.shutdown().await;
            }
        }
    }

    /// Takes up a command; whether it is the last.
    fn begin(&mut self, cx: &Context<ToConnection>, command: Command) -> bool {
        self.shared.commands.fetch_add(1, Ordering::Relaxed);
        let all = |op: &Op| vec![op.clone(); self.shards.len()];
        match command {
            Command::Now(reply) => self.commands.push(Ok(reply)),
            Command::One(op) => self.wait(Fold::One, vec![op], false),
            Command::Sum(ops) => self.wait(Fold::Sum, ops, false),
            Command::Each(ops) => self.wait(Fold::Array, ops, false),
            Command::AllOk(ops) => self.wait(Fold::Ok, ops, false),
            Command::SumOfShards(op) => self.wait(Fold::Sum, all(&op), true),
            Command::AllOfShards(op) => self.wait(Fold::Concatenated, all(&op), true),
            Command::ShardsOk(op) => self.wait(Fold::Ok, all(&op), true),
            Command::Info => self.commands.push(Ok(Reply::text(self.shared.info()))),
            Command::ClientId => self.commands.push(Ok(Reply::Integer(self.id as i64))),
            Command::ClientList => self.ask_clients(cx, ToClients::List),
            Command::ClientKill(id) => self.ask_clients(cx, |from, ticket| ToClients::Kill(from, ticket, id)),
            Command::CrashShard(number) => {
                let sent = cx.send_name(&shard::name(number), ToShard::Crash);
                self.commands.push(Ok(sent.map_or_else(|_| Reply::err("no such shard"), |()| Reply::OK)));
            }
            Command::Quit => {
                self.commands.push(Ok(Reply::OK));
                return true;
            }
        }
        false
    }

    fn ticket(&mut self, place: usize, shard: Option<usize>) -> u64 {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, (self.commands.len(), place, shard));
        self.next_ticket
    }

    fn wait(&mut self, fold: Fold, ops: Vec<Op>, every_shard: bool) {
        let count = ops.len();
        for (place, op) in ops.into_iter().enumerate() {
            let shard = match command::key(&op) {
                Some(key) if !every_shard => self.shared.hasher.hash_one(key) as usize % self.shards.len(),
                _ => place,
            };
            let ticket = self.ticket(place, Some(shard));
            self.batches.entry(shard).or_default().push((ticket, op));
        }
        self.commands.push(Err(Waiting { fold, answers: vec![None; count], missing: count }));
    }

    fn ask_clients(
        &mut self,
        cx: &Context<ToConnection>,
        question: impl FnOnce(Address<ToConnection>, u64) -> ToClients,
    ) {
        let ticket = self.ticket(0, None);
        self.commands.push(Err(Waiting { fold: Fold::One, answers: vec![None], missing: 1 }));
        if cx.send_name(clients::NAME, question(cx.address(), ticket)).is_err() {
            self.answer(ticket, Reply::err("the list of clients is not there"));
        }
    }

    /// Sends each shard its ops.
    fn ask(&mut self, cx: &Context<ToConnection>) {
        for (number, ops) in std::mem::take(&mut self.batches) {
            if self.shards[number].is_none()
                && let Some(pid) = cx.whereis(&shard::name(number))
            {
                let monitor = cx.monitor(pid).expect("memory");
                self.shards[number] = Some(Known { pid, monitor });
            }
            let sent = self.shards[number]
                .as_ref()
                .is_some_and(|known| cx.send(known.pid, ToShard::Do { from: cx.address(), ops }).is_ok());
            if !sent {
                if let Some(known) = self.shards[number].take() {
                    cx.demonitor(known.monitor, true);
                }
                self.fail(number, "it is being started again");
            }
        }
    }

    /// What a shard was asked is not answered any more.
    fn fail(&mut self, number: usize, why: &str) {
        let of_it = self.tickets.iter().filter(|(_, (_, _, shard))| *shard == Some(number));
        let tickets: Vec<u64> = of_it.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            self.answer(ticket, Reply::err(format_args!("shard {number} died ({why}); its keys are lost")));
        }
    }

    fn answer(&mut self, ticket: u64, reply: Reply) {
        let Some((command, place, _)) = self.tickets.remove(&ticket) else { return };
        if let Some(Err(waiting)) = self.commands.get_mut(command) {
            waiting.answers[place] = Some(reply);
            waiting.missing -= 1;
        }
    }

    fn take(&mut self, received: Received<ToConnection>) {
        match received {
            Received::Message(ToConnection::Answers(answers)) => {
                for (ticket, reply) in answers {
                    self.answer(ticket, reply);
                }
            }
            Received::Down(down) => {
                let is_it = |known: &Option<Known>| known.as_ref().is_some_and(|known| known.monitor == down.reference);
                if let Some(number) = self.shards.iter().position(is_it) {
                    self.shards[number] = None;
                    self.fail(number, &down.reason.to_string());
                }
            }
            _ => {}
        }
    }
}
