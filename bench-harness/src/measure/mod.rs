//! Measurement: runs the workloads one after the other, stores their results in a folder, and draws
//! a page from them.
//!
//! Each workload runs in an operating-system process of its own (`run`), so that none inherits
//! another's memory, threads or warm caches. The results are stored as lines of JSON (`store`), as
//! they were printed. Tables (`table`), plots (`plot`) and the page (`page`) are generated from the
//! lines, and can be generated again. `growth` computes how a cost grows, and `flat` shows it.
//! `machine` describes the computer that the runs used.

pub mod campaign;
mod flat;
pub mod growth;
pub mod machine;
pub mod page;
pub mod plot;
pub mod run;
pub mod store;
pub mod table;
