//! RESP, the protocol that Redis speaks: requests are parsed ([`parse`], [`inline`]), replies are written ([`write`]), and
//! integers are read by Redis's rules ([`number`]).
//!
//! Ours, because no crate of the registry has what a server must have against hostile clients: a parser that goes on
//! where it stopped, limits that are kept before anything is reserved, inline commands, arguments that do not share the
//! buffer that they came in (`docs/dependencies.md`). `cargo xtask fuzz resp` tests it.

pub mod inline;
pub mod number;
pub mod parse;
pub mod write;

pub use parse::{Limits, Parser, ProtocolError, Request};
pub use write::{Reply, Version};
