//! A key-value server on processes: [`resp`] is the protocol, [`command`] what clients ask, [`store`] the data,
//! [`shard`] the processes that hold it, [`connection`] the one for each client, [`clients`] the list of those,
//! [`server`] how all are started.
#![allow(unreachable_pub, dead_code, reason = "the parts of a program, and of its test, which takes what it needs")]

pub mod clients;
pub mod command;
pub mod connection;
pub mod resp;
pub mod server;
pub mod shard;
pub mod store;
