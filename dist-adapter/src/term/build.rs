//! [`TermBuilder`]: a term written front to back; and terms made of other terms and of values.

use alloc::vec::Vec;

use bytes::Bytes;

use super::decode::Decoder;
use super::{Atom, ErlPid, ErlPort, ErlReference, Limits, PidRef, PortRef, ReferenceRef, Term, TermRef, tag, write};

/// Writes a term front to back: a tuple, list or map is begun with the number of its elements, and
/// these follow.
///
/// ```
/// use atropos_dist::term::TermBuilder;
///
/// let term = TermBuilder::new().tuple(2).atom("ok").list(2).integer(1).integer(2000).nil().finish();
/// assert_eq!(term.to_string(), "{ok,[1,2000]}");
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct TermBuilder {
    out: Vec<u8>,
    levels: Vec<Level>,
    /// A part is not plain (see the scan).
    has_special: bool,
    /// The term may not be canonical: a list may be a string, or the keys of a map out of order.
    is_unsure: bool,
    is_complete: bool,
}

/// A container that is being written.
#[derive(Debug)]
enum Level {
    /// As many terms are missing.
    Terms(usize),
    /// As many elements are missing, and the tail.
    List { left: usize, is_bytes: bool },
}

impl TermBuilder {
    /// Creates an empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty builder with space for a term of so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Begins a tuple; `arity` elements follow.
    pub fn tuple(mut self, arity: usize) -> Self {
        if arity == 0 {
            return self.leaf(|out| write::tuple(0, out));
        }
        self.begin(Level::Terms(arity));
        write::tuple(length(arity), &mut self.out);
        self
    }

    /// Begins a list; `length` elements and a tail follow: [`nil`](Self::nil) for a proper list.
    /// The tail of a list of no elements is the term itself.
    pub fn list(mut self, length: usize) -> Self {
        if length > 0 {
            // The tail of a canonical list is no list.
            self.is_unsure |= matches!(self.levels.last(), Some(Level::List { left: 0, .. }));
            self.begin(Level::List { left: length, is_bytes: true });
            write::list(self::length(length), &mut self.out);
        }
        self
    }

    /// Writes the empty list, which is the end of a proper list.
    pub fn nil(self) -> Self {
        self.leaf(|out| out.push(tag::NIL))
    }

    /// Begins a map; `pairs` keys follow, each with its value behind it, in any order.
    pub fn map(mut self, pairs: usize) -> Self {
        if pairs == 0 {
            return self.leaf(|out| write::map(0, out));
        }
        self.is_unsure |= pairs > 1;
        self.begin(Level::Terms(2 * pairs));
        write::map(length(pairs), &mut self.out);
        self
    }

    /// Writes an atom.
    ///
    /// # Panics
    ///
    /// If the text has more than 255 characters.
    pub fn atom(self, text: &str) -> Self {
        self.leaf(|out| write::atom(text, out))
    }

    /// Writes an integer.
    pub fn integer(self, value: impl Into<i128>) -> Self {
        let value = value.into();
        self.leaf(|out| write::wide_integer(value < 0, value.unsigned_abs(), out))
    }

    /// Writes a float.
    ///
    /// # Panics
    ///
    /// If the float is a NaN or infinite: Erlang has no such floats.
    pub fn float(mut self, value: f64) -> Self {
        assert!(value.is_finite(), "a float of Erlang is finite");
        self.has_special |= value == 0.0 && value.is_sign_negative();
        self.leaf(|out| write::float(value, out))
    }

    /// Writes a binary.
    pub fn binary(self, bytes: &[u8]) -> Self {
        length(bytes.len());
        self.leaf(|out| write::binary(bytes, out))
    }

    /// Writes a pid.
    ///
    /// # Panics
    ///
    /// If the node's name has more than 255 characters.
    pub fn pid(self, pid: PidRef<'_>) -> Self {
        self.leaf(|out| write::pid(pid, out))
    }

    /// Writes a port.
    ///
    /// # Panics
    ///
    /// If the node's name has more than 255 characters.
    pub fn port(self, port: PortRef<'_>) -> Self {
        self.leaf(|out| write::port(port, out))
    }

    /// Writes a reference.
    ///
    /// # Panics
    ///
    /// If the node's name has more than 255 characters.
    pub fn reference(mut self, reference: ReferenceRef<'_>) -> Self {
        self.has_special |= matches!(reference.words.as_slice(), [_, .., 0]);
        self.leaf(|out| write::reference(reference, out))
    }

    /// Writes an exported function, `fun Module:Function/Arity`.
    ///
    /// # Panics
    ///
    /// If an atom has more than 255 characters.
    pub fn export(self, module: &str, function: &str, arity: u8) -> Self {
        self.leaf(|out| write::export(module, function, arity, out))
    }

    /// Writes a copy of a term.
    pub fn term(self, term: &Term) -> Self {
        self.part(term.view())
    }

    /// Writes a copy of a part of a term.
    pub fn part(mut self, part: TermRef<'_>) -> Self {
        self.has_special |= !part.is_plain();
        self.leaf(|out| out.extend_from_slice(part.trimmed()))
    }

    /// Returns the term.
    ///
    /// # Panics
    ///
    /// If what was written is not exactly one term, because an element is missing; or if a map has
    /// a key twice.
    pub fn finish(self) -> Term {
        assert!(self.is_complete, "the term is not complete");
        length(self.out.len());
        if !self.is_unsure {
            return Term::own(self.out, !self.has_special);
        }
        match Decoder::new(Limits { depth: usize::MAX }).whole(&Bytes::from(self.out)) {
            Ok(term) => term,
            Err(error) => panic!("the builder made no term: {error}"),
        }
    }

    fn begin(&mut self, level: Level) {
        assert!(!self.is_complete, "the term is complete");
        self.levels.push(level);
    }

    /// Writes a whole term.
    fn leaf(mut self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        assert!(!self.is_complete, "the term is complete");
        let at = self.out.len();
        write(&mut self.out);
        let mut tag = self.out[at];
        while let Some(level) = self.levels.last_mut() {
            match level {
                Level::Terms(left) => {
                    *left -= 1;
                    if *left > 0 {
                        return self;
                    }
                }
                Level::List { left: 0, is_bytes } => {
                    self.is_unsure |= *is_bytes && tag == tag::NIL || matches!(tag, tag::LIST | tag::STRING);
                }
                Level::List { left, is_bytes } => {
                    *left -= 1;
                    *is_bytes &= tag == tag::SMALL_INTEGER;
                    return self;
                }
            }
            self.levels.pop();
            // The container has ended. Its kind does not matter: it is no integer and no end of a
            // list.
            tag = tag::MAP;
        }
        self.is_complete = true;
        self
    }
}

/// Returns a length, which must fit 32 bits.
fn length(length: usize) -> usize {
    assert!(u32::try_from(length).is_ok(), "a term has less than 4 GiB");
    length
}

impl Term {
    /// Returns an atom.
    ///
    /// # Panics
    ///
    /// If the text has more than 255 characters.
    pub fn atom(text: &str) -> Self {
        TermBuilder::new().atom(text).finish()
    }

    /// Returns a binary of these bytes, which are copied.
    pub fn binary(bytes: &[u8]) -> Self {
        TermBuilder::with_capacity(bytes.len() + 5).binary(bytes).finish()
    }

    /// Returns a tuple.
    pub fn tuple<'a>(elements: impl IntoIterator<Item = &'a Self, IntoIter: ExactSizeIterator>) -> Self {
        let elements = elements.into_iter();
        let builder = TermBuilder::new().tuple(elements.len());
        elements.fold(builder, TermBuilder::term).finish()
    }

    /// Returns a proper list.
    pub fn list<'a>(elements: impl IntoIterator<Item = &'a Self, IntoIter: ExactSizeIterator>) -> Self {
        let elements = elements.into_iter();
        let builder = TermBuilder::new().list(elements.len());
        elements.fold(builder, TermBuilder::term).nil().finish()
    }

    /// Returns a map. Of pairs with the same key, the last one counts.
    pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a Self, &'a Self)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        // The last pair of a key becomes the first of its run.
        pairs.reverse();
        pairs.sort_by_key(|(key, _)| *key);
        pairs.dedup_by_key(|(key, _)| *key);
        let builder = TermBuilder::new().map(pairs.len());
        pairs.into_iter().fold(builder, |builder, (key, value)| builder.term(key).term(value)).finish()
    }
}

macro_rules! from {
    ($($from:ty, $what:literal: |$value:ident, $builder:ident| $build:expr;)*) => {
        $(
            impl From<$from> for Term {
                #[doc = concat!("Returns ", $what, ".")]
                fn from($value: $from) -> Self {
                    let $builder = TermBuilder::new();
                    $build.finish()
                }
            }
        )*
    };
}

from! {
    bool, "the atom `true` or `false`": |value, builder| builder.atom(if value { "true" } else { "false" });
    u8, "an integer": |value, builder| builder.integer(value);
    i32, "an integer": |value, builder| builder.integer(value);
    u32, "an integer": |value, builder| builder.integer(value);
    i64, "an integer": |value, builder| builder.integer(value);
    u64, "an integer": |value, builder| builder.integer(value);
    i128, "an integer": |value, builder| builder.integer(value);
    usize, "an integer": |value, builder| builder.integer(value as u64);
    Atom, "an atom": |value, builder| builder.atom(value.as_str());
    &Atom, "an atom": |value, builder| builder.atom(value.as_str());
    ErlPid, "a pid": |value, builder| builder.pid(value.as_ref());
    &ErlPid, "a pid": |value, builder| builder.pid(value.as_ref());
    PidRef<'_>, "a pid": |value, builder| builder.pid(value);
    ErlPort, "a port": |value, builder| builder.port(value.as_ref());
    &ErlPort, "a port": |value, builder| builder.port(value.as_ref());
    PortRef<'_>, "a port": |value, builder| builder.port(value);
    ErlReference, "a reference": |value, builder| builder.reference(value.as_ref());
    &ErlReference, "a reference": |value, builder| builder.reference(value.as_ref());
    ReferenceRef<'_>, "a reference": |value, builder| builder.reference(value);
    TermRef<'_>, "a copy of the part": |value, builder| builder.part(value);
}
