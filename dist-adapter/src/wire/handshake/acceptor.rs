//! [`Acceptor`]: the side that was connected to.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::BytesMut;

use super::digest::digest;
use super::packet::{self, Name};
use super::{HandshakeError, Local, Peer};
use crate::wire::Flags;

/// The accepting side's answer to a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// The handshake goes on.
    Ok,
    /// The handshake goes on, and this node's own attempt to connect is given up.
    OkSimultaneous,
    /// This node's own attempt goes on; this connection is closed.
    Nok,
    /// The peer is refused; the connection is closed.
    NotAllowed,
    /// A connection of that name is open. The peer may answer that it is dead.
    Alive,
}

impl Status {
    /// Returns the answer to a peer of the name `peer`.
    ///
    /// `is_connected`: there is a connection of that name. `is_dialled`: this node dials it. If
    /// both dial each other, the attempt of the greater name goes on.
    pub fn of(own: &str, peer: &str, is_connected: bool, is_dialled: bool) -> Self {
        if peer == own {
            Self::NotAllowed
        } else if is_connected {
            Self::Alive
        } else if !is_dialled {
            Self::Ok
        } else if peer > own {
            Self::OkSimultaneous
        } else {
            Self::Nok
        }
    }

    /// Returns the text of the status packet.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::OkSimultaneous => "ok_simultaneous",
            Self::Nok => "nok",
            Self::NotAllowed => "not_allowed",
            Self::Alive => "alive",
        }
    }
}

/// The outcome of [`Acceptor::receive`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Accepting {
    /// More bytes are needed.
    NeedsBytes,
    /// The peer has said its name ([`Acceptor::peer_name`]): the caller must answer with
    /// [`Acceptor::answer`] and call `receive` again.
    Asks,
    /// The handshake is over. If the status was [`Status::Alive`], the old connection ends now.
    Done(Peer),
}

/// The side that was connected to.
#[derive(Debug)]
pub struct Acceptor {
    local: Arc<Local>,
    state: State,
    /// The peer as it has shown itself so far.
    peer: Option<Caller>,
    /// This node's challenge.
    challenge: u32,
}

/// What the peer has said about itself.
#[derive(Debug)]
struct Caller {
    name: Box<str>,
    flags: Flags,
    /// `None` for a peer that began in the form of version 5, until it has sent the rest.
    creation: Option<u32>,
}

/// The next packet, or call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Name,
    Answer,
    Alive,
    Complement,
    Reply,
    Over,
}

impl Acceptor {
    /// Creates the state before the first byte.
    pub fn new(local: Arc<Local>) -> Self {
        Self { local, state: State::Name, peer: None, challenge: 0 }
    }

    /// Takes whole packets from `input` and appends answers to `output`, which must be written also
    /// after an error.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] if the connection must be closed.
    pub fn receive(&mut self, input: &mut BytesMut, output: &mut BytesMut) -> Result<Accepting, HandshakeError> {
        loop {
            if self.state == State::Answer {
                return Ok(Accepting::Asks);
            }
            let Some(packet) = packet::take(input) else { return Ok(Accepting::NeedsBytes) };
            match self.state {
                State::Name => self.on_name(&packet, output)?,
                State::Alive => match packet::read_status(&packet) {
                    Some(b"true") => self.write_challenge(output),
                    Some(_) => return Err(HandshakeError::StillAlive),
                    None => return Err(HandshakeError::Malformed("an answer to alive")),
                },
                State::Complement => {
                    let (flags, creation) =
                        packet::read_complement(&packet).ok_or(HandshakeError::Malformed("a complement"))?;
                    if let Some(peer) = &mut self.peer {
                        peer.flags = peer.flags.union(flags);
                        peer.creation = Some(creation);
                    }
                    self.state = State::Reply;
                }
                State::Reply => return self.on_reply(&packet, output).map(Accepting::Done),
                State::Answer | State::Over => return Err(HandshakeError::Malformed("a frame")),
            }
        }
    }

    fn on_name(&mut self, packet: &[u8], output: &mut BytesMut) -> Result<(), HandshakeError> {
        let Name { flags, creation, name } = Name::read(packet).ok_or(HandshakeError::Malformed("a name"))?;
        if flags.contains(Flags::NAME_ME) {
            packet::write_status(output, Status::NotAllowed.as_str());
            return Err(HandshakeError::AsksForName);
        }
        let name = packet::node_name(name)?.into();
        self.peer = Some(Caller { name, flags, creation });
        let missing = flags.missing();
        if !missing.is_empty() {
            packet::write_status(output, Status::NotAllowed.as_str());
            return Err(HandshakeError::MissingFlags(missing));
        }
        self.state = State::Answer;
        Ok(())
    }

    /// Answers the peer's name, and challenges the peer if the handshake goes on.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Refused`] after [`Status::Nok`] and [`Status::NotAllowed`]: the connection
    /// must be closed when `output` has been written.
    ///
    /// # Panics
    ///
    /// If [`receive`](Self::receive) has not just returned [`Accepting::Asks`].
    pub fn answer(&mut self, status: Status, challenge: u32, output: &mut BytesMut) -> Result<(), HandshakeError> {
        assert_eq!(self.state, State::Answer, "only a name is answered, and once");
        self.challenge = challenge;
        packet::write_status(output, status.as_str());
        match status {
            Status::Ok | Status::OkSimultaneous => self.write_challenge(output),
            Status::Alive => self.state = State::Alive,
            Status::Nok | Status::NotAllowed => {
                self.state = State::Over;
                return Err(HandshakeError::Refused(status.as_str().into()));
            }
        }
        Ok(())
    }

    fn write_challenge(&mut self, output: &mut BytesMut) {
        let Local { name, flags, creation, .. } = &*self.local;
        packet::Challenge::write(output, *flags, self.challenge, *creation, name);
        let is_complete = self.peer.as_ref().is_some_and(|peer| peer.creation.is_some());
        self.state = if is_complete { State::Reply } else { State::Complement };
    }

    fn on_reply(&mut self, packet: &[u8], output: &mut BytesMut) -> Result<Peer, HandshakeError> {
        const EXPECTED: HandshakeError = HandshakeError::Malformed("a reply to the challenge");
        self.state = State::Over;
        let (challenge, proof) = packet::read_reply(packet).ok_or(EXPECTED)?;
        if !digest(&self.local.cookie, self.challenge).is(&proof) {
            return Err(HandshakeError::WrongCookie);
        }
        let Some(Caller { name, flags, creation: Some(creation) }) = &self.peer else { return Err(EXPECTED) };
        packet::write_ack(output, digest(&self.local.cookie, challenge));
        let agreed = self.local.flags.intersection(flags.expanded());
        Ok(Peer { name: name.clone(), creation: *creation, agreed, announced: *flags })
    }

    /// Returns the name that the peer has given itself, once it has. It is not proved before
    /// [`Accepting::Done`].
    pub fn peer_name(&self) -> Option<&str> {
        self.peer.as_ref().map(|peer| &*peer.name)
    }
}
