//! [`PoolBox`]: a value in a block of memory that its holder owns.
//!
//! It is the kernel's `Box`. Its creation can fail, and its memory may come from, and return to,
//! the pool of any core: every small block has the layout of its class (`crate::memory::layout`).
//! Code that runs on a core passes the core's pool to [`PoolBox::release`] or
//! [`PoolBox::into_inner`]. A box that is only dropped returns its block to the allocator.
//!
//! - **B1.** A box has the only pointer by which its block may be used. The block has the layout of
//!   a `T` (`crate::memory::layout`), and holds one. [`PoolBox::from_raw`] is the only door to a
//!   box that does not ensure this itself.

use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::memory::pool::{self, Pool};
use crate::memory::{self, NoMemory};

/// An owned value on the heap (see the module).
#[repr(transparent)]
pub struct PoolBox<T>(NonNull<T>, PhantomData<T>);

// SAFETY: B1: only the box's holder has the value, so the value moves together with the box.
unsafe impl<T: Send> Send for PoolBox<T> {}
// SAFETY: B1: a shared box gives only `&T`.
unsafe impl<T: Sync> Sync for PoolBox<T> {}

impl<T> PoolBox<T> {
    /// Moves `value` to the heap, or returns it if there is no memory. The memory comes from
    /// `pool`, if there is one. O(1), except for the allocator.
    // Inlined: the value is written where it stays.
    #[inline(always)]
    pub fn try_new(value: T, pool: Option<&Pool>) -> Result<Self, T> {
        match Self::try_uninit(pool) {
            Ok(block) => Ok(Self::write(block, value)),
            Err(NoMemory) => Err(value),
        }
    }

    /// Allocates a block for a `T`. The memory comes from `pool`, if there is one. O(1), except for
    /// the allocator.
    #[inline(always)]
    pub fn try_uninit(pool: Option<&Pool>) -> Result<PoolBox<MaybeUninit<T>>, NoMemory> {
        let block = match pool {
            Some(pool) => pool.try_alloc::<MaybeUninit<T>>()?,
            None => memory::try_alloc::<MaybeUninit<T>>()?,
        };
        // SAFETY: B1: the block was allocated just now, for a `MaybeUninit<T>`, which needs no
        // value.
        Ok(unsafe { PoolBox::from_raw(block) })
    }

    /// Writes the value of a block.
    #[inline(always)]
    pub fn write(mut block: PoolBox<MaybeUninit<T>>, value: T) -> Self {
        (*block).write(value);
        // SAFETY: B1: the line above wrote the value, and `MaybeUninit<T>` has the layout of `T`.
        unsafe { Self::from_raw(block.into_raw().cast()) }
    }

    /// Makes a box of a pointer that [`PoolBox::into_raw`] returned.
    ///
    /// # Safety
    /// The pointer is the only one by which the block may be used, the block has the layout of a
    /// `T`, and holds one (B1).
    #[inline]
    pub const unsafe fn from_raw(block: NonNull<T>) -> Self {
        Self(block, PhantomData)
    }

    /// Returns the pointer to the block, which the caller now owns.
    #[inline]
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).0
    }

    /// Moves the value out, and frees the block to `pool`, if there is one.
    #[inline]
    pub fn into_inner(self, pool: Option<&Pool>) -> T {
        let block = self.into_raw();
        // SAFETY: B1: the block holds a value, which is moved out once, here.
        let value = unsafe { block.read() };
        // SAFETY: B1: the block is the caller's, its value is moved out, and it is not used again.
        unsafe { pool::free(block, pool) };
        value
    }

    /// Drops the value, and frees the block to `pool`, if there is one. The block is freed even if
    /// the value's destructor panics.
    #[inline]
    pub fn release(self, pool: Option<&Pool>) {
        // SAFETY: B1: the block is the caller's, holds a value, and is not used again.
        unsafe { pool::drop_and_free(self.into_raw(), pool) };
    }
}

impl<T> Deref for PoolBox<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: B1: the block holds a value, which the box shares for as long as it is borrowed.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for PoolBox<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: B1: the block holds a value, and only this box has a pointer to it.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for PoolBox<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: B1: the box ends here, with its block and its value.
        unsafe { pool::drop_and_free(self.0, None) };
    }
}

impl<T: fmt::Debug> fmt::Debug for PoolBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;

    #[test]
    fn value_is_moved_out_or_dropped_once() {
        let value = Arc::new(7);
        let pool = Pool::new(1 << 12, Arc::default());
        let boxed = PoolBox::try_new(value.clone(), Some(&pool)).expect("memory");
        assert_eq!((**boxed, Arc::strong_count(&value)), (7, 2));
        let moved = boxed.into_inner(Some(&pool));
        assert_eq!(Arc::strong_count(&value), 2, "into_inner moves and does not drop");
        let mut boxed = PoolBox::try_new(moved, None).expect("memory");
        *boxed = value.clone();
        assert_eq!(Arc::strong_count(&value), 2, "the old value was dropped");
        boxed.release(Some(&pool));
        assert_eq!(Arc::strong_count(&value), 1);
        drop(PoolBox::try_new(value.clone(), Some(&pool)).expect("memory"));
        assert_eq!(Arc::strong_count(&value), 1);
        drop(PoolBox::<Arc<u8>>::try_uninit(Some(&pool)));
    }

    #[test]
    fn block_is_freed_when_the_destructor_panics() {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("as expected");
            }
        }
        let pool = Pool::new(1 << 12, Arc::default());
        let boxed = PoolBox::try_new((Panics, [0_u64; 3]), Some(&pool)).ok().expect("memory");
        let at = NonNull::from(&*boxed).cast::<()>();
        let pool = std::panic::AssertUnwindSafe(pool);
        std::panic::catch_unwind(|| boxed.release(Some(&pool))).expect_err("it panics");
        let again = PoolBox::try_new([0_u64; 3], Some(&pool)).expect("memory");
        if pool::POOLED_BLOCKS {
            assert_eq!(NonNull::from(&*again).cast(), at, "the pool has kept the block");
        }
    }
}
