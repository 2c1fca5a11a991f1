//! [`Shipped`]: the protocols as the kernel uses them.
//!
//! A protocol with a model is generic over its orderings and steps: a trait beside it, whose
//! defaults are right. `Shipped` implements each of these traits with the defaults; a model
//! implements one with a mistake, and shows that it then fails.

/// The orderings and steps that the kernel uses, of all protocols.
#[derive(Clone, Copy, Default, Debug)]
pub struct Shipped;
