//! [`Token`]: a leaf, or the head of a tuple, list, map or closure, read from bytes that are not
//! trusted. This is the only reader of old and unusual encodings.

use super::decode::{DecodeError, DecodeErrorKind as Kind};
use super::identifiers::{MAX_WORDS, ReferenceWords};
use super::input::Input;
use super::integer::Integer;
use super::{atom, tag};

/// A leaf, or the head of a term whose elements follow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token<'a> {
    Atom(AtomText<'a>),
    Integer(Integer<'a>),
    Float(f64),
    Binary(&'a [u8]),
    /// Bytes of which the last has 1 to 7 bits; its other bits are not masked yet.
    Bits(&'a [u8], u8),
    /// A proper list of bytes, not empty.
    String(&'a [u8]),
    Nil,
    Pid(PidParts<'a>),
    Port(PortParts<'a>),
    Reference(ReferenceParts<'a>),
    Export(AtomText<'a>, AtomText<'a>, u8),
    /// As many terms follow.
    Tuple(usize),
    /// As many terms and a tail follow.
    List(usize),
    /// Twice as many terms follow.
    Map(usize),
    /// As many terms follow as there are free variables.
    Fun(FunParts<'a>),
}

/// An atom's text as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtomText<'a> {
    Utf8(&'a str),
    Latin1(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PidParts<'a> {
    pub(crate) node: AtomText<'a>,
    pub(crate) id: u32,
    pub(crate) serial: u32,
    pub(crate) creation: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PortParts<'a> {
    pub(crate) node: AtomText<'a>,
    pub(crate) id: u64,
    pub(crate) creation: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ReferenceParts<'a> {
    pub(crate) node: AtomText<'a>,
    pub(crate) creation: u32,
    pub(crate) words: ReferenceWords,
}

/// A closure up to its free variables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunParts<'a> {
    /// The length that the closure announces, from its second byte to its end.
    pub(crate) size: u32,
    pub(crate) arity: u8,
    pub(crate) uniq: [u8; 16],
    pub(crate) index: u32,
    pub(crate) free: usize,
    pub(crate) module: AtomText<'a>,
    pub(crate) old_index: Integer<'a>,
    pub(crate) old_uniq: Integer<'a>,
    pub(crate) creator: PidParts<'a>,
}

impl<'a> Token<'a> {
    /// Reads a token. The flag is `true` if it is encoded in the canonical way.
    pub(crate) fn read(input: &mut Input<'a>) -> Result<(Self, bool), DecodeError> {
        let start = *input;
        Ok(match input.u8()? {
            tag::SMALL_INTEGER | tag::INTEGER | tag::SMALL_BIG | tag::LARGE_BIG => {
                *input = start;
                let (integer, canonical) = integer(input)?;
                (Self::Integer(integer), canonical)
            }
            tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8 | tag::ATOM | tag::SMALL_ATOM => {
                *input = start;
                let (text, canonical) = atom(input)?;
                (Self::Atom(text), canonical)
            }
            tag::NIL => (Self::Nil, true),
            tag::NEW_FLOAT => (Self::Float(finite(&start, f64::from_be_bytes(input.array()?))?), true),
            tag::FLOAT => (Self::Float(text_float(&start, &input.array::<31>()?)?), false),
            tag::BINARY => {
                let length = input.length(1)?;
                (Self::Binary(input.take(length)?), true)
            }
            tag::BIT_BINARY => {
                let length = input.u32()? as usize;
                let last_bits = input.u8()?;
                if last_bits > 8 || (last_bits == 0) != (length == 0) {
                    return Err(start.error(Kind::Bits));
                }
                match (input.take(length)?, last_bits) {
                    (bytes, 0 | 8) => (Self::Binary(bytes), false),
                    (bytes, bits) => (Self::Bits(bytes, bits), bytes[length - 1] << bits == 0),
                }
            }
            tag::STRING => match input.u16()? {
                0 => (Self::Nil, false),
                length => (Self::String(input.take(length.into())?), true),
            },
            tag::SMALL_TUPLE => {
                let arity = usize::from(input.u8()?);
                if arity > input.left() {
                    return Err(start.error(Kind::TooShort));
                }
                (Self::Tuple(arity), true)
            }
            tag::LARGE_TUPLE => {
                let arity = input.length(1)?;
                (Self::Tuple(arity), arity > usize::from(u8::MAX))
            }
            tag::LIST => {
                let length = input.length(1)?;
                // The tail of a list without elements is the term itself.
                (Self::List(length), length > 0)
            }
            tag::MAP => (Self::Map(input.length(2)?), true),
            tag::NEW_PID | tag::PID => {
                *input = start;
                let (pid, canonical) = pid(input)?;
                (Self::Pid(pid), canonical)
            }
            tag @ (tag::V4_PORT | tag::NEW_PORT | tag::PORT) => {
                let (node, canonical) = node(input)?;
                let id = if tag == tag::V4_PORT { u64::from_be_bytes(input.array()?) } else { input.u32()?.into() };
                let creation = if tag == tag::PORT { input.u8()?.into() } else { input.u32()? };
                let tag_of_id = if id < tag::FIRST_V4_PORT { tag::NEW_PORT } else { tag::V4_PORT };
                (Self::Port(PortParts { node, id, creation }), canonical && tag == tag_of_id)
            }
            tag @ (tag::NEWER_REFERENCE | tag::NEW_REFERENCE | tag::REFERENCE) => {
                let (reference, canonical) = reference(input, tag)?;
                (Self::Reference(reference), canonical)
            }
            tag::EXPORT => {
                let (module, module_canonical) = node(input)?;
                let (function, function_canonical) = node(input)?;
                let at = *input;
                let (arity, arity_canonical) = integer(input)?;
                let arity = arity.to_i64().and_then(|arity| u8::try_from(arity).ok());
                let arity = arity.ok_or_else(|| at.error(Kind::Identifier))?;
                let canonical = module_canonical && function_canonical && arity_canonical;
                (Self::Export(module, function, arity), canonical)
            }
            tag::NEW_FUN => {
                let (fun, canonical) = fun(input)?;
                (Self::Fun(fun), canonical)
            }
            other => return Err(start.error(Kind::Tag(other))),
        })
    }
}

/// Reads an atom.
pub(crate) fn atom<'a>(input: &mut Input<'a>) -> Result<(AtomText<'a>, bool), DecodeError> {
    let start = *input;
    let tag = input.u8()?;
    let length = match tag {
        tag::SMALL_ATOM_UTF8 | tag::SMALL_ATOM => usize::from(input.u8()?),
        _ => usize::from(input.u16()?),
    };
    let bytes = input.take(length)?;
    if let tag::ATOM | tag::SMALL_ATOM = tag {
        if length > atom::MAX_CHARACTERS {
            return Err(start.error(Kind::AtomTooLong));
        }
        return Ok((AtomText::Latin1(bytes), false));
    }
    let text = core::str::from_utf8(bytes).map_err(|_| start.error(Kind::Utf8))?;
    if atom::is_too_long(text) {
        return Err(start.error(Kind::AtomTooLong));
    }
    let canonical = (tag == tag::SMALL_ATOM_UTF8) == (length <= usize::from(u8::MAX));
    Ok((AtomText::Utf8(text), canonical))
}

/// Reads an atom where only an atom may be.
fn node<'a>(input: &mut Input<'a>) -> Result<(AtomText<'a>, bool), DecodeError> {
    match input.peek() {
        Some(tag::SMALL_ATOM_UTF8 | tag::ATOM_UTF8 | tag::ATOM | tag::SMALL_ATOM) => atom(input),
        Some(_) => Err(input.error(Kind::Identifier)),
        None => Err(input.error(Kind::TooShort)),
    }
}

/// Reads an integer where only an integer may be.
fn integer<'a>(input: &mut Input<'a>) -> Result<(Integer<'a>, bool), DecodeError> {
    let start = *input;
    let length = match input.u8()? {
        tag::SMALL_INTEGER => return Ok((Integer::small(input.u8()?.into()), true)),
        tag::INTEGER => {
            let value = i64::from(i32::from_be_bytes(input.array()?));
            return Ok((Integer::small(value), u8::try_from(value).is_err()));
        }
        tag::SMALL_BIG => usize::from(input.u8()?),
        tag::LARGE_BIG => input.length(1)?,
        _ => return Err(start.error(Kind::Identifier)),
    };
    // Any sign but 0 is negative, as in Erlang, and 1 is the canonical one.
    let sign = input.u8()?;
    let written = input.take(length)?;
    let integer = Integer::of_digits(sign != 0, written);
    let canonical = match integer.digits() {
        Some(digits) => {
            let is_small = digits.len() <= usize::from(u8::MAX);
            digits.len() == length && is_small == (start.peek() == Some(tag::SMALL_BIG))
        }
        // An integer that has a shorter form.
        None if i32::try_from(integer.to_i64().unwrap_or_default()).is_ok() => false,
        None => start.peek() == Some(tag::SMALL_BIG) && written.last() != Some(&0),
    };
    Ok((integer, canonical && sign <= 1))
}

/// Reads a pid where only a pid may be.
fn pid<'a>(input: &mut Input<'a>) -> Result<(PidParts<'a>, bool), DecodeError> {
    let start = *input;
    let tag = input.u8()?;
    if !matches!(tag, tag::NEW_PID | tag::PID) {
        return Err(start.error(Kind::Identifier));
    }
    let (node, canonical) = node(input)?;
    let (id, serial) = (input.u32()?, input.u32()?);
    let creation = if tag == tag::PID { input.u8()?.into() } else { input.u32()? };
    Ok((PidParts { node, id, serial, creation }, canonical && tag == tag::NEW_PID))
}

/// Reads a reference behind its tag.
fn reference<'a>(input: &mut Input<'a>, tag: u8) -> Result<(ReferenceParts<'a>, bool), DecodeError> {
    let start = *input;
    let length = if tag == tag::REFERENCE { 1 } else { usize::from(input.u16()?) };
    let (node, canonical) = node(input)?;
    if tag == tag::REFERENCE {
        let words = [input.u32()?];
        let creation = input.u8()?.into();
        let words = ReferenceWords::new(&words).ok_or_else(|| start.error(Kind::ReferenceWords))?;
        return Ok((ReferenceParts { node, creation, words }, false));
    }
    let creation = if tag == tag::NEW_REFERENCE { input.u8()?.into() } else { input.u32()? };
    let mut words = [0; MAX_WORDS];
    let Some(words) = words.get_mut(..length) else { return Err(start.error(Kind::ReferenceWords)) };
    for word in &mut *words {
        *word = input.u32()?;
    }
    let words = ReferenceWords::new(words).ok_or_else(|| start.error(Kind::ReferenceWords))?;
    Ok((ReferenceParts { node, creation, words }, canonical && tag == tag::NEWER_REFERENCE))
}

/// Reads a closure behind its tag, up to its free variables.
fn fun<'a>(input: &mut Input<'a>) -> Result<(FunParts<'a>, bool), DecodeError> {
    let (size, arity) = (input.u32()?, input.u8()?);
    let (uniq, index) = (input.array()?, input.u32()?);
    let free = input.length(1)?;
    let (module, module_canonical) = node(input)?;
    let (old_index, index_canonical) = integer(input)?;
    let (old_uniq, uniq_canonical) = integer(input)?;
    let (creator, creator_canonical) = pid(input)?;
    let canonical = module_canonical && index_canonical && uniq_canonical && creator_canonical;
    Ok((FunParts { size, arity, uniq, index, free, module, old_index, old_uniq, creator }, canonical))
}

fn finite(at: &Input<'_>, value: f64) -> Result<f64, DecodeError> {
    if value.is_finite() { Ok(value) } else { Err(at.error(Kind::Float)) }
}

/// Reads a float as `sprintf("%.20e")` writes it, filled up with zero bytes. There must be a point
/// with digits on both sides, as Erlang demands.
fn text_float(at: &Input<'_>, text: &[u8]) -> Result<f64, DecodeError> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or_default();
    let has_point = point > 0 && is_digit(text.get(point - 1)) && is_digit(text.get(point + 1));
    let is_plain = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let value = core::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    match value {
        Some(value) if has_point && is_plain => finite(at, value),
        _ => Err(at.error(Kind::Float)),
    }
}
