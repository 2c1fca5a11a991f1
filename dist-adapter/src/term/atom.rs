//! [`Atom`]: text of at most 255 characters.

use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

use smol_str::SmolStr;

/// The longest atom, in characters.
pub(crate) const MAX_CHARACTERS: usize = 255;

/// An atom: text of at most 255 characters.
///
/// Text of up to 23 bytes is stored in place, longer text is shared by clones. Nothing is interned:
/// an atom that a peer made up is freed with its last use. `Display` writes the text as it is,
/// `Debug` writes it as Erlang does, with quotes where Erlang needs them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Atom(SmolStr);

/// The error for an atom of more than 255 characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtomTooLong;

impl Atom {
    /// Returns the atom of this text.
    ///
    /// # Errors
    ///
    /// [`AtomTooLong`] if the text has more than 255 characters.
    pub fn new(text: &str) -> Result<Self, AtomTooLong> {
        if is_too_long(text) { Err(AtomTooLong) } else { Ok(Self(SmolStr::new(text))) }
    }

    /// Returns the atom of text that a term has: such text is never too long.
    pub(crate) fn of_valid(text: &str) -> Self {
        debug_assert!(!is_too_long(text), "a term has no atom of more than 255 characters");
        Self(SmolStr::new(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns `true` if the text has more than 255 characters.
pub(crate) fn is_too_long(text: &str) -> bool {
    text.len() > MAX_CHARACTERS && text.chars().nth(MAX_CHARACTERS).is_some()
}

impl AsRef<str> for Atom {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Atom {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Atom {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Atom {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl FromStr for Atom {
    type Err = AtomTooLong;

    fn from_str(text: &str) -> Result<Self, AtomTooLong> {
        Self::new(text)
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::print_leaf::write_atom(self.as_str(), f)
    }
}

impl fmt::Display for AtomTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an atom has at most 255 characters")
    }
}

impl core::error::Error for AtomTooLong {}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    #[test]
    fn holds_255_characters_of_any_script() {
        for character in ["x", "å", "日", "🙂"] {
            let longest = character.repeat(255);
            assert_eq!(Atom::new(&longest).unwrap().as_str(), longest);
            assert_eq!(Atom::new(&character.repeat(256)), Err(AtomTooLong));
        }
    }

    #[test]
    fn is_displayed_as_text_and_debugged_as_erlang_writes_it() {
        let atom = Atom::new("Upper case").unwrap();
        assert_eq!(atom.to_string(), "Upper case");
        assert_eq!(format!("{atom:?}"), "'Upper case'");
    }
}
