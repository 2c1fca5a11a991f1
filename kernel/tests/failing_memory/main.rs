//! Failing memory: each scenario is played with its first allocation refused, then with its second, and so on to its
//! last; each time one, three in a row, or all from there on. Nothing may abort, whoever asked is told, what was
//! promised comes, and the way out needs no memory: `cargo test -p atropos-kernel --no-default-features`.
//!
//! On the kernel of one hart, where nothing but the kernel allocates. With epochs crossbeam-epoch allocates too, at
//! the calm points between slices, and aborts when it cannot (`docs/decisions.md`).
#![cfg(not(feature = "epoch"))]

mod allocator;
#[path = "../common/mod.rs"]
mod common;
mod kept;
mod scenarios;
mod stage;
