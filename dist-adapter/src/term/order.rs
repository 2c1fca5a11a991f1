//! Erlang's order of terms, on their bytes.
//!
//! Two terms are walked side by side, front to back, with a frame for each pair of containers, so
//! the time is linear in what is walked and the stack is not used. Maps need care: all their keys
//! count before any value does. The walk goes through key, value, key, value as they lie. It notes
//! the first difference of values in the map's frame and goes on with the keys; a difference of
//! keys overrides the note.
//!
//! There are two orders. Erlang's `<` has `1` equal to `1.0`. The *exact* order is that of the keys
//! of maps, and of `Ord`: integers are less than floats, and equal terms are those that `=:=` finds
//! equal. `0.0` and `-0.0` are equal in both, as in OTP 25.
//!
//! The bytes are canonical, but the pairs of a map may lie in another order ([`Orders`]) while the
//! decoder works on them.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::orders::{Order, Orders};
use super::skip::skip;
use super::{leaf, tag};

/// Compares two keys of maps.
#[inline]
pub(crate) fn compare_keys(left: &[u8], right: &[u8]) -> Ordering {
    match (left, right) {
        // The most frequent keys: short atoms, and integers of one byte.
        ([tag::SMALL_ATOM_UTF8, _, left @ ..], [tag::SMALL_ATOM_UTF8, _, right @ ..])
        | ([tag::SMALL_INTEGER, left @ ..], [tag::SMALL_INTEGER, right @ ..]) => left.cmp(right),
        _ => compare(left, right, true),
    }
}

/// Compares the terms that two byte strings begin with.
pub(crate) fn compare(left: &[u8], right: &[u8], is_exact: bool) -> Ordering {
    Walk::new(Side::new(left, 0, None), Side::new(right, 0, None), is_exact).run()
}

/// Compares two keys in bytes whose maps have the given orders.
pub(crate) fn compare_keys_in(bytes: &[u8], orders: &Orders, left: usize, right: usize) -> Ordering {
    let side = |at| Side::new(bytes, at, Some(orders));
    Walk::new(side(left), side(right), true).run()
}

/// A position in one of the two terms.
#[derive(Debug)]
struct Side<'a> {
    bytes: &'a [u8],
    at: usize,
    orders: Option<&'a Orders>,
}

/// A map whose pairs are visited in another order than they lie in.
#[derive(Clone, Copy, Debug)]
struct Permuted<'a> {
    order: &'a Order,
    next: usize,
}

impl<'a> Side<'a> {
    fn new(bytes: &'a [u8], at: usize, orders: Option<&'a Orders>) -> Self {
        Self { bytes, at, orders: orders.filter(|orders| !orders.is_empty()) }
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn skip(&mut self, terms: usize) {
        self.at = skip(self.bytes, self.at, terms);
    }

    fn permuted(&self) -> Option<Permuted<'a>> {
        self.orders?.get(self.at).map(|order| Permuted { order, next: 0 })
    }
}

/// What is left of a list.
#[derive(Clone, Copy, Debug)]
enum Items {
    /// Terms, and the tail behind them.
    Terms(usize),
    /// Bytes of a string.
    Bytes(usize),
}

impl Items {
    fn left(self) -> usize {
        let (Self::Terms(left) | Self::Bytes(left)) = self;
        left
    }

    fn take(&mut self) {
        let (Self::Terms(left) | Self::Bytes(left)) = self;
        *left -= 1;
    }

    /// Steps over what is left.
    fn skip(self, side: &mut Side<'_>) {
        match self {
            Self::Terms(left) => side.skip(left + 1),
            Self::Bytes(left) => side.at += left,
        }
    }
}

/// Two containers that are equal so far.
#[derive(Debug)]
enum Frame<'a> {
    /// As many elements are to come on each side.
    Terms(usize),
    Lists(Items, Items),
    Maps {
        /// Keys and values to come on each side.
        left: usize,
        /// The first difference of values.
        values: Ordering,
        /// The order outside of keys.
        is_exact: bool,
        permuted: (Option<Permuted<'a>>, Option<Permuted<'a>>),
    },
}

/// What comparing two terms has shown so far.
enum Step {
    /// They are leaves, and equal.
    Equal,
    /// They are containers of the same size; their elements decide.
    Entered,
    Different(Ordering),
}

#[derive(Debug)]
struct Walk<'a> {
    left: Side<'a>,
    right: Side<'a>,
    is_exact: bool,
    frames: Vec<Frame<'a>>,
    /// How many of the frames are maps.
    maps: usize,
}

impl<'a> Walk<'a> {
    fn new(left: Side<'a>, right: Side<'a>, is_exact: bool) -> Self {
        Self { left, right, is_exact, frames: Vec::new(), maps: 0 }
    }

    fn run(mut self) -> Ordering {
        loop {
            if let Step::Different(difference) = self.terms() {
                if self.maps == 0 {
                    return difference;
                }
                self.left.skip(1);
                self.right.skip(1);
                if let Some(result) = self.leave(difference) {
                    return result;
                }
            }
            if let Some(result) = self.advance() {
                return result;
            }
        }
    }

    /// Compares the terms at both positions. Equal leaves and heads are stepped over; what is
    /// different is not.
    fn terms(&mut self) -> Step {
        let (left, right) = (self.left.rest(), self.right.rest());
        let frame = match (left[0], right[0]) {
            (tag::SMALL_TUPLE | tag::LARGE_TUPLE, tag::SMALL_TUPLE | tag::LARGE_TUPLE) => {
                let (arity, other) = (leaf::count(left), leaf::count(right));
                if arity != other {
                    return Step::Different(arity.cmp(&other));
                }
                Frame::Terms(arity)
            }
            (tag::MAP, tag::MAP) => {
                let (pairs, other) = (leaf::count(left), leaf::count(right));
                if pairs != other {
                    return Step::Different(pairs.cmp(&other));
                }
                self.maps += 1;
                let permuted = (self.left.permuted(), self.right.permuted());
                Frame::Maps { left: 2 * pairs, values: Ordering::Equal, is_exact: self.is_exact, permuted }
            }
            (tag::STRING, tag::LIST) => Frame::Lists(Items::Bytes(leaf::count(left)), Items::Terms(leaf::count(right))),
            (tag::LIST, tag::STRING) => Frame::Lists(Items::Terms(leaf::count(left)), Items::Bytes(leaf::count(right))),
            (tag::LIST, tag::LIST) => Frame::Lists(Items::Terms(leaf::count(left)), Items::Terms(leaf::count(right))),
            (tag::NEW_FUN, tag::NEW_FUN) => match leaf::compare_funs(left, right) {
                Ordering::Equal => Frame::Terms(leaf::count(left)),
                difference => return Step::Different(difference),
            },
            _ => {
                return match leaf::compare(left, right, self.is_exact) {
                    Ordering::Equal => {
                        self.left.skip(1);
                        self.right.skip(1);
                        Step::Equal
                    }
                    difference => Step::Different(difference),
                };
            }
        };
        self.left.at += leaf::head_length(left);
        self.right.at += leaf::head_length(right);
        self.frames.push(frame);
        Step::Entered
    }

    /// Finds the next two terms to compare. Returns the result if there are none.
    fn advance(&mut self) -> Option<Ordering> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Some(Ordering::Equal) };
            match frame {
                Frame::Terms(0) => {
                    self.frames.pop();
                }
                Frame::Terms(left) => {
                    *left -= 1;
                    return None;
                }
                Frame::Lists(left, right) => {
                    let items = (*left, *right);
                    if items.0.left() > 0 && items.1.left() > 0 {
                        left.take();
                        right.take();
                    } else {
                        self.frames.pop();
                    }
                    if let (Items::Terms(0), Items::Terms(0)) = items {
                        return None;
                    }
                    match self.items(items) {
                        // Both are terms.
                        None => return None,
                        Some(Ordering::Equal) => {}
                        Some(difference) => {
                            if items.0.left() == 0 || items.1.left() == 0 {
                                // The frame is gone, so what is left is stepped over here.
                                items.0.skip(&mut self.left);
                                items.1.skip(&mut self.right);
                            }
                            if let Some(result) = self.leave(difference) {
                                return Some(result);
                            }
                        }
                    }
                }
                Frame::Maps { left: 0, values, .. } => {
                    let values = *values;
                    self.leave_map();
                    if values.is_ne()
                        && let Some(result) = self.leave(values)
                    {
                        return Some(result);
                    }
                }
                Frame::Maps { left, values, is_exact, permuted } => {
                    *left -= 1;
                    if *left % 2 == 1 {
                        for (side, permuted) in [(&mut self.left, &mut permuted.0), (&mut self.right, &mut permuted.1)]
                        {
                            if let (Some(permuted), Some(orders)) = (permuted, side.orders) {
                                side.at = orders.key(permuted.order, permuted.next);
                                permuted.next += 1;
                            }
                        }
                        self.is_exact = true;
                        return None;
                    }
                    self.is_exact = *is_exact;
                    if values.is_eq() {
                        return None;
                    }
                    self.left.skip(1);
                    self.right.skip(1);
                }
            }
        }
    }

    /// Compares the next elements, or the tails, of two lists of which at least one is a string or
    /// at its end. Steps over equal ones. Returns `None` if both are elements and terms.
    fn items(&mut self, items: (Items, Items)) -> Option<Ordering> {
        let (left, right) = (self.left.rest(), self.right.rest());
        let (left_byte, right_byte);
        let left = match items.0 {
            Items::Bytes(0) => &[tag::NIL][..],
            Items::Bytes(_) => {
                left_byte = [tag::SMALL_INTEGER, left[0]];
                &left_byte
            }
            Items::Terms(_) => left,
        };
        let right = match items.1 {
            Items::Bytes(0) => &[tag::NIL][..],
            Items::Bytes(_) => {
                right_byte = [tag::SMALL_INTEGER, right[0]];
                &right_byte
            }
            Items::Terms(_) => right,
        };
        // One has ended and the other has not: a tail is compared with a list that is not empty.
        let list: &[u8] = &[tag::LIST];
        let difference = match (items.0.left(), items.1.left()) {
            (0, 1..) => leaf::compare_kinds(left, list),
            (1.., 0) => leaf::compare_kinds(list, right),
            (1.., 1..) if matches!(items, (Items::Terms(_), Items::Terms(_))) => return None,
            _ => leaf::compare(left, right, self.is_exact),
        };
        if difference.is_eq() {
            for (side, items) in [(&mut self.left, items.0), (&mut self.right, items.1)] {
                match items {
                    Items::Bytes(0) => {}
                    Items::Bytes(_) => side.at += 1,
                    Items::Terms(_) => side.skip(1),
                }
            }
        } else if items.0.left() > 0 && items.1.left() > 0 {
            for (side, items) in [(&mut self.left, items.0), (&mut self.right, items.1)] {
                if let Items::Bytes(_) = items { side.at += 1 } else { side.skip(1) }
            }
        }
        Some(difference)
    }

    /// Leaves the containers of two terms that are different and lie before both positions. Returns
    /// the result if that decides it, and `None` if the keys of a map around them still count.
    fn leave(&mut self, mut difference: Ordering) -> Option<Ordering> {
        loop {
            match self.frames.last_mut() {
                None => return Some(difference),
                Some(Frame::Terms(left)) => {
                    let left = *left;
                    self.left.skip(left);
                    self.right.skip(left);
                    self.frames.pop();
                }
                Some(Frame::Lists(left, right)) => {
                    let items = (*left, *right);
                    items.0.skip(&mut self.left);
                    items.1.skip(&mut self.right);
                    self.frames.pop();
                }
                Some(Frame::Maps { left, values, .. }) => {
                    let is_value = *left % 2 == 0;
                    if is_value {
                        *values = values.then(difference);
                        difference = *values;
                        if *left > 0 {
                            return None;
                        }
                    }
                    self.leave_map();
                }
            }
            // Without a map around, there is nothing that could still count.
            if self.maps == 0 {
                return Some(difference);
            }
        }
    }

    /// Steps over what is left of the innermost frame, a map's.
    fn leave_map(&mut self) {
        let Some(Frame::Maps { left, is_exact, permuted, .. }) = self.frames.pop() else {
            unreachable!("the innermost frame is a map's")
        };
        self.maps -= 1;
        self.is_exact = is_exact;
        for (side, permuted) in [(&mut self.left, permuted.0), (&mut self.right, permuted.1)] {
            match permuted {
                Some(permuted) => side.at = permuted.order.end(),
                None => side.skip(left),
            }
        }
    }
}
