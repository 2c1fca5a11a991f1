//! The benchmarks of Atropos: the [`workloads`], and [`measure`], which stores their results and
//! draws them.

pub mod measure;
pub mod workloads;
