//! The webs; see `atropos_shuttle`.
#![cfg(shuttle)]

mod links;
mod monitors;
mod order;
