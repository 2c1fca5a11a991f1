//! [`Term`]: one term, as bytes.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::decode::{DecodeErrorKind, Decoder};
use super::{DecodeError, Kind, Limits, TermRef, identity, order, tag};

/// A term of at most this many bytes is stored in place.
const IN_PLACE: usize = 37;

/// A term of Erlang, as bytes in canonical form.
///
/// Cloning is cheap: a term of at most 37 bytes (atoms, integers, most pids, small tuples) is
/// copied, a longer one is shared. `==` is Erlang's `=:=`: `1` is not `1.0`. `Ord` is the order of
/// the keys of maps in Erlang: as `<`, but integers are less than floats.
/// [`compare`](Self::compare) is `<` itself.
#[derive(Clone)]
pub struct Term(Repr);

#[derive(Clone)]
enum Repr {
    InPlace {
        length: u8,
        is_plain: bool,
        bytes: [u8; IN_PLACE],
    },
    /// Longer than [`IN_PLACE`].
    Shared {
        bytes: Bytes,
        is_plain: bool,
    },
}

impl Term {
    /// The empty list.
    pub const NIL: Self = Self(Repr::InPlace { length: 1, is_plain: true, bytes: in_place(&[tag::NIL]) });

    /// Decodes one term, without a version byte, that takes all of `bytes`. The term shares `bytes`
    /// if it is long, and canonical in them.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if `bytes` are no term or exceed a limit.
    pub fn decode(bytes: &Bytes, limits: Limits) -> Result<Self, DecodeError> {
        Decoder::new(limits).whole(bytes)
    }

    /// Decodes the term that `bytes` begin with, without a version byte, and removes it from them.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if `bytes` begin with no term or exceed a limit. They are left as they were.
    pub fn decode_first(bytes: &mut Bytes, limits: Limits) -> Result<Self, DecodeError> {
        Decoder::new(limits).first(bytes)
    }

    /// Decodes what `term_to_binary` returns, not compressed: a version byte and one term.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if `bytes` are no term or exceed a limit.
    pub fn from_external(bytes: &Bytes, limits: Limits) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(&tag::VERSION) => Self::decode(&bytes.slice(1..), limits),
            Some(&other) => Err(DecodeError { kind: DecodeErrorKind::Version(other), at: 0 }),
            None => Err(DecodeError { kind: DecodeErrorKind::TooShort, at: 0 }),
        }
    }

    /// Appends a version byte and the term: what `binary_to_term` takes.
    pub fn write_external(&self, out: &mut BytesMut) {
        out.put_u8(tag::VERSION);
        out.put_slice(self.as_bytes());
    }

    /// Returns a canonical term that lies in `bytes`.
    pub(super) fn share(bytes: &Bytes, range: Range<usize>, is_plain: bool) -> Self {
        let part = &bytes[range.clone()];
        if part.len() <= IN_PLACE {
            return Self::copy(part, is_plain);
        }
        Self(Repr::Shared { bytes: bytes.slice(range), is_plain })
    }

    /// Returns the canonical term that these bytes are.
    pub(super) fn own(bytes: Vec<u8>, is_plain: bool) -> Self {
        if bytes.len() <= IN_PLACE {
            return Self::copy(&bytes, is_plain);
        }
        Self(Repr::Shared { bytes: bytes.into(), is_plain })
    }

    /// Returns the canonical term that these bytes are.
    pub(super) fn copy(bytes: &[u8], is_plain: bool) -> Self {
        if bytes.len() > IN_PLACE {
            return Self(Repr::Shared { bytes: Bytes::copy_from_slice(bytes), is_plain });
        }
        Self(Repr::InPlace { length: bytes.len() as u8, is_plain, bytes: in_place(bytes) })
    }

    /// Returns the encoded term, without a version byte.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::InPlace { length, bytes, .. } => &bytes[..usize::from(*length)],
            Repr::Shared { bytes, .. } => bytes,
        }
    }

    /// Returns the encoded term, without a version byte. Copies at most 37 bytes.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Repr::InPlace { .. } => Bytes::copy_from_slice(self.as_bytes()),
            Repr::Shared { bytes, .. } => bytes.clone(),
        }
    }

    /// Returns `true` if equal terms have equal bytes.
    pub(super) fn is_plain(&self) -> bool {
        let (Repr::InPlace { is_plain, .. } | Repr::Shared { is_plain, .. }) = &self.0;
        *is_plain
    }

    /// Returns a view of the term, through which its parts are reached.
    pub fn view(&self) -> TermRef<'_> {
        TermRef::new(self.as_bytes(), self.is_plain())
    }

    /// Returns what the term is, with its parts.
    pub fn kind(&self) -> Kind<'_> {
        self.view().kind()
    }

    /// Returns a part of this term as a term of its own. It shares the buffer of this term if it is
    /// long.
    ///
    /// # Panics
    ///
    /// If `part` is long and no part of this term.
    pub fn part(&self, part: TermRef<'_>) -> Self {
        let part = part.trimmed();
        match &self.0 {
            Repr::Shared { bytes, is_plain } if part.len() > IN_PLACE => {
                Self(Repr::Shared { bytes: bytes.slice_ref(part), is_plain: *is_plain })
            }
            _ => Self::copy(part, self.is_plain()),
        }
    }

    /// Returns the term in a buffer of its own.
    ///
    /// A long term that came in a frame, and a long part of a term, keep the frame or the whole in
    /// memory. A term that is kept for long should be detached.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self::copy(self.as_bytes(), self.is_plain())
    }

    /// Compares as Erlang's `<`, `==` and `>` do: `1` equals `1.0`.
    pub fn compare(&self, other: &Self) -> Ordering {
        order::compare(self.as_bytes(), other.as_bytes(), false)
    }
}

/// Returns the bytes, filled up with zeros.
const fn in_place(bytes: &[u8]) -> [u8; IN_PLACE] {
    let mut all = [0; IN_PLACE];
    all.split_at_mut(bytes.len()).0.copy_from_slice(bytes);
    all
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        identity::equal(self, other)
    }
}

impl Eq for Term {}

impl PartialOrd for Term {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Term {
    fn cmp(&self, other: &Self) -> Ordering {
        order::compare(self.as_bytes(), other.as_bytes(), true)
    }
}

impl Hash for Term {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.is_plain() {
            state.write(self.as_bytes());
        } else {
            state.write(&identity::normal(self.as_bytes()));
        }
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
