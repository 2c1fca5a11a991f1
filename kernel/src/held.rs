//! [`CatchDrop`], a foreign value whose destructor is contained wherever it runs.
//!
//! A structure that keeps values of its users (a registry, a manager of event handlers, a supervisor with its start functions)
//! drops them in many places: under a borrow, when it is unwound, one after the other when it ends. A destructor that panics
//! there would leave the structure half changed, end the process that has it, and the second such destructor of
//! an unwinding ends the program. So each value brings along the way by which its own world contains panics.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use crate::world::CatchPanic;

/// A value whose destructor's panic is contained; made by [`crate::Cx::hold`].
///
/// Where the world catches no panics ([`crate::Platform::panic_catcher`]), it is as if the value were there by itself.
pub struct CatchDrop<T> {
    value: ManuallyDrop<T>,
    panic_catcher: Option<CatchPanic>,
}

impl<T> CatchDrop<T> {
    pub(crate) fn new(value: T, panic_catcher: Option<CatchPanic>) -> Self {
        Self { value: ManuallyDrop::new(value), panic_catcher }
    }

    /// The value, to be dropped by the caller.
    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, and never dropped.
        unsafe { ManuallyDrop::take(&mut this.value) }
    }
}

impl<T> Drop for CatchDrop<T> {
    fn drop(&mut self) {
        let mut value = Some(&mut self.value);
        // SAFETY: taken out of `value`, so dropped once, and never used again.
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
