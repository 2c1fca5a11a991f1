//! A key-value server on processes.
//!
//! [`resp`] is the protocol, and [`command`] parses the requests ([`table`] lists all commands).
//! [`store`] is the data, and [`shard`] the processes that hold it. [`connection`] is the process
//! for one client, with [`batch`] (the commands that it is working on), [`session`] (its state
//! between requests), and [`other`] and [`transaction`] (commands that are not plain ops for a
//! shard). [`clients`] is the client list, [`config`] the limits, [`server`] starts everything.
//! [`glob`] matches patterns, [`clock`] is the time for expiries.
#![allow(unreachable_pub, dead_code, reason = "the program and its test use different parts")]

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
