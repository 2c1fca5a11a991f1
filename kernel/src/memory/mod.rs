//! Allocation that can say no.
//!
//! The kernel never aborts for want of memory: whatever it allocates goes through
//! [`try_new`] and what is built on it: [`Shared`], [`try_push`], [`try_text`]. These give the value back or say
//! [`NoMemory`], and the caller who asked gets an error. What a core allocates again and again it takes from its
//! [`pool::Pool`].

pub mod depot;
pub mod pool;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::sync::{Ordering, PlainAtomicUsize, fence};

/// There is no memory for what was asked; nothing has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl core::fmt::Display for NoMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("out of memory")
    }
}

impl core::error::Error for NoMemory {}

/// Sizes of small blocks are multiples of it, in bytes, and so is their alignment.
const CLASS: usize = 16;
/// Sizes of small blocks.
const CLASSES: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

/// The class of a `T`'s block, if it is a small one.
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

/// The layout that a `T` is allocated with: that of its class, or its own.
const fn layout<T>() -> Layout {
    match class::<T>() {
        Some(class) => class_layout(class),
        None => Layout::new::<T>(),
    }
}

/// Memory for a `T`, or [`NoMemory`].
pub fn try_alloc<T>() -> Result<NonNull<T>, NoMemory> {
    let layout = const { layout::<T>() };
    if layout.size() == 0 {
        return Ok(NonNull::dangling());
    }
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { alloc::alloc::alloc(layout) };
    NonNull::new(memory.cast()).ok_or(NoMemory)
}

/// Moves `value` to the heap; gives it back when there is no memory.
pub fn try_new<T>(value: T) -> Result<NonNull<T>, T> {
    match try_alloc::<T>() {
        Ok(memory) => {
            // SAFETY: fresh memory of T's layout.
            unsafe { memory.write(value) };
            Ok(memory)
        }
        Err(NoMemory) => Err(value),
    }
}

/// As [`try_new`], in a box.
pub fn try_box<T>(value: T) -> Result<Box<T>, NoMemory> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(value));
    }
    // SAFETY: the layout's size is not 0.
    let memory = NonNull::new(unsafe { alloc::alloc::alloc(layout) }.cast::<T>()).ok_or(NoMemory)?;
    // SAFETY: fresh memory of T's layout.
    unsafe { memory.write(value) };
    // SAFETY: allocated with the layout that Box frees with.
    Ok(unsafe { Box::from_raw(memory.as_ptr()) })
}

/// A value in a box that is allocated before `make` makes it: a large value is moved once, and without memory it is
/// not made. A panic of `make` gives the memory back.
pub fn try_box_with<T>(make: impl FnOnce() -> T) -> Result<Box<T>, NoMemory> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(make()));
    }
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { alloc::alloc::alloc(layout) }.cast::<core::mem::MaybeUninit<T>>();
    let memory = NonNull::new(memory).ok_or(NoMemory)?;
    // SAFETY: allocated with the layout that Box frees with; what is in it need not be whole.
    let mut place = unsafe { Box::from_raw(memory.as_ptr()) };
    place.write(make());
    // SAFETY: written in the line above.
    Ok(unsafe { place.assume_init() })
}

/// Frees the memory of a `T`, without dropping the value.
///
/// # Safety
/// `memory` came from [`try_alloc`] or [`try_new`] for the same `T` and is not used again.
pub unsafe fn free<T>(memory: NonNull<T>) {
    let layout = const { layout::<T>() };
    if layout.size() != 0 {
        // SAFETY: by contract, allocated with this layout.
        unsafe { alloc::alloc::dealloc(memory.as_ptr().cast(), layout) };
    }
}

/// Drops the value and frees its memory.
///
/// # Safety
/// As for [`free`], and the value is whole.
pub unsafe fn drop_and_free<T>(memory: NonNull<T>) {
    // SAFETY: by contract.
    unsafe { pool::drop_and_free(memory, None) };
}

/// Adds to a vector, or leaves it as it is. Amortised O(1).
pub fn try_push<T>(items: &mut Vec<T>, item: T) -> Result<(), NoMemory> {
    items.try_reserve(1).map_err(|_| NoMemory)?;
    items.push(item);
    Ok(())
}

/// A text as [`fmt::Write`] makes it, whole or not at all.
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
    // A `Display` that fails of itself is taken for want of memory too: either way there is no text.
    fmt::write(&mut writer, text).map_err(|_| NoMemory)?;
    Ok(writer.0)
}

/// `alloc::sync::Arc` without weak counts, whose making can fail.
pub struct Shared<T>(NonNull<CountedBox<T>>);

struct CountedBox<T> {
    count: PlainAtomicUsize,
    value: T,
}

impl<T> Shared<T> {
    /// Moves `value` to the heap.
    pub fn try_new(value: T) -> Result<Self, NoMemory> {
        let counted = CountedBox { count: PlainAtomicUsize::new(1), value };
        try_new(counted).map(Self).map_err(|_| NoMemory)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: counted, so live.
        &unsafe { self.0.as_ref() }.value
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // SAFETY: counted, so live. Relaxed: who clones holds a count.
        unsafe { self.0.as_ref() }.count.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: counted, so live. Release pairs with the fence of the last: its free comes after every use.
        if unsafe { self.0.as_ref() }.count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: this was the last count.
            unsafe { drop_and_free(self.0) };
        }
    }
}

// SAFETY: as for `Arc`: a value that many share by `&`, and that any of them may drop.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
