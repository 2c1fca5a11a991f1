//! Measuring: the workloads run one after the other, their results are kept in a folder, and a page is drawn of them.
//!
//! Each workload runs in a process of its own (`run`), so that none has another's memory, threads or warm caches. What is
//! measured is kept as lines of JSON (`store`), as it was printed; tables (`table`), plots (`plot`) and the page (`page`) are made
//! from the lines, and can be made again. How a cost grows is found in `growth`, and shown by `flat`; `machine` is what all was
//! measured on.

pub mod campaign;
mod flat;
pub mod growth;
pub mod machine;
pub mod page;
pub mod plot;
pub mod run;
pub mod store;
pub mod table;
