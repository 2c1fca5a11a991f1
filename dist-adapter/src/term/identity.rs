//! Equality of terms, and [`normal`]: bytes that equal terms have in common, for hashing.

use alloc::vec::Vec;

use super::skip::extent;
use super::{Term, leaf, order, tag};

pub(crate) fn equal(left: &Term, right: &Term) -> bool {
    let (left_bytes, right_bytes) = (left.as_bytes(), right.as_bytes());
    let is_plain = left.is_plain() && right.is_plain();
    left_bytes == right_bytes || !is_plain && order::compare(left_bytes, right_bytes, true).is_eq()
}

/// Returns bytes that are equal for equal terms: those of the canonical term, with `0.0` in place
/// of `-0.0`, without the processes that made closures, and without last words of references that
/// are zero. They need not be a term.
///
/// A closure's size is left out as well: the pid in it counts for it.
pub(crate) fn normal(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let token = &bytes[at..];
        let length = extent(token).0;
        match token[0] {
            tag::NEW_FLOAT if leaf::float(token) == 0.0 => {
                out.push(tag::NEW_FLOAT);
                out.extend_from_slice(&0.0_f64.to_be_bytes());
            }
            tag::NEW_FUN => {
                let creator = leaf::fun_creator(token).0;
                out.push(tag::NEW_FUN);
                out.extend_from_slice(&token[5..creator]);
            }
            tag::NEWER_REFERENCE => {
                let words = leaf::reference(token).words;
                let end = words.as_slice().iter().rposition(|word| *word != 0).map_or(1, |last| last + 1);
                out.push(tag::NEWER_REFERENCE);
                out.extend_from_slice(&(end as u16).to_be_bytes());
                out.extend_from_slice(&token[3..length - 4 * (words.as_slice().len() - end)]);
            }
            _ => out.extend_from_slice(&token[..length]),
        }
        at += length;
    }
    out
}
