//! A process: what others see of it ([`header`]), what only its owner sees
//! ([`private`]), what it runs ([`body`]), how it starts ([`spawn`]), lives with others ([`fetch`], [`ties`]) and ends ([`exit`]).

pub mod body;
pub mod exit;
pub mod fetch;
pub mod header;
pub mod private;
pub mod spawn;
pub mod ties;
