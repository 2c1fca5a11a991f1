//! Bytes to terms: scanned once, and brought into canonical form if they do not have it.

use core::fmt;

use bytes::Bytes;

use super::rewrite::rewrite;
use super::scan::{Scanned, Scanner};
use super::sort::sort;
use super::{Term, tag};

/// The limits on what is decoded. Memory is taken for bytes that are there, whatever the limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How deep a term may be nested: the number of tuples, lists, maps and closures around a term.
    /// The tail of a list does not count.
    pub depth: usize,
}

impl Default for Limits {
    /// A million levels.
    fn default() -> Self {
        Self { depth: 1_000_000 }
    }
}

/// The error for bytes that are no term, or exceed a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// The place of the error, in bytes from the beginning.
    pub at: usize,
}

/// The kinds of [`DecodeError`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The first byte of an external term is not 131.
    Version(u8),
    /// No term begins with this byte.
    Tag(u8),
    /// The bytes end inside of the term.
    TooShort,
    /// Bytes follow the term, or there are 4 GiB of bytes or more.
    TooLong,
    /// A float that is a NaN or infinite, or text that is no float.
    Float,
    /// An atom of more than 255 characters.
    AtomTooLong,
    /// An atom whose bytes are not UTF-8.
    Utf8,
    /// A map that has a key twice.
    DuplicateKey,
    /// A bit string whose last byte has none or more than eight bits.
    Bits,
    /// A pid, port, reference or fun with something else where its atom, integer or pid belongs.
    Identifier,
    /// A reference of no word, or of more than five words.
    ReferenceWords,
    /// A term that is nested too deep.
    TooDeep,
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "the version is {version}, not {}", tag::VERSION),
            Self::Tag(tag) => write!(f, "no term has the tag {tag}"),
            Self::TooShort => f.write_str("the term is cut short"),
            Self::TooLong => f.write_str("there are bytes behind the term"),
            Self::Float => f.write_str("a float is not a finite number"),
            Self::AtomTooLong => f.write_str("an atom has more than 255 characters"),
            Self::Utf8 => f.write_str("an atom is not UTF-8"),
            Self::DuplicateKey => f.write_str("a map has a key twice"),
            Self::Bits => f.write_str("a bit string's last byte has none or more than eight bits"),
            Self::Identifier => f.write_str("an identifier or fun has parts of the wrong kind"),
            Self::ReferenceWords => f.write_str("a reference has none or more than five words"),
            Self::TooDeep => f.write_str("the term is nested too deep"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.kind, self.at)
    }
}

impl core::error::Error for DecodeError {}

/// Decodes terms one after the other, and keeps the memory that it needs for nested ones.
#[derive(Debug)]
pub(crate) struct Decoder {
    scanner: Scanner,
}

impl Decoder {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { scanner: Scanner::new(limits) }
    }

    /// Decodes the term that `bytes` begin with, and removes it from them.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if there is none, or if it exceeds a limit. `bytes` are left as they were.
    pub(crate) fn first(&mut self, bytes: &mut Bytes) -> Result<Term, DecodeError> {
        let scanned = self.scanner.scan(bytes)?;
        let term = term(bytes, &scanned)?;
        bytes::Buf::advance(bytes, scanned.length);
        Ok(term)
    }

    /// Decodes the term that takes all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if there is none, if it exceeds a limit, or if bytes follow.
    pub(crate) fn whole(&mut self, bytes: &Bytes) -> Result<Term, DecodeError> {
        let scanned = self.scanner.scan(bytes)?;
        if scanned.length < bytes.len() {
            return Err(DecodeError { kind: DecodeErrorKind::TooLong, at: scanned.length });
        }
        term(bytes, &scanned)
    }
}

/// Returns the scanned term in canonical form.
fn term(bytes: &Bytes, scanned: &Scanned) -> Result<Term, DecodeError> {
    let is_plain = scanned.is_plain;
    if scanned.is_canonical && scanned.is_ordered {
        return Ok(Term::share(bytes, 0..scanned.length, is_plain));
    }
    let bytes = &bytes[..scanned.length];
    let ordered = if scanned.is_canonical {
        sort(bytes)?
    } else {
        let rewritten = rewrite(bytes)?;
        if u32::try_from(rewritten.len()).is_err() {
            return Err(DecodeError { kind: DecodeErrorKind::TooLong, at: 0 });
        }
        sort(&rewritten)?
    };
    Ok(Term::own(ordered, is_plain))
}
