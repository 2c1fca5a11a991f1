//! The elements of sequences and the pairs of maps, to terms.

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant,
};

use super::error::{SerdeError, Step};
use super::ser::Out;
use crate::term::{tag, write};

/// A list or tuple that is being written.
#[derive(Debug)]
pub(super) struct Elements<'a> {
    out: &'a mut Out,
    count: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A list, with the place of its head.
    List(usize),
    /// A tuple of so many elements.
    Tuple(usize),
}

impl<'a> Elements<'a> {
    /// Begins a list. How long it is will be known at its end.
    pub(super) fn list(out: &'a mut Out) -> Self {
        let head = out.bytes.len();
        write::list(0, &mut out.bytes);
        Self { out, count: 0, kind: Kind::List(head) }
    }

    /// Continues a tuple behind its head.
    pub(super) fn tuple(out: &'a mut Out, length: usize) -> Self {
        Self { out, count: 0, kind: Kind::Tuple(length) }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        value.serialize(&mut *self.out).map_err(|error| error.within(Step::Element(self.count)))?;
        self.count += 1;
        Ok(())
    }

    fn end(self) -> Result<(), SerdeError> {
        let bytes = &mut self.out.bytes;
        match self.kind {
            Kind::List(head) => {
                if self.count == 0 {
                    bytes.truncate(head);
                } else {
                    set_count(bytes, head, self.count)?;
                    // A list that begins with a byte may be a string.
                    self.out.is_unsure |= bytes[head + 5] == tag::SMALL_INTEGER;
                }
                bytes.push(tag::NIL);
                Ok(())
            }
            Kind::Tuple(length) if length == self.count => Ok(()),
            Kind::Tuple(_) => Err(SerdeError::new("a tuple has another number of elements than it announced")),
        }
    }
}

fn set_count(bytes: &mut [u8], head: usize, count: usize) -> Result<(), SerdeError> {
    let count = u32::try_from(count).map_err(|_| SerdeError::new("a list or map has less than 2^32 elements"))?;
    bytes[head + 1..head + 5].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

impl SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.element(value)
    }

    fn end(self) -> Result<(), SerdeError> {
        self.end()
    }
}

impl SerializeTuple for Elements<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.element(value)
    }

    fn end(self) -> Result<(), SerdeError> {
        self.end()
    }
}

impl SerializeTupleStruct for Elements<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.element(value)
    }

    fn end(self) -> Result<(), SerdeError> {
        self.end()
    }
}

impl SerializeTupleVariant for Elements<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.element(value)
    }

    fn end(self) -> Result<(), SerdeError> {
        self.end()
    }
}

/// A map that is being written.
#[derive(Debug)]
pub(super) struct Pairs<'a> {
    out: &'a mut Out,
    head: usize,
    count: usize,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(out: &'a mut Out) -> Self {
        let head = out.bytes.len();
        write::map(0, &mut out.bytes);
        Self { out, head, count: 0 }
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), SerdeError> {
        self.out.atom(key)?;
        value.serialize(&mut *self.out).map_err(|error| error.within_key(key))?;
        self.count += 1;
        Ok(())
    }

    fn end(self) -> Result<(), SerdeError> {
        set_count(&mut self.out.bytes, self.head, self.count)?;
        self.out.is_unsure |= self.count > 1;
        Ok(())
    }
}

impl SerializeMap for Pairs<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        key.serialize(&mut *self.out).map_err(|error| error.within(Step::KeyItself))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        value.serialize(&mut *self.out).map_err(|error| error.within(Step::Element(self.count)))?;
        self.count += 1;
        Ok(())
    }

    fn end(self) -> Result<(), SerdeError> {
        self.end()
    }
}

impl SerializeStruct for Pairs<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), SerdeError> {
        self.field(key, value)
    }

    fn end(self) -> Result<(), SerdeError> {
        self.end()
    }
}

impl SerializeStructVariant for Pairs<'_> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), SerdeError> {
        self.field(key, value)
    }

    fn end(self) -> Result<(), SerdeError> {
        self.end()
    }
}
