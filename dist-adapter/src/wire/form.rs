//! The bytes that frames begin with.

/// Begins each term, or the frame, depending on its form.
pub(crate) const VERSION: u8 = 131;
/// Begins a frame without a distribution header.
pub(crate) const PASS_THROUGH: u8 = 112;
/// A frame with a distribution header and a whole message.
pub(crate) const WHOLE: u8 = 68;
/// A frame with a distribution header and the first part of a message.
pub(crate) const FIRST_PART: u8 = 69;
/// A frame with another part of a message.
pub(crate) const NEXT_PART: u8 = 70;
