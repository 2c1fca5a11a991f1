//! [`CodeFacility`]: which code there is.

use core::fmt;

/// There is no such function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeError;

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such function")
    }
}

impl core::error::Error for CodeError {}

/// Which code there is. A closure is one.
pub trait CodeFacility: Send + Sync {
    /// Where a function begins.
    fn resolve(&self, module: &str, function: &str) -> Result<u64, CodeError>;
}

impl<F: Fn(&str, &str) -> Result<u64, CodeError> + Send + Sync> CodeFacility for F {
    fn resolve(&self, module: &str, function: &str) -> Result<u64, CodeError> {
        self(module, function)
    }
}
