//! Tuples, lists and maps as iterators over their parts.

use super::skip::skip;
use super::{Term, TermRef, leaf, order, tag};

/// A tuple.
#[derive(Clone, Copy, Debug)]
pub struct Tuple<'a>(TermRef<'a>);

impl<'a> Tuple<'a> {
    pub(super) fn new(term: TermRef<'a>) -> Self {
        Self(term)
    }

    /// Returns the number of elements.
    pub fn arity(self) -> usize {
        leaf::count(self.0.bytes())
    }

    /// Returns the elements in order.
    pub fn iter(self) -> TupleItems<'a> {
        TupleItems { rest: self.0.at(leaf::head_length(self.0.bytes())), left: self.arity() }
    }
}

impl<'a> IntoIterator for Tuple<'a> {
    type Item = TermRef<'a>;
    type IntoIter = TupleItems<'a>;

    fn into_iter(self) -> TupleItems<'a> {
        self.iter()
    }
}

/// The elements of a tuple, in order.
#[derive(Clone, Debug)]
pub struct TupleItems<'a> {
    /// Begins with the next element.
    rest: TermRef<'a>,
    left: usize,
}

impl<'a> Iterator for TupleItems<'a> {
    type Item = TermRef<'a>;

    fn next(&mut self) -> Option<TermRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        let element = self.rest;
        // The last element is not stepped over, which may take long.
        if self.left > 0 {
            self.rest = behind(element);
        }
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for TupleItems<'_> {}

fn behind(term: TermRef<'_>) -> TermRef<'_> {
    term.at(skip(term.bytes(), 0, 1))
}

/// A list with at least one element.
#[derive(Clone, Copy, Debug)]
pub struct List<'a>(TermRef<'a>);

impl<'a> List<'a> {
    pub(super) fn new(term: TermRef<'a>) -> Self {
        Self(term)
    }

    /// Returns the number of elements before the tail.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one element")]
    pub fn len(self) -> usize {
        leaf::count(self.0.bytes())
    }

    /// Returns the elements before the tail.
    pub fn iter(self) -> ListItems<'a> {
        ListItems::new(self.0)
    }

    /// Returns the bytes of a proper list of at most 65,535 integers of one byte, without making
    /// its elements: an Erlang string.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        (self.0.bytes()[0] == tag::STRING).then(|| leaf::string(self.0.bytes()))
    }
}

impl<'a> IntoIterator for List<'a> {
    type Item = TermRef<'a>;
    type IntoIter = ListItems<'a>;

    fn into_iter(self) -> ListItems<'a> {
        self.iter()
    }
}

/// The integers of one byte, encoded.
static BYTES: [[u8; 2]; 256] = {
    let mut all = [[tag::SMALL_INTEGER, 0]; 256];
    let mut byte = 0;
    while byte < all.len() {
        all[byte][1] = byte as u8;
        byte += 1;
    }
    all
};
static NIL: [u8; 1] = [tag::NIL];

/// Returns the term of an integer of one byte.
pub(super) fn byte(value: u8) -> TermRef<'static> {
    TermRef::new(&BYTES[usize::from(value)], true)
}

/// The elements of a list, in order.
#[derive(Clone, Debug)]
pub struct ListItems<'a>(Items<'a>);

#[derive(Clone, Debug)]
enum Items<'a> {
    Bytes(&'a [u8]),
    Terms {
        /// Begins with the next element, or with the tail.
        rest: TermRef<'a>,
        left: usize,
    },
}

impl<'a> ListItems<'a> {
    /// Returns the elements of a list or of the empty list.
    pub(super) fn new(list: TermRef<'a>) -> Self {
        let bytes = list.bytes();
        Self(match bytes[0] {
            tag::STRING => Items::Bytes(leaf::string(bytes)),
            tag::LIST => Items::Terms { rest: list.at(leaf::head_length(bytes)), left: leaf::count(bytes) },
            _ => Items::Bytes(&[]),
        })
    }

    /// Returns what is behind the last element: `[]` for a proper list.
    pub fn tail(self) -> TermRef<'a> {
        match self.0 {
            Items::Bytes(_) => TermRef::new(&NIL, true),
            Items::Terms { rest, left } => rest.at(skip(rest.bytes(), 0, left)),
        }
    }
}

impl<'a> Iterator for ListItems<'a> {
    type Item = TermRef<'a>;

    fn next(&mut self) -> Option<TermRef<'a>> {
        match &mut self.0 {
            Items::Bytes(bytes) => {
                let (first, rest) = bytes.split_first()?;
                *bytes = rest;
                Some(byte(*first))
            }
            Items::Terms { rest, left } => {
                *left = left.checked_sub(1)?;
                let element = *rest;
                *rest = behind(element);
                Some(element)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Items::Bytes(bytes) => bytes.len(),
            Items::Terms { left, .. } => *left,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for ListItems<'_> {}

/// A map.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a>(TermRef<'a>);

impl<'a> Map<'a> {
    pub(super) fn new(term: TermRef<'a>) -> Self {
        Self(term)
    }

    /// Returns the number of pairs.
    pub fn len(self) -> usize {
        leaf::count(self.0.bytes())
    }

    /// Returns `true` if there is no pair.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the pairs, in the order of their keys.
    pub fn iter(self) -> MapPairs<'a> {
        MapPairs { rest: self.0.at(leaf::head_length(self.0.bytes())), left: self.len() }
    }

    /// Returns the value of a key that is an atom. Takes time in the size of the pairs before it.
    pub fn get_atom(self, key: &str) -> Option<TermRef<'a>> {
        self.iter().find(|(found, _)| found.is_atom(key)).map(|(_, value)| value)
    }

    /// Returns the value of a key. Takes time in the size of the pairs before it.
    pub fn get(self, key: &Term) -> Option<TermRef<'a>> {
        self.iter()
            .map(|(found, value)| (order::compare(found.bytes(), key.as_bytes(), true), value))
            // The keys are in order, so a greater one ends the search.
            .find(|(compared, _)| compared.is_ge())
            .filter(|(compared, _)| compared.is_eq())
            .map(|(_, value)| value)
    }
}

impl<'a> IntoIterator for Map<'a> {
    type Item = (TermRef<'a>, TermRef<'a>);
    type IntoIter = MapPairs<'a>;

    fn into_iter(self) -> MapPairs<'a> {
        self.iter()
    }
}

/// The pairs of a map, in the order of their keys.
#[derive(Clone, Debug)]
pub struct MapPairs<'a> {
    /// Begins with the next key.
    rest: TermRef<'a>,
    left: usize,
}

impl<'a> Iterator for MapPairs<'a> {
    type Item = (TermRef<'a>, TermRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let key = self.rest;
        let value = behind(key);
        if self.left > 0 {
            self.rest = behind(value);
        }
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for MapPairs<'_> {}
