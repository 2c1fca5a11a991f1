//! Measuring: the workloads run one after the other, their results are kept in a folder, and a page is drawn of them.
//!
//! Each workload runs in a process of its own (`run`), so that none has another's memory, threads or warm caches. What is
//! measured is kept as lines of JSON (`store`), as it was printed; tables (`table`), plots (`plot`) and the page (`page`) are made
//! from the lines, and can be made again.

pub mod campaign;
pub mod page;
pub mod plot;
pub mod run;
pub mod store;
pub mod table;
