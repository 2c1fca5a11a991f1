//! The loop of a core: how it is driven ([`core`]), what a slice is ([`turn`]), and what other
//! cores do when a slice does not end ([`stall`]).

pub(crate) mod core;
pub(crate) mod stall;
pub(crate) mod turn;
