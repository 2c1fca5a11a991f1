//! [`Packets`]: the packets of a handshake, whose length has two bytes, and four over TLS.
//!
//! Erlang's `inet_tls_dist` has packets of four bytes of length from the beginning. The handshake
//! itself (`wire`) knows two, so packets are converted on their way.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Failure;

/// The packets of one handshake.
#[derive(Debug)]
pub(super) struct Packets {
    /// The length has four bytes.
    wide: bool,
    /// What was read and not yet converted.
    raw: BytesMut,
}

impl Packets {
    pub(super) fn new(wide: bool) -> Self {
        Self { wide, raw: BytesMut::new() }
    }

    /// Appends what comes from the peer to `input`: over TLS one packet, which may be followed by
    /// frames.
    pub(super) async fn read<R>(&mut self, reader: &mut R, input: &mut BytesMut) -> Result<(), Failure>
    where
        R: AsyncRead + Unpin,
    {
        loop {
            if self.wide && self.take(input)? {
                return Ok(());
            }
            let into = if self.wide { &mut self.raw } else { &mut *input };
            if reader.read_buf(into).await? == 0 {
                return Err(Failure::Closed);
            }
            if !self.wide {
                return Ok(());
            }
        }
    }

    /// Moves a whole packet to `input`, without the upper half of its length.
    fn take(&mut self, input: &mut BytesMut) -> Result<bool, Failure> {
        let Some(length) = self.raw.get(..4) else { return Ok(false) };
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        if u16::try_from(length).is_err() {
            return Err(io::Error::other("a packet of the handshake is too long").into());
        }
        let end = 4 + length as usize;
        if self.raw.len() < end {
            return Ok(false);
        }
        let mut packet = self.raw.split_to(end);
        packet.advance(2);
        input.extend_from_slice(&packet);
        Ok(true)
    }

    /// Writes the packets in `output`, and clears it.
    pub(super) async fn write<W>(&self, writer: &mut W, output: &mut BytesMut) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        if self.wide {
            widen(output);
        }
        writer.write_all(output).await?;
        output.clear();
        writer.flush().await
    }

    /// Ends the handshake: converts what is still to be written, and returns what came behind it.
    pub(super) fn end(self, input: BytesMut, output: &mut BytesMut) -> BytesMut {
        if self.wide {
            widen(output);
            return self.raw;
        }
        input
    }
}

/// Gives each packet a length of four bytes.
fn widen(output: &mut BytesMut) {
    let mut narrow = output.split();
    while narrow.len() >= 2 {
        let end = 2 + usize::from(u16::from_be_bytes([narrow[0], narrow[1]]));
        output.put_u16(0);
        output.extend_from_slice(&narrow.split_to(end.min(narrow.len())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_converted_one_at_a_time() {
        let mut wide = BytesMut::from(&b"\0\x03abc\0\0\0\x01d"[..]);
        widen(&mut wide);
        assert_eq!(&wide[..], b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01d");
        let mut packets = Packets { wide: true, raw: wide };
        let mut input = BytesMut::new();
        for expected in [&b"\0\x03abc"[..], b"\0\0", b"\0\x01d"] {
            assert!(packets.take(&mut input).expect("short"));
            assert_eq!(&input.split()[..], expected);
        }
        assert!(!packets.take(&mut input).expect("empty"));
        packets.raw.extend_from_slice(b"\0\0\0\x02e");
        assert!(!packets.take(&mut input).expect("a part"));
        let mut last = BytesMut::from(&b"\0\x01a"[..]);
        assert_eq!(&packets.end(input, &mut last)[..], b"\0\0\0\x02e");
        assert_eq!(&last[..], b"\0\0\0\x01a");
    }

    #[test]
    fn a_long_packet_is_refused() {
        let mut packets = Packets { wide: true, raw: BytesMut::from(&b"\0\x01\0\0"[..]) };
        assert!(packets.take(&mut BytesMut::new()).is_err());
    }
}
