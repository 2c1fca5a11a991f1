//! The lookup of code: [`CodeFacility`].

use core::fmt;

/// The error of a lookup: there is no such function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeError;

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such function")
    }
}

impl core::error::Error for CodeError {}

/// The lookup of functions. A closure implements it.
pub trait CodeFacility: Send + Sync {
    /// Returns the entry point of a function.
    fn resolve(&self, module: &str, function: &str) -> Result<u64, CodeError>;
}

impl<F: Fn(&str, &str) -> Result<u64, CodeError> + Send + Sync> CodeFacility for F {
    fn resolve(&self, module: &str, function: &str) -> Result<u64, CodeError> {
        self(module, function)
    }
}
