//! The only module that imports atomics, as in the kernel. They protect the logs of the mocks, and
//! no state of a process.

pub(crate) use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
