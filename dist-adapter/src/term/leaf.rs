//! Reading and comparing the leaves of canonical terms.

use core::cmp::Ordering;

use super::identifiers::{MAX_WORDS, PidRef, PortRef, ReferenceRef, ReferenceWords};
use super::integer::Integer;
use super::skip::{atom_text, extent, u16_at, u32_at, u32_word};
use super::tag;
use super::view::{BitString, Export};

/// The kinds of terms in Erlang's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum KindOrder {
    Number,
    Atom,
    Reference,
    Fun,
    Export,
    Port,
    Pid,
    Tuple,
    Map,
    Nil,
    List,
    Bits,
}

fn kind(bytes: &[u8]) -> KindOrder {
    match bytes[0] {
        tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG | tag::NEW_FLOAT => KindOrder::Number,
        tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8 => KindOrder::Atom,
        tag::NEWER_REFERENCE => KindOrder::Reference,
        tag::NEW_FUN => KindOrder::Fun,
        tag::EXPORT => KindOrder::Export,
        tag::NEW_PORT | tag::V4_PORT => KindOrder::Port,
        tag::NEW_PID => KindOrder::Pid,
        tag::SMALL_TUPLE | tag::LARGE_TUPLE => KindOrder::Tuple,
        tag::MAP => KindOrder::Map,
        tag::NIL => KindOrder::Nil,
        tag::LIST | tag::STRING => KindOrder::List,
        tag::BINARY | tag::BIT_BINARY => KindOrder::Bits,
        other => unreachable!("no canonical term begins with {other}"),
    }
}

/// Compares only what kinds of terms the bytes begin with.
pub(crate) fn compare_kinds(left: &[u8], right: &[u8]) -> Ordering {
    kind(left).cmp(&kind(right))
}

/// Compares two terms that are not containers of the same kind. Two strings are compared, too.
pub(crate) fn compare(left: &[u8], right: &[u8], is_exact: bool) -> Ordering {
    let both = kind(left);
    if both != kind(right) {
        return both.cmp(&kind(right));
    }
    match both {
        KindOrder::Number => compare_numbers(left, right, is_exact),
        KindOrder::Atom => atom_text(left).0.cmp(atom_text(right).0),
        KindOrder::Reference => reference(left).cmp_padded(&reference(right)),
        KindOrder::Export => {
            let key = |Export { module, function, arity }| (module, function, arity);
            key(export(left)).cmp(&key(export(right)))
        }
        KindOrder::Port => port(left).cmp(&port(right)),
        KindOrder::Pid => pid(left).cmp(&pid(right)),
        KindOrder::Nil => Ordering::Equal,
        KindOrder::List => string(left).cmp(string(right)),
        KindOrder::Bits => compare_bits(bits(left), bits(right)),
        KindOrder::Fun | KindOrder::Tuple | KindOrder::Map => unreachable!("the walk enters these"),
    }
}

fn compare_numbers(left: &[u8], right: &[u8], is_exact: bool) -> Ordering {
    match (left[0] == tag::NEW_FLOAT, right[0] == tag::NEW_FLOAT) {
        (false, false) => integer(left).cmp(&integer(right)),
        // Neither is a NaN.
        (true, true) => float(left).partial_cmp(&float(right)).unwrap_or(Ordering::Equal),
        (false, true) if is_exact => Ordering::Less,
        (true, false) if is_exact => Ordering::Greater,
        (false, true) => integer(left).compare_to_float(float(right)),
        (true, false) => integer(right).compare_to_float(float(left)).reverse(),
    }
}

/// Compares bits from the first, and then the lengths.
fn compare_bits(left: BitString<'_>, right: BitString<'_>) -> Ordering {
    let (left_length, right_length) = (left.bits(), right.bits());
    let common = left_length.min(right_length);
    let (whole, rest) = (common / 8, common % 8);
    left.bytes[..whole]
        .cmp(&right.bytes[..whole])
        .then_with(|| {
            if rest == 0 {
                return Ordering::Equal;
            }
            let shift = 8 - rest;
            (left.bytes[whole] >> shift).cmp(&(right.bytes[whole] >> shift))
        })
        .then(left_length.cmp(&right_length))
}

/// Compares two closures up to their free variables. The process that made one does not count.
pub(crate) fn compare_funs(left: &[u8], right: &[u8]) -> Ordering {
    fun(left).key().cmp(&fun(right).key())
}

/// A closure without its free variables and without the process that made it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunHead<'a> {
    pub(crate) arity: u8,
    pub(crate) uniq: &'a [u8],
    pub(crate) index: u32,
    pub(crate) free: usize,
    pub(crate) module: &'a str,
    pub(crate) old_index: Integer<'a>,
    pub(crate) old_uniq: Integer<'a>,
}

impl<'a> FunHead<'a> {
    fn key(self) -> impl Ord + use<'a> {
        (self.module, self.index, self.old_index, self.old_uniq, self.uniq, self.arity, self.free)
    }
}

pub(crate) fn fun(bytes: &[u8]) -> FunHead<'_> {
    let module = 30;
    let old_index = module + atom_text(&bytes[module..]).1;
    let old_uniq = old_index + extent(&bytes[old_index..]).0;
    FunHead {
        arity: bytes[5],
        uniq: &bytes[6..22],
        index: u32_word(bytes, 22),
        free: u32_at(bytes, 26),
        module: atom(&bytes[module..]),
        old_index: integer(&bytes[old_index..]),
        old_uniq: integer(&bytes[old_uniq..]),
    }
}

/// Returns where the pid lies of the process that made a closure, and where the free variables
/// begin.
pub(crate) fn fun_creator(bytes: &[u8]) -> (usize, usize) {
    let mut at = 30;
    for _ in 0..3 {
        at += extent(&bytes[at..]).0;
    }
    (at, at + extent(&bytes[at..]).0)
}

/// Returns the number that the head of a tuple, list, string, map or closure says.
pub(crate) fn count(bytes: &[u8]) -> usize {
    match bytes[0] {
        tag::SMALL_TUPLE => bytes[1].into(),
        tag::STRING => u16_at(bytes, 1),
        tag::NEW_FUN => u32_at(bytes, 26),
        _ => u32_at(bytes, 1),
    }
}

/// Returns the length of the head of a container. A string's elements do not belong to its head.
pub(crate) fn head_length(bytes: &[u8]) -> usize {
    if bytes[0] == tag::STRING { 3 } else { extent(bytes).0 }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    // The scan has seen that it is UTF-8.
    core::str::from_utf8(bytes).unwrap_or_default()
}

pub(crate) fn atom(bytes: &[u8]) -> &str {
    text(atom_text(bytes).0)
}

pub(crate) fn integer(bytes: &[u8]) -> Integer<'_> {
    match bytes[0] {
        tag::SMALL_INTEGER => Integer::small(bytes[1].into()),
        tag::INTEGER => Integer::small((u32_word(bytes, 1) as i32).into()),
        tag::SMALL_BIG => Integer::of_digits(bytes[2] != 0, &bytes[3..3 + usize::from(bytes[1])]),
        _ => Integer::of_digits(bytes[5] != 0, &bytes[6..6 + u32_at(bytes, 1)]),
    }
}

pub(crate) fn float(bytes: &[u8]) -> f64 {
    f64::from_be_bytes(*bytes[1..].first_chunk().expect("a float has 8 bytes"))
}

pub(crate) fn string(bytes: &[u8]) -> &[u8] {
    &bytes[3..3 + u16_at(bytes, 1)]
}

pub(crate) fn binary(bytes: &[u8]) -> &[u8] {
    &bytes[5..5 + u32_at(bytes, 1)]
}

/// Returns a bit string or a binary.
pub(crate) fn bits(bytes: &[u8]) -> BitString<'_> {
    if bytes[0] == tag::BINARY {
        return BitString { bytes: binary(bytes), last_bits: 8 };
    }
    BitString { bytes: &bytes[6..6 + u32_at(bytes, 1)], last_bits: bytes[5] }
}

pub(crate) fn pid(bytes: &[u8]) -> PidRef<'_> {
    let (node, length) = atom_text(&bytes[1..]);
    let words = &bytes[1 + length..];
    PidRef { node: text(node), id: u32_word(words, 0), serial: u32_word(words, 4), creation: u32_word(words, 8) }
}

pub(crate) fn port(bytes: &[u8]) -> PortRef<'_> {
    let (node, length) = atom_text(&bytes[1..]);
    let words = &bytes[1 + length..];
    let (id, creation) = if bytes[0] == tag::V4_PORT {
        (u64::from(u32_word(words, 0)) << 32 | u64::from(u32_word(words, 4)), 8)
    } else {
        (u32_word(words, 0).into(), 4)
    };
    PortRef { node: text(node), id, creation: u32_word(words, creation) }
}

pub(crate) fn reference(bytes: &[u8]) -> ReferenceRef<'_> {
    let count = u16_at(bytes, 1);
    let (node, length) = atom_text(&bytes[3..]);
    let rest = &bytes[3 + length..];
    let mut words = [0; MAX_WORDS];
    for (at, word) in words[..count].iter_mut().enumerate() {
        *word = u32_word(rest, 4 + 4 * at);
    }
    let words = ReferenceWords::new(&words[..count]).expect("a reference has 1 to 5 words");
    ReferenceRef { node: text(node), creation: u32_word(rest, 0), words }
}

pub(crate) fn export(bytes: &[u8]) -> Export<'_> {
    let (module, length) = atom_text(&bytes[1..]);
    let function = &bytes[1 + length..];
    let (function, length) = (text(atom_text(function).0), length + atom_text(function).1);
    Export { module: text(module), function, arity: bytes[2 + length] }
}
