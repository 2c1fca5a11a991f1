//! What Atropos is measured by: the [`conformance`] runner.

pub mod conformance;
