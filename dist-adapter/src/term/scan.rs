//! [`Scanner`]: validates a term in one pass, and says how far it is from canonical form.

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::decode::{DecodeError, DecodeErrorKind as Kind, Limits};
use super::input::Input;
use super::order;
use super::tag;
use super::token::Token;

/// The result of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scanned {
    /// The length of the term in bytes.
    pub(crate) length: usize,
    /// All parts are encoded in the canonical way, but for the order of the pairs of maps.
    pub(crate) is_canonical: bool,
    /// The keys of all maps are in order. Without meaning if a part is not canonical.
    pub(crate) is_ordered: bool,
    /// Equal terms have equal bytes. Not so for closures, which are equal if different processes
    /// made them, for `0.0` and `-0.0`, and for references whose last word is 0.
    pub(crate) is_plain: bool,
}

/// A term whose elements are being read. Positions fit 32 bits, so that a level is small.
#[derive(Debug)]
enum Level {
    /// As many terms are to come.
    Terms(u32),
    /// As many elements are to come. The tail then takes the place of the list: it ends what the
    /// list would have ended.
    List(u32),
    Map {
        /// Keys and values to come.
        left: u32,
        /// Where the present key begins, and where the last one lay.
        key: u32,
        last_key: (u32, u32),
    },
    Fun {
        left: u32,
        /// Where the size lies, and what it says.
        at: u32,
        size: u32,
    },
}

/// Scans terms, and keeps the memory for their levels.
#[derive(Debug)]
pub(crate) struct Scanner {
    limits: Limits,
    levels: Vec<Level>,
}

/// The memory for this many levels is kept from one term to the next.
const KEPT_LEVELS: usize = 64;

impl Scanner {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, levels: Vec::new() }
    }

    /// Scans the term that `bytes` begin with.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if there is none, or if it exceeds a limit. A key that a map has twice may
    /// remain undetected if a part is not canonical or not in order.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Scanned, DecodeError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(DecodeError { kind: Kind::TooLong, at: 0 });
        }
        self.levels.clear();
        let result = self.run(Input::new(bytes));
        self.levels.shrink_to(KEPT_LEVELS);
        result
    }

    fn run(&mut self, mut input: Input<'_>) -> Result<Scanned, DecodeError> {
        let mut scanned = Scanned { length: 0, is_canonical: true, is_ordered: true, is_plain: true };
        loop {
            // The two shortest leaves are read here, all others by `Token::read`.
            let is_whole = match input.peek() {
                Some(tag::SMALL_INTEGER) => input.take(2).map(|_| true)?,
                Some(tag::NIL) => input.take(1).map(|_| true)?,
                _ => self.token(&mut input, &mut scanned)?,
            };
            if is_whole && self.leave(&input, &mut scanned)? {
                scanned.length = input.at();
                return Ok(scanned);
            }
        }
    }

    /// Reads a token. Returns `true` if it is a whole term, without elements to come.
    fn token(&mut self, input: &mut Input<'_>, scanned: &mut Scanned) -> Result<bool, DecodeError> {
        let at = input.at();
        let (token, is_canonical) = Token::read(input)?;
        scanned.is_canonical &= is_canonical;
        let level = match token {
            // The tail of a list without elements is the term itself.
            Token::List(0) => return Ok(false),
            Token::Tuple(0) | Token::Map(0) => return Ok(true),
            Token::Tuple(arity) => Level::Terms(arity as u32),
            Token::List(length) => {
                scanned.is_canonical &= !is_string(*input, length);
                Level::List(length as u32)
            }
            Token::Map(pairs) => Level::Map { left: 2 * pairs as u32, key: input.at() as u32, last_key: (0, 0) },
            Token::Fun(fun) => {
                scanned.is_plain = false;
                if fun.free == 0 {
                    scanned.is_canonical &= input.at() - (at + 1) == fun.size as usize;
                    return Ok(true);
                }
                Level::Fun { left: fun.free as u32, at: at as u32 + 1, size: fun.size }
            }
            Token::Float(value) => {
                scanned.is_plain &= value != 0.0 || value.is_sign_positive();
                return Ok(true);
            }
            Token::Reference(reference) => {
                scanned.is_plain &= !matches!(reference.words.as_slice(), [_, .., 0]);
                return Ok(true);
            }
            _ => return Ok(true),
        };
        if self.levels.len() >= self.limits.depth {
            return Err(DecodeError { kind: Kind::TooDeep, at });
        }
        self.levels.push(level);
        Ok(false)
    }

    /// Leaves the term that has just ended, and those that end with it. Returns `true` if the
    /// outermost one has ended.
    fn leave(&mut self, input: &Input<'_>, scanned: &mut Scanned) -> Result<bool, DecodeError> {
        while let Some(level) = self.levels.last_mut() {
            match level {
                Level::Terms(left) => {
                    *left -= 1;
                    if *left > 0 {
                        return Ok(false);
                    }
                }
                Level::List(left) => {
                    *left -= 1;
                    if *left == 0 {
                        // The tail of a canonical list is no list, except the empty one.
                        scanned.is_canonical &= !matches!(input.peek(), Some(tag::LIST | tag::STRING));
                        self.levels.pop();
                    }
                    return Ok(false);
                }
                Level::Map { left, key, last_key } => {
                    *left -= 1;
                    if *left % 2 == 1 {
                        let present = (*key, input.at() as u32);
                        if scanned.is_canonical && scanned.is_ordered && *last_key != (0, 0) {
                            let bytes = |(from, to): (u32, u32)| input.between(from as usize, to as usize);
                            match order::compare_keys(bytes(*last_key), bytes(present)) {
                                Ordering::Less => {}
                                Ordering::Greater => scanned.is_ordered = false,
                                Ordering::Equal => {
                                    return Err(DecodeError { kind: Kind::DuplicateKey, at: *key as usize });
                                }
                            }
                        }
                        *last_key = present;
                        return Ok(false);
                    }
                    if *left > 0 {
                        *key = input.at() as u32;
                        return Ok(false);
                    }
                }
                Level::Fun { left, at, size } => {
                    *left -= 1;
                    if *left > 0 {
                        return Ok(false);
                    }
                    scanned.is_canonical &= input.at() - *at as usize == *size as usize;
                }
            }
            self.levels.pop();
        }
        Ok(true)
    }
}

/// Returns `true` if the list whose elements come next has a shorter form, as a string.
fn is_string(mut elements: Input<'_>, length: usize) -> bool {
    length <= tag::MAX_STRING
        && (0..length).all(|_| matches!(elements.array(), Ok([tag::SMALL_INTEGER, _])))
        && elements.peek() == Some(tag::NIL)
}
