//! A process: its shared part ([`header`]), its owner's part ([`private`]), the code that it runs
//! ([`body`]), how it starts ([`spawn`]), its relations with other processes ([`fetch`], [`ties`]),
//! and how it ends ([`exit`], [`at_once`]).

pub(crate) mod at_once;
pub(crate) mod body;
pub(crate) mod exit;
pub(crate) mod fetch;
pub(crate) mod header;
pub(crate) mod private;
pub(crate) mod spawn;
pub(crate) mod ties;
