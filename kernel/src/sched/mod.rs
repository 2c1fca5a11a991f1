//! Cores: what each has to itself ([`local`]), how it is driven ([`core`]), and what a
//! slice is ([`turn`]).

pub(crate) mod core;
pub(crate) mod local;
pub(crate) mod turn;
