//! [`sort`]: the pairs of maps in the order of their keys.
//!
//! The bytes are walked once. At the end of a map its pairs are put in order, which needs the order
//! of the maps inside of its keys, and these have ended before. Nothing is moved then: a map inside
//! of a map inside of a map would be moved each time. When all orders are known, all is copied
//! once.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::decode::{DecodeError, DecodeErrorKind};
use super::order;
use super::orders::{Order, Orders};
use super::skip::extent;
use super::{leaf, tag};

/// A container that is being walked.
#[derive(Debug)]
enum Level {
    /// As many terms are to come.
    Terms(usize),
    Map {
        /// Where the map begins, and keys and values to come.
        at: usize,
        left: usize,
        /// Where its first pair is in the list of pairs of all maps that are being walked.
        first: usize,
    },
}

/// Returns the term with the pairs of its maps in order. `bytes` are one term, canonical but for
/// that.
///
/// # Errors
///
/// [`DecodeErrorKind::DuplicateKey`] if a map has a key twice.
pub(crate) fn sort(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(copy(bytes, &orders(bytes)?))
}

fn orders(bytes: &[u8]) -> Result<Orders, DecodeError> {
    let mut orders = Orders::default();
    let mut levels: Vec<Level> = Vec::new();
    // The pairs that have begun in the maps that are being walked.
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut at = 0;
    loop {
        let head = at;
        let (length, elements) = extent(&bytes[head..]);
        at += length;
        if elements > 0 {
            levels.push(if bytes[head] == tag::MAP {
                let first = pairs.len();
                pairs.push((at as u32, 0));
                Level::Map { at: head, left: 2 * leaf::count(&bytes[head..]), first }
            } else {
                Level::Terms(elements)
            });
            continue;
        }
        loop {
            match levels.last_mut() {
                None => return Ok(orders),
                Some(Level::Terms(left)) => {
                    *left -= 1;
                    if *left > 0 {
                        break;
                    }
                }
                Some(Level::Map { at: map, left, first }) => {
                    *left -= 1;
                    if *left % 2 == 1 {
                        break;
                    }
                    if let Some(pair) = pairs.last_mut() {
                        pair.1 = at as u32;
                    }
                    if *left > 0 {
                        pairs.push((at as u32, 0));
                        break;
                    }
                    let (map, first) = (*map, *first);
                    put_in_order(bytes, &mut orders, map, &mut pairs[first..])?;
                    pairs.truncate(first);
                }
            }
            levels.pop();
        }
    }
}

/// Puts the pairs of a map in order, and notes the order if they were not.
fn put_in_order(bytes: &[u8], orders: &mut Orders, map: usize, pairs: &mut [(u32, u32)]) -> Result<(), DecodeError> {
    let end = pairs[pairs.len() - 1].1;
    let compare = |orders: &Orders, left: &(u32, u32), right: &(u32, u32)| {
        order::compare_keys_in(bytes, orders, left.0 as usize, right.0 as usize)
    };
    let is_ordered = |orders: &Orders, pairs: &[(u32, u32)]| {
        pairs.windows(2).all(|pair| compare(orders, &pair[0], &pair[1]) == Ordering::Less)
    };
    if is_ordered(orders, pairs) {
        return Ok(());
    }
    pairs.sort_unstable_by(|left, right| compare(orders, left, right));
    if !is_ordered(orders, pairs) {
        return Err(DecodeError { kind: DecodeErrorKind::DuplicateKey, at: map });
    }
    orders.add(map as u32, end, pairs);
    Ok(())
}

/// What is still to be copied.
#[derive(Debug)]
enum Task<'a> {
    Range(usize, usize),
    /// The pairs of a map from an index on.
    Pairs(&'a Order, usize),
}

/// Copies the term with its maps in order.
fn copy(bytes: &[u8], orders: &Orders) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut tasks = Vec::from([Task::Range(0, bytes.len())]);
    while let Some(task) = tasks.pop() {
        match task {
            Task::Range(from, to) => match orders.first_in(from, to) {
                None => out.extend_from_slice(&bytes[from..to]),
                Some((map, order)) => {
                    let head = map + leaf::head_length(&bytes[map..]);
                    out.extend_from_slice(&bytes[from..head]);
                    if order.end() < to {
                        tasks.push(Task::Range(order.end(), to));
                    }
                    tasks.push(Task::Pairs(order, 0));
                }
            },
            Task::Pairs(order, index) => {
                if index + 1 < order.count() {
                    tasks.push(Task::Pairs(order, index + 1));
                }
                let (from, to) = orders.pair(order, index);
                tasks.push(Task::Range(from, to));
            }
        }
    }
    out
}
