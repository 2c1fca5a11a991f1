//! A connection: a process that reads requests, asks the shards, and writes replies in order.
//!
//! It takes what requests have come, up to [`MOST`] of them, asks the shards (`batch`), waits until all are answered, and writes all
//! replies. A command that is not for keys waits until those before it are answered (`other`), so commands take effect in
//! their order. It monitors the shards that it asks; when one dies, what it was asked is answered with an error, and the connection
//! goes on.
//!
//! What one client sends costs the other clients their turns and nothing else:
//!
//! - **C1.** Nothing more is read until the replies to what was read are written. A client that does not read its replies
//!   is not read either.
//! - **C2.** Replies share their values with the shards, and are written in pieces of [`PIECE`] bytes: what a client asks for again and
//!   again is there once.
//! - **C3.** Between two batches the process has the buffers that it needs for what has come of a request, and no others.
//! - **C4.** After each batch and each piece the process yields. It can be killed there and wherever it waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atropos::prelude::*;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::batch::Batch;
use super::clients::{self, ToClients};
use super::command::{self, Command, Other};
use super::resp::write::Writer;
use super::resp::{Parser, ProtocolError, Reply, Request, Version};
use super::server::{Admission, Shared};
use super::session::Session;
use super::shard::{self, ToShard};
use super::store::Answer;

/// The most requests of one batch.
const MOST: usize = 256;
/// How much is read, and about how much is written, at a time.
const PIECE: usize = 16 * 1024;
/// How long, and for how much, a client that is sent away is listened to, so that it reads what it was told.
const LINGER: (Duration, usize) = (Duration::from_millis(200), 1 << 20);

/// What a connection is sent.
pub enum ToConnection {
    /// Answers to what it has asked, by ticket.
    Answers(Vec<(u64, Answer)>),
}

/// What is known of a shard that has been asked.
struct Known {
    pid: Pid,
    monitor: Reference,
}

/// Whether there is another request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// There may be.
    Goes,
    /// The connection is at an end.
    Ends,
}

/// See the module.
pub struct Connection {
    /// What it remembers.
    pub session: Session,
    /// What all share.
    pub shared: Arc<Shared>,
    /// What is in its hands.
    pub batch: Batch,
    shards: Vec<Option<Known>>,
    /// Versions of the protocol, each from this reply of the batch on.
    versions: Vec<(usize, Version)>,
}

/// Serves a client until it leaves.
pub async fn serve(mut cx: Context<ToConnection>, mut socket: TcpStream, id: u64, admission: Admission) {
    let shared = admission.shared().clone();
    if let (Ok(peer), Ok(local)) = (socket.peer_addr(), socket.local_addr()) {
        let _ = cx.send_name(clients::NAME, ToClients::Enter { id, peer, local, pid: cx.pid() });
    }
    let count = shared.shards.len();
    let shards = (0..count).map(|_| None).collect();
    let (session, batch) = (Session::new(id), Batch::new(count, 0));
    let versions = vec![(0, Version::default())];
    let mut connection = Connection { session, shared, batch, shards, versions };
    // A client that goes away is nobody's failure: the socket's errors end the process as its end does.
    let _ = connection.run(&mut cx, &mut socket).await;
}

impl Connection {
    async fn run(&mut self, cx: &mut Context<ToConnection>, socket: &mut TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let (mut parser, mut input) = (Parser::default(), BytesMut::new());
        loop {
            // Waits without a buffer (C3).
            tokio::select! {
                ready = socket.readable() => ready?,
                received = cx.recv() => {
                    self.take(cx, received);
                    continue;
                }
            }
            input.reserve(PIECE);
            match socket.try_read_buf(&mut input) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            parser.set_limits(self.shared.config.limits());
            loop {
                let then = self.take_up(cx, &mut parser, &mut input).await;
                let is_last = self.batch.len() < MOST;
                self.settle(cx).await;
                self.write(cx, socket).await?;
                if then == Then::Ends {
                    return say_goodbye(socket).await;
                }
                cx.yield_now().await;
                if is_last {
                    break;
                }
            }
            if input.is_empty() {
                input = BytesMut::new();
            }
        }
    }

    /// Takes up the requests that have come.
    async fn take_up(&mut self, cx: &mut Context<ToConnection>, parser: &mut Parser, input: &mut BytesMut) -> Then {
        while self.batch.len() < MOST {
            let then = match parser.next(input) {
                Ok(None) => break,
                Ok(Some(request)) if request.is_empty() => Then::Goes,
                Ok(Some(request)) => self.begin(cx, request).await,
                Err(ProtocolError::Malformed(text)) => {
                    self.batch.push(Reply::err(text));
                    Then::Ends
                }
                Err(ProtocolError::TooMuch) => self.send_away("its request is larger than client-query-buffer-limit"),
            };
            if then == Then::Ends {
                return then;
            }
        }
        Then::Goes
    }

    /// Takes up a request.
    async fn begin(&mut self, cx: &mut Context<ToConnection>, request: Request) -> Then {
        // Relaxed: statistics.
        self.shared.commands.fetch_add(1, Ordering::Relaxed);
        let bytes = request.iter().map(Bytes::len).sum();
        let command = command::read(request, self.shared.clock.now());
        if let Some(transaction) = &mut self.session.transaction {
            match command {
                Ok(Command::Other(
                    Other::Multi
                    | Other::Exec
                    | Other::Discard
                    | Other::Watch(_)
                    | Other::Reset
                    | Other::Quit
                    | Other::Attack,
                )) => {}
                Ok(command) => {
                    transaction.queue(command, bytes);
                    if transaction.weight > self.shared.config.query_buffer.load(Ordering::Relaxed) {
                        return self.send_away("its transaction is larger than client-query-buffer-limit");
                    }
                    self.batch.push(Reply::Simple("QUEUED"));
                    return Then::Goes;
                }
                Err(_) => transaction.is_spoilt = true,
            }
        }
        match command {
            Ok(Command::Now(reply)) | Err(reply) => self.batch.push(reply),
            Ok(Command::Keyed(keyed)) => {
                let shared = self.shared.clone();
                self.batch.add(keyed, |key| shared.shard_of(key));
            }
            Ok(Command::Other(other)) => {
                self.settle(cx).await;
                return self.perform(cx, other).await;
            }
        }
        Then::Goes
    }

    /// The client is told nothing; the log is.
    pub fn send_away(&mut self, why: &str) -> Then {
        self.shared.log_of_client(format!("client {} is sent away: {why}", self.session.id));
        Then::Ends
    }

    /// Asks the shards what there is to be asked, until all is answered.
    pub async fn settle(&mut self, cx: &mut Context<ToConnection>) {
        let asked: Vec<usize> = self.batch.asked().collect();
        for shard in asked {
            self.ask(cx, shard);
        }
        self.await_answers(cx).await;
    }

    /// Waits until all that was asked is answered.
    pub async fn await_answers(&mut self, cx: &mut Context<ToConnection>) {
        while !self.batch.is_settled() {
            let received = cx.recv().await;
            self.take(cx, received);
        }
    }

    fn ask(&mut self, cx: &Context<ToConnection>, shard: usize) {
        let ops = self.batch.next_ops(shard);
        if !ops.is_empty() {
            self.send(cx, shard, ToShard::Do { from: cx.address(), ops });
        }
    }

    /// Sends a shard what has tickets; if it is not there they are answered with an error.
    pub fn send(&mut self, cx: &Context<ToConnection>, shard: usize, message: ToShard) {
        if self.shards[shard].is_none()
            && let Some(pid) = cx.whereis(&shard::name(shard))
            && let Ok(monitor) = cx.monitor(pid)
        {
            self.shards[shard] = Some(Known { pid, monitor });
        }
        let is_sent = self.shards[shard].as_ref().is_some_and(|known| cx.send(known.pid, message).is_ok());
        if !is_sent {
            if let Some(known) = self.shards[shard].take() {
                cx.demonitor(known.monitor, true);
            }
            self.fail(shard, "it is being started again");
        }
    }

    fn fail(&mut self, shard: usize, why: &str) {
        self.batch.fail(shard, &format!("shard {shard} died ({why}); its keys are lost"));
    }

    /// The client has chosen a version: from the next reply on.
    pub fn speak(&mut self, version: Version) {
        self.versions.push((self.batch.len(), version));
    }

    /// Takes what has come.
    pub fn take(&mut self, cx: &Context<ToConnection>, received: Received<ToConnection>) {
        match received {
            Received::Message(ToConnection::Answers(answers)) => {
                let mut from = None;
                for (ticket, answer) in answers {
                    from = self.batch.answer(ticket, answer).or(from);
                }
                if let Some(shard) = from.filter(|shard| *shard < self.shards.len()) {
                    self.ask(cx, shard);
                }
            }
            Received::Down(down) => {
                let is_it = |known: &Option<Known>| known.as_ref().is_some_and(|known| known.monitor == down.reference);
                if let Some(shard) = self.shards.iter().position(is_it) {
                    self.shards[shard] = None;
                    self.fail(shard, &down.reason.to_string());
                }
            }
            _ => {}
        }
    }

    /// Writes the replies of the batch, which is empty then.
    async fn write(&mut self, cx: &Context<ToConnection>, socket: &mut TcpStream) -> std::io::Result<()> {
        if self.batch.len() == 0 {
            return Ok(());
        }
        let next = Batch::new(self.shards.len(), self.batch.next_ticket());
        let replies = std::mem::replace(&mut self.batch, next).take_replies(0);
        let limit = self.shared.config.output_buffer.load(Ordering::Relaxed);
        if limit > 0 && replies.iter().map(Reply::weight).sum::<usize>() > limit {
            self.send_away("its replies are larger than client-output-buffer-limit");
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        let mut versions =
            std::mem::replace(&mut self.versions, vec![(0, self.session.version)]).into_iter().peekable();
        let (mut version, mut output) = (self.session.version, BytesMut::new());
        for (at, reply) in replies.into_iter().enumerate() {
            while let Some((_, chosen)) = versions.next_if(|(from, _)| *from <= at) {
                version = chosen;
            }
            let mut writer = Writer::new(&reply, version);
            while !writer.is_done() {
                let large = writer.fill(&mut output, PIECE);
                if large.is_none() && output.len() < PIECE {
                    continue;
                }
                flush(socket, &mut output).await?;
                if let Some(value) = large {
                    socket.write_all(value).await?;
                    output.extend_from_slice(b"\r\n");
                }
                cx.yield_now().await;
            }
        }
        flush(socket, &mut output).await
    }
}

async fn flush(socket: &mut TcpStream, output: &mut BytesMut) -> std::io::Result<()> {
    socket.write_all(output).await?;
    output.clear();
    Ok(())
}

/// Ends a connection so that the client reads what it was told: a socket that is closed with something unread in it throws
/// away what it has sent.
async fn say_goodbye(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.shutdown().await?;
    let (patience, most) = LINGER;
    let listen = async {
        let (mut unread, mut heard) = (vec![0; PIECE], 0);
        while heard < most {
            match socket.read(&mut unread).await? {
                0 => break,
                read => heard += read,
            }
        }
        Ok(())
    };
    tokio::time::timeout(patience, listen).await.unwrap_or(Ok(()))
}
