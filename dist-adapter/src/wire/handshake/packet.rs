//! The packets of the handshake: two bytes of length, a byte that says what it is, and fields.

use bytes::{Buf as _, BufMut as _, BytesMut};

use super::HandshakeError;
use super::digest::Digest;
use crate::wire::Flags;
use crate::wire::fields::Fields;

/// Takes a whole packet from the front of `input`.
pub(super) fn take(input: &mut BytesMut) -> Option<BytesMut> {
    let length = usize::from(u16::from_be_bytes(*input.first_chunk()?));
    if input.len() < 2 + length {
        return None;
    }
    input.advance(2);
    Some(input.split_to(length))
}

/// Appends a packet.
pub(super) fn write(output: &mut BytesMut, fields: &[&[u8]]) {
    let length: usize = fields.iter().map(|field| field.len()).sum();
    output.put_u16(length as u16);
    fields.iter().for_each(|field| output.put_slice(field));
}

pub(super) fn write_status(output: &mut BytesMut, status: &str) {
    write(output, &[b"s", status.as_bytes()]);
}

/// The first packet: how the dialler shows itself.
#[derive(Debug)]
pub(super) struct Name<'a> {
    pub(super) flags: Flags,
    /// `None` in the form of version 5 of the protocol: the creation and the upper half of the
    /// flags come later.
    pub(super) creation: Option<u32>,
    pub(super) name: &'a [u8],
}

impl<'a> Name<'a> {
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        match fields.u8()? {
            b'N' => {
                let (flags, creation) = (Flags::from_bits(fields.u64()?), Some(fields.u32()?));
                // Bytes behind the name are for later versions.
                Some(Self { flags, creation, name: fields.prefixed()? })
            }
            b'n' => {
                let (_version, flags) = (fields.u16()?, Flags::from_bits(fields.u32()?.into()));
                let name = fields.0;
                flags.contains(Flags::HANDSHAKE_23).then_some(Self { flags, creation: None, name })
            }
            _ => None,
        }
    }

    pub(super) fn write(output: &mut BytesMut, flags: Flags, creation: u32, name: &str) {
        write(
            output,
            &[
                b"N",
                &flags.bits().to_be_bytes(),
                &creation.to_be_bytes(),
                &(name.len() as u16).to_be_bytes(),
                name.as_bytes(),
            ],
        );
    }
}

/// How the acceptor shows itself, and its challenge.
#[derive(Debug)]
pub(super) struct Challenge<'a> {
    pub(super) flags: Flags,
    pub(super) challenge: u32,
    pub(super) creation: u32,
    pub(super) name: &'a [u8],
}

impl<'a> Challenge<'a> {
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        if fields.u8()? != b'N' {
            return None;
        }
        let flags = Flags::from_bits(fields.u64()?);
        let (challenge, creation) = (fields.u32()?, fields.u32()?);
        Some(Self { flags, challenge, creation, name: fields.prefixed()? })
    }

    pub(super) fn write(output: &mut BytesMut, flags: Flags, challenge: u32, creation: u32, name: &str) {
        write(
            output,
            &[
                b"N",
                &flags.bits().to_be_bytes(),
                &challenge.to_be_bytes(),
                &creation.to_be_bytes(),
                &(name.len() as u16).to_be_bytes(),
                name.as_bytes(),
            ],
        );
    }
}

/// Reads the upper half of the flags and the creation of a dialler that began in the form of
/// version 5.
pub(super) fn read_complement(packet: &[u8]) -> Option<(Flags, u32)> {
    let mut fields = Fields(packet);
    if fields.u8()? != b'c' {
        return None;
    }
    Some((Flags::from_bits(u64::from(fields.u32()?) << 32), fields.u32()?))
}

/// Reads the dialler's challenge and digest.
pub(super) fn read_reply(packet: &[u8]) -> Option<(u32, [u8; 16])> {
    let mut fields = Fields(packet);
    if fields.u8()? != b'r' {
        return None;
    }
    Some((fields.u32()?, fields.array()?))
}

pub(super) fn write_reply(output: &mut BytesMut, challenge: u32, digest: Digest) {
    write(output, &[b"r", &challenge.to_be_bytes(), &digest.0]);
}

/// Reads the acceptor's digest.
pub(super) fn read_ack(packet: &[u8]) -> Option<[u8; 16]> {
    let mut fields = Fields(packet);
    if fields.u8()? == b'a' { fields.array() } else { None }
}

pub(super) fn write_ack(output: &mut BytesMut, digest: Digest) {
    write(output, &[b"a", &digest.0]);
}

/// Returns a status packet's text.
pub(super) fn read_status(packet: &[u8]) -> Option<&[u8]> {
    packet.strip_prefix(b"s")
}

/// The longest name of a node, in bytes.
const LONGEST_NAME: usize = 255;

/// Returns the name of a node if it is one: a part before and a part behind its only `@`.
///
/// # Errors
///
/// [`HandshakeError::Name`].
pub(super) fn node_name(bytes: &[u8]) -> Result<&str, HandshakeError> {
    let name = core::str::from_utf8(bytes).map_err(|_| HandshakeError::Name)?;
    match name.split_once('@') {
        Some((alive, host))
            if !alive.is_empty()
                && !host.is_empty()
                && !host.contains('@')
                && name.len() <= LONGEST_NAME
                && !name.chars().any(|character| character.is_control() || character.is_whitespace()) =>
        {
            Ok(name)
        }
        _ => Err(HandshakeError::Name),
    }
}
