//! Handles of records in intrusive containers ([`Handle`]), and pointers between a record and its
//! fields ([`Embedded`]).
//!
//! A container of this folder owns the handles that are put into it, and gives them back. Inside it
//! keeps pointers to the records, linked through the records' own links. The code that uses a
//! container sees handles only.

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::memory::pool_box::PoolBox;

/// An owning handle of a record: the right to put the record into a container.
///
/// # Safety
/// - **E1.** A record has at most one handle of this type at a time. While a container has it, no
///   other code uses the links that the container uses.
/// - **E2.** The pointer of `into_raw` leads to the record, which stays live and in its place until
///   `from_raw` takes the pointer back.
pub unsafe trait Handle: Sized {
    /// The part of the record that has the container's links.
    type Record;

    /// Converts the handle into a pointer.
    fn into_raw(self) -> NonNull<Self::Record>;

    /// Converts the pointer back.
    ///
    /// # Safety
    /// The pointer came from `into_raw`, and the caller passes the handle for which it stands.
    unsafe fn from_raw(record: NonNull<Self::Record>) -> Self;
}

// SAFETY: E1, E2: a box is the only right to its block, in which the value stays in its place.
unsafe impl<T> Handle for PoolBox<T> {
    type Record = T;

    fn into_raw(self) -> NonNull<T> {
        Self::into_raw(self)
    }

    unsafe fn from_raw(record: NonNull<T>) -> Self {
        // SAFETY: the pointer came from `into_raw`, with the box (this function's contract).
        unsafe { Self::from_raw(record) }
    }
}

/// A handle that a container has, as the container's user sees it.
pub struct Borrowed<'c, H> {
    handle: ManuallyDrop<H>,
    container: PhantomData<&'c H>,
}

impl<H: Handle> Borrowed<'_, H> {
    /// Borrows the handle of a record in a container.
    ///
    /// # Safety
    /// The pointer came from [`Handle::into_raw`]. The container keeps the handle as long as the
    /// result's lifetime.
    #[inline(always)]
    pub(super) unsafe fn of(record: NonNull<H::Record>) -> Self {
        // SAFETY: the pointer came from `into_raw` (this function's contract). The handle stays the
        // container's: `ManuallyDrop` neither drops it nor gives it away.
        let handle = ManuallyDrop::new(unsafe { H::from_raw(record) });
        Self { handle, container: PhantomData }
    }
}

impl<H> Deref for Borrowed<'_, H> {
    type Target = H;

    #[inline(always)]
    fn deref(&self) -> &H {
        &self.handle
    }
}

impl<H: fmt::Debug> fmt::Debug for Borrowed<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        H::fmt(self, f)
    }
}

/// A type that is a field of a record `P`, at one place.
///
/// # Safety
/// A `P` has a field of this type at `OFFSET`.
pub unsafe trait Embedded<P>: Sized {
    /// The offset of the field in the record, in bytes.
    const OFFSET: usize;

    /// Returns a pointer to the field, valid for all that `record` is valid for.
    ///
    /// # Safety
    /// `record` leads to a `P`.
    #[inline(always)]
    unsafe fn of(record: NonNull<P>) -> NonNull<Self> {
        const { assert!(Self::OFFSET + size_of::<Self>() <= size_of::<P>(), "the field lies in the record") };
        // SAFETY: a `P` has the field at this offset (`Embedded`).
        unsafe { record.byte_add(Self::OFFSET) }.cast()
    }

    /// Returns a pointer to the record of a field.
    ///
    /// # Safety
    /// `field` came from [`Embedded::of`]. It is then valid for all that the record's pointer was
    /// valid for.
    #[inline(always)]
    unsafe fn record(field: NonNull<Self>) -> NonNull<P> {
        // SAFETY: the field lies in a `P` at this offset (this function's contract).
        unsafe { field.byte_sub(Self::OFFSET) }.cast()
    }
}
