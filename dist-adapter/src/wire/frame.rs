//! [`Frames`]: a stream of bytes cut into frames.

use bytes::{Buf as _, Bytes, BytesMut};

use super::WireError;

/// How many bytes are read at once, unless a longer frame is on its way. Short frames share a
/// buffer of this size, so that a part of one keeps at most so much in memory.
const READ: usize = 32 * 1024;
/// Space of up to this many bytes is made for a frame as soon as its length has come: a part of a
/// large message is then read in one piece.
const EAGER: usize = 128 * 1024;
/// The length of a frame's length.
const HEAD: usize = 4;

/// The bytes of a peer that are not yet a whole frame.
#[derive(Debug)]
pub(crate) struct Frames {
    buffer: BytesMut,
    limit: usize,
}

impl Frames {
    pub(crate) fn new(limit: usize, buffer: BytesMut) -> Self {
        Self { buffer, limit }
    }

    /// Returns the buffer, with free space for what comes next. Beyond [`EAGER`] bytes the space
    /// grows with what has come, whatever length the frame announces.
    pub(crate) fn space(&mut self) -> &mut BytesMut {
        let come = self.buffer.len();
        let missing = self.announced().map_or(READ, |length| (HEAD + length).saturating_sub(come));
        self.buffer.reserve(missing.clamp(1, EAGER.max(come)));
        &mut self.buffer
    }

    fn announced(&self) -> Option<usize> {
        self.buffer.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
    }

    /// Returns the next frame without its length, an empty one for a tick, or `None` if it has not
    /// come whole.
    ///
    /// # Errors
    ///
    /// [`WireError::FrameTooLong`], as soon as the length has come.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(length) = self.announced() else { return Ok(None) };
        if length > self.limit {
            return Err(WireError::FrameTooLong(length));
        }
        if self.buffer.len() - HEAD < length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use bytes::BufMut as _;

    use super::*;

    fn all(frames: &mut Frames) -> Vec<Bytes> {
        core::iter::from_fn(|| frames.next().unwrap()).collect()
    }

    #[test]
    fn frames_are_cut_however_they_come() {
        let mut stream = Vec::new();
        let lengths = [0, 1, 0, 300, 70_000, 0, 5];
        for length in lengths {
            stream.put_u32(length as u32);
            stream.put_bytes(length as u8, length);
        }
        for piece in [1, 2, 3, 5, 100, 4096, stream.len()] {
            let mut frames = Frames::new(100_000, BytesMut::new());
            let mut cut = Vec::new();
            for bytes in stream.chunks(piece) {
                frames.space().put_slice(bytes);
                cut.extend(all(&mut frames));
            }
            assert_eq!(cut, lengths.map(|length| Bytes::from(vec![length as u8; length])));
        }
    }

    #[test]
    fn memory_is_taken_for_what_has_come() {
        let mut frames = Frames::new(usize::MAX, BytesMut::new());
        frames.space().put_u32(u32::MAX);
        assert_eq!(frames.next(), Ok(None));
        for _ in 0..40 {
            let come = frames.buffer.len();
            // The buffer grows if less than `come.max(EAGER)` bytes are free, at most to twice
            // its size.
            assert!(frames.space().capacity() <= 4 * come.max(EAGER));
            let free = frames.buffer.capacity() - come;
            frames.buffer.put_bytes(0, free.min(10_000));
            assert_eq!(frames.next(), Ok(None));
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_length() {
        let mut frames = Frames::new(99, BytesMut::from(&[0, 0, 0, 100][..]));
        assert_eq!(frames.next(), Err(WireError::FrameTooLong(100)));
        let mut frames = Frames::new(100, BytesMut::from(&[0, 0, 0, 100][..]));
        assert_eq!(frames.next(), Ok(None));
    }
}
