//! A connection that is up: what is read is dispatched, what waits is written.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::node::connection::{Connection, Ending};
use crate::node::dispatch::dispatch;
use crate::node::inner::Node;
use crate::node::queue::Next;
use crate::term::Term;
use crate::wire::{Encoded, Event, Flags, Parts, Receiver, write_tick};

/// How many bytes of small messages are written at once, about.
const BATCH: usize = 64 * 1024;
/// How many messages are taken from a queue under one lock.
const TAKEN: usize = 256;

/// The half of a socket that is read from, and what came behind the handshake.
pub(super) struct Receiving<R> {
    pub(super) reader: R,
    pub(super) input: BytesMut,
}

/// The half of a socket that is written to, and what is left of the handshake.
pub(super) struct Sending<W> {
    pub(super) writer: W,
    pub(super) output: BytesMut,
}

/// Runs a connection until its end.
pub(super) async fn run<R, W>(
    node: &Node,
    connection: Arc<Connection>,
    agreed: Flags,
    from: Receiving<R>,
    to: Sending<W>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let receiver = Receiver::new(agreed, node.0.options.limits, from.input);
    let ending = tokio::select! {
        ending = read_all(node, &connection, from.reader, receiver) => ending,
        ending = write_all(node, &connection, to, agreed) => ending,
        () = connection.ended() => connection.why().unwrap_or_else(|| closed("closed")),
    };
    let ending = connection.why().unwrap_or(ending);
    node.log(connection.node.as_str(), "a connection has ended", &ending.text);
    node.lose(&connection, ending.reason);
}

fn closed(text: impl Into<String>) -> Ending {
    Ending { text: text.into(), reason: Term::atom("connection_closed") }
}

async fn read_all<R: AsyncRead + Unpin>(
    node: &Node,
    connection: &Connection,
    mut reader: R,
    mut receiver: Receiver,
) -> Ending {
    loop {
        loop {
            match receiver.next() {
                Ok(Some(Event::Message(received))) => {
                    match connection.receive(|| dispatch(node, connection, &received)) {
                        Some(Ok(())) if !connection.is_ending() => {}
                        Some(Err(error)) => return closed(error.to_string()),
                        _ => return closed("closed"),
                    }
                }
                Ok(Some(Event::Tick | Event::Part)) => {}
                Ok(None) => break,
                Err(error) => return closed(error.to_string()),
            }
        }
        match timeout(node.0.options.tick_time, reader.read_buf(receiver.space())).await {
            Ok(Ok(0)) => return closed("the peer has closed it"),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return closed(error.to_string()),
            Err(_) => {
                let text = "nothing has come from the peer for too long".to_owned();
                return Ending { text, reason: Term::atom("net_tick_timeout") };
            }
        }
    }
}

/// A large message on its way.
struct Stream {
    sender: u64,
    parts: Parts,
    /// What the queue still counts for it, in bytes.
    counted: usize,
}

async fn write_all<W: AsyncWrite + Unpin>(
    node: &Node,
    connection: &Connection,
    to: Sending<W>,
    agreed: Flags,
) -> Ending {
    let Sending { mut writer, output: mut buffer } = to;
    let mut streams: VecDeque<Stream> = VecDeque::new();
    let mut sequence = 0;
    let mut taken = Vec::new();
    loop {
        let mut written = 0;
        let mut rest = Bytes::new();
        while buffer.len() < BATCH {
            {
                let mut queue = connection.queue();
                taken.extend(std::iter::from_fn(|| queue.pop()).take(TAKEN));
            }
            if taken.is_empty() {
                break;
            }
            for next in taken.drain(..) {
                let (waiting, is_stream) = match next {
                    Next::Small(waiting) => (waiting, false),
                    Next::Stream(waiting) => (waiting, true),
                };
                match waiting.message.encode(node, agreed, &mut buffer) {
                    Ok(Encoded::Large(large)) if is_stream => {
                        sequence += 1;
                        let parts = large.parts(sequence);
                        streams.push_back(Stream { sender: waiting.sender, parts, counted: waiting.size });
                        continue;
                    }
                    // Larger than it seemed: it goes out as a whole, in its place.
                    Ok(Encoded::Large(large)) => {
                        sequence += 1;
                        let mut parts = large.parts(sequence);
                        while let Some(part) = parts.next_frame(&mut buffer) {
                            buffer.extend_from_slice(&part);
                        }
                    }
                    // A message that the peer does not know is dropped.
                    Ok(Encoded::Whole) | Err(_) => {}
                }
                written += waiting.size;
                if is_stream {
                    connection.queue().stream_ended(waiting.sender);
                }
            }
        }
        if let Some(mut stream) = streams.pop_front() {
            match stream.parts.next_frame(&mut buffer) {
                Some(part) => {
                    let counted = part.len().min(stream.counted);
                    stream.counted -= counted;
                    written += counted;
                    rest = part;
                    streams.push_back(stream);
                }
                None => {
                    written += stream.counted;
                    connection.queue().stream_ended(stream.sender);
                }
            }
        }
        if buffer.is_empty() && streams.is_empty() && written == 0 {
            // What this node sends is a sign of life; without it, a tick is.
            if timeout(node.0.options.tick_time / 4, connection.work.notified()).await.is_err() {
                write_tick(&mut buffer);
            } else {
                continue;
            }
        }
        let result = async {
            let mut both = (&mut buffer).chain(&mut rest);
            while both.has_remaining() {
                writer.write_buf(&mut both).await?;
            }
            writer.flush().await
        };
        if let Err(error) = result.await {
            return closed(error.to_string());
        }
        buffer.clear();
        if written > 0 {
            connection.written(written);
        }
    }
}
