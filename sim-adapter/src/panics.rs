//! Panics as exit reasons, and panics on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use atropos_kernel::Reason;

/// The crash text of a panic whose value is not a text.
pub const NO_TEXT: &str = "a panic";

/// Runs foreign code, and returns its panic as a crash with its text.
pub(crate) fn catch_panic(code: &mut dyn FnMut()) -> Result<(), Reason> {
    // A process whose body has panicked ends, so nothing sees what the panic has left half changed.
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => Reason::crash(*text),
        Err(panic) => Reason::crash(panic.downcast_ref::<&str>().copied().unwrap_or(NO_TEXT).to_owned()),
    })
}

/// Runs foreign code to its end or to its panic.
pub(crate) fn drop_panic(code: &mut dyn FnMut()) {
    drop(catch_unwind(AssertUnwindSafe(code)));
}

/// Panics with a text. Unlike `panic!`, it does not call the panic hook, which would print it.
///
/// # Panics
/// Always.
pub fn crash(text: &str) -> ! {
    resume_unwind(Box::new(text.to_owned()))
}
