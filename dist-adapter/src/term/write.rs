//! Leaves and heads in canonical form.

use bytes::BufMut;

use super::atom::is_too_long;
use super::identifiers::{PidRef, PortRef, ReferenceRef};
use super::integer::Integer;
use super::tag;
use super::token::{AtomText, FunParts, PidParts, PortParts, ReferenceParts, Token};

/// Appends a token that is not a list, a string or a closure, whose written form depends on what
/// follows.
pub(crate) fn token(token: &Token<'_>, out: &mut impl BufMut) {
    match *token {
        Token::Atom(text) => atom_text(text, out),
        Token::Integer(value) => integer(value, out),
        Token::Float(value) => float(value, out),
        Token::Binary(bytes) => binary(bytes, out),
        Token::Bits(bytes, last_bits) => bits(bytes, last_bits, out),
        Token::Nil => out.put_u8(tag::NIL),
        Token::Pid(PidParts { node, id, serial, creation }) => {
            out.put_u8(tag::NEW_PID);
            atom_text(node, out);
            pid_words(id, serial, creation, out);
        }
        Token::Port(PortParts { node, id, creation }) => {
            port_tag(id, out);
            atom_text(node, out);
            port_words(id, creation, out);
        }
        Token::Reference(ReferenceParts { node, creation, words }) => {
            out.put_u8(tag::NEWER_REFERENCE);
            out.put_u16(words.as_slice().len() as u16);
            atom_text(node, out);
            out.put_u32(creation);
            words.as_slice().iter().for_each(|word| out.put_u32(*word));
        }
        Token::Export(module, function, arity) => {
            out.put_u8(tag::EXPORT);
            atom_text(module, out);
            atom_text(function, out);
            out.put_slice(&[tag::SMALL_INTEGER, arity]);
        }
        Token::Tuple(arity) => tuple(arity, out),
        Token::Map(pairs) => map(pairs, out),
        Token::List(_) | Token::String(_) | Token::Fun(_) => unreachable!("the caller writes these itself"),
    }
}

/// Appends a closure up to its free variables. The four bytes behind the tag, its size, are 0.
pub(crate) fn fun(fun: &FunParts<'_>, out: &mut impl BufMut) {
    out.put_u8(tag::NEW_FUN);
    out.put_u32(0);
    out.put_u8(fun.arity);
    out.put_slice(&fun.uniq);
    out.put_u32(fun.index);
    out.put_u32(fun.free as u32);
    atom_text(fun.module, out);
    integer(fun.old_index, out);
    integer(fun.old_uniq, out);
    token(&Token::Pid(fun.creator), out);
}

pub(crate) fn atom_text(text: AtomText<'_>, out: &mut impl BufMut) {
    match text {
        AtomText::Utf8(text) => atom(text, out),
        AtomText::Latin1(bytes) => {
            // The first 256 characters of Unicode are Latin-1; those from 128 on take two bytes.
            let length = bytes.len() + bytes.iter().filter(|byte| !byte.is_ascii()).count();
            atom_head(length, out);
            for byte in bytes {
                let mut buffer = [0; 2];
                out.put_slice(char::from(*byte).encode_utf8(&mut buffer).as_bytes());
            }
        }
    }
}

/// Appends an atom.
///
/// # Panics
///
/// If it has more than 255 characters: a `PidRef` that does not come from a term may.
pub(crate) fn atom(text: &str, out: &mut impl BufMut) {
    assert!(!is_too_long(text), "an atom has at most 255 characters");
    atom_head(text.len(), out);
    out.put_slice(text.as_bytes());
}

fn atom_head(length: usize, out: &mut impl BufMut) {
    match u8::try_from(length) {
        Ok(length) => out.put_slice(&[tag::SMALL_ATOM_UTF8, length]),
        Err(_) => {
            out.put_u8(tag::ATOM_UTF8);
            out.put_u16(length as u16);
        }
    }
}

pub(crate) fn integer(value: Integer<'_>, out: &mut impl BufMut) {
    match (value.to_i64(), value.digits()) {
        (Some(value), _) => small_integer(value, out),
        (_, digits) => big(value.is_negative(), digits.unwrap_or_default(), out),
    }
}

pub(crate) fn small_integer(value: i64, out: &mut impl BufMut) {
    if let Ok(byte) = u8::try_from(value) {
        out.put_slice(&[tag::SMALL_INTEGER, byte]);
    } else if let Ok(value) = i32::try_from(value) {
        out.put_u8(tag::INTEGER);
        out.put_i32(value);
    } else {
        wide_integer(value < 0, value.unsigned_abs().into(), out);
    }
}

/// Appends an integer that may be wider than 64 bits.
pub(crate) fn wide_integer(is_negative: bool, magnitude: u128, out: &mut impl BufMut) {
    let small = i64::try_from(magnitude).ok().map(|value| if is_negative { -value } else { value });
    match small {
        Some(value) if i32::try_from(value).is_ok() => small_integer(value, out),
        _ => {
            let length = 16 - magnitude.leading_zeros() as usize / 8;
            big(is_negative, &magnitude.to_le_bytes()[..length], out);
        }
    }
}

/// Appends an integer outside of 32 bits by its digits, the last of which is not 0.
fn big(is_negative: bool, digits: &[u8], out: &mut impl BufMut) {
    match u8::try_from(digits.len()) {
        Ok(length) => out.put_slice(&[tag::SMALL_BIG, length]),
        Err(_) => {
            out.put_u8(tag::LARGE_BIG);
            out.put_u32(digits.len() as u32);
        }
    }
    out.put_u8(is_negative.into());
    out.put_slice(digits);
}

pub(crate) fn float(value: f64, out: &mut impl BufMut) {
    out.put_u8(tag::NEW_FLOAT);
    out.put_f64(value);
}

pub(crate) fn binary(bytes: &[u8], out: &mut impl BufMut) {
    binary_head(bytes.len(), out);
    out.put_slice(bytes);
}

pub(crate) fn binary_head(length: usize, out: &mut impl BufMut) {
    out.put_u8(tag::BINARY);
    out.put_u32(length as u32);
}

/// Appends a bit string whose last byte has 1 to 7 bits; the others are masked.
pub(crate) fn bits(bytes: &[u8], last_bits: u8, out: &mut impl BufMut) {
    out.put_u8(tag::BIT_BINARY);
    out.put_u32(bytes.len() as u32);
    out.put_u8(last_bits);
    if let Some((last, whole)) = bytes.split_last() {
        out.put_slice(whole);
        out.put_u8(last & !(0xff >> last_bits));
    }
}

pub(crate) fn tuple(arity: usize, out: &mut impl BufMut) {
    match u8::try_from(arity) {
        Ok(arity) => out.put_slice(&[tag::SMALL_TUPLE, arity]),
        Err(_) => {
            out.put_u8(tag::LARGE_TUPLE);
            out.put_u32(arity as u32);
        }
    }
}

/// Appends the head of a list that is not empty.
pub(crate) fn list(length: usize, out: &mut impl BufMut) {
    out.put_u8(tag::LIST);
    out.put_u32(length as u32);
}

/// Appends a proper list of 1 to 65,535 bytes.
pub(crate) fn string(bytes: &[u8], out: &mut impl BufMut) {
    out.put_u8(tag::STRING);
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

pub(crate) fn map(pairs: usize, out: &mut impl BufMut) {
    out.put_u8(tag::MAP);
    out.put_u32(pairs as u32);
}

pub(crate) fn pid(pid: PidRef<'_>, out: &mut impl BufMut) {
    out.put_u8(tag::NEW_PID);
    atom(pid.node, out);
    pid_words(pid.id, pid.serial, pid.creation, out);
}

fn pid_words(id: u32, serial: u32, creation: u32, out: &mut impl BufMut) {
    out.put_u32(id);
    out.put_u32(serial);
    out.put_u32(creation);
}

pub(crate) fn port(port: PortRef<'_>, out: &mut impl BufMut) {
    port_tag(port.id, out);
    atom(port.node, out);
    port_words(port.id, port.creation, out);
}

fn port_tag(id: u64, out: &mut impl BufMut) {
    out.put_u8(if id < tag::FIRST_V4_PORT { tag::NEW_PORT } else { tag::V4_PORT });
}

fn port_words(id: u64, creation: u32, out: &mut impl BufMut) {
    if id < tag::FIRST_V4_PORT {
        out.put_u32(id as u32)
    } else {
        out.put_u64(id)
    }
    out.put_u32(creation);
}

pub(crate) fn export(module: &str, function: &str, arity: u8, out: &mut impl BufMut) {
    out.put_u8(tag::EXPORT);
    atom(module, out);
    atom(function, out);
    out.put_slice(&[tag::SMALL_INTEGER, arity]);
}

pub(crate) fn reference(reference: ReferenceRef<'_>, out: &mut impl BufMut) {
    let words = reference.words.as_slice();
    out.put_u8(tag::NEWER_REFERENCE);
    out.put_u16(words.len() as u16);
    atom(reference.node, out);
    out.put_u32(reference.creation);
    words.iter().for_each(|word| out.put_u32(*word));
}
