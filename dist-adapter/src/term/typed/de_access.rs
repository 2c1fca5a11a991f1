//! The elements of sequences, the pairs of maps and the content of variants, to values.

use alloc::borrow::Cow;
use alloc::format;

use serde::Deserializer as _;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer as _, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::cursor::Cursor;
use super::de::UNIT;
use super::error::{SerdeError, Step};
use crate::term::TermRef;
use crate::term::collections::byte;

/// The elements of a list or tuple that are left.
#[derive(Debug)]
pub(super) struct Elements<'c, 'de> {
    cursor: &'c mut Cursor<'de>,
    /// The elements of a binary or a string, which are no terms.
    bytes: Option<&'de [u8]>,
    left: usize,
    index: usize,
}

impl<'c, 'de> Elements<'c, 'de> {
    /// The elements that come next.
    pub(super) fn new(cursor: &'c mut Cursor<'de>, count: usize) -> Self {
        Self { cursor, bytes: None, left: count, index: 0 }
    }

    /// These bytes as elements. The cursor stays before them.
    pub(super) fn of_bytes(cursor: &'c mut Cursor<'de>, bytes: &'de [u8]) -> Self {
        Self { cursor, bytes: Some(bytes), left: bytes.len(), index: 0 }
    }

    /// Reads all elements.
    pub(super) fn read<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, SerdeError> {
        let value = visitor.visit_seq(&mut self)?;
        match self.left {
            0 => Ok(value),
            more => Err(SerdeError::new(format!("{more} elements too many"))),
        }
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = SerdeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, SerdeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let index = self.index;
        self.index += 1;
        let value = match self.bytes {
            Some(bytes) => seed.deserialize(&mut self.cursor.over(byte(bytes[index]))),
            None => seed.deserialize(&mut *self.cursor),
        };
        value.map(Some).map_err(|error| error.within(Step::Element(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The pairs of a map that are left.
#[derive(Debug)]
pub(super) struct Pairs<'c, 'de> {
    cursor: &'c mut Cursor<'de>,
    left: usize,
    /// The key of the value that comes next, for errors.
    key: Option<TermRef<'de>>,
}

impl<'c, 'de> Pairs<'c, 'de> {
    pub(super) fn new(cursor: &'c mut Cursor<'de>, count: usize) -> Self {
        Self { cursor, left: count, key: None }
    }

    /// Reads all pairs.
    pub(super) fn read<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, SerdeError> {
        let value = visitor.visit_map(&mut self)?;
        match self.left {
            0 => Ok(value),
            more => Err(SerdeError::new(format!("{more} pairs too many"))),
        }
    }
}

impl<'de> MapAccess<'de> for &mut Pairs<'_, 'de> {
    type Error = SerdeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SerdeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.key = Some(self.cursor.next());
        seed.deserialize(&mut *self.cursor).map(Some).map_err(|error| error.within(Step::KeyItself))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SerdeError> {
        let key = self.key;
        seed.deserialize(&mut *self.cursor).map_err(|error| {
            let key = key.map_or(Cow::Borrowed("?"), |key| match key.as_atom() {
                Some(text) => Cow::Owned(text.into()),
                None => Cow::Owned(format!("{key:.40}")),
            });
            error.within(Step::Key(key))
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant whose content comes next: none for an atom, the elements behind its name for a tuple.
#[derive(Debug)]
pub(super) struct Enum<'c, 'de> {
    cursor: &'c mut Cursor<'de>,
    variant: &'de str,
    left: usize,
}

impl<'c, 'de> Enum<'c, 'de> {
    pub(super) fn new(cursor: &'c mut Cursor<'de>, variant: &'de str, count: usize) -> Self {
        Self { cursor, variant, left: count }
    }

    fn within<T>(variant: &str, result: Result<T, SerdeError>) -> Result<T, SerdeError> {
        result.map_err(|error| error.within(Step::Key(Cow::Owned(variant.into()))))
    }
}

impl<'de> EnumAccess<'de> for Enum<'_, 'de> {
    type Error = SerdeError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), SerdeError> {
        let name: StrDeserializer<'_, SerdeError> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Enum<'_, 'de> {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        match self.left {
            0 => Ok(()),
            _ => Self::within(self.variant, Err(SerdeError::new("this variant has no content"))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, SerdeError> {
        let result = match self.left {
            0 => seed.deserialize(&mut self.cursor.over(TermRef::new(&UNIT, true))),
            1 => seed.deserialize(&mut *self.cursor),
            more => Err(SerdeError::new(format!("{} elements too many", more - 1))),
        };
        Self::within(self.variant, result)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SerdeError> {
        Self::within(self.variant, Elements::new(self.cursor, self.left).read(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, SerdeError> {
        let is_map = self.left == 1 && self.cursor.next().as_map().is_some();
        let result = if is_map {
            self.cursor.deserialize_map(visitor)
        } else {
            Elements::new(self.cursor, self.left).read(visitor)
        };
        Self::within(self.variant, result)
    }
}
