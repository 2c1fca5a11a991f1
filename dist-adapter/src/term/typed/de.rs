//! Terms to values.

use serde::Deserialize;
use serde::de::value::BorrowedBytesDeserializer;
use serde::de::{Deserializer, IntoDeserializer as _, Visitor};

use super::cursor::Cursor;
use super::de_access::Enum;
use super::error::SerdeError;
use super::own;
use crate::term::{Kind, Term, tag};

pub(super) fn from_term<'de, T: Deserialize<'de>>(term: &'de Term) -> Result<T, SerdeError> {
    T::deserialize(&mut Cursor::new(term.view()))
}

macro_rules! forward {
    ($($method:ident => $to:ident;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
                self.$to(visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for &mut Cursor<'de> {
    type Error = SerdeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    forward! {
        deserialize_i8 => integer;
        deserialize_i16 => integer;
        deserialize_i32 => integer;
        deserialize_i64 => integer;
        deserialize_i128 => integer;
        deserialize_u8 => integer;
        deserialize_u16 => integer;
        deserialize_u32 => integer;
        deserialize_u64 => integer;
        deserialize_u128 => integer;
        deserialize_f32 => deserialize_f64;
        deserialize_str => text;
        deserialize_string => text;
        deserialize_identifier => text;
        deserialize_bytes => bytes;
        deserialize_byte_buf => bytes;
        deserialize_map => pairs;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        let next = self.next();
        match next.kind() {
            Kind::Atom("true" | "false") => self.deserialize_bool(visitor),
            Kind::Atom(_) if self.is_none() => {
                self.skip(1);
                visitor.visit_unit()
            }
            Kind::Atom(_) => self.text(visitor),
            Kind::Integer(_) => self.integer(visitor),
            Kind::Float(_) => self.deserialize_f64(visitor),
            Kind::Binary(bytes) if core::str::from_utf8(bytes).is_ok() => self.text(visitor),
            Kind::Binary(_) => self.bytes(visitor),
            Kind::Nil | Kind::List(_) | Kind::Tuple(_) => self.elements(None, visitor),
            Kind::Map(_) => self.pairs(visitor),
            // A type of this crate takes the encoding. No other type takes such a newtype struct.
            _ => {
                self.skip(1);
                visitor.visit_newtype_struct(BorrowedBytesDeserializer::new(next.trimmed()))
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        let Some(value) = self.next().as_bool() else { return Err(self.unexpected(&visitor)) };
        self.skip(1);
        visitor.visit_bool(value)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        let value = match self.next().kind() {
            Kind::Float(value) => Some(value),
            Kind::Integer(value) => value.to_f64(),
            _ => None,
        };
        let Some(value) = value else { return Err(self.unexpected(&visitor)) };
        self.skip(1);
        visitor.visit_f64(value)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        let Some(code) = self.next().as_u64() else { return self.text(visitor) };
        let character = code.try_into().ok().and_then(char::from_u32);
        let Some(character) = character else { return Err(self.unexpected(&visitor)) };
        self.skip(1);
        visitor.visit_char(character)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        if !self.is_none() {
            return visitor.visit_some(self);
        }
        self.skip(1);
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.next().as_tuple() {
            Some(tuple) if tuple.arity() == 0 => {
                self.skip(1);
                visitor.visit_unit()
            }
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, SerdeError> {
        if !self.next().is_atom(name) {
            return Err(self.unexpected(&visitor));
        }
        self.skip(1);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match name {
            own::TERM => visitor.visit_borrowed_bytes(self.take().trimmed()),
            own::ATOM => match self.next().as_atom() {
                Some(text) => {
                    self.skip(1);
                    visitor.visit_borrowed_str(text)
                }
                None => Err(self.unexpected(&visitor)),
            },
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.elements(None, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SerdeError> {
        self.elements(None, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.elements(Some((name, length)), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match self.next().as_tuple() {
            Some(_) => self.elements(Some((name, fields.len())), visitor),
            None => self.pairs(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        let next = self.next();
        let is_result = name == "Result" && variants == ["Ok", "Err"];
        let variant = |text| match text {
            "ok" if is_result => "Ok",
            "error" if is_result => "Err",
            other => other,
        };
        match next.kind() {
            Kind::Atom(text) => {
                self.skip(1);
                visitor.visit_enum(Enum::new(self, variant(text), 0))
            }
            Kind::Tuple(_) => self.nested(|cursor| {
                // An empty tuple may be the end of the bytes.
                let elements = cursor.enter().checked_sub(1);
                match elements.and_then(|elements| Some((elements, cursor.next().as_atom()?))) {
                    Some((elements, text)) => {
                        cursor.skip(1);
                        visitor.visit_enum(Enum::new(cursor, variant(text), elements))
                    }
                    None => Err(SerdeError::new("a tuple that does not begin with the name of a variant")),
                }
            }),
            // The names of variants that were sent as text.
            Kind::Binary(bytes) if core::str::from_utf8(bytes).is_ok() => {
                self.skip(1);
                visitor.visit_enum(core::str::from_utf8(bytes).unwrap_or_default().into_deserializer())
            }
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.skip(1);
        visitor.visit_unit()
    }
}

/// The empty tuple, for the content of `Ok(())` that is written as the atom alone.
pub(super) static UNIT: [u8; 2] = [tag::SMALL_TUPLE, 0];
