//! [`Parser`]: takes requests from the front of a buffer, however the input is split.
//!
//! - **R1.** It resumes where it stopped: no byte is examined twice, however the input is split. So
//!   a request costs time in proportion to its length, not to its length times the number of
//!   pieces.
//! - **R2.** It trusts no length: memory grows with the input that has arrived, and at most
//!   doubles. A length that is announced and does not arrive costs nothing.
//! - **R3.** Each argument has its own memory. A small value keeps neither the input buffer alive
//!   nor the large value beside it.
//! - **R4.** The size of an unfinished request, including the overhead of its arguments
//!   ([`OVERHEAD`]), is counted, and limited ([`Limits::query_buffer`]).

use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{inline, number};

/// The longest line: a length, or an inline request.
const MAX_LINE: usize = 64 * 1024;
/// The memory of an argument besides its bytes: its handle, and the smallest allocation.
pub const OVERHEAD: usize = 64;

/// The limits on a request, under the names of Redis's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `client-query-buffer-limit`: the largest unfinished request.
    pub query_buffer: usize,
    /// `proto-max-bulk-len`: the longest argument.
    pub bulk: usize,
    /// The largest number of arguments.
    pub arguments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { query_buffer: 1 << 30, bulk: 512 << 20, arguments: 1 << 20 }
    }
}

/// Error that ends the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// The input is not RESP; the text is for the client.
    Malformed(String),
    /// The request is larger than [`Limits::query_buffer`].
    TooMuch,
}

fn malformed(text: &str) -> ProtocolError {
    ProtocolError::Malformed(format!("Protocol error: {text}"))
}

/// A request: the command and its arguments.
pub type Request = Vec<Bytes>;

/// An argument that has arrived in part.
#[derive(Debug)]
struct Coming {
    length: usize,
    bytes: Vec<u8>,
}

/// A parser of requests (R1 to R4).
#[derive(Default, Debug)]
pub struct Parser {
    limits: Limits,
    /// The length of the buffer's prefix that contains no end of line.
    searched: usize,
    arguments: Request,
    /// The number of arguments that have not started to arrive; `None` between two requests.
    missing: Option<usize>,
    coming: Option<Coming>,
    /// The memory of `arguments` (R4).
    taken: usize,
}

impl Parser {
    /// Returns a parser with these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Changes the limits, from the next argument on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Returns `true` if a request has arrived in part.
    pub fn is_inside(&self) -> bool {
        self.missing.is_some()
    }

    /// Takes the next request, if all of it has arrived. The caller skips an empty one.
    ///
    /// # Errors
    /// The connection must end: the parser must not be called again.
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

    /// Parses the length of the next argument.
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

    /// Takes a line without its end. A line that is too long is an error whether its end has
    /// arrived or not, so that the result does not depend on how the input is split.
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
    /// Takes the input that has arrived. Returns `true` if the argument and the end of its line are
    /// complete.
    fn take(&mut self, buffer: &mut BytesMut) -> Result<bool, ProtocolError> {
        let missing = self.length - self.bytes.len();
        let here = missing.min(buffer.len());
        if self.bytes.capacity() - self.bytes.len() < here {
            // At most double, and never beyond the length, so that a complete argument has no spare
            // capacity.
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
