//! [`Glob`]: key patterns with Redis's syntax.
//!
//! A pattern has `*`, `?`, `[a-c]`, `[^a]`, and `\` before a character that stands for itself. An
//! unclosed class ends with the pattern. A match only ever backtracks to the last `*`, because the
//! last one can match everything that an earlier one could. So a match needs no stack and no
//! memory, and takes at most (length of the pattern) × (length of the key) steps. That is still
//! long for two long texts, so a match can be suspended and resumed ([`Glob::run`]). It runs in the
//! process of the requesting client, which yields between steps, and never in a shard.

/// The longest pattern: a single step may read a class as long as the pattern, and must be short.
pub const LONGEST: usize = 1 << 16;

/// A match in progress.
#[derive(Clone, Debug)]
pub struct Glob<'a> {
    pattern: &'a [u8],
    key: &'a [u8],
    /// The backtracking point of the last `*`: the pattern after it, and the rest of the key.
    star: Option<(&'a [u8], &'a [u8])>,
}

/// Returns `true` if a key matches a pattern.
pub fn matches(pattern: &[u8], key: &[u8]) -> bool {
    let mut budget = usize::MAX;
    Glob::new(pattern, key).run(&mut budget).unwrap_or(false)
}

impl<'a> Glob<'a> {
    /// Returns a match that has not started.
    pub fn new(pattern: &'a [u8], key: &'a [u8]) -> Self {
        Self { pattern, key, star: None }
    }

    /// Resumes the match, and takes one step from the budget for each byte of the pattern that it
    /// reads. Returns `None` when the budget is used up.
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
            // A class that does not match has read at most the length of the pattern.
            let read = if self.pattern.first() == Some(&b'[') { self.pattern.len() } else { 1 };
            *budget = budget.saturating_sub(read);
            let Some((rest, [_, left @ ..])) = self.star else { return Some(false) };
            (self.pattern, self.key, self.star) = (rest, left, Some((rest, left)));
        }
        None
    }
}

/// Returns the pattern after its first element, which is not `*`, if the byte matches that element.
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

/// Returns `true` if a byte is in the class that starts here, and the pattern after the class.
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
