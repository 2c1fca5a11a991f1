//! Cores: what each has to itself ([`local`]), how it is driven ([`core`]), what a slice is ([`turn`]), and for how long
//! ([`pace`]).

pub(crate) mod core;
pub(crate) mod local;
pub(crate) mod pace;
pub(crate) mod turn;
