//! The bytes of Erlang's distribution: pure functions and state machines without I/O, clocks or
//! threads.
//!
//! Callers bring the bytes and the randomness and take bytes and outcomes; sockets, time limits
//! and the table of connections are theirs. No function panics on any input, recurses on it, or
//! takes memory for a length that is only announced.
//!
//! | noun | module |
//! | --- | --- |
//! | registration and look-up of names | [`epmd`] |
//! | what two nodes can do | `flags` |
//! | both sides of the handshake | `handshake` |
//! | control messages, typed | `control`, `operation`, `control_read`, `control_write` |
//! | messages into frames, large ones cut | `send` |
//! | frames out of a byte stream, large messages joined | `receive`, `frame`, `fragment` |
//! | the first bytes of frames; fields of other messages | `form`, `fields` |

mod control;
mod control_read;
mod control_write;
pub mod epmd;
mod fields;
mod flags;
mod form;
mod fragment;
mod frame;
mod handshake;
mod operation;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use control::{Control, SpawnResult, Target};
pub use control_read::ControlError;
pub use control_write::Unsupported;
pub use flags::Flags;
pub use handshake::{Accepting, Acceptor, Dialler, Dialling, HandshakeError, Local, Peer, Status};
pub use receive::{Event, Received, Receiver, WireError, WireLimits};
pub use send::{Encoded, Large, Parts, encode, write_tick};
