//! [`Parser`]: takes requests from the front of a buffer, however they come.
//!
//! - **R1.** It goes on where it stopped: no byte is looked at twice, whatever the cuts. So a request costs time by its
//!   length, not by its length times its pieces.
//! - **R2.** It trusts no length: memory grows with what has come, at most doubling. What is claimed and does not come costs nothing.
//! - **R3.** Each argument has its own memory. A small value does not keep the buffer that it came in, nor the
//!   large value beside it.
//! - **R4.** What has come of an unfinished request is counted, with what its arguments take besides ([`OVERHEAD`]), and
//!   limited ([`Limits::query_buffer`]).

use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{inline, number};

/// The longest line: a length, or a request typed by hand.
const MAX_LINE: usize = 64 * 1024;
/// What an argument takes besides its bytes: its handle, and the least allocation.
const OVERHEAD: usize = 64;

/// How much of a request is taken, by the names of Redis's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `client-query-buffer-limit`: the most that is kept of an unfinished request.
    pub query_buffer: usize,
    /// `proto-max-bulk-len`: the longest argument.
    pub bulk: usize,
    /// The most arguments.
    pub arguments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { query_buffer: 1 << 30, bulk: 512 << 20, arguments: 1 << 20 }
    }
}

/// Why the connection is at an end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// The client does not speak RESP; the text is for it.
    Malformed(String),
    /// The request is larger than [`Limits::query_buffer`].
    TooMuch,
}

fn malformed(text: &str) -> ProtocolError {
    ProtocolError::Malformed(format!("Protocol error: {text}"))
}

/// A request: the command and its arguments.
pub type Request = Vec<Bytes>;

/// An argument that is coming.
#[derive(Debug)]
struct Coming {
    length: usize,
    bytes: Vec<u8>,
}

/// See the module.
#[derive(Default, Debug)]
pub struct Parser {
    limits: Limits,
    /// How much of the buffer has no line's end.
    searched: usize,
    arguments: Request,
    /// Arguments that have not begun to come; `None` between two requests.
    missing: Option<usize>,
    coming: Option<Coming>,
    /// What `arguments` take (R4).
    taken: usize,
}

impl Parser {
    /// A parser that keeps these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Changes the limits, from the next argument on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether a request has begun to come and has not ended.
    pub fn is_inside(&self) -> bool {
        self.missing.is_some()
    }

    /// Takes the next request, if all of it has come. An empty one is to be skipped.
    ///
    /// # Errors
    /// The connection is at an end: the parser must not be asked again.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        if self.missing.is_none() {
            let too_long =
                if buffer.first() == Some(&b'*') { "too big mbulk count string" } else { "too big inline request" };
            let Some(line) = self.line(buffer, too_long)? else { return Ok(None) };
            let Some(count) = line.strip_prefix(b"*") else {
                let words = inline::words(&line).ok_or_else(|| malformed("unbalanced quotes in request"))?;
                return Ok(Some(words));
            };
            let count = number::integer(count).filter(|count| *count <= self.limits.arguments as i64);
            let count = count.ok_or_else(|| malformed("invalid multibulk length"))?;
            self.missing = Some(usize::try_from(count).unwrap_or(0));
        }
        while let Some(missing) = self.missing.filter(|missing| *missing > 0) {
            let mut coming = match self.coming.take() {
                Some(coming) => coming,
                None => match self.header(buffer)? {
                    Some(length) => Coming { length, bytes: Vec::new() },
                    None => return Ok(None),
                },
            };
            let is_whole = coming.take(buffer)?;
            if self.taken + coming.bytes.len() > self.limits.query_buffer {
                return Err(ProtocolError::TooMuch);
            }
            if !is_whole {
                self.coming = Some(coming);
                return Ok(None);
            }
            self.taken += coming.bytes.len() + OVERHEAD;
            self.arguments.push(Bytes::from(coming.bytes));
            self.missing = Some(missing - 1);
        }
        (self.missing, self.taken) = (None, 0);
        Ok(Some(mem::take(&mut self.arguments)))
    }

    /// The length of the next argument.
    fn header(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, ProtocolError> {
        match buffer.first() {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(malformed(&format!("expected '$', got '{}'", char::from(*other)))),
        }
        let Some(line) = self.line(buffer, "too big bulk count string")? else { return Ok(None) };
        let length = number::integer(&line[1..]).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= self.limits.bulk);
        length.map(Some).ok_or_else(|| malformed("invalid bulk length"))
    }

    /// Takes a line without its end. One that is too long is an error whether its end has come or not: what is parsed does
    /// not depend on how it came.
    fn line(&mut self, buffer: &mut BytesMut, too_long: &str) -> Result<Option<Vec<u8>>, ProtocolError> {
        let end = buffer[self.searched..].iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
        match end {
            Some(end) if end <= MAX_LINE => {
                self.searched = 0;
                let line = &buffer[..end];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                buffer.advance(end + 1);
                Ok(Some(line))
            }
            None if buffer.len() <= MAX_LINE => {
                self.searched = buffer.len();
                Ok(None)
            }
            _ => Err(malformed(too_long)),
        }
    }
}

impl Coming {
    /// Takes what has come; whether that is all, with the line's end behind it.
    fn take(&mut self, buffer: &mut BytesMut) -> Result<bool, ProtocolError> {
        let missing = self.length - self.bytes.len();
        let here = missing.min(buffer.len());
        if self.bytes.capacity() - self.bytes.len() < here {
            // At most double, and never beyond the length: what is whole has no room left over.
            self.bytes.reserve_exact(missing.min(here.max(self.bytes.len())));
        }
        self.bytes.extend_from_slice(&buffer[..here]);
        buffer.advance(here);
        if here < missing {
            return Ok(false);
        }
        match &buffer[..buffer.len().min(2)] {
            b"\r\n" => {
                buffer.advance(2);
                Ok(true)
            }
            b"" | b"\r" => Ok(false),
            _ => Err(malformed("expected the end of a bulk")),
        }
    }
}
