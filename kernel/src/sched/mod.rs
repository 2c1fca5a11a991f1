//! Cores: the state of each ([`local`]), how it is driven ([`core`]), what a slice is ([`turn`]),
//! how slices are bounded in time ([`pace`]), and what other cores do when a slice does not end
//! ([`lookout`], [`custody`]).

pub(crate) mod core;
pub(crate) mod custody;
pub(crate) mod local;
pub(crate) mod lookout;
pub(crate) mod pace;
pub(crate) mod turn;
