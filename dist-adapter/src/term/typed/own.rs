//! The types of `term` inside of users' types: terms, atoms, pids, references and ports.
//!
//! They pass through serde as newtype structs whose names the serializer and the deserializer of
//! terms know. Another format gets an atom's text, and the encoding of the others.

use core::fmt;
use core::marker::PhantomData;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::{Serialize, Serializer};

use crate::term::{Atom, ErlPid, ErlPort, ErlReference, Kind, Limits, Term};

/// The name of the newtype struct of an atom's text.
pub(super) const ATOM: &str = "$atropos_dist::Atom";
/// The name of the newtype struct of an encoded term. The serializer relies on the bytes.
pub(super) const TERM: &str = "$atropos_dist::Term";
/// The name of the newtype struct of an encoded term that is not plain (see the scan).
pub(super) const SPECIAL_TERM: &str = "$atropos_dist::SpecialTerm";

/// Bytes that serialize as such.
struct Encoded<'a>(&'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Term {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = if self.is_plain() { TERM } else { SPECIAL_TERM };
        serializer.serialize_newtype_struct(name, &Encoded(self.as_bytes()))
    }
}

impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(ATOM, self.as_str())
    }
}

/// The names of newtype structs and what they hold, for [`Content`].
trait Own: Sized {
    const NAME: &'static str;
    const EXPECTED: &'static str;

    /// Reads the content of the newtype struct in another format.
    ///
    /// # Errors
    ///
    /// The error of the deserializer.
    fn read<'de, D: Deserializer<'de>>(deserializer: D, visitor: Content<Self>) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(visitor)
    }

    /// Returns the value of text, if it can be one.
    fn of_text(_text: &str) -> Option<Self> {
        None
    }

    /// Returns the value of an encoded term, if it is one.
    fn of_term(term: Term) -> Option<Self>;
}

impl Own for Term {
    const NAME: &'static str = TERM;
    const EXPECTED: &'static str = "a term";

    fn of_term(term: Term) -> Option<Self> {
        Some(term)
    }
}

impl Own for Atom {
    const NAME: &'static str = ATOM;
    const EXPECTED: &'static str = "an atom";

    fn read<'de, D: Deserializer<'de>>(deserializer: D, visitor: Content<Self>) -> Result<Self, D::Error> {
        deserializer.deserialize_str(visitor)
    }

    fn of_text(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }

    fn of_term(term: Term) -> Option<Self> {
        Self::of_text(term.view().as_atom()?)
    }
}

/// Reads a newtype struct of one of these types.
struct Content<T>(PhantomData<T>);

impl<'de, T: Own> Visitor<'de> for Content<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::read(deserializer, self)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::of_text(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        let limits = Limits { depth: usize::MAX };
        let term = Term::decode(&Bytes::copy_from_slice(bytes), limits).map_err(E::custom)?;
        T::of_term(term).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Other("another term"), &self))
    }
}

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Self::NAME, Content(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Atom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Self::NAME, Content(PhantomData))
    }
}

macro_rules! identifiers {
    ($($type:ty: $kind:ident, $expected:literal;)*) => {
        $(
            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    Term::from(self).serialize(serializer)
                }
            }

            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let term = Term::deserialize(deserializer)?;
                    match term.kind() {
                        Kind::$kind(identifier) => Ok(identifier.to_owned()),
                        _ => Err(D::Error::custom(format_args!("expected {}, found {term:.80}", $expected))),
                    }
                }
            }
        )*
    };
}

identifiers! {
    ErlPid: Pid, "a pid";
    ErlReference: Reference, "a reference";
    ErlPort: Port, "a port";
}
