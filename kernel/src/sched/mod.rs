//! Cores: what each has to itself ([`local`]), how it is driven ([`core`]), what a slice is ([`turn`]), for how long
//! ([`pace`]), and what others do when it does not end ([`lookout`], [`custody`]).

pub(crate) mod core;
pub(crate) mod custody;
pub(crate) mod local;
pub(crate) mod lookout;
pub(crate) mod pace;
pub(crate) mod turn;
