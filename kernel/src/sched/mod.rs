//! Cores: what each has to itself ([`local`]), how it is driven ([`core`]), and what a
//! slice is ([`slice`]).

pub mod core;
pub mod local;
