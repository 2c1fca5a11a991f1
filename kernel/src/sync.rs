//! The only module that names atomics, cells and hints.
//!
//! Every other module of the kernel uses them through this one, so that loom or shuttle can replace
//! them for the whole kernel by one `cfg`. A check of `cargo xtask test` refuses
//! `core::sync::atomic` and `core::cell` anywhere else.
//!
//! [`UnsafeCell`] gives out raw pointers for the duration of a closure, like loom's. Under loom
//! each access is checked against the happens-before order, so a missing `Release` is a reported
//! violation and not a test that passes by luck.

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub use core::cell::Cell;
    pub use core::hint::spin_loop;
    pub use core::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, compiler_fence, fence,
    };

    /// A `core::cell::UnsafeCell` with loom's interface.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Creates a cell that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Consumes the cell and returns its value.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Runs `f` with a pointer that may be read for as long as `f` runs.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Runs `f` with a pointer that may be written for as long as `f` runs.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }

        /// Returns a pointer that may be written for as long as it exists.
        #[inline(always)]
        pub fn get_mut(&self) -> MutPtr<T> {
            MutPtr(self.0.get())
        }
    }

    /// The pointer to the contents of a cell that [`UnsafeCell::get_mut`] returns, with loom's
    /// interface.
    #[derive(Debug)]
    pub struct MutPtr<T: ?Sized>(*mut T);

    impl<T: ?Sized> MutPtr<T> {
        /// Runs `f` with the pointer.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0)
        }
    }
}

#[cfg(loom)]
mod imp {
    //! Loom's atomics, each with a *mark* that every access exchanges first. Loom tries another
    //! order only between an access and the last access to the same word, and a thread's own load
    //! counts as the last access. In a loop of load and exchange by one thread, loom would
    //! therefore never try the loads of other threads after the exchange. All accesses to the mark
    //! depend on each other. The last access to the mark is another thread's, or the one that
    //! precedes the word's access in the same operation.

    use alloc::format;
    use alloc::string::String;
    use core::panic::Location;

    use loom::sync::atomic as of_loom;

    pub use core::cell::Cell;
    pub use loom::alloc::Track;
    pub use loom::cell::{MutPtr, UnsafeCell};
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{Ordering, fence};

    /// No model has a barrier that one thread executes on others: code that relies on such a
    /// barrier uses a fence under loom.
    pub use loom::sync::atomic::fence as compiler_fence;

    /// Reports an access to the trace of `cargo xtask loom NAME --trace`. The trace shows these
    /// events in place of loom's, which contain neither the value nor the line. Without a trace the
    /// event is disabled, and its arguments are not evaluated.
    macro_rules! traced {
        ($self:ident, $name:ident, $($what:tt)*) => {
            tracing::trace!(
                word = $self.number(),
                at = %Location::caller(),
                "{} {}",
                stringify!($name),
                format_args!($($what)*)
            )
        };
    }

    macro_rules! marked {
        ($(#[$doc:meta])* $name:ident$(<$t:ident>)?, $value:ty $(, $($op:ident),*)?) => {
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name$(<$t>)? {
                word: of_loom::$name$(<$t>)?,
                mark: of_loom::AtomicBool,
            }

            #[allow(missing_docs, reason = "same as the atomic of that name")]
            impl$(<$t>)? $name$(<$t>)? {
                #[track_caller]
                pub fn new(value: $value) -> Self {
                    // `number` relies on this order.
                    let word = of_loom::$name::new(value);
                    let atomic = Self { word, mark: of_loom::AtomicBool::new(false) };
                    traced!(atomic, $name, "new({value:?})");
                    atomic
                }

                #[track_caller]
                fn mark(&self) -> &of_loom::$name$(<$t>)? {
                    // Relaxed: the exchange orders nothing, and hides no reordering.
                    self.mark.swap(true, Ordering::Relaxed);
                    &self.word
                }

                /// Returns the number of the word in loom's list of objects. Loom shows it only in
                /// the debug output of the mark, which is the next object.
                fn number(&self) -> u64 {
                    let mark = format!("{:?}", self.mark);
                    let digits: String = mark.chars().filter(char::is_ascii_digit).collect();
                    digits.parse::<u64>().map_or(0, |mark| mark - 1)
                }

                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    let value = self.mark().load(order);
                    traced!(self, $name, "load({order:?}) = {value:?}");
                    value
                }

                #[track_caller]
                pub fn store(&self, value: $value, order: Ordering) {
                    self.mark().store(value, order);
                    traced!(self, $name, "store({value:?}, {order:?})");
                }

                #[track_caller]
                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    let old = self.mark().swap(value, order);
                    traced!(self, $name, "swap({value:?}, {order:?}) = {old:?}");
                    old
                }

                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    let result = self.mark().compare_exchange(current, new, success, failure);
                    traced!(
                        self,
                        $name,
                        "compare_exchange({current:?}, {new:?}, {success:?}, {failure:?}) = {result:?}"
                    );
                    result
                }

                #[track_caller]
                pub fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    let result = self.mark().compare_exchange_weak(current, new, success, failure);
                    traced!(
                        self,
                        $name,
                        "compare_exchange_weak({current:?}, {new:?}, {success:?}, {failure:?}) = {result:?}"
                    );
                    result
                }

                $($(#[track_caller]
                pub fn $op(&self, value: $value, order: Ordering) -> $value {
                    let old = self.mark().$op(value, order);
                    traced!(self, $name, "{}({value:?}, {order:?}) = {old:?}", stringify!($op));
                    old
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

    /// A fence, as in the loom build.
    pub use shuttle::sync::atomic::fence as compiler_fence;

    /// Shuttle checks interleavings, not memory orderings, so a plain cell suffices.
    #[derive(Debug, Default)]
    pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Creates a cell that holds `value`.
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Consumes the cell and returns its value.
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Runs `f` with a pointer that may be read for as long as `f` runs.
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Runs `f` with a pointer that may be written for as long as `f` runs.
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }

        /// Returns a pointer that may be written for as long as it exists.
        pub fn get_mut(&self) -> MutPtr<T> {
            MutPtr(self.0.get())
        }
    }

    /// The pointer to the contents of a cell that [`UnsafeCell::get_mut`] returns.
    #[derive(Debug)]
    pub struct MutPtr<T: ?Sized>(*mut T);

    impl<T: ?Sized> MutPtr<T> {
        /// Runs `f` with the pointer.
        pub fn with<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0)
        }
    }
}

pub use imp::*;

/// A marker in an allocation that a model must not leak: loom's type of that name reports leaks. It
/// is empty in other builds.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct Track<T>(core::marker::PhantomData<T>);

#[cfg(not(loom))]
impl<T> Track<T> {
    /// Creates the marker, which is empty.
    #[inline(always)]
    pub fn new(_: T) -> Self {
        Self(core::marker::PhantomData)
    }
}

/// Executes an acquire fence after a relaxed load of a word. Code after the fence sees everything
/// that precedes the write that the load found. `load` loads that word again; only the other
/// version of this function uses it.
#[cfg(not(tsan))]
#[inline(always)]
pub fn acquire_by<T>(_load: impl FnOnce(Ordering) -> T) {
    fence(Ordering::Acquire);
}

/// Loads the word again with Acquire, for ThreadSanitizer, which does not understand fences. The
/// new value is the one found before, or a later read-modify-write of it, which continues the same
/// release sequence.
#[cfg(tsan)]
pub fn acquire_by<T>(load: impl FnOnce(Ordering) -> T) {
    drop(load(Ordering::Acquire));
}

/// Atomics that no model checks: statistics, and the counts of values that are only ever shared
/// through objects that a model does check.
pub use core::sync::atomic::{
    AtomicBool as PlainAtomicBool, AtomicU32 as PlainAtomicU32, AtomicUsize as PlainAtomicUsize,
};
