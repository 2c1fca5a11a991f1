//! The only door to atomics, cells and hints.
//!
//! Every other module of the kernel names these through here, so that loom or
//! shuttle can take their place for the whole kernel by one `cfg`. A test of
//! `cargo xtask test` refuses `core::sync::atomic` and `core::cell` anywhere else.
//!
//! [`UnsafeCell`] hands out raw pointers for the time of a closure, as loom's does:
//! under loom each access is checked against the happens-before order, so a missing
//! `Release` is a reported violation and not a lucky pass.

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub use core::cell::Cell;
    pub use core::hint::spin_loop;
    pub use core::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, compiler_fence, fence,
    };

    /// `core::cell::UnsafeCell` behind loom's interface.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// The value, taken out.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Runs `f` on a pointer that may be read for as long as `f` runs.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Runs `f` on a pointer that may be written for as long as `f` runs.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loom)]
mod imp {
    //! Loom's atomics, each with a *mark* that every access to it exchanges first. Loom looks for another order only
    //! between an access and the last one to the same word, and a thread's own load counts as that: of a load and an
    //! exchange of one thread, as in every loop of exchanges, it would never let the other threads' loads come after
    //! the exchange. All accesses to the mark depend on each other, and the last is the last of another thread's, or
    //! the one before it in the same access.

    use loom::sync::atomic as of_loom;

    pub use core::cell::Cell;
    pub use loom::alloc::Track;
    pub use loom::cell::UnsafeCell;
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{Ordering, fence};

    /// No model knows a barrier that others execute: whoever relies on one has fences there.
    pub use loom::sync::atomic::fence as compiler_fence;

    macro_rules! marked {
        ($(#[$doc:meta])* $name:ident$(<$t:ident>)?, $value:ty $(, $($op:ident),*)?) => {
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name$(<$t>)? {
                word: of_loom::$name$(<$t>)?,
                mark: of_loom::AtomicBool,
            }

            #[allow(missing_docs, reason = "as the atomic of that name")]
            impl$(<$t>)? $name$(<$t>)? {
                pub fn new(value: $value) -> Self {
                    Self { word: of_loom::$name::new(value), mark: of_loom::AtomicBool::new(false) }
                }

                fn mark(&self) -> &of_loom::$name$(<$t>)? {
                    // Relaxed: it orders nothing, and hides no reordering.
                    self.mark.swap(true, Ordering::Relaxed);
                    &self.word
                }

                pub fn load(&self, order: Ordering) -> $value {
                    self.mark().load(order)
                }

                pub fn store(&self, value: $value, order: Ordering) {
                    self.mark().store(value, order);
                }

                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.mark().swap(value, order)
                }

                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.mark().compare_exchange(current, new, success, failure)
                }

                pub fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.mark().compare_exchange_weak(current, new, success, failure)
                }

                $($(pub fn $op(&self, value: $value, order: Ordering) -> $value {
                    self.mark().$op(value, order)
                })*)?
            }
        };
    }
    marked!(/// A marked pointer.
        AtomicPtr<T>, *mut T);
    marked!(/// A marked flag.
        AtomicBool, bool);
    marked!(/// A marked number.
        AtomicU8, u8, fetch_add, fetch_sub, fetch_or);
    marked!(/// A marked number.
        AtomicU32, u32, fetch_add, fetch_sub);
    marked!(/// A marked number.
        AtomicUsize, usize, fetch_add, fetch_sub, fetch_or, fetch_and);
}

#[cfg(all(shuttle, not(loom)))]
mod imp {
    pub use core::cell::Cell;
    pub use shuttle::hint::spin_loop;
    pub use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};

    /// As loom's.
    pub use shuttle::sync::atomic::fence as compiler_fence;

    /// Shuttle checks interleavings, not memory orderings: a plain cell will do.
    #[derive(Debug, Default)]
    pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// The value, taken out.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Runs `f` on a pointer that may be read for as long as `f` runs.
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Runs `f` on a pointer that may be written for as long as `f` runs.
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

pub use imp::*;

/// In an allocation that a model must not leak: loom's says so. Nothing elsewhere.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct Track<T>(core::marker::PhantomData<T>);

#[cfg(not(loom))]
impl<T> Track<T> {
    /// Nothing.
    #[inline(always)]
    pub fn new(_: T) -> Self {
        Self(core::marker::PhantomData)
    }
}

/// An acquire fence, behind a relaxed look at a word: what comes next sees what came before the write that was found
/// there. `load` is a load of that word, for the other version of this function.
#[cfg(not(tsan))]
#[inline(always)]
pub fn acquire_by<T>(_load: impl FnOnce(Ordering) -> T) {
    fence(Ordering::Acquire);
}

/// The same for ThreadSanitizer, which does not understand fences: the word is loaded again. What is found now is what
/// was found before, or was written later by a read-modify-write of it, which hands on the same release.
#[cfg(tsan)]
pub fn acquire_by<T>(load: impl FnOnce(Ordering) -> T) {
    drop(load(Ordering::Acquire));
}

/// An atomic that no model looks at: statistics, and the counts of values that
/// are only ever shared through something that a model does look at.
pub use core::sync::atomic::{
    AtomicBool as PlainAtomicBool, AtomicU32 as PlainAtomicU32, AtomicUsize as PlainAtomicUsize,
};
