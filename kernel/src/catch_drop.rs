//! [`CatchDrop`]: a foreign value whose destructor's panic is caught wherever the destructor runs,
//! and [`CatchPanic`], the function that catches it.
//!
//! A structure that keeps values of its users (a registry, an event manager, a supervisor with its
//! start functions) drops them in many places: under a borrow, during unwinding, or one after the
//! other when it ends. A destructor that panics there would leave the structure half changed and
//! end the process that owns it. A second such panic during unwinding would abort the program. Each
//! value therefore carries the function by which its own platform catches panics.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

/// A function that runs foreign code to its end, or to its panic, and returns.
pub type CatchPanic = fn(&mut dyn FnMut());

/// A value whose destructor's panic is caught; [`crate::Cx::catch_drop`] creates it.
///
/// If the platform catches no panics ([`Platform::panic_catcher`](crate::Platform::panic_catcher)),
/// the value behaves as if it were not wrapped.
pub struct CatchDrop<T> {
    value: ManuallyDrop<T>,
    panic_catcher: Option<CatchPanic>,
}

impl<T> CatchDrop<T> {
    pub(crate) fn new(value: T, panic_catcher: Option<CatchPanic>) -> Self {
        Self { value: ManuallyDrop::new(value), panic_catcher }
    }

    /// Returns the value; the caller drops it.
    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is in a `ManuallyDrop`, so it is never dropped, and it is not used again.
        unsafe { ManuallyDrop::take(&mut this.value) }
    }
}

impl<T> Drop for CatchDrop<T> {
    fn drop(&mut self) {
        let mut value = Some(&mut self.value);
        // SAFETY: the closure takes the reference out of `value`, so it drops the value once.
        // `self` is not used again.
        let mut drops = || value.take().into_iter().for_each(|value| unsafe { ManuallyDrop::drop(value) });
        match self.panic_catcher {
            Some(panic_catcher) if core::mem::needs_drop::<T>() => panic_catcher(&mut drops),
            _ => drops(),
        }
    }
}

impl<T> Deref for CatchDrop<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for CatchDrop<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for CatchDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: PartialEq> PartialEq for CatchDrop<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for CatchDrop<T> {}

impl<T: PartialOrd> PartialOrd for CatchDrop<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Ord> Ord for CatchDrop<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl<T> core::borrow::Borrow<T> for CatchDrop<T> {
    fn borrow(&self) -> &T {
        self
    }
}
