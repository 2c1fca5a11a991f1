//! The only door to atomics, as in the kernel. What is here guards the mocks' accounts and nothing of a process's.

pub(crate) use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
