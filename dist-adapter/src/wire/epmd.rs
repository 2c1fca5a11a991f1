//! Messages of epmd, the daemon that maps the names of a machine's nodes to ports.
//!
//! A request has two bytes of length; an answer has none and ends with its last field. Each message
//! can be written and read, for nodes and for a daemon.
//!
//! A `read` gets all bytes that have come so far. It returns `None` while more are needed, which is
//! at most 64 KiB and a few bytes.

use alloc::boxed::Box;
use core::fmt;

use bytes::{BufMut, BytesMut};

use super::fields::Fields;

/// The port of epmd, unless `ERL_EPMD_PORT` says otherwise.
pub const PORT: u16 = 4369;

const ALIVE2_REQ: u8 = 120;
const PORT_PLEASE2_REQ: u8 = 122;
const ALIVE2_X_RESP: u8 = 118;
const PORT2_RESP: u8 = 119;
const ALIVE2_RESP: u8 = 121;

/// A request to epmd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// `ALIVE2_REQ`: registers a node for as long as the connection to epmd is open.
    Alive(Registration),
    /// `PORT_PLEASE2_REQ`: asks where the node of this name, without its host, listens.
    Port(Box<str>),
}

/// What a node tells epmd about itself, and epmd tells others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The name without its host.
    pub name: Box<str>,
    /// The port on which the node listens.
    pub port: u16,
    /// 77 for a normal node, 72 for a hidden one.
    pub node_type: u8,
    /// The highest version of the distribution protocol that the node speaks.
    pub highest: u16,
    /// The lowest version.
    pub lowest: u16,
}

/// The error for bytes that are no message of epmd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpmdError(());

impl fmt::Display for EpmdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is no message of epmd")
    }
}

impl core::error::Error for EpmdError {}

impl Registration {
    /// Returns the registration of an Atropos node: type 77, version 6 of the protocol.
    pub fn new(name: &str, port: u16) -> Self {
        Self { name: name.into(), port, node_type: 77, highest: 6, lowest: 6 }
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_u16(self.port);
        // The 0 is the protocol: TCP over IPv4.
        out.put_slice(&[self.node_type, 0]);
        out.put_u16(self.highest);
        out.put_u16(self.lowest);
        write_prefixed(&self.name, out);
        // No extra bytes.
        out.put_u16(0);
    }

    fn read(fields: &mut Fields<'_>) -> Option<Result<Self, EpmdError>> {
        let (port, node_type, _protocol) = (fields.u16()?, fields.u8()?, fields.u8()?);
        let (highest, lowest) = (fields.u16()?, fields.u16()?);
        let name = fields.prefixed()?;
        let _extra = fields.prefixed()?;
        Some(text(name).map(|name| Self { name, port, node_type, highest, lowest }))
    }
}

fn text(bytes: &[u8]) -> Result<Box<str>, EpmdError> {
    core::str::from_utf8(bytes).map(Box::from).map_err(|_| EpmdError(()))
}

/// Appends text with two bytes of length. Longer text than fits is cut off.
fn write_prefixed(text: &str, out: &mut BytesMut) {
    let bytes = &text.as_bytes()[..text.len().min(u16::MAX.into())];
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

impl Request {
    /// Appends the request with its length.
    pub fn write(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u16(0);
        match self {
            Self::Alive(registration) => {
                out.put_u8(ALIVE2_REQ);
                registration.write(out);
            }
            Self::Port(name) => {
                out.put_u8(PORT_PLEASE2_REQ);
                out.put_slice(&name.as_bytes()[..name.len().min(usize::from(u16::MAX) - 1)]);
            }
        }
        let length = (out.len() - start - 2) as u16;
        out[start..start + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Reads a request with its length; `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`EpmdError`] for bytes that are no request.
    pub fn read(input: &[u8]) -> Result<Option<Self>, EpmdError> {
        let Some(request) = Fields(input).prefixed() else { return Ok(None) };
        let mut fields = Fields(request);
        let request = match fields.u8() {
            Some(ALIVE2_REQ) => Self::Alive(Registration::read(&mut fields).ok_or(EpmdError(()))??),
            Some(PORT_PLEASE2_REQ) => Self::Port(text(fields.0)?),
            _ => return Err(EpmdError(())),
        };
        Ok(Some(request))
    }
}

/// The answer to [`Request::Alive`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AliveResponse {
    /// 0 if the node is registered; anything else if its name is taken or not allowed.
    pub result: u8,
    /// The node's creation.
    pub creation: u32,
}

impl AliveResponse {
    /// Appends the answer, in the form with 32 bits of creation.
    pub fn write(&self, out: &mut BytesMut) {
        out.put_slice(&[ALIVE2_X_RESP, self.result]);
        out.put_u32(self.creation);
    }

    /// Reads an answer of either form; `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`EpmdError`] for bytes that are no answer.
    pub fn read(input: &[u8]) -> Result<Option<Self>, EpmdError> {
        let mut fields = Fields(input);
        let is_wide = match fields.u8() {
            None => return Ok(None),
            Some(ALIVE2_X_RESP) => true,
            Some(ALIVE2_RESP) => false,
            Some(_) => return Err(EpmdError(())),
        };
        let mut rest = || {
            let result = fields.u8()?;
            let creation = if is_wide { fields.u32()? } else { fields.u16()?.into() };
            Some(Self { result, creation })
        };
        Ok(rest())
    }
}

/// The answer to [`Request::Port`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortResponse {
    /// The node is registered.
    Found(Registration),
    /// There is no such node. The number is epmd's result, which is not 0.
    NotFound(u8),
}

impl PortResponse {
    /// Appends the answer.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Found(registration) => {
                out.put_slice(&[PORT2_RESP, 0]);
                registration.write(out);
            }
            Self::NotFound(result) => out.put_slice(&[PORT2_RESP, *result]),
        }
    }

    /// Reads an answer; `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`EpmdError`] for bytes that are no answer.
    pub fn read(input: &[u8]) -> Result<Option<Self>, EpmdError> {
        let mut fields = Fields(input);
        match (fields.u8(), fields.u8()) {
            (None, _) | (Some(PORT2_RESP), None) => Ok(None),
            (Some(PORT2_RESP), Some(0)) => {
                Registration::read(&mut fields).map(|registration| registration.map(Self::Found)).transpose()
            }
            (Some(PORT2_RESP), Some(result)) => Ok(Some(Self::NotFound(result))),
            _ => Err(EpmdError(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        write(&mut out);
        out
    }

    /// The bytes are those that Erlang's `erl_epmd` sends and epmd answers.
    #[test]
    fn messages_have_the_bytes_of_epmd() {
        let registration = Registration::new("ab", 0x1234);
        assert_eq!(
            written(|out| Request::Alive(registration.clone()).write(out))[..],
            [0, 15, 120, 0x12, 0x34, 77, 0, 0, 6, 0, 6, 0, 2, b'a', b'b', 0, 0]
        );
        assert_eq!(written(|out| Request::Port("ab".into()).write(out))[..], [0, 3, 122, b'a', b'b']);
        let response = AliveResponse { result: 0, creation: 0x0102_0304 };
        assert_eq!(written(|out| response.write(out))[..], [118, 0, 1, 2, 3, 4]);
        assert_eq!(AliveResponse::read(&[121, 1, 1, 2]), Ok(Some(AliveResponse { result: 1, creation: 0x0102 })));
        assert_eq!(
            written(|out| PortResponse::Found(registration.clone()).write(out))[..],
            [119, 0, 0x12, 0x34, 77, 0, 0, 6, 0, 6, 0, 2, b'a', b'b', 0, 0]
        );
    }

    #[test]
    fn messages_are_read_when_they_are_complete() {
        let request = Request::Alive(Registration::new("ab", 7));
        let bytes = written(|out| request.write(out));
        for end in 0..bytes.len() {
            assert_eq!(Request::read(&bytes[..end]), Ok(None));
        }
        assert_eq!(Request::read(&bytes), Ok(Some(request)));
        for response in [PortResponse::Found(Registration::new("ab", 7)), PortResponse::NotFound(1)] {
            let bytes = written(|out| response.write(out));
            for end in 0..bytes.len() {
                assert_eq!(PortResponse::read(&bytes[..end]), Ok(None));
            }
            assert_eq!(PortResponse::read(&bytes), Ok(Some(response)));
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [&[0, 0][..], &[0, 1, 99], &[0, 3, 120, 1, 2], &[0, 2, 122, 0xff]] {
            assert_eq!(Request::read(bytes), Err(EpmdError(())));
        }
        assert_eq!(AliveResponse::read(b"HTTP"), Err(EpmdError(())));
        assert_eq!(PortResponse::read(b"HTTP"), Err(EpmdError(())));
    }
}
