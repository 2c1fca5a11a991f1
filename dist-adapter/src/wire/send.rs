//! Messages to frames.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::control_write::Unsupported;
use super::{Control, Flags, form};

/// A payload of more bytes than this is shared with the term, not copied.
const LARGE: usize = 16 * 1024;
/// The bytes of a message in a part. A message of more bytes goes out in parts if that was agreed
/// on.
const PART: usize = 64 * 1024;

/// The outcome of [`encode`].
#[derive(Debug)]
#[must_use]
pub enum Encoded {
    /// The whole frame was appended.
    Whole,
    /// Nothing was appended: the message is large, and goes out by [`Large::parts`].
    Large(Large),
}

/// Appends the frame of a message, in the form that was agreed on: with old operations for a peer
/// without the flag of the new one, and with exit reasons inside of the control message or behind
/// it.
///
/// # Errors
///
/// [`Unsupported`] if the peer knows no such message. Nothing was appended.
pub fn encode(control: &Control<'_>, agreed: Flags, out: &mut BytesMut) -> Result<Encoded, Unsupported> {
    let payload = control.payload(agreed);
    if let Some(payload) = payload.filter(|payload| payload.as_bytes().len() > LARGE) {
        let mut head = BytesMut::new();
        control.write(agreed, &mut head)?;
        return Ok(Encoded::Large(Large { agreed, control: head.freeze(), payload: payload.to_bytes() }));
    }
    let start = out.len();
    out.put_u32(0);
    begin(agreed, out);
    if let Err(unsupported) = control.write(agreed, out) {
        out.truncate(start);
        return Err(unsupported);
    }
    if let Some(payload) = payload {
        begin_payload(agreed, out);
        out.put_slice(payload.as_bytes());
    }
    end(start, 0, out);
    Ok(Encoded::Whole)
}

/// Appends a tick.
pub fn write_tick(out: &mut BytesMut) {
    out.put_u32(0);
}

/// Appends what stands before the control message.
fn begin(agreed: Flags, out: &mut BytesMut) {
    if agreed.has_header() {
        // No atoms are cached.
        out.put_slice(&[form::VERSION, form::WHOLE, 0]);
    } else {
        out.put_slice(&[form::PASS_THROUGH, form::VERSION]);
    }
}

/// Appends what stands before the payload.
fn begin_payload(agreed: Flags, out: &mut BytesMut) {
    if !agreed.has_header() {
        out.put_u8(form::VERSION);
    }
}

/// Writes the length of the frame that begins at `start`, of which `rest` bytes are elsewhere.
fn end(start: usize, rest: usize, out: &mut BytesMut) {
    let length = out.len() - start - 4 + rest;
    let length = u32::try_from(length).expect("a frame has less than 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// A large message. Its payload is shared with the term.
#[derive(Clone, Debug)]
pub struct Large {
    agreed: Flags,
    control: Bytes,
    payload: Bytes,
}

impl Large {
    /// Returns the length in bytes, without headers.
    #[expect(clippy::len_without_is_empty, reason = "there is a control message")]
    pub fn len(&self) -> usize {
        self.control.len() + self.payload.len()
    }

    /// Returns the frames in turn: parts, or one whole frame if no parts were agreed on or the
    /// message fits one. Other messages may go out between the frames, also other large ones.
    ///
    /// `sequence` is a number that no other large message has that is under way on this connection.
    pub fn parts(self, sequence: u64) -> Parts {
        let is_cut = self.agreed.contains(Flags::FRAGMENTS) && self.len() > PART;
        // The whole control message is in the first part.
        let first = if is_cut { PART.saturating_sub(self.control.len()) } else { self.payload.len() };
        let count = 1 + (self.payload.len() - first).div_ceil(PART) as u64;
        Parts { sequence, is_cut, first, count, left: count, message: self }
    }
}

/// The frames of a large message, in turn.
#[derive(Debug)]
pub struct Parts {
    message: Large,
    sequence: u64,
    is_cut: bool,
    /// The bytes of the payload in the first part.
    first: usize,
    count: u64,
    /// The number of frames that are left: the number of the next part.
    left: u64,
}

impl Parts {
    /// Appends the beginning of the next frame to `out` and returns the rest of that frame, which
    /// must be written behind it. Returns `None` if all frames have been given out.
    pub fn next_frame(&mut self, out: &mut BytesMut) -> Option<Bytes> {
        let number = self.left;
        self.left = number.checked_sub(1)?;
        let Large { agreed, control, payload } = &mut self.message;
        let start = out.len();
        out.put_u32(0);
        let is_first = number == self.count;
        if self.is_cut {
            out.put_slice(&[form::VERSION, if is_first { form::FIRST_PART } else { form::NEXT_PART }]);
            out.put_u64(self.sequence);
            out.put_u64(number);
        } else {
            begin(*agreed, out);
        }
        if is_first {
            if self.is_cut {
                // No atoms are cached.
                out.put_u8(0);
            }
            out.put_slice(control);
            begin_payload(*agreed, out);
        }
        let rest = payload.split_to(if is_first { self.first } else { payload.len().min(PART) });
        end(start, rest.len(), out);
        Some(rest)
    }

    /// Returns the number of bytes that are still to go out, without headers.
    pub fn remaining(&self) -> usize {
        let control = if self.left == self.count { self.message.control.len() } else { 0 };
        control + self.message.payload.len()
    }
}
