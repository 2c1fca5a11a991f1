//! Fallible allocation.
//!
//! The kernel never aborts for lack of memory. All its allocations go through [`try_alloc`] and the
//! functions and types built on it: [`Shared`], [`try_push`], [`try_text`]. These give the value
//! back or return [`NoMemory`], and the caller gets an error. Memory that a core allocates
//! frequently comes from its [`pool::Pool`], and its owner is a [`pool_box::PoolBox`].

pub mod depot;
pub mod pool;
pub mod pool_box;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::memory::pool_box::PoolBox;
use crate::sync::{Ordering, PlainAtomicUsize, fence};

/// The error of an allocation that failed; nothing has been changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl core::fmt::Display for NoMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for NoMemory {}

/// Granularity of the sizes of small blocks in bytes. It is also their alignment.
const CLASS: usize = 16;
/// Number of sizes of small blocks.
const CLASSES: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

/// Returns the class of a `T`'s block, if it is a small one.
const fn class<T>() -> Option<usize> {
    let size = size_of::<T>();
    if size == 0 || size > CLASS * CLASSES || align_of::<T>() > CLASS { None } else { Some((size - 1) / CLASS) }
}

const fn class_layout(class: usize) -> Layout {
    match Layout::from_size_align((class + 1) * CLASS, CLASS) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    }
}

/// Returns the layout with which a `T` is allocated: that of its class, or its own.
const fn layout<T>() -> Layout {
    match class::<T>() {
        Some(class) => class_layout(class),
        None => Layout::new::<T>(),
    }
}

/// Allocates memory for a `T`, or returns [`NoMemory`].
pub fn try_alloc<T>() -> Result<NonNull<T>, NoMemory> {
    let layout = const { layout::<T>() };
    if layout.size() == 0 {
        return Ok(NonNull::dangling());
    }
    // SAFETY: the layout's size is not 0 (checked above).
    let memory = unsafe { alloc::alloc::alloc(layout) };
    NonNull::new(memory.cast()).ok_or(NoMemory)
}

/// Moves `value` into a box, or returns [`NoMemory`].
pub fn try_box<T>(value: T) -> Result<Box<T>, NoMemory> {
    try_box_with(|| value)
}

/// Allocates a box and then lets `make` create its value: a large value is moved only once, and is
/// not created if there is no memory. If `make` panics, the memory is freed.
pub fn try_box_with<T>(make: impl FnOnce() -> T) -> Result<Box<T>, NoMemory> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(make()));
    }
    // SAFETY: the layout's size is not 0 (checked above).
    let memory = unsafe { alloc::alloc::alloc(layout) }.cast::<core::mem::MaybeUninit<T>>();
    let memory = NonNull::new(memory).ok_or(NoMemory)?;
    // SAFETY: the memory was allocated with the layout with which Box frees it. `MaybeUninit` needs
    // no initialisation.
    let mut place = unsafe { Box::from_raw(memory.as_ptr()) };
    place.write(make());
    // SAFETY: the line above has written the value.
    Ok(unsafe { place.assume_init() })
}

/// Frees the memory of a `T`, without dropping the value.
///
/// # Safety
/// `memory` came from [`try_alloc`], or from a pool, for the same `T`, and is not used again.
pub unsafe fn free<T>(memory: NonNull<T>) {
    let layout = const { layout::<T>() };
    if layout.size() != 0 {
        // SAFETY: the memory came from `try_alloc` for the same `T` (this function's contract), so
        // it has this layout.
        unsafe { alloc::alloc::dealloc(memory.as_ptr().cast(), layout) };
    }
}

/// Appends to a vector, or leaves the vector unchanged. Amortised O(1).
pub fn try_push<T>(items: &mut Vec<T>, item: T) -> Result<(), NoMemory> {
    items.try_reserve(1).map_err(|_| NoMemory)?;
    items.push(item);
    Ok(())
}

/// Formats a text with [`fmt::Write`], completely or not at all.
pub fn try_text(text: fmt::Arguments<'_>) -> Result<String, NoMemory> {
    struct Writer(String);
    impl fmt::Write for Writer {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0.try_reserve(part.len()).map_err(|_| fmt::Error)?;
            self.0.push_str(part);
            Ok(())
        }
    }
    let mut writer = Writer(String::new());
    // A `Display` that fails by itself also counts as lack of memory: in both cases there is no
    // text.
    fmt::write(&mut writer, text).map_err(|_| NoMemory)?;
    Ok(writer.0)
}

/// An `alloc::sync::Arc` without weak counts whose creation can fail.
pub struct Shared<T>(NonNull<CountedBox<T>>);

struct CountedBox<T> {
    count: PlainAtomicUsize,
    value: T,
}

impl<T> Shared<T> {
    /// Moves `value` to the heap, with a count of one.
    pub fn try_new(value: T) -> Result<Self, NoMemory> {
        let counted = CountedBox { count: PlainAtomicUsize::new(1), value };
        PoolBox::try_new(counted, None).map(|counted| Self(counted.into_raw())).map_err(|_| NoMemory)
    }

    fn counted(&self) -> &CountedBox<T> {
        // SAFETY: this handle holds a count, so the value is live.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // Relaxed: the thread that clones holds a count.
        self.counted().count.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Release: pairs with the fence of the last holder, so that the value is freed after every
        // use.
        if self.counted().count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: B1 (`pool_box`): this was the last count, so no other handle can reach the
            // value, which `try_new` took out of a box.
            drop(unsafe { PoolBox::from_raw(self.0) });
        }
    }
}

// SAFETY: the same bounds as `Arc`: many threads share the value through `&`, and any of them may
// drop it.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: a shared handle gives only `&T`, and the bounds are those of `Arc`.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
