//! Values to terms.

use alloc::vec::Vec;
use core::fmt::Display;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::error::SerdeError;
use super::own;
use super::ser_parts::{Elements, Pairs};
use crate::term::decode::Decoder;
use crate::term::{Limits, Term, atom, tag, write};

pub(super) fn to_term<T: Serialize + ?Sized>(value: &T) -> Result<Term, SerdeError> {
    let mut out = Out { bytes: Vec::new(), has_special: false, is_unsure: false, own: Own::None };
    value.serialize(&mut out)?;
    if u32::try_from(out.bytes.len()).is_err() {
        return Err(SerdeError::new("a term has less than 4 GiB"));
    }
    if !out.is_unsure {
        return Ok(Term::own(out.bytes, !out.has_special));
    }
    let mut decoder = Decoder::new(Limits { depth: usize::MAX });
    decoder.whole(&Bytes::from(out.bytes)).map_err(|error| SerdeError::new(error.kind))
}

/// The term so far.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) bytes: Vec<u8>,
    /// A part is not plain (see the scan).
    pub(super) has_special: bool,
    /// A list may be a string, or the keys of a map out of order.
    pub(super) is_unsure: bool,
    /// What the text or the bytes that come next are.
    own: Own,
}

/// A type of this crate whose content comes next.
#[derive(Clone, Copy, Debug)]
enum Own {
    None,
    /// The text of an atom.
    Atom,
    /// The encoding of a term.
    Term,
}

impl Out {
    pub(super) fn atom(&mut self, text: &str) -> Result<(), SerdeError> {
        if atom::is_too_long(text) {
            return Err(SerdeError::new("an atom has at most 255 characters"));
        }
        write::atom(text, &mut self.bytes);
        Ok(())
    }

    fn integer(&mut self, is_negative: bool, magnitude: u128) -> Result<(), SerdeError> {
        write::wide_integer(is_negative, magnitude, &mut self.bytes);
        Ok(())
    }

    /// Begins a tuple, with an atom as its first element if there is a name.
    fn tuple(&mut self, name: Option<&str>, length: usize) -> Result<Elements<'_>, SerdeError> {
        let arity = length + usize::from(name.is_some());
        write::tuple(arity, &mut self.bytes);
        name.map_or(Ok(()), |name| self.atom(name))?;
        Ok(Elements::tuple(self, length))
    }
}

/// Returns the atom of a variant: those of `Result` are Erlang's, all others are taken as they are.
fn variant_name(name: &'static str, variant: &'static str) -> &'static str {
    match (name, variant) {
        ("Result", "Ok") => "ok",
        ("Result", "Err") => "error",
        _ => variant,
    }
}

impl<'a> Serializer for &'a mut Out {
    type Ok = ();
    type Error = SerdeError;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Elements<'a>;
    type SerializeMap = Pairs<'a>;
    type SerializeStruct = Pairs<'a>;
    type SerializeStructVariant = Pairs<'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), SerdeError> {
        self.atom(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Result<(), SerdeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), SerdeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), SerdeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), SerdeError> {
        write::small_integer(value, &mut self.bytes);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), SerdeError> {
        self.integer(value < 0, value.unsigned_abs())
    }

    fn serialize_u8(self, value: u8) -> Result<(), SerdeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), SerdeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), SerdeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), SerdeError> {
        self.integer(false, value.into())
    }

    fn serialize_u128(self, value: u128) -> Result<(), SerdeError> {
        self.integer(false, value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), SerdeError> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), SerdeError> {
        if !value.is_finite() {
            return Err(SerdeError::new("a float of Erlang is finite"));
        }
        self.has_special |= value == 0.0 && value.is_sign_negative();
        write::float(value, &mut self.bytes);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), SerdeError> {
        self.serialize_u32(value.into())
    }

    fn serialize_str(self, value: &str) -> Result<(), SerdeError> {
        if let Own::Atom = self.own { self.atom(value) } else { self.serialize_bytes(value.as_bytes()) }
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), SerdeError> {
        if let Own::Term = self.own {
            self.bytes.extend_from_slice(value);
            return Ok(());
        }
        if u32::try_from(value.len()).is_err() {
            return Err(SerdeError::new("a binary has less than 4 GiB"));
        }
        write::binary(value, &mut self.bytes);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), SerdeError> {
        self.atom("undefined")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), SerdeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), SerdeError> {
        write::tuple(0, &mut self.bytes);
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), SerdeError> {
        self.atom(name)
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, variant: &'static str) -> Result<(), SerdeError> {
        self.atom(variant_name(name, variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), SerdeError> {
        self.own = match name {
            own::ATOM => Own::Atom,
            own::TERM | own::SPECIAL_TERM => Own::Term,
            _ => return value.serialize(self),
        };
        self.has_special |= name == own::SPECIAL_TERM;
        value.serialize(&mut *self)?;
        self.own = Own::None;
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), SerdeError> {
        let start = self.bytes.len();
        write::tuple(2, &mut self.bytes);
        let atom = self.bytes.len();
        self.atom(variant_name(name, variant))?;
        let content = self.bytes.len();
        value.serialize(&mut *self).map_err(|error| error.within_key(variant))?;
        // `Ok(())` of a `Result` is the atom alone.
        if (name, variant) == ("Result", "Ok") && self.bytes[content..] == [tag::SMALL_TUPLE, 0] {
            self.bytes.truncate(content);
            self.bytes.drain(start..atom);
        }
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, SerdeError> {
        Ok(Elements::list(self))
    }

    fn serialize_tuple(self, length: usize) -> Result<Elements<'a>, SerdeError> {
        self.tuple(None, length)
    }

    fn serialize_tuple_struct(self, name: &'static str, length: usize) -> Result<Elements<'a>, SerdeError> {
        self.tuple(Some(name), length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Elements<'a>, SerdeError> {
        self.tuple(Some(variant), length)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Pairs<'a>, SerdeError> {
        Ok(Pairs::new(self))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Pairs<'a>, SerdeError> {
        Ok(Pairs::new(self))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Pairs<'a>, SerdeError> {
        write::tuple(2, &mut self.bytes);
        self.atom(variant)?;
        Ok(Pairs::new(self))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), SerdeError> {
        self.serialize_str(&alloc::string::ToString::to_string(value))
    }
}
