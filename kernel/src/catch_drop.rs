//! Foreign values whose destructors' panics are caught wherever the destructors run: [`CatchDrop`]
//! for one value, [`CatchEach`] for a collection, and [`DropCatcher`], which creates both.
//!
//! A structure that keeps values of its users (a registry, an event manager, a supervisor with its
//! start functions) drops them in many places: under a borrow, during unwinding, or one after the
//! other when it ends. A destructor that panics there would leave the structure half changed and
//! end the process that owns it. A second such panic during unwinding would abort the program. Each
//! value therefore carries the function by which its own platform catches panics.
//!
//! A value that no platform has yet (a child specification that a program builds) is wrapped by
//! [`CatchDrop::new`], and gets the function when it is passed to a process
//! ([`CatchDrop::catch_with`]).

use core::fmt;
use core::mem::{ManuallyDrop, needs_drop};
use core::ops::{Deref, DerefMut};

/// A function that runs foreign code to its end, or to its panic, and returns.
pub type CatchPanic = fn(&mut dyn FnMut());

/// A platform's way to catch the panics of destructors, for values that one process keeps or passes
/// to another ([`crate::Cx::drop_catcher`], [`crate::Host::drop_catcher`]).
#[derive(Clone, Copy, Debug)]
pub struct DropCatcher(Option<CatchPanic>);

impl DropCatcher {
    /// Creates a catcher from a platform's function
    /// ([`Platform::panic_catcher`](crate::Platform::panic_catcher)). With `None` no panic is
    /// caught.
    pub const fn new(panic_catcher: Option<CatchPanic>) -> Self {
        Self(panic_catcher)
    }

    /// Wraps a foreign value: a panic of its destructor is caught, wherever the value is dropped.
    #[inline]
    pub const fn catch_drop<T>(self, value: T) -> CatchDrop<T> {
        CatchDrop { value: ManuallyDrop::new(value), panic_catcher: self.0 }
    }

    /// Wraps a collection of foreign values: its items are dropped one by one, and the panic of
    /// each is caught.
    #[inline]
    pub const fn catch_each<C: IntoIterator>(self, values: C) -> CatchEach<C> {
        CatchEach { values: ManuallyDrop::new(values), panic_catcher: self.0 }
    }

    /// Drops a value with this function.
    fn drop_value<T>(self, value: T) {
        match self.0 {
            Some(panic_catcher) if needs_drop::<T>() => {
                let mut value = Some(value);
                panic_catcher(&mut || drop(value.take()));
            }
            _ => drop(value),
        }
    }
}

/// A value whose destructor's panic is caught; [`DropCatcher::catch_drop`] creates it.
///
/// If the platform catches no panics ([`Platform::panic_catcher`](crate::Platform::panic_catcher)),
/// the value behaves as if it were not wrapped.
pub struct CatchDrop<T> {
    value: ManuallyDrop<T>,
    panic_catcher: Option<CatchPanic>,
}

impl<T> CatchDrop<T> {
    /// Wraps a value that no platform has yet. It behaves as if it were not wrapped until
    /// [`CatchDrop::catch_with`] is called.
    pub const fn new(value: T) -> Self {
        DropCatcher(None).catch_drop(value)
    }

    /// Sets the function that catches the panic.
    #[inline]
    pub fn catch_with(&mut self, catcher: DropCatcher) {
        self.panic_catcher = catcher.0;
    }

    /// Returns the value; the caller drops it.
    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is in a `ManuallyDrop`, so it is never dropped, and it is not used again.
        unsafe { ManuallyDrop::take(&mut this.value) }
    }

    /// Returns the catcher that the value carries, for a value that is made from this one.
    pub const fn catcher(&self) -> DropCatcher {
        DropCatcher(self.panic_catcher)
    }
}

impl<T> Drop for CatchDrop<T> {
    fn drop(&mut self) {
        let mut value = Some(&mut self.value);
        // SAFETY: the closure takes the reference out of `value`, so it drops the value once.
        // `self` is not used again.
        let mut drops = || value.take().into_iter().for_each(|value| unsafe { ManuallyDrop::drop(value) });
        match self.panic_catcher {
            Some(panic_catcher) if needs_drop::<T>() => panic_catcher(&mut drops),
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

impl<T: Clone> Clone for CatchDrop<T> {
    fn clone(&self) -> Self {
        self.catcher().catch_drop(T::clone(self))
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

/// A collection whose items are dropped one by one, with the panic of each caught;
/// [`DropCatcher::catch_each`] creates it.
///
/// An item may have one part with a foreign destructor; two parts of one item that both panic abort
/// the program, unless one of them is a [`CatchDrop`]. A collection whose items have no destructor
/// costs nothing.
pub struct CatchEach<C: IntoIterator> {
    values: ManuallyDrop<C>,
    panic_catcher: Option<CatchPanic>,
}

impl<C: IntoIterator> CatchEach<C> {
    /// Returns the collection; the caller drops it.
    pub fn into_inner(self) -> C {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is in a `ManuallyDrop`, so it is never dropped, and it is not used again.
        unsafe { ManuallyDrop::take(&mut this.values) }
    }

    /// Returns the catcher that the collection carries, for values that are made from it.
    pub const fn catcher(&self) -> DropCatcher {
        DropCatcher(self.panic_catcher)
    }
}

impl<C: IntoIterator> Drop for CatchEach<C> {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped, so the collection is taken once and not used again.
        let values = unsafe { ManuallyDrop::take(&mut self.values) };
        if self.panic_catcher.is_some() && needs_drop::<C::Item>() {
            let catcher = self.catcher();
            values.into_iter().for_each(|value| catcher.drop_value(value));
        }
    }
}

impl<C: IntoIterator> Deref for CatchEach<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.values
    }
}

impl<C: IntoIterator> DerefMut for CatchEach<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.values
    }
}

impl<C: IntoIterator + fmt::Debug> fmt::Debug for CatchEach<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
