//! RESP2, the protocol that Redis speaks: requests are parsed, replies are written.
//!
//! The parser takes whole requests from the front of a buffer and leaves what is incomplete. It
//! trusts no length: nothing is reserved for what has not come.

use bytes::{Buf as _, Bytes, BytesMut};

/// The most arguments of a request.
const MAX_ARGUMENTS: usize = 1024 * 1024;
/// The longest argument, as in Redis.
const MAX_BULK: usize = 512 * 1024 * 1024;
/// The longest line: a length, or a request typed by hand.
const MAX_LINE: usize = 64 * 1024;

/// The client does not speak RESP; the text is for it, and the connection is at an end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProtocolError(pub &'static str);

/// A request: the command and its arguments.
pub type Request = Vec<Bytes>;

/// A line from `at` on, without its end, and where the next begins. One that is too long is an error whether its end
/// has come or not: what is parsed does not depend on how it came.
fn line(buffer: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    match buffer[at..].iter().position(|byte| *byte == b'\n') {
        Some(end) if end <= MAX_LINE => {
            let line = &buffer[at..at + end];
            Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), at + end + 1)))
        }
        None if buffer.len() - at <= MAX_LINE => Ok(None),
        _ => Err(ProtocolError("Protocol error: too big inline request")),
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Takes the next request, if all of it has come. An empty one is to be skipped.
pub fn parse(buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
    let Some((first, mut at)) = line(buffer, 0)? else { return Ok(None) };
    if first.first() != Some(&b'*') {
        let words = first.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let request = words.map(Bytes::copy_from_slice).collect();
        buffer.advance(at);
        return Ok(Some(request));
    }
    let count = number(&first[1..]).filter(|count| *count <= MAX_ARGUMENTS as i64);
    let count = count.ok_or(ProtocolError("Protocol error: invalid multibulk length"))?;
    let mut places = Vec::new();
    for _ in 0..count {
        let Some((header, start)) = line(buffer, at)? else { return Ok(None) };
        if header.first() != Some(&b'$') {
            return Err(ProtocolError("Protocol error: expected '$'"));
        }
        let len = number(&header[1..]).and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= MAX_BULK);
        let len = len.ok_or(ProtocolError("Protocol error: invalid bulk length"))?;
        let end = start + len;
        if buffer.len() < end + 2 {
            return Ok(None);
        }
        if &buffer[end..end + 2] != b"\r\n" {
            return Err(ProtocolError("Protocol error: expected the end of a bulk"));
        }
        places.push(start..end);
        at = end + 2;
    }
    let whole = buffer.split_to(at).freeze();
    Ok(Some(places.into_iter().map(|place| whole.slice(place)).collect()))
}

/// A reply.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// A status.
    Simple(&'static str),
    /// An error, with its code.
    Error(String),
    /// A number.
    Integer(i64),
    /// A value, or none.
    Bulk(Option<Bytes>),
    /// Several.
    Array(Vec<Reply>),
}

impl Reply {
    /// `OK`.
    pub const OK: Self = Self::Simple("OK");
    /// Nothing.
    pub const NIL: Self = Self::Bulk(None);

    /// A text as a value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bulk(Some(Bytes::from(text.into())))
    }

    /// An error that Redis marks `ERR`.
    pub fn err(text: impl std::fmt::Display) -> Self {
        Self::Error(format!("ERR {text}"))
    }

    /// Writes it.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Simple(text) => put(out, b'+', text.as_bytes()),
            Self::Error(text) => put(out, b'-', text.replace(['\r', '\n'], " ").as_bytes()),
            Self::Integer(number) => put(out, b':', number.to_string().as_bytes()),
            Self::Bulk(None) => out.extend_from_slice(b"$-1\r\n"),
            Self::Bulk(Some(value)) => {
                put(out, b'$', value.len().to_string().as_bytes());
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
            Self::Array(items) => {
                put(out, b'*', items.len().to_string().as_bytes());
                for item in items {
                    item.write(out);
                }
            }
        }
    }
}

fn put(out: &mut BytesMut, mark: u8, text: &[u8]) {
    out.extend_from_slice(&[mark]);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}
