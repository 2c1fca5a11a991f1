//! The benchmarks and conformance tests of Atropos: the [`conformance`] runner, the
//! [`reference`](mod@reference) model of OTP's rules, and the [`workloads`]. [`measure`] stores the
//! workloads' results and draws them.

pub mod conformance;
pub mod measure;
pub mod reference;
pub mod workloads;
