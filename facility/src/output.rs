//! The output of what a process prints: [`OutputFacility`].

use core::fmt;

/// The error of a closed output: nothing more can be printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputError;

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output is closed")
    }
}

impl core::error::Error for OutputError {}

/// The output of what a process prints. A closure implements it.
pub trait OutputFacility: Send + Sync {
    /// Prints. It is called inside a slice, so it must not block; a sink that may block needs its
    /// own thread.
    fn write(&self, caller: u64, bytes: &[u8]) -> Result<(), OutputError>;
}

impl<F: Fn(u64, &[u8]) -> Result<(), OutputError> + Send + Sync> OutputFacility for F {
    fn write(&self, caller: u64, bytes: &[u8]) -> Result<(), OutputError> {
        self(caller, bytes)
    }
}
