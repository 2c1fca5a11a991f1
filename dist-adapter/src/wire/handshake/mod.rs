//! Both sides of the handshake, version 6 of the protocol.
//!
//! Each side is a state machine: the caller appends received bytes to `input`, calls `receive`,
//! writes what is in `output`, and does what the outcome says. `receive` takes whole packets from
//! `input`; what is left when the handshake is over are the peer's first frames. The time limit is
//! the caller's, and so is the limit on `input`: a packet has at most 65,537 bytes.
//!
//! ```text
//! dialler                         acceptor
//!    -- name, flags, creation -->    asks the caller for a status
//!    <-- status --                   ok, ok_simultaneous, nok, not_allowed, alive
//!    <-- name, flags, challenge --
//!    -- challenge, digest -->        proves the dialler's cookie
//!    <-- digest --                   proves the acceptor's cookie
//! ```

mod acceptor;
mod dialler;
mod digest;
mod packet;

use alloc::boxed::Box;
use core::fmt;

use super::Flags;

pub use acceptor::{Accepting, Acceptor, Status};
pub use dialler::{Dialler, Dialling};

/// This node, as it shows itself in handshakes.
#[derive(Clone)]
pub struct Local {
    /// The name, `NAME@HOST`.
    pub name: Box<str>,
    /// The flags that it announces.
    pub flags: Flags,
    /// Its incarnation.
    pub creation: u32,
    /// The cookie.
    pub cookie: Box<str>,
}

impl fmt::Debug for Local {
    /// Leaves out the cookie.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("name", &self.name).field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// A peer that has proved the cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The name, `NAME@HOST`.
    pub name: Box<str>,
    /// Its incarnation.
    pub creation: u32,
    /// The flags that both nodes announce.
    pub agreed: Flags,
    /// The flags that the peer announces. It is hidden without [`Flags::PUBLISHED`].
    pub announced: Flags,
}

/// The reason why a handshake failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Bytes that are no packet of the handshake, or not the next one: says what was expected.
    Malformed(&'static str),
    /// The peer's name is none.
    Name,
    /// The peer lacks flags.
    MissingFlags(Flags),
    /// The peer's digest is wrong: it has another cookie.
    WrongCookie,
    /// The accepting side, a peer or this node, refused with this status.
    Refused(Box<str>),
    /// The peer has this name, not the one that was dialled.
    OtherName(Box<str>),
    /// The peer asks for a name (`NAME_ME`), which is not served.
    AsksForName,
    /// The peer knows that the open connection of its name is alive.
    StillAlive,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(expected) => write!(f, "the peer sent something else than {expected}"),
            Self::Name => f.write_str("the peer's name is not of the form NAME@HOST"),
            Self::MissingFlags(flags) => write!(f, "the peer lacks {flags:?}"),
            Self::WrongCookie => f.write_str("the peer has another cookie"),
            Self::Refused(status) => write!(f, "refused with the status {status:?}"),
            Self::OtherName(name) => write!(f, "the peer's name is {name:?}, not the one that was dialled"),
            Self::AsksForName => f.write_str("the peer asks for a name, which this node does not give"),
            Self::StillAlive => f.write_str("a connection of that name is alive"),
        }
    }
}

impl core::error::Error for HandshakeError {}

#[cfg(test)]
mod tests;
