//! Stepping over canonical terms, and reading their heads.

use super::tag;

/// Returns the position behind `count` terms that begin at `at`.
///
/// The bytes must be canonical terms; the result is without meaning otherwise.
pub(crate) fn skip(bytes: &[u8], mut at: usize, count: usize) -> usize {
    let mut left = count;
    while left > 0 {
        let (length, elements) = extent(&bytes[at..]);
        at += length;
        left = left - 1 + elements;
    }
    at
}

/// Returns the length of a leaf or a head in bytes, and the number of terms that belong to it and
/// follow.
#[inline]
pub(crate) fn extent(bytes: &[u8]) -> (usize, usize) {
    match bytes[0] {
        tag::SMALL_INTEGER => (2, 0),
        tag::NIL => (1, 0),
        tag::SMALL_ATOM_UTF8 => (2 + usize::from(bytes[1]), 0),
        tag::INTEGER => (5, 0),
        tag::SMALL_TUPLE => (2, bytes[1].into()),
        tag::BINARY => (5 + u32_at(bytes, 1), 0),
        tag::LIST => (5, u32_at(bytes, 1) + 1),
        tag::STRING => (3 + u16_at(bytes, 1), 0),
        tag::NEW_FLOAT => (9, 0),
        tag::MAP => (5, 2 * u32_at(bytes, 1)),
        tag::LARGE_TUPLE => (5, u32_at(bytes, 1)),
        tag::SMALL_BIG => (3 + usize::from(bytes[1]), 0),
        tag::LARGE_BIG => (6 + u32_at(bytes, 1), 0),
        tag::BIT_BINARY => (6 + u32_at(bytes, 1), 0),
        tag::ATOM_UTF8 => (3 + u16_at(bytes, 1), 0),
        tag::NEW_PID | tag::V4_PORT => (13 + atom_length(&bytes[1..]), 0),
        tag::NEW_PORT => (9 + atom_length(&bytes[1..]), 0),
        tag::NEWER_REFERENCE => (7 + 4 * u16_at(bytes, 1) + atom_length(&bytes[3..]), 0),
        tag::EXPORT => {
            let module = 1 + atom_length(&bytes[1..]);
            (module + atom_length(&bytes[module..]) + 2, 0)
        }
        tag::NEW_FUN => {
            let free = u32_at(bytes, 26);
            // The module, its old index and hash, and the pid that made it.
            let mut at = 30;
            for _ in 0..4 {
                at += extent(&bytes[at..]).0;
            }
            (at, free)
        }
        other => unreachable!("no canonical term begins with {other}"),
    }
}

/// Returns the length of an encoded atom in bytes.
fn atom_length(bytes: &[u8]) -> usize {
    atom_text(bytes).1
}

/// Returns the text of an encoded atom, and the length of its encoding.
#[inline]
pub(crate) fn atom_text(bytes: &[u8]) -> (&[u8], usize) {
    let (head, length) = match bytes[0] {
        tag::SMALL_ATOM_UTF8 => (2, usize::from(bytes[1])),
        _ => (3, u16_at(bytes, 1)),
    };
    (&bytes[head..head + length], head + length)
}

#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_be_bytes([bytes[at], bytes[at + 1]]).into()
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32_word(bytes, at) as usize
}

#[inline]
pub(crate) fn u32_word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
