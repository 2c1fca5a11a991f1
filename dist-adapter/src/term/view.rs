//! [`TermRef`]: a term or a part of one, and what it is, without a copy.

use super::collections::{List, ListItems, Map, Tuple};
use super::integer::Integer;
use super::skip::{atom_text, skip};
use super::{PidRef, PortRef, ReferenceRef, Term, leaf, order, tag};

/// A [`Term`], or a part of one. Reading a part costs nothing; stepping over one takes time in its
/// size.
#[derive(Clone, Copy)]
pub struct TermRef<'a> {
    /// Begins with the term; may go on behind it.
    bytes: &'a [u8],
    /// The flag of the term that this is a part of.
    is_plain: bool,
}

/// What a term is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Kind<'a> {
    /// An atom, by its text.
    Atom(&'a str),
    /// An integer of any size.
    Integer(Integer<'a>),
    /// A float. Never a NaN and never infinite.
    Float(f64),
    /// A binary.
    Binary(&'a [u8]),
    /// A bit string whose last byte is not whole.
    BitString(BitString<'a>),
    /// A tuple.
    Tuple(Tuple<'a>),
    /// The empty list.
    Nil,
    /// A list with at least one element, proper or not.
    List(List<'a>),
    /// A map.
    Map(Map<'a>),
    /// A pid.
    Pid(PidRef<'a>),
    /// A port.
    Port(PortRef<'a>),
    /// A reference.
    Reference(ReferenceRef<'a>),
    /// An exported function, `fun M:F/A`.
    Export(Export<'a>),
    /// A closure.
    Fun(Fun<'a>),
}

/// A bit string whose last byte is not whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BitString<'a> {
    /// The bytes; the bits of the last that do not count are 0.
    pub bytes: &'a [u8],
    /// The number of bits of the last byte, counted from the most significant: 1 to 7.
    pub last_bits: u8,
}

impl BitString<'_> {
    /// Returns the number of bits.
    pub fn bits(&self) -> usize {
        match self.bytes.len() {
            0 => 0,
            length => 8 * (length - 1) + usize::from(self.last_bits),
        }
    }
}

/// An exported function, `fun M:F/A`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Export<'a> {
    /// The module.
    pub module: &'a str,
    /// The function.
    pub function: &'a str,
    /// The number of arguments.
    pub arity: u8,
}

/// A closure. It can be kept, compared and given back; it cannot be called.
#[derive(Clone, Copy, Debug)]
pub struct Fun<'a>(TermRef<'a>);

impl<'a> Fun<'a> {
    /// Returns the module that the closure comes from.
    pub fn module(self) -> &'a str {
        leaf::fun(self.0.bytes).module
    }

    /// Returns the number of its arguments.
    pub fn arity(self) -> u8 {
        leaf::fun(self.0.bytes).arity
    }

    /// Returns the pid of the process that made it.
    pub fn creator(self) -> PidRef<'a> {
        leaf::pid(&self.0.bytes[leaf::fun_creator(self.0.bytes).0..])
    }

    /// Returns the number and the hash that Erlang prints: `#Fun<module.index.hash>`.
    pub(super) fn index_and_hash(self) -> (u32, Integer<'a>) {
        let fun = leaf::fun(self.0.bytes);
        (fun.index, fun.old_uniq)
    }
}

impl<'a> TermRef<'a> {
    pub(super) fn new(bytes: &'a [u8], is_plain: bool) -> Self {
        Self { bytes, is_plain }
    }

    /// Returns the part that begins so many bytes behind this one's beginning.
    pub(super) fn at(self, offset: usize) -> Self {
        Self { bytes: &self.bytes[offset..], ..self }
    }

    pub(super) fn is_plain(self) -> bool {
        self.is_plain
    }

    /// Returns bytes that begin with the term.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the encoded term.
    pub(super) fn trimmed(self) -> &'a [u8] {
        &self.bytes[..skip(self.bytes, 0, 1)]
    }

    fn tag(self) -> u8 {
        self.bytes[0]
    }

    /// Returns what the term is, with its parts.
    pub fn kind(self) -> Kind<'a> {
        let bytes = self.bytes;
        match self.tag() {
            tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8 => Kind::Atom(leaf::atom(bytes)),
            tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG => Kind::Integer(leaf::integer(bytes)),
            tag::NEW_FLOAT => Kind::Float(leaf::float(bytes)),
            tag::BINARY => Kind::Binary(leaf::binary(bytes)),
            tag::BIT_BINARY => Kind::BitString(leaf::bits(bytes)),
            tag::SMALL_TUPLE | tag::LARGE_TUPLE => Kind::Tuple(Tuple::new(self)),
            tag::NIL => Kind::Nil,
            tag::STRING | tag::LIST => Kind::List(List::new(self)),
            tag::MAP => Kind::Map(Map::new(self)),
            tag::NEW_PID => Kind::Pid(leaf::pid(bytes)),
            tag::NEW_PORT | tag::V4_PORT => Kind::Port(leaf::port(bytes)),
            tag::NEWER_REFERENCE => Kind::Reference(leaf::reference(bytes)),
            tag::EXPORT => Kind::Export(leaf::export(bytes)),
            tag::NEW_FUN => Kind::Fun(Fun(self)),
            other => unreachable!("no canonical term begins with {other}"),
        }
    }

    /// Returns the text of an atom.
    pub fn as_atom(self) -> Option<&'a str> {
        matches!(self.tag(), tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8).then(|| leaf::atom(self.bytes))
    }

    /// Returns `true` if the term is this atom.
    pub fn is_atom(self, text: &str) -> bool {
        matches!(self.tag(), tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8) && atom_text(self.bytes).0 == text.as_bytes()
    }

    /// Returns an integer.
    pub fn as_integer(self) -> Option<Integer<'a>> {
        matches!(self.tag(), tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG)
            .then(|| leaf::integer(self.bytes))
    }

    /// Returns an integer that fits.
    pub fn as_i64(self) -> Option<i64> {
        self.as_integer()?.to_i64()
    }

    /// Returns an integer that fits.
    pub fn as_u64(self) -> Option<u64> {
        self.as_integer()?.to_u64()
    }

    /// Returns the truth value of the atoms `true` and `false`.
    pub fn as_bool(self) -> Option<bool> {
        match self.as_atom()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Returns a float.
    pub fn as_f64(self) -> Option<f64> {
        (self.tag() == tag::NEW_FLOAT).then(|| leaf::float(self.bytes))
    }

    /// Returns the bytes of a binary.
    pub fn as_binary(self) -> Option<&'a [u8]> {
        (self.tag() == tag::BINARY).then(|| leaf::binary(self.bytes))
    }

    /// Returns a tuple.
    pub fn as_tuple(self) -> Option<Tuple<'a>> {
        matches!(self.tag(), tag::SMALL_TUPLE | tag::LARGE_TUPLE).then(|| Tuple::new(self))
    }

    /// Returns the elements of a tuple that has as many as the array.
    pub fn as_array<const N: usize>(self) -> Option<[TermRef<'a>; N]> {
        let tuple = self.as_tuple().filter(|tuple| tuple.arity() == N)?;
        let mut elements = tuple.iter();
        let mut array = [self; N];
        array.iter_mut().zip(&mut elements).for_each(|(to, element)| *to = element);
        Some(array)
    }

    /// Returns the elements of a proper list, also of the empty one.
    pub fn as_list(self) -> Option<ListItems<'a>> {
        match self.tag() {
            tag::NIL | tag::STRING => Some(ListItems::new(self)),
            tag::LIST => {
                let tail = skip(self.bytes, 5, leaf::count(self.bytes));
                (self.bytes[tail] == tag::NIL).then(|| ListItems::new(self))
            }
            _ => None,
        }
    }

    /// Returns the elements of a list, proper or not, also of the empty one.
    pub fn as_improper_list(self) -> Option<ListItems<'a>> {
        matches!(self.tag(), tag::NIL | tag::STRING | tag::LIST).then(|| ListItems::new(self))
    }

    /// Returns the element and the tail of a list of one element: `[alias | Ref]` gives the atom
    /// and the reference.
    pub fn as_cons(self) -> Option<(TermRef<'a>, TermRef<'a>)> {
        let mut items = self.as_improper_list()?;
        let head = items.next()?;
        (items.len() == 0).then(|| (head, items.tail()))
    }

    /// Returns a map.
    pub fn as_map(self) -> Option<Map<'a>> {
        (self.tag() == tag::MAP).then(|| Map::new(self))
    }

    /// Returns a pid.
    pub fn as_pid(self) -> Option<PidRef<'a>> {
        (self.tag() == tag::NEW_PID).then(|| leaf::pid(self.bytes))
    }

    /// Returns a port.
    pub fn as_port(self) -> Option<PortRef<'a>> {
        matches!(self.tag(), tag::NEW_PORT | tag::V4_PORT).then(|| leaf::port(self.bytes))
    }

    /// Returns a reference.
    pub fn as_reference(self) -> Option<ReferenceRef<'a>> {
        (self.tag() == tag::NEWER_REFERENCE).then(|| leaf::reference(self.bytes))
    }

    /// Returns `true` for the empty list.
    pub fn is_nil(self) -> bool {
        self.tag() == tag::NIL
    }

    /// Returns a term with a copy of the bytes. [`Term::part`] shares them.
    pub fn to_term(self) -> Term {
        Term::copy(self.trimmed(), self.is_plain)
    }
}

impl PartialEq for TermRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        order::compare(self.bytes, other.bytes, true).is_eq()
    }
}

impl Eq for TermRef<'_> {}

impl PartialEq<Term> for TermRef<'_> {
    fn eq(&self, other: &Term) -> bool {
        *self == other.view()
    }
}

impl core::fmt::Debug for TermRef<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
