//! Cores: what each has to itself ([`local`]), how it is driven ([`core`]), and what a
//! slice is ([`slice`]).

pub(crate) mod core;
pub(crate) mod local;
