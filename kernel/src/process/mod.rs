//! A process: what others see of it ([`header`]), what only its owner sees
//! ([`private`]), what it runs ([`body`]), how it starts ([`spawn`]), lives with others ([`fetch`], [`ties`]) and ends ([`exit`],
//! [`at_once`]).

pub(crate) mod at_once;
pub(crate) mod body;
pub(crate) mod exit;
pub(crate) mod fetch;
pub(crate) mod header;
pub(crate) mod private;
pub(crate) mod spawn;
pub(crate) mod ties;
