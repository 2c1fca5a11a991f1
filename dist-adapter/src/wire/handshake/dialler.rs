//! [`Dialler`]: the side that connects.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

use bytes::BytesMut;

use super::digest::digest;
use super::packet::{self, Challenge, Name};
use super::{HandshakeError, Local, Peer};
use crate::wire::Flags;

/// The outcome of [`Dialler::receive`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Dialling {
    /// More bytes are needed.
    NeedsBytes,
    /// `nok`: the peer dials this node at the same time, and its attempt goes on. This connection
    /// is over; the attempt waits for the peer's.
    PeerDials,
    /// `alive`: the peer has a connection to this node and asks whether it has ended, which
    /// [`Dialler::answer_alive`] says.
    Alive,
    /// The handshake is over.
    Done(Peer),
}

/// The side that connects.
#[derive(Debug)]
pub struct Dialler {
    local: Arc<Local>,
    /// The name that is dialled.
    peer: Box<str>,
    /// This node's challenge.
    challenge: u32,
    state: State,
}

/// The next packet.
#[derive(Clone, Copy, Debug)]
enum State {
    Status,
    /// Waits for [`Dialler::answer_alive`].
    Alive,
    Challenge,
    Ack {
        flags: Flags,
        creation: u32,
    },
    Over,
}

impl Dialler {
    /// Creates the state for dialling `peer`, and appends the first packet to `output`. The
    /// challenge is a random number.
    pub fn new(local: Arc<Local>, peer: &str, challenge: u32, output: &mut BytesMut) -> Self {
        Name::write(output, local.flags, local.creation, &local.name);
        Self { local, peer: peer.into(), challenge, state: State::Status }
    }

    /// Takes whole packets from `input` and appends answers to `output`.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] if the attempt has failed and the connection must be closed.
    pub fn receive(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<Dialling, HandshakeError> {
        while let Some(packet) = packet::take(input) {
            match self.state {
                State::Status => {
                    let status = packet::read_status(&packet).ok_or(HandshakeError::Malformed("a status"))?;
                    match status {
                        b"ok" | b"ok_simultaneous" => {}
                        b"nok" => {
                            self.state = State::Over;
                            return Ok(Dialling::PeerDials);
                        }
                        b"alive" => {
                            self.state = State::Alive;
                            return Ok(Dialling::Alive);
                        }
                        other => return Err(HandshakeError::Refused(shown(other))),
                    }
                    self.state = State::Challenge;
                }
                State::Challenge => self.on_challenge(&packet, output)?,
                State::Ack { flags, creation } => {
                    self.state = State::Over;
                    let proof = packet::read_ack(&packet).ok_or(HandshakeError::Malformed("an acknowledgement"))?;
                    if !digest(&self.local.cookie, self.challenge).is(&proof) {
                        return Err(HandshakeError::WrongCookie);
                    }
                    let agreed = self.local.flags.intersection(flags.expanded());
                    let peer = Peer { name: self.peer.clone(), creation, agreed, announced: flags };
                    return Ok(Dialling::Done(peer));
                }
                State::Alive => return Err(HandshakeError::Malformed("a packet before the answer to alive")),
                State::Over => return Err(HandshakeError::Malformed("a frame")),
            }
        }
        Ok(Dialling::NeedsBytes)
    }

    /// Answers [`Dialling::Alive`]. The peer ends its connection to this node when this handshake
    /// is over. So only a node that has no such connection may answer; one that has closes the
    /// socket.
    pub fn answer_alive(&mut self, output: &mut BytesMut) {
        if matches!(self.state, State::Alive) {
            packet::write_status(output, "true");
            self.state = State::Challenge;
        }
    }

    fn on_challenge(&mut self, packet: &[u8], output: &mut BytesMut) -> Result<(), HandshakeError> {
        let Challenge { flags, challenge, creation, name } =
            Challenge::read(packet).ok_or(HandshakeError::Malformed("a challenge"))?;
        if name != self.peer.as_bytes() {
            return Err(HandshakeError::OtherName(shown(name)));
        }
        let missing = flags.missing();
        if !missing.is_empty() {
            return Err(HandshakeError::MissingFlags(missing));
        }
        packet::write_reply(output, self.challenge, digest(&self.local.cookie, challenge));
        self.state = State::Ack { flags, creation };
        Ok(())
    }
}

/// Returns a peer's bytes as text for the log, cut off behind 255 characters.
fn shown(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).chars().take(255).collect::<String>().into()
}
