//! [`Glob`]: patterns of keys, as Redis reads them.
//!
//! A pattern has `*`, `?`, `[a-c]`, `[^a]` and `\` before a character that stands for itself. A class that is not closed ends with the
//! pattern. Only the last `*` is ever gone back to: what an earlier one could take, the last can take too. So a match
//! needs no stack and no memory, and at most (length of the pattern) × (length of the key) steps. That is still long for
//! two long texts, so a match can be left and gone on with ([`Glob::run`]): it runs in the process of the client that
//! asked, between whose steps others run, and never in a shard.

/// The longest pattern that is taken: a step may read a class as long as the pattern, and must be short.
pub const LONGEST: usize = 1 << 16;

/// A match in progress.
#[derive(Clone, Debug)]
pub struct Glob<'a> {
    pattern: &'a [u8],
    key: &'a [u8],
    /// Where the last `*` was: what follows it, and what it leaves of the key.
    star: Option<(&'a [u8], &'a [u8])>,
}

/// Whether a key matches a pattern.
pub fn matches(pattern: &[u8], key: &[u8]) -> bool {
    let mut budget = usize::MAX;
    Glob::new(pattern, key).run(&mut budget).unwrap_or(false)
}

impl<'a> Glob<'a> {
    /// A match at its beginning.
    pub fn new(pattern: &'a [u8], key: &'a [u8]) -> Self {
        Self { pattern, key, star: None }
    }

    /// Goes on, and takes a step for each byte of the pattern that it reads from the budget; `None` when the budget is at its end.
    pub fn run(&mut self, budget: &mut usize) -> Option<bool> {
        while *budget > 0 {
            if let [b'*', rest @ ..] = self.pattern {
                *budget -= 1;
                self.pattern = rest;
                self.star = Some((rest, self.key));
                if rest.is_empty() {
                    return Some(true);
                }
                continue;
            }
            let after = match self.key {
                [] if self.pattern.is_empty() => return Some(true),
                [] => return Some(false),
                [byte, after @ ..] => one(self.pattern, *byte).map(|rest| (rest, after)),
            };
            if let Some((rest, after)) = after {
                *budget = budget.saturating_sub(self.pattern.len() - rest.len());
                (self.pattern, self.key) = (rest, after);
                continue;
            }
            // What was read of a class that does not match is at most the pattern's length.
            let read = if self.pattern.first() == Some(&b'[') { self.pattern.len() } else { 1 };
            *budget = budget.saturating_sub(read);
            let Some((rest, [_, left @ ..])) = self.star else { return Some(false) };
            (self.pattern, self.key, self.star) = (rest, left, Some((rest, left)));
        }
        None
    }
}

/// What follows the first element of a pattern that is no `*`, if the byte is of that element.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let (found, rest) = class(rest, byte);
            found.then_some(rest)
        }
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [wanted, rest @ ..] => (*wanted == byte).then_some(rest),
    }
}

/// Whether a byte is in the class that starts here, and what follows the class.
fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [] => return (found != negated, rest),
            [b'\\', one, after @ ..] => {
                found |= *one == byte;
                after
            }
            [b']', after @ ..] => return (found != negated, after),
            [low, b'-', high, after @ ..] => {
                found |= (low.min(high)..=low.max(high)).contains(&&byte);
                after
            }
            [one, after @ ..] => {
                found |= *one == byte;
                after
            }
        };
    }
}
