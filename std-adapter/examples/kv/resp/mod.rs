//! RESP, the protocol of Redis. Requests are parsed ([`parse`], [`inline`]), replies are written
//! ([`write`]), and integers follow Redis's rules ([`number`]).
//!
//! The parser is our own. No crate in the registry has what a server needs against hostile clients:
//! a parser that resumes where it stopped, limits that are checked before memory is reserved,
//! inline commands, and arguments that do not share the input buffer (`docs/dependencies.md`).
//! `cargo xtask fuzz resp` tests it.

pub mod inline;
pub mod number;
pub mod parse;
pub mod write;

pub use parse::{Limits, OVERHEAD, Parser, ProtocolError, Request};
pub use write::{Reply, Version};
