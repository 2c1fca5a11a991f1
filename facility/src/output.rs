//! [`OutputFacility`]: where what a process prints goes.

use core::fmt;

/// Nothing more can be printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputError;

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output is closed")
    }
}

impl core::error::Error for OutputError {}

/// Where what a process prints goes. A closure is one.
pub trait OutputFacility: Send + Sync {
    /// Prints. Called from inside a slice: what may block is for a thread of the sink's own.
    fn write(&self, caller: u64, bytes: &[u8]) -> Result<(), OutputError>;
}

impl<F: Fn(u64, &[u8]) -> Result<(), OutputError> + Send + Sync> OutputFacility for F {
    fn write(&self, caller: u64, bytes: &[u8]) -> Result<(), OutputError> {
        self(caller, bytes)
    }
}
