//! [`Receiver`]: a stream of bytes to messages.

use core::fmt;

use bytes::{Buf as _, Bytes, BytesMut};

use super::fields::Fields;
use super::fragment::Joiner;
use super::frame::Frames;
use super::{Control, ControlError, Flags, form};
use crate::term::{DecodeError, Decoder, Limits, Term};

/// The limits on what a peer sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireLimits {
    /// The longest frame, in bytes.
    pub frame: usize,
    /// The bytes of all parts that wait for the rest of their messages.
    pub message: usize,
    /// The limits on terms.
    pub terms: Limits,
}

impl Default for WireLimits {
    /// 128 MiB for a frame, 512 MiB for unfinished messages.
    fn default() -> Self {
        Self { frame: 128 << 20, message: 512 << 20, terms: Limits::default() }
    }
}

/// What has come from a peer.
#[derive(Clone, Debug)]
pub enum Event {
    /// A tick: the peer is alive.
    Tick,
    /// A part of a large message that is not whole.
    Part,
    /// A message.
    Message(Received),
}

/// A message: a control message and what came with it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The control message.
    pub control: Term,
    /// The message, exit reason or arguments behind it.
    pub payload: Option<Term>,
}

impl Received {
    /// Reads the control message.
    ///
    /// # Errors
    ///
    /// [`ControlError`] if it is none: the connection must be ended.
    pub fn read(&self) -> Result<Control<'_>, ControlError> {
        Control::read(&self.control, self.payload.as_ref())
    }
}

/// Makes messages of a peer's bytes, however they come.
///
/// ```no_run
/// # use atropos_dist::wire::{Event, Receiver, WireError};
/// # fn read(_: &mut bytes::BytesMut) -> usize { 0 }
/// fn serve(mut receiver: Receiver) -> Result<(), WireError> {
///     loop {
///         while let Some(event) = receiver.next()? {
///             if let Event::Message(message) = event {
///                 println!("{:?}", message.read()?);
///             }
///         }
///         // `read_buf` of Tokio, for example.
///         if read(receiver.space()) == 0 {
///             return Ok(());
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Receiver {
    frames: Frames,
    joiner: Joiner,
    decoder: Decoder,
    agreed: Flags,
}

impl Receiver {
    /// Creates a receiver. `input` is what the handshake has left over.
    pub fn new(agreed: Flags, limits: WireLimits, input: BytesMut) -> Self {
        Self {
            frames: Frames::new(limits.frame, input),
            joiner: Joiner::new(limits.message),
            decoder: Decoder::new(limits.terms),
            agreed,
        }
    }

    /// Returns the buffer to which the caller appends the bytes that have come. It has free space.
    pub fn space(&mut self) -> &mut BytesMut {
        self.frames.space()
    }

    /// Returns what has come next, or `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the connection must be ended.
    #[expect(clippy::should_implement_trait, reason = "an error is no item: the connection ends")]
    pub fn next(&mut self) -> Result<Option<Event>, WireError> {
        let Some(frame) = self.frames.next()? else { return Ok(None) };
        if frame.is_empty() {
            return Ok(Some(Event::Tick));
        }
        let message = if self.agreed.has_header() { self.with_header(frame)? } else { self.passed_through(frame)? };
        Ok(Some(message.map_or(Event::Part, Event::Message)))
    }

    /// Returns the bytes that wait for the rest of their messages.
    pub fn held(&self) -> usize {
        self.joiner.held()
    }

    /// Reads a frame without a distribution header: each term has a version byte.
    fn passed_through(&mut self, mut frame: Bytes) -> Result<Option<Received>, WireError> {
        let [form::PASS_THROUGH, form::VERSION, ..] = frame[..] else {
            return Err(WireError::Header("no control message that is passed through"));
        };
        frame.advance(2);
        let control = self.decoder.first(&mut frame)?;
        let payload = match frame.first() {
            None => None,
            Some(&form::VERSION) => {
                frame.advance(1);
                Some(self.decoder.first(&mut frame)?)
            }
            Some(_) => return Err(WireError::Header("a payload without a version")),
        };
        Ok(Some(Received { control, payload }))
    }

    /// Reads a frame with a distribution header. No atoms are cached, so it names none.
    fn with_header(&mut self, mut frame: Bytes) -> Result<Option<Received>, WireError> {
        const SHORT: WireError = WireError::Header("a header that is cut short");
        let mut fields = Fields(&frame);
        if fields.u8() != Some(form::VERSION) {
            return Err(WireError::Header("no distribution header"));
        }
        let kind = fields.u8().ok_or(SHORT)?;
        let parts = self.agreed.contains(Flags::FRAGMENTS);
        let sequence = match kind {
            form::WHOLE => None,
            form::FIRST_PART | form::NEXT_PART if parts => {
                Some((fields.u64().ok_or(SHORT)?, fields.u64().ok_or(SHORT)?))
            }
            _ => return Err(WireError::Header("an unknown kind of frame")),
        };
        if kind != form::NEXT_PART && fields.u8().ok_or(SHORT)? != 0 {
            return Err(WireError::Header("references to an atom cache that was not agreed on"));
        }
        let header = frame.len() - fields.0.len();
        frame.advance(header);
        let message = match sequence {
            None => Some(frame),
            Some((sequence, part)) if kind == form::FIRST_PART => self.joiner.first(sequence, part, frame)?,
            Some((sequence, part)) => self.joiner.next(sequence, part, &frame)?,
        };
        message.map(|message| self.message(message)).transpose()
    }

    /// Reads a whole message that came with a header. Bytes behind it are ignored.
    fn message(&mut self, mut message: Bytes) -> Result<Received, WireError> {
        let control = self.decoder.first(&mut message)?;
        let payload = if message.is_empty() { None } else { Some(self.decoder.first(&mut message)?) };
        Ok(Received { control, payload })
    }
}

/// The reason why a connection must be ended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WireError {
    /// A frame longer than the limit, with its length in bytes.
    FrameTooLong(usize),
    /// A frame that begins with something else than what was agreed on.
    Header(&'static str),
    /// A fragment that does not fit what came before.
    Fragment(&'static str),
    /// The parts of unfinished messages exceed the limit.
    MessagesTooLong,
    /// A term that is none.
    Term(DecodeError),
    /// A control message that is none.
    Control(ControlError),
}

impl From<DecodeError> for WireError {
    fn from(error: DecodeError) -> Self {
        Self::Term(error)
    }
}

impl From<ControlError> for WireError {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameTooLong(length) => write!(f, "a frame of {length} bytes is too long"),
            Self::Header(what) => write!(f, "a frame has {what}"),
            Self::Fragment(what) => write!(f, "a fragment {what}"),
            Self::MessagesTooLong => f.write_str("unfinished messages are too long"),
            Self::Term(error) => write!(f, "a term is malformed: {error}"),
            Self::Control(error) => write!(f, "a control message is malformed: {error}"),
        }
    }
}

impl core::error::Error for WireError {}
