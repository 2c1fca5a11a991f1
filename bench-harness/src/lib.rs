//! What Atropos is measured by: the [`conformance`] runner, and the [`reference`](mod@reference) model of OTP's rules.

pub mod conformance;
pub mod measure;
pub mod reference;
pub mod workloads;
