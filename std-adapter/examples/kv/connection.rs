//! A connection: a process that reads requests, queries the shards, and writes replies in order.
//!
//! It reads the requests that have arrived, up to [`MOST`] of them or until the replies weigh
//! [`HEAVY`], and queries the shards (`batch`). It waits for all answers, then writes all replies.
//! A command that is not for keys waits until the earlier commands are answered (`other`), so
//! commands take effect in order. The connection monitors the shards that it queries. When one
//! dies, the pending requests to it are answered with an error, and the connection goes on.
//!
//! A client's requests take time from other clients, and cost them nothing else:
//!
//! - **C1, back-pressure.** Nothing more is read until the replies to earlier requests are written.
//!   So the server does not read from a client that does not read its replies.
//! - **C2.** Replies share their values with the shards, and are written in pieces of [`PIECE`]
//!   bytes: a value that a client requests many times is in memory once.
//! - **C3.** Between two batches the process has the buffers for the unfinished request, and no
//!   others.
//! - **C4.** The process yields after each batch and each piece. It can be killed there, and
//!   wherever it waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atropos::prelude::*;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::batch::Batch;
use super::clients::{self, ToClients};
use super::command::{self, Command, Other};
use super::resp::write::Writer;
use super::resp::{OVERHEAD, Parser, ProtocolError, Reply, Request, Version};
use super::server::{Admission, Shared};
use super::session::Session;
use super::shard::{self, ToShard};
use super::store::Answer;

/// The largest number of requests in one batch.
const MOST: usize = 256;
/// A batch ends when its replies weigh this much, in bytes: only then may memory grow further. The
/// values that shards share do not count, since their answers come when the batch has ended.
const HEAVY: usize = 1 << 20;
/// The size of one read, and about the size of one write, in bytes.
const PIECE: usize = 16 * 1024;
/// How long, and up to how many bytes, the server reads from a client that it disconnects, so that
/// the client receives the last reply.
const LINGER: (Duration, usize) = (Duration::from_millis(200), 1 << 20);

/// A message to a connection.
pub enum ToConnection {
    /// Answers to its requests, by ticket.
    Answers(Vec<(u64, Answer)>),
}

/// A shard that has been queried.
struct Known {
    pid: Pid,
    monitor: Reference,
}

/// The next step of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// The connection continues.
    Goes,
    /// The connection continues, and more requests may have arrived than the batch has.
    Pauses,
    /// The connection ends.
    Ends,
}

/// A connection's process state.
pub struct Connection {
    /// The state between two requests.
    pub session: Session,
    /// The state that all processes share.
    pub shared: Arc<Shared>,
    /// The commands that it is working on.
    pub batch: Batch,
    shards: Vec<Option<Known>>,
    /// Protocol versions, each valid from this reply of the batch on.
    versions: Vec<(usize, Version)>,
}

/// Serves a client until it disconnects.
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
    // A client that disconnects is not a failure: an error of the socket ends the process like its
    // end of file.
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
                self.settle(cx).await;
                self.write(cx, socket).await?;
                if then == Then::Ends {
                    return say_goodbye(socket).await;
                }
                cx.yield_now().await;
                if then == Then::Goes {
                    break;
                }
            }
            if input.is_empty() {
                input = BytesMut::new();
            }
        }
    }

    /// Starts the requests that have arrived.
    async fn take_up(&mut self, cx: &mut Context<ToConnection>, parser: &mut Parser, input: &mut BytesMut) -> Then {
        while self.batch.len() < MOST && self.batch.weight() < HEAVY {
            let then = match parser.next(input) {
                Ok(None) => return Then::Goes,
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
        Then::Pauses
    }

    /// Starts a request.
    async fn begin(&mut self, cx: &mut Context<ToConnection>, request: Request) -> Then {
        // Relaxed: a statistics counter.
        self.shared.commands.fetch_add(1, Ordering::Relaxed);
        let bytes: usize = request.iter().map(|argument| argument.len() + OVERHEAD).sum();
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

    /// Disconnects the client; only the log gets the reason.
    pub fn send_away(&mut self, why: &str) -> Then {
        self.shared.log_of_client(format!("client {} is sent away: {why}", self.session.id));
        Then::Ends
    }

    /// Sends the queued ops to the shards, and waits for all answers.
    pub async fn settle(&mut self, cx: &mut Context<ToConnection>) {
        let asked: Vec<usize> = self.batch.asked().collect();
        for shard in asked {
            self.ask(cx, shard);
        }
        self.await_answers(cx).await;
    }

    /// Waits until every request to a shard is answered.
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

    /// Sends a message with tickets to a shard. If the shard is not running, the tickets are
    /// answered with an error.
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

    /// Sets the protocol version that the client has chosen, from the next reply on.
    pub fn speak(&mut self, version: Version) {
        self.versions.push((self.batch.len(), version));
    }

    /// Handles a received signal.
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

    /// Returns `true` if the replies of the batch are beyond the output buffer's limit.
    pub fn is_too_much(&self) -> bool {
        let limit = self.shared.config.output_buffer.load(Ordering::Relaxed);
        limit > 0 && self.batch.weight() > limit
    }

    /// Writes the replies of the batch, and empties it.
    async fn write(&mut self, cx: &Context<ToConnection>, socket: &mut TcpStream) -> std::io::Result<()> {
        if self.batch.len() == 0 {
            return Ok(());
        }
        let is_too_much = self.is_too_much();
        let next = Batch::new(self.shards.len(), self.batch.next_ticket());
        let replies = std::mem::replace(&mut self.batch, next).take_replies(0);
        if is_too_much {
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

/// Ends a connection so that the client receives the last reply: closing a socket with unread input
/// discards its unsent output.
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
