//! Pids, references and ports as the wire has them: with a node's name and creation.
//!
//! Each exists twice: borrowed from a term ([`PidRef`]: `Copy`, no allocation), and owned
//! ([`ErlPid`]). All fields count for equality. The order is Erlang's: pids by their words, then by
//! node; ports and references by node, then by their words.

use core::cmp::Ordering;
use core::fmt;

use super::Atom;

/// A pid that borrows the name of its node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PidRef<'a> {
    /// The name of the node.
    pub node: &'a str,
    /// The first word. For a process of Atropos, the low half of its raw pid.
    pub id: u32,
    /// The second word. For a process of Atropos, the high half of its raw pid.
    pub serial: u32,
    /// The incarnation of the node.
    pub creation: u32,
}

/// A pid that owns the name of its node.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ErlPid {
    /// The name of the node.
    pub node: Atom,
    /// The first word. For a process of Atropos, the low half of its raw pid.
    pub id: u32,
    /// The second word. For a process of Atropos, the high half of its raw pid.
    pub serial: u32,
    /// The incarnation of the node.
    pub creation: u32,
}

impl PidRef<'_> {
    /// Returns the pid with a copy of its node's name.
    pub fn to_owned(self) -> ErlPid {
        ErlPid { node: Atom::of_valid(self.node), id: self.id, serial: self.serial, creation: self.creation }
    }

    /// Returns both words as one number, of which `serial` is the high half.
    pub fn raw(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.id)
    }
}

impl ErlPid {
    /// Returns the pid of a process: its raw pid's low half is the id, its high half the serial.
    pub fn new(node: Atom, raw: u64, creation: u32) -> Self {
        Self { node, id: raw as u32, serial: (raw >> 32) as u32, creation }
    }

    /// Returns both words as one number, of which `serial` is the high half.
    pub fn raw(&self) -> u64 {
        self.as_ref().raw()
    }

    /// Returns the borrowed form.
    pub fn as_ref(&self) -> PidRef<'_> {
        PidRef { node: self.node.as_str(), id: self.id, serial: self.serial, creation: self.creation }
    }
}

/// The longest reference, in words.
pub(crate) const MAX_WORDS: usize = 5;
/// The first word of a reference is less than this for peers without `V4_NC`.
const FIRST_WORD_BITS: u32 = 18;

/// The words of a reference: 1 to 5.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReferenceWords {
    length: u8,
    /// The words past the length are 0.
    words: [u32; MAX_WORDS],
}

impl ReferenceWords {
    /// Returns the words, or `None` if there are none or more than five.
    pub fn new(words: &[u32]) -> Option<Self> {
        let mut all = [0; MAX_WORDS];
        all.get_mut(..words.len()).filter(|all| !all.is_empty())?.copy_from_slice(words);
        Some(Self { length: words.len() as u8, words: all })
    }

    /// Returns the words as a slice.
    pub fn as_slice(&self) -> &[u32] {
        &self.words[..usize::from(self.length)]
    }
}

impl fmt::Debug for ReferenceWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// A reference that borrows the name of its node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReferenceRef<'a> {
    /// The name of the node.
    pub node: &'a str,
    /// The incarnation of the node.
    pub creation: u32,
    /// The words.
    pub words: ReferenceWords,
}

/// A reference that owns the name of its node. An alias is a reference.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ErlReference {
    /// The name of the node.
    pub node: Atom,
    /// The incarnation of the node.
    pub creation: u32,
    /// The words.
    pub words: ReferenceWords,
}

impl ReferenceRef<'_> {
    /// Returns the reference with a copy of its node's name.
    pub fn to_owned(self) -> ErlReference {
        ErlReference { node: Atom::of_valid(self.node), creation: self.creation, words: self.words }
    }

    /// Returns the number that [`ErlReference::new`] was given, or `None` for words of another
    /// shape.
    pub fn number(&self) -> Option<u64> {
        let &[first, second, third] = self.words.as_slice() else { return None };
        let (first, second, third) = (u64::from(first), u64::from(second), u64::from(third));
        (first >> FIRST_WORD_BITS == 0 && third >> (32 - FIRST_WORD_BITS) == 0)
            .then_some(first | second << FIRST_WORD_BITS | third << (FIRST_WORD_BITS + 32))
    }
}

impl ErlReference {
    /// Returns the reference of three words that stand for `number`. The first is less than 2^18,
    /// as peers without `V4_NC` demand.
    pub fn new(node: Atom, number: u64, creation: u32) -> Self {
        let first = number as u32 & ((1 << FIRST_WORD_BITS) - 1);
        let words = [first, (number >> FIRST_WORD_BITS) as u32, (number >> (FIRST_WORD_BITS + 32)) as u32, 0, 0];
        Self { node, creation, words: ReferenceWords { length: 3, words } }
    }

    /// Returns the number that [`new`](Self::new) was given, or `None` for words of another shape.
    pub fn number(&self) -> Option<u64> {
        self.as_ref().number()
    }

    /// Returns the borrowed form.
    pub fn as_ref(&self) -> ReferenceRef<'_> {
        ReferenceRef { node: self.node.as_str(), creation: self.creation, words: self.words }
    }
}

/// A port that borrows the name of its node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRef<'a> {
    /// The name of the node.
    pub node: &'a str,
    /// The number of the port at its node.
    pub id: u64,
    /// The incarnation of the node.
    pub creation: u32,
}

/// A port that owns the name of its node.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ErlPort {
    /// The name of the node.
    pub node: Atom,
    /// The number of the port at its node.
    pub id: u64,
    /// The incarnation of the node.
    pub creation: u32,
}

impl PortRef<'_> {
    /// Returns the port with a copy of its node's name.
    pub fn to_owned(self) -> ErlPort {
        ErlPort { node: Atom::of_valid(self.node), id: self.id, creation: self.creation }
    }
}

impl ErlPort {
    /// Returns the borrowed form.
    pub fn as_ref(&self) -> PortRef<'_> {
        PortRef { node: self.node.as_str(), id: self.id, creation: self.creation }
    }
}

macro_rules! debug {
    ($($borrowed:ident, $owned:ident: $write:expr;)*) => {
        $(
            impl fmt::Debug for $borrowed<'_> {
                /// Writes what identifies it, with the node's name in place of Erlang's number.
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let write: fn(&Self, &mut fmt::Formatter<'_>) -> fmt::Result = $write;
                    write(self, f)
                }
            }

            impl fmt::Debug for $owned {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.as_ref().fmt(f)
                }
            }
        )*
    };
}

debug! {
    PidRef, ErlPid: |pid, f| write!(f, "<{}.{}.{}>", pid.node, pid.id, pid.serial);
    PortRef, ErlPort: |port, f| write!(f, "#Port<{}.{}>", port.node, port.id);
    ReferenceRef, ErlReference: |reference, f| {
        write!(f, "#Ref<{}", reference.node)?;
        // Erlang prints the last word first.
        reference.words.as_slice().iter().rev().try_for_each(|word| write!(f, ".{word}"))?;
        f.write_str(">")
    };
}

macro_rules! ordered {
    ($($borrowed:ident, $owned:ident: $key:expr;)*) => {
        $(
            impl Ord for $borrowed<'_> {
                fn cmp(&self, other: &Self) -> Ordering {
                    let key = $key;
                    key(self).cmp(&key(other))
                }
            }

            impl PartialOrd for $borrowed<'_> {
                fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                    Some(self.cmp(other))
                }
            }

            impl Ord for $owned {
                fn cmp(&self, other: &Self) -> Ordering {
                    self.as_ref().cmp(&other.as_ref())
                }
            }

            impl PartialOrd for $owned {
                fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                    Some(self.cmp(other))
                }
            }
        )*
    };
}

fn pid_key<'a>(pid: &PidRef<'a>) -> (u32, u32, &'a str, u32) {
    (pid.serial, pid.id, pid.node, pid.creation)
}

fn port_key<'a>(port: &PortRef<'a>) -> (&'a str, u32, u64) {
    (port.node, port.creation, port.id)
}

/// Returns the words from the most significant one. Words that are not there count as 0; of
/// references that differ only in such words, the shorter one is less.
fn reference_key<'a>(reference: &ReferenceRef<'a>) -> (&'a str, u32, [u32; MAX_WORDS], u8) {
    let mut words = reference.words.words;
    words.reverse();
    (reference.node, reference.creation, words, reference.words.length)
}

impl ReferenceRef<'_> {
    /// Compares as Erlang does: references that differ only in last words that are 0 are equal.
    pub(super) fn cmp_padded(&self, other: &Self) -> Ordering {
        let padded = |reference| {
            let (node, creation, words, _) = reference_key(reference);
            (node, creation, words)
        };
        padded(self).cmp(&padded(other))
    }
}

ordered! {
    PidRef, ErlPid: pid_key;
    PortRef, ErlPort: port_key;
    ReferenceRef, ErlReference: reference_key;
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn node() -> Atom {
        Atom::new("a@b").unwrap()
    }

    #[test]
    fn raw_pids_come_back() {
        for raw in [0, 1, 0xffff_ffff, 0x1_0000_0000, 0x1234_5678_9abc_def0, u64::MAX] {
            let pid = ErlPid::new(node(), raw, 4);
            assert_eq!((pid.raw(), pid.as_ref().to_owned()), (raw, pid));
        }
    }

    #[test]
    fn numbers_of_references_come_back_and_suit_old_peers() {
        for number in [0, 1, (1 << 18) - 1, 1 << 18, 1 << 50, 0x1234_5678_9abc_def0, u64::MAX] {
            let reference = ErlReference::new(node(), number, 4);
            assert!(reference.words.as_slice()[0] < 1 << 18);
            assert_eq!(reference.number(), Some(number));
        }
        for words in [&[1][..], &[1, 2], &[1 << 18, 0, 0], &[0, 0, 1 << 14], &[1, 2, 3, 4]] {
            let words = ReferenceWords::new(words).unwrap();
            assert_eq!(ErlReference { node: node(), creation: 4, words }.number(), None);
        }
    }

    #[test]
    fn references_have_1_to_5_words() {
        assert_eq!(ReferenceWords::new(&[]), None);
        assert_eq!(ReferenceWords::new(&[0; 6]), None);
        assert_eq!(ReferenceWords::new(&[1, 2, 3, 4, 5]).unwrap().as_slice(), [1, 2, 3, 4, 5]);
    }

    /// The results are those of OTP 25.
    #[test]
    fn order_is_that_of_erlang() {
        let pid = |node, id, serial, creation| PidRef { node, id, serial, creation };
        assert!(pid("a@b", 1, 9, 1) > pid("a@b", 9, 1, 1));
        assert!(pid("a@b", 9, 1, 1) > pid("z@b", 1, 1, 1));
        assert!(pid("a@b", 1, 1, 9) < pid("z@b", 1, 1, 1));
        assert!(pid("a@b", 1, 1, 9) > pid("a@b", 1, 1, 1));
        let port = |node, id, creation| PortRef { node, id, creation };
        assert!(port("a@b", 9, 1) < port("z@b", 1, 1));
        assert!(port("a@b", 1, 9) > port("a@b", 1, 1));
        let reference =
            |node, words: &[u32], creation| ReferenceRef { node, creation, words: ReferenceWords::new(words).unwrap() };
        assert!(reference("a@b", &[1, 2, 3], 1) > reference("a@b", &[2, 2, 1], 1));
        assert!(reference("a@b", &[9, 2, 3], 1) < reference("z@b", &[1], 1));
        assert!(reference("a@b", &[9], 1) < reference("a@b", &[1], 2));
        assert!(reference("a@b", &[1, 0, 1], 1) > reference("a@b", &[9], 1));
    }

    #[test]
    fn debug_names_the_node() {
        assert_eq!(format!("{:?}", ErlPid::new(node(), 7 | 9 << 32, 4)), "<a@b.7.9>");
        assert_eq!(format!("{:?}", ErlReference::new(node(), 7, 4)), "#Ref<a@b.0.0.7>");
        assert_eq!(format!("{:?}", ErlPort { node: node(), id: 6, creation: 4 }), "#Port<a@b.6>");
    }
}
