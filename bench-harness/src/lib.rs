//! What Atropos is measured by: the [`conformance`] runner, the [`reference`](mod@reference) model of OTP's rules, and the
//! [`workloads`], whose results [`measure`] keeps and draws.

pub mod conformance;
pub mod measure;
pub mod reference;
pub mod workloads;
