//! [`rewrite`]: every part in its canonical encoding, but for the order of the pairs of maps.

use alloc::vec::Vec;

use super::decode::DecodeError;
use super::input::Input;
use super::token::Token;
use super::{tag, write};

/// A container that is being written.
#[derive(Debug)]
enum Level {
    /// As many terms are to come.
    Terms(usize),
    List {
        /// As many elements are to come before the tail, or before the next piece of the list.
        left: usize,
        /// Where its head was written, and the number of elements behind it.
        head: usize,
        count: usize,
        /// All elements are integers of one byte.
        is_bytes: bool,
        /// The tail has begun.
        is_tail: bool,
    },
    Fun {
        left: usize,
        /// Where its size was written.
        size: usize,
    },
}

/// Returns the term that `bytes` begin with, rewritten. `bytes` were scanned.
///
/// # Errors
///
/// None for scanned bytes.
pub(crate) fn rewrite(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut rewrite = Rewrite { out: Vec::with_capacity(bytes.len()), levels: Vec::new() };
    let mut input = Input::new(bytes);
    while !rewrite.step(&mut input)? {}
    Ok(rewrite.out)
}

#[derive(Debug)]
struct Rewrite {
    out: Vec<u8>,
    levels: Vec<Level>,
}

impl Rewrite {
    /// Rewrites one token. Returns `true` when the outermost term has ended.
    fn step(&mut self, input: &mut Input<'_>) -> Result<bool, DecodeError> {
        let (token, _) = Token::read(input)?;
        // The tail of a list without elements is the term itself, which is still to come.
        if let Token::List(0) = token {
            return Ok(false);
        }
        let is_byte = matches!(&token, Token::Integer(value) if value.to_u64().is_some_and(|value| value < 256));
        if let Some(Level::List { left, count, is_bytes, is_tail, .. }) = self.levels.last_mut()
            && !*is_tail
        {
            if *left > 0 {
                *left -= 1;
                *count += 1;
                *is_bytes &= is_byte;
            } else {
                return Ok(self.tail(token));
            }
        }
        Ok(self.term(token))
    }

    /// Writes a term, or its head. Returns `true` when the outermost term has ended.
    fn term(&mut self, token: Token<'_>) -> bool {
        let level = match token {
            Token::List(length) => {
                let level =
                    Level::List { left: length, head: self.out.len(), count: 0, is_bytes: true, is_tail: false };
                write::list(length, &mut self.out);
                level
            }
            Token::String(bytes) => {
                write::string(bytes, &mut self.out);
                return self.leave();
            }
            Token::Fun(fun) => {
                let size = self.out.len() + 1;
                write::fun(&fun, &mut self.out);
                if fun.free == 0 {
                    self.end_fun(size);
                    return self.leave();
                }
                Level::Fun { left: fun.free, size }
            }
            other => {
                write::token(&other, &mut self.out);
                match other {
                    Token::Tuple(count @ 1..) => Level::Terms(count),
                    Token::Map(pairs @ 1..) => Level::Terms(2 * pairs),
                    _ => return self.leave(),
                }
            }
        };
        self.levels.push(level);
        false
    }

    /// Takes the token at the tail of the innermost list: the next piece of the list, its end, or
    /// an improper tail. Returns `true` when the outermost term has ended.
    fn tail(&mut self, token: Token<'_>) -> bool {
        let Some(Level::List { left, head, count, is_bytes, is_tail }) = self.levels.last_mut() else {
            unreachable!("the innermost level is a list")
        };
        match token {
            Token::List(more) => {
                *left = more;
                return false;
            }
            Token::String(bytes) => {
                for byte in bytes {
                    self.out.extend_from_slice(&[tag::SMALL_INTEGER, *byte]);
                }
                *count += bytes.len();
            }
            Token::Nil => {}
            other => {
                *is_tail = true;
                let (head, count) = (*head, *count);
                self.set_count(head, count);
                return self.term(other);
            }
        }
        let (head, count, is_bytes) = (*head, *count, *is_bytes);
        self.levels.pop();
        if is_bytes && count <= tag::MAX_STRING {
            self.shorten(head, count);
        } else {
            self.set_count(head, count);
            self.out.push(tag::NIL);
        }
        self.leave()
    }

    fn set_count(&mut self, head: usize, count: usize) {
        self.out[head + 1..head + 5].copy_from_slice(&(count as u32).to_be_bytes());
    }

    /// Turns a list of integers of one byte, just written, into a string.
    fn shorten(&mut self, head: usize, count: usize) {
        let elements = head + 5;
        for at in 0..count {
            self.out[head + 3 + at] = self.out[elements + 2 * at + 1];
        }
        self.out[head] = tag::STRING;
        self.out[head + 1..head + 3].copy_from_slice(&(count as u16).to_be_bytes());
        self.out.truncate(head + 3 + count);
    }

    fn end_fun(&mut self, size: usize) {
        let length = (self.out.len() - size) as u32;
        self.out[size..size + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Leaves the term that has just ended, and those that end with it. Returns `true` if the
    /// outermost one has ended.
    fn leave(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            match level {
                Level::Terms(left) => {
                    *left -= 1;
                    if *left > 0 {
                        return false;
                    }
                }
                // An element has ended; what comes next is an element, or the tail.
                Level::List { is_tail: false, .. } => return false,
                Level::List { is_tail: true, .. } => {}
                Level::Fun { left, size } => {
                    *left -= 1;
                    if *left > 0 {
                        return false;
                    }
                    let size = *size;
                    self.end_fun(size);
                }
            }
            self.levels.pop();
        }
        true
    }
}
