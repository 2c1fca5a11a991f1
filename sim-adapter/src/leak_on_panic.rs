//! [`LeakOnPanic`]: a value that a failed test does not drop.

use std::ops::{Deref, DerefMut};

/// A value that is leaked if its thread panics.
///
/// A panic in the middle of a slice leaves a core that cannot be torn down, and a second panic
/// during the first would abort the whole search of a model.
#[derive(Debug)]
pub struct LeakOnPanic<T>(Option<T>);

impl<T> LeakOnPanic<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Returns the value.
    pub fn take(mut self) -> T {
        self.0.take().expect(PRESENT)
    }
}

const PRESENT: &str = "only `take` and `drop` remove the value";

impl<T> Deref for LeakOnPanic<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect(PRESENT)
    }
}

impl<T> DerefMut for LeakOnPanic<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(PRESENT)
    }
}

impl<T> Drop for LeakOnPanic<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}
