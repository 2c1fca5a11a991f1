//! [`Cursor`]: a position in a term that is read front to back, and the readers of its kinds.

use alloc::string::String;

use serde::de::{Error as _, Expected, Unexpected, Visitor};

use super::de_access::{Elements, Pairs};
use super::error::SerdeError;
use crate::term::skip::{extent, skip};
use crate::term::{Integer, Kind, TermRef};

/// How deep a term may be nested in what the type reads.
const DEPTH: usize = 128;

/// A position in a term. Each value that is read moves it behind itself, so that each byte is read
/// once.
#[derive(Debug)]
pub(super) struct Cursor<'de> {
    term: TermRef<'de>,
    at: usize,
    depth: usize,
}

impl<'de> Cursor<'de> {
    /// Returns the position at the beginning of a term.
    pub(super) fn new(term: TermRef<'de>) -> Self {
        Self { term, at: 0, depth: DEPTH }
    }

    /// Returns a position of its own in a term, as deep as this one.
    pub(super) fn over(&self, term: TermRef<'de>) -> Self {
        Self { term, at: 0, depth: self.depth }
    }

    /// Returns the term that comes next.
    pub(super) fn next(&self) -> TermRef<'de> {
        self.term.at(self.at)
    }

    /// Returns the term that comes next, and steps over it.
    pub(super) fn take(&mut self) -> TermRef<'de> {
        let next = self.next();
        self.skip(1);
        next
    }

    /// Steps over terms.
    pub(super) fn skip(&mut self, count: usize) {
        self.at = skip(self.term.bytes(), self.at, count);
    }

    /// Steps over the head of a container. Returns the number of its terms, for a list with its
    /// tail.
    pub(super) fn enter(&mut self) -> usize {
        let (length, elements) = extent(self.next().bytes());
        self.at += length;
        elements
    }

    /// Goes one level deeper for `read`.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, SerdeError>) -> Result<T, SerdeError> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(SerdeError::new("the term is nested deeper than 128 levels"));
        };
        self.depth = depth;
        let result = read(self);
        self.depth += 1;
        result
    }

    #[cold]
    pub(super) fn unexpected(&self, expected: &dyn Expected) -> SerdeError {
        let next = self.next();
        let shown;
        let unexpected = match next.kind() {
            Kind::Integer(value) if value.to_i64().is_some() => Unexpected::Signed(value.to_i64().unwrap_or_default()),
            Kind::Float(value) => Unexpected::Float(value),
            Kind::Map(_) => Unexpected::Map,
            _ => {
                shown = alloc::format!("the term {next:.80}");
                Unexpected::Other(&shown)
            }
        };
        SerdeError::invalid_type(unexpected, expected)
    }

    /// Reads an integer.
    pub(super) fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, SerdeError> {
        let Some(value) = self.next().as_integer() else { return Err(self.unexpected(&visitor)) };
        self.skip(1);
        visit_integer(value, visitor)
    }

    /// Reads text: a binary, an atom, or a list of code points.
    pub(super) fn text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, SerdeError> {
        let next = self.next();
        let text = match next.kind() {
            Kind::Atom(text) => Some(text),
            Kind::Binary(bytes) => core::str::from_utf8(bytes).ok(),
            Kind::Nil => Some(""),
            Kind::List(list) => {
                let character = |item: TermRef<'_>| item.as_u64()?.try_into().ok().and_then(char::from_u32);
                let is_proper = next.as_list().is_some();
                let text: Option<String> = list.iter().map(character).collect();
                let Some(text) = text.filter(|_| is_proper) else { return Err(self.unexpected(&visitor)) };
                self.skip(1);
                return visitor.visit_string(text);
            }
            _ => None,
        };
        let Some(text) = text else { return Err(self.unexpected(&visitor)) };
        self.skip(1);
        visitor.visit_borrowed_str(text)
    }

    /// Reads bytes: a binary, or a list of bytes.
    pub(super) fn bytes<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, SerdeError> {
        let next = self.next();
        let bytes = match next.kind() {
            Kind::Binary(bytes) => Some(bytes),
            Kind::Nil => Some(&[][..]),
            Kind::List(list) => list.as_bytes(),
            _ => None,
        };
        let Some(bytes) = bytes else { return Err(self.unexpected(&visitor)) };
        self.skip(1);
        visitor.visit_borrowed_bytes(bytes)
    }

    /// Reads the elements of a list, a tuple or a binary; for a tuple that begins with `name`,
    /// those behind it, if there are `length`.
    pub(super) fn elements<V: Visitor<'de>>(
        &mut self,
        name: Option<(&str, usize)>,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        let next = self.next();
        match next.kind() {
            Kind::Tuple(tuple) => self.nested(|cursor| {
                let mut left = cursor.enter();
                let is_named =
                    name.is_some_and(|(name, length)| tuple.arity() == length + 1 && cursor.next().is_atom(name));
                if is_named {
                    cursor.skip(1);
                    left -= 1;
                }
                Elements::new(cursor, left).read(visitor)
            }),
            Kind::List(list) if list.as_bytes().is_some() => self.byte_elements(list.as_bytes(), visitor),
            Kind::Binary(bytes) => self.byte_elements(Some(bytes), visitor),
            Kind::Nil => self.byte_elements(None, visitor),
            Kind::List(list) => self.nested(|cursor| {
                cursor.enter();
                let value = Elements::new(cursor, list.len()).read(visitor)?;
                if !cursor.take().is_nil() {
                    return Err(SerdeError::new("the list is improper"));
                }
                Ok(value)
            }),
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn byte_elements<V: Visitor<'de>>(&mut self, bytes: Option<&'de [u8]>, visitor: V) -> Result<V::Value, SerdeError> {
        let value = Elements::of_bytes(self, bytes.unwrap_or_default()).read(visitor)?;
        self.skip(1);
        Ok(value)
    }

    pub(super) fn pairs<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, SerdeError> {
        if self.next().as_map().is_none() {
            return Err(self.unexpected(&visitor));
        }
        self.nested(|cursor| {
            let left = cursor.enter() / 2;
            Pairs::new(cursor, left).read(visitor)
        })
    }

    /// Returns `true` for the atoms that stand for no value.
    pub(super) fn is_none(&self) -> bool {
        matches!(self.next().as_atom(), Some("undefined" | "nil"))
    }
}

fn visit_integer<'de, V: Visitor<'de>>(value: Integer<'_>, visitor: V) -> Result<V::Value, SerdeError> {
    if let Some(value) = value.to_i64() {
        visitor.visit_i64(value)
    } else if let Some(value) = value.to_u64() {
        visitor.visit_u64(value)
    } else if let Some(value) = value.to_i128() {
        visitor.visit_i128(value)
    } else if let Some(value) = value.to_u128() {
        visitor.visit_u128(value)
    } else {
        Err(SerdeError::new("the integer has more than 128 bits"))
    }
}
