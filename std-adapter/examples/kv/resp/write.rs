//! [`Reply`]: a reply to a client, and how it is written in RESP2 and RESP3.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The version of the protocol, chosen by `HELLO`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Version {
    /// The version with which every connection starts.
    #[default]
    Resp2,
    /// The version with maps, sets, texts with a format, and a single null.
    Resp3,
}

/// A reply to a client.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// A status.
    Simple(&'static str),
    /// An error, with its code.
    Error(String),
    /// A number.
    Integer(i64),
    /// A value.
    Bulk(Bytes),
    /// The null value.
    Nil,
    /// The null array: an `EXEC` that a `WATCH` has aborted.
    NilArray,
    /// An array of replies.
    Array(Vec<Reply>),
    /// An unordered set; in RESP2 an array.
    Set(Vec<Reply>),
    /// A map of pairs; in RESP2 an array of twice the length.
    Map(Vec<(Reply, Reply)>),
    /// A text for human readers; in RESP2 a value.
    Text(String),
}

/// A part of a reply that is written in one step.
enum Part<'a> {
    Whole(&'a Reply),
    Bytes(&'a Bytes),
}

impl Reply {
    /// The status `OK`.
    pub const OK: Self = Self::Simple("OK");

    /// Returns a short text as a value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bulk(Bytes::from(text.into()))
    }

    /// Returns an error with Redis's code `ERR`.
    pub fn err(text: impl std::fmt::Display) -> Self {
        Self::Error(format!("ERR {text}"))
    }

    /// Returns about how many bytes the reply takes when it is written.
    pub fn weight(&self) -> usize {
        16 + match self {
            Self::Simple(text) => text.len(),
            Self::Error(text) | Self::Text(text) => text.len(),
            Self::Bulk(value) => value.len(),
            Self::Integer(_) | Self::Nil | Self::NilArray => 0,
            Self::Array(items) | Self::Set(items) => items.iter().map(Self::weight).sum(),
            Self::Map(pairs) => pairs.iter().map(|(key, value)| key.weight() + value.weight()).sum(),
        }
    }

    /// Writes the reply into a buffer.
    pub fn write(&self, version: Version, out: &mut BytesMut) {
        let mut writer = Writer::new(self, version);
        while let Some(value) = writer.fill(out, usize::MAX) {
            out.put_slice(value);
            out.put_slice(b"\r\n");
        }
    }
}

/// A writer that writes a reply in pieces, so that a large one needs no buffer of its size.
pub struct Writer<'a> {
    version: Version,
    /// The remaining pieces, with the next one at the end.
    left: Vec<Part<'a>>,
}

/// The length from which a value is not copied into the buffer.
const LARGE: usize = 16 * 1024;

impl<'a> Writer<'a> {
    /// Returns a writer at the beginning of the reply.
    pub fn new(reply: &'a Reply, version: Version) -> Self {
        Self { version, left: vec![Part::Whole(reply)] }
    }

    /// Returns `true` if everything is written.
    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Writes until the buffer has `enough` bytes, until everything is written (`None`), or until a
    /// large value. The caller writes that value next, followed by an end of line.
    pub fn fill(&mut self, out: &mut BytesMut, enough: usize) -> Option<&'a Bytes> {
        while out.len() < enough
            && let Some(piece) = self.left.pop()
        {
            match piece {
                Part::Bytes(value) => return Some(value),
                Part::Whole(reply) => self.begin(reply, out),
            }
        }
        None
    }

    fn begin(&mut self, reply: &'a Reply, out: &mut BytesMut) {
        let is_three = self.version == Version::Resp3;
        match reply {
            Reply::Simple(text) => line(out, b'+', text.as_bytes()),
            Reply::Error(text) if text.contains(['\r', '\n']) => {
                line(out, b'-', text.replace(['\r', '\n'], " ").as_bytes());
            }
            Reply::Error(text) => line(out, b'-', text.as_bytes()),
            Reply::Integer(number) => line(out, b':', number.to_string().as_bytes()),
            Reply::Bulk(value) => {
                count(out, b'$', value.len());
                if value.len() >= LARGE {
                    self.left.push(Part::Bytes(value));
                } else {
                    out.put_slice(value);
                    out.put_slice(b"\r\n");
                }
            }
            Reply::Nil | Reply::NilArray if is_three => out.put_slice(b"_\r\n"),
            Reply::Nil => out.put_slice(b"$-1\r\n"),
            Reply::NilArray => out.put_slice(b"*-1\r\n"),
            Reply::Array(items) => self.begin_items(out, b'*', items),
            Reply::Set(items) => self.begin_items(out, if is_three { b'~' } else { b'*' }, items),
            Reply::Map(pairs) => {
                if is_three {
                    count(out, b'%', pairs.len());
                } else {
                    count(out, b'*', 2 * pairs.len());
                }
                let pieces = pairs.iter().rev().flat_map(|(key, value)| [Part::Whole(value), Part::Whole(key)]);
                self.left.extend(pieces);
            }
            Reply::Text(text) => {
                if is_three {
                    count(out, b'=', text.len() + 4);
                    out.put_slice(b"txt:");
                } else {
                    count(out, b'$', text.len());
                }
                out.put_slice(text.as_bytes());
                out.put_slice(b"\r\n");
            }
        }
    }

    fn begin_items(&mut self, out: &mut BytesMut, mark: u8, items: &'a [Reply]) {
        count(out, mark, items.len());
        self.left.extend(items.iter().rev().map(Part::Whole));
    }
}

fn line(out: &mut BytesMut, mark: u8, text: &[u8]) {
    out.put_u8(mark);
    out.put_slice(text);
    out.put_slice(b"\r\n");
}

fn count(out: &mut BytesMut, mark: u8, count: usize) {
    line(out, mark, count.to_string().as_bytes());
}
