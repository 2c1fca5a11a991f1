//! A key-value server on processes: [`resp`] is the protocol, [`command`] what clients ask ([`table`] all that there is),
//! [`store`] the data, [`shard`] the processes that hold it, [`connection`] the one for each client, with [`batch`] (what
//! is in its hands), [`session`] (what it remembers), [`other`] and [`transaction`] (what is not a plain op for a shard), [`clients`]
//! the list of those, [`config`] the limits, [`server`] how all are started. [`glob`] matches patterns, [`clock`] is the
//! time of expiries.
#![allow(unreachable_pub, dead_code, reason = "the parts of a program, and of its test, which takes what it needs")]

pub mod batch;
pub mod clients;
pub mod clock;
pub mod command;
pub mod config;
pub mod connection;
pub mod glob;
pub mod other;
pub mod resp;
pub mod server;
pub mod session;
pub mod shard;
pub mod store;
pub mod table;
pub mod transaction;
