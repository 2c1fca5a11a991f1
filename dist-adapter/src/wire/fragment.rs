//! [`Joiner`]: the parts of large messages, until they are whole.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;

use bytes::{Bytes, BytesMut};

use super::WireError;

/// The memory that a sequence takes besides its bytes.
const OVERHEAD: usize = 128;

/// The messages of a peer that are not yet whole.
#[derive(Debug)]
pub(crate) struct Joiner {
    sequences: BTreeMap<u64, Sequence>,
    /// The bytes of all sequences.
    held: usize,
    limit: usize,
}

/// A message that is not yet whole. Parts count down, and the last one is 1.
#[derive(Debug)]
struct Sequence {
    /// The number of the next part.
    next: u64,
    /// Copied from the frames, so that parts of a few bytes do not keep frames in memory.
    bytes: BytesMut,
}

impl Joiner {
    pub(crate) fn new(limit: usize) -> Self {
        Self { sequences: BTreeMap::new(), held: 0, limit }
    }

    /// Returns the bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes the first part of a message. Returns the message if it has no other.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the sequence is under way, the number is 0, or too much is held.
    pub(crate) fn first(&mut self, sequence: u64, part: u64, bytes: Bytes) -> Result<Option<Bytes>, WireError> {
        let Some(next) = part.checked_sub(1) else { return Err(WireError::Fragment("has the number 0")) };
        let Entry::Vacant(entry) = self.sequences.entry(sequence) else {
            return Err(WireError::Fragment("begins a sequence that is under way"));
        };
        if next == 0 {
            return Ok(Some(bytes));
        }
        let held = self.held.saturating_add(OVERHEAD + bytes.len());
        if held > self.limit {
            return Err(WireError::MessagesTooLong);
        }
        self.held = held;
        entry.insert(Sequence { next, bytes: BytesMut::from(&bytes[..]) });
        Ok(None)
    }

    /// Takes another part of a message. Returns the message if it was the last.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the part is not the next one of a sequence that is under way, or too much
    /// is held.
    pub(crate) fn next(&mut self, sequence: u64, part: u64, bytes: &[u8]) -> Result<Option<Bytes>, WireError> {
        let Entry::Occupied(mut entry) = self.sequences.entry(sequence) else {
            return Err(WireError::Fragment("continues no sequence"));
        };
        let message = entry.get_mut();
        if part != message.next {
            return Err(WireError::Fragment("is out of turn"));
        }
        let held = self.held.saturating_add(bytes.len());
        if held > self.limit {
            return Err(WireError::MessagesTooLong);
        }
        message.bytes.extend_from_slice(bytes);
        message.next -= 1;
        self.held = held;
        if message.next > 0 {
            return Ok(None);
        }
        let message = entry.remove().bytes.freeze();
        self.held -= OVERHEAD + message.len();
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: &'static [u8]) -> Bytes {
        Bytes::from_static(bytes)
    }

    #[test]
    fn interleaved_sequences_are_joined() {
        let mut joiner = Joiner::new(10_000);
        assert_eq!(joiner.first(5, 3, bytes(b"ab")), Ok(None));
        assert_eq!(joiner.first(9, 2, bytes(b"xy")), Ok(None));
        assert_eq!(joiner.next(5, 2, b""), Ok(None));
        assert_eq!(joiner.held(), 2 * OVERHEAD + 4);
        assert_eq!(joiner.next(9, 1, b"z"), Ok(Some(bytes(b"xyz"))));
        assert_eq!(joiner.next(5, 1, b"cd"), Ok(Some(bytes(b"abcd"))));
        assert_eq!(joiner.held(), 0);
        // The number of a whole message may be used again.
        assert_eq!(joiner.first(5, 1, bytes(b"e")), Ok(Some(bytes(b"e"))));
        assert_eq!(joiner.first(5, 2, bytes(b"f")), Ok(None));
    }

    #[test]
    fn parts_that_do_not_fit_are_errors() {
        let mut joiner = Joiner::new(10_000);
        assert!(joiner.first(1, 0, bytes(b"")).is_err());
        assert!(joiner.next(1, 1, b"").is_err(), "not begun");
        assert_eq!(joiner.first(1, 4, bytes(b"")), Ok(None));
        assert!(joiner.first(1, 4, bytes(b"")).is_err(), "begun twice");
        assert!(joiner.next(1, 2, b"").is_err(), "one left out");
        assert!(joiner.next(1, 4, b"").is_err(), "one twice");
        assert!(joiner.next(1, 0, b"").is_err());
        assert_eq!(joiner.next(1, 3, b""), Ok(None));
    }

    #[test]
    fn what_is_held_is_limited() {
        let mut joiner = Joiner::new(1000);
        assert_eq!(joiner.first(1, u64::MAX, bytes(&[0; 500])), Ok(None));
        assert_eq!(joiner.first(2, 3, bytes(&[0; 400])), Err(WireError::MessagesTooLong));
        assert_eq!(joiner.next(1, u64::MAX - 1, &[0; 400]), Err(WireError::MessagesTooLong));
        // Sequences without bytes take memory, too.
        let mut joiner = Joiner::new(1000);
        let begun = (0..100).take_while(|sequence| joiner.first(*sequence, 2, bytes(b"")).is_ok());
        assert_eq!(begun.count(), 1000 / OVERHEAD);
    }
}
