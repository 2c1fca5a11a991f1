//! [`Input`]: bytes read front to back, with every bound checked.

use super::decode::{DecodeError, DecodeErrorKind};

/// A position in bytes that are not trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the number of bytes read so far.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns the number of bytes that are left.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Returns the bytes between two positions, which were read.
    #[inline]
    pub(crate) fn between(&self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[from..to]
    }

    /// Returns an error at this position.
    #[cold]
    pub(crate) fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { kind, at: self.at }
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some(taken) = self.bytes[self.at..].get(..length) else {
            return Err(self.error(DecodeErrorKind::TooShort));
        };
        self.at += length;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(taken) = self.bytes[self.at..].first_chunk() else {
            return Err(self.error(DecodeErrorKind::TooShort));
        };
        self.at += N;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// Returns the next byte without reading it.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a length of 32 bits. The result is at most as many as there are bytes left, so that
    /// memory may be taken for it.
    #[inline]
    pub(crate) fn length(&mut self, bytes_each: usize) -> Result<usize, DecodeError> {
        let length = self.u32()? as usize;
        if length > self.left() / bytes_each {
            return Err(self.error(DecodeErrorKind::TooShort));
        }
        Ok(length)
    }
}
