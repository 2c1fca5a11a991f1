//! Failing memory: each scenario runs with its first allocation refused, then with its second, and
//! so on to its last. At each point either one allocation, or three in a row, or all from there on
//! are refused. Nothing may abort, every caller gets an error, every promised signal arrives, and
//! the cleanup needs no memory: `cargo test -p atropos-kernel --no-default-features`.
//!
//! This runs on the kernel of one hart, where only the kernel allocates. With epochs
//! crossbeam-epoch allocates too, between slices, and aborts when it cannot (`docs/decisions.md`).
#![cfg(not(feature = "epoch"))]

mod allocator;
#[path = "../common/mod.rs"]
mod common;
mod kept;
mod scenarios;
mod stage;
