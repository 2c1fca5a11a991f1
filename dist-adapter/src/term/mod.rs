//! Erlang terms for Rust code: terms that stay bytes, their parts, and typed messages by serde.
//!
//! A [`Term`] holds one term in the external format, validated once and in its *canonical form*:
//! the encoding that OTP 25 itself sends (atoms as UTF-8, the shortest integers, strings as
//! `STRING_EXT`), with the keys of each map in Erlang's order. Nearly every received term has that
//! form already, and its `Term` is a slice of the frame that it came in. Any other term is
//! rewritten once, by the decoder. So forwarding a term copies nothing, dropping it frees one
//! buffer however deep it is, and equality and hashing read bytes.
//!
//! Nothing here recurses on data: a term that is nested a million levels deep takes memory for its
//! levels, not stack. The one exception is serde, which calls itself for nested types: `from_term`
//! refuses what is nested deeper than 128 levels.
//!
//! | noun | module |
//! | --- | --- |
//! | a term, and its parts without a copy | `value`, `view`, `collections` |
//! | atoms, pids, references, ports, integers | `atom`, `identifiers`, `integer` |
//! | making terms | `build` |
//! | validation and the canonical form | `decode`, `scan`, `token`, `rewrite`, `sort`, `orders` |
//! | order, equality, hashing | `order`, `leaf`, `identity` |
//! | reading canonical bytes | `skip`, `leaf`; bytes that are not trusted: `input` |
//! | printing as Erlang does | `print`, `print_leaf` |
//! | typed messages, by serde | `typed` |

mod atom;
mod build;
mod collections;
mod decode;
mod identifiers;
mod identity;
mod input;
mod integer;
mod leaf;
mod order;
mod orders;
mod print;
mod print_leaf;
mod rewrite;
mod scan;
mod skip;
mod sort;
mod tag;
mod token;
mod typed;
mod value;
mod view;
pub(crate) mod write;

pub use atom::{Atom, AtomTooLong};
pub use build::TermBuilder;
pub use collections::{List, ListItems, Map, MapPairs, Tuple, TupleItems};
pub(crate) use decode::Decoder;
pub use decode::{DecodeError, DecodeErrorKind, Limits};
pub use identifiers::{ErlPid, ErlPort, ErlReference, PidRef, PortRef, ReferenceRef, ReferenceWords};
pub use integer::Integer;
pub use typed::{SerdeError, from_term, to_term};
pub use value::Term;
pub use view::{BitString, Export, Fun, Kind, TermRef};
