//! A counted reference to a record, [`Ref`]: the rules of `refcount`, kept by the type.
//!
//! A [`Ref`] is one reference. It cannot be copied, so it is released once: by [`Ref::release`],
//! which returns the memory to a core's pool, or by its destructor, which returns it to the
//! allocator. A new record gives all its references at once ([`Ref::try_pair`]), so none is made
//! from nothing later. Only a reference gives another one ([`Ref::share`]).
//!
//! A `Ref` says that its record is live, and no more. The right to use the record's links in a list
//! or a set, or to send its node, belongs to *one* of its references. Such a right is a type of its
//! own around a `Ref` (for example `process::relation::monitor::TargetSide`), of which the module
//! of the record makes one for each record ([`Handle`](super::handle::Handle)).

use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::intrusive::handle::Embedded;
use crate::memory::pool::{self, Pool};
use crate::memory::pool_box::PoolBox;

/// A record with a reference count.
///
/// # Safety
/// A new value counts [`Counted::BORN`] references, and only [`Ref`] changes the count. `drop_ref`
/// returns `true` once, for the last reference, and orders all uses of the record before that.
pub unsafe trait Counted: Sized {
    /// The number of references that a new record counts.
    const BORN: usize;

    /// Counts one more reference.
    fn add_ref(&self);

    /// Counts one reference less. Returns `true` if it was the last.
    fn drop_ref(&self) -> bool;

    /// Frees a record whose last reference is released, to the pool if there is one.
    ///
    /// # Safety
    /// The caller has released the last reference, and does not use the record again.
    unsafe fn free(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the last reference is released (this function's contract), so the record is the
        // caller's; `Ref` made it by `try_new`.
        unsafe { pool::drop_and_free(this, pool) };
    }
}

/// One reference to a record (see the module).
#[derive(Debug)]
#[must_use = "a reference that is dropped releases to the allocator; `release` takes a pool"]
pub struct Ref<T: Counted>(NonNull<T>);

impl<T: Counted> Ref<T> {
    /// Moves a new record that counts one reference to the heap, or gives it back when there is no
    /// memory.
    pub fn try_one(record: T, pool: Option<&Pool>) -> Result<Self, T> {
        const { assert!(T::BORN == 1, "the record counts one reference") };
        Self::try_record(record, pool).map(Self)
    }

    /// Moves a new record that counts two references to the heap and returns both, or gives it back
    /// when there is no memory.
    #[inline(always)]
    pub fn try_pair(record: T, pool: Option<&Pool>) -> Result<(Self, Self), T> {
        const { assert!(T::BORN == 2, "the record counts two references") };
        Self::try_record(record, pool).map(|record| (Self(record), Self(record)))
    }

    #[inline(always)]
    fn try_record(record: T, pool: Option<&Pool>) -> Result<NonNull<T>, T> {
        PoolBox::try_new(record, pool).map(PoolBox::into_raw)
    }

    /// Converts a reference into a pointer, which is valid for the record's whole allocation.
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).0
    }

    /// Converts a pointer back into the reference.
    ///
    /// # Safety
    /// The pointer is valid for the record's whole allocation, and stands for one reference, which
    /// the caller passes.
    pub unsafe fn from_raw(record: NonNull<T>) -> Self {
        Self(record)
    }

    /// Makes both references of a new record, which counts two.
    ///
    /// # Safety
    /// The pointer is valid for the record's whole allocation. No reference was made of it yet.
    pub(crate) unsafe fn pair_from_raw(record: NonNull<T>) -> (Self, Self) {
        const { assert!(T::BORN == 2, "the record counts two references") };
        (Self(record), Self(record))
    }

    /// Returns a pointer to the record, which is live as long as a reference is left. The pointer
    /// is valid for the whole allocation.
    pub fn as_ptr(&self) -> NonNull<T> {
        self.0
    }

    /// Returns a pointer to a field of the record, which is live as long as a reference is left.
    /// The pointer is valid for the whole allocation.
    #[inline(always)]
    pub fn field<F: Embedded<T>>(&self) -> NonNull<F> {
        // SAFETY: this reference leads to its record.
        unsafe { F::of(self.0) }
    }

    /// Converts a reference into a pointer to a field of the record. The pointer is valid for the
    /// whole allocation.
    #[inline(always)]
    pub fn into_field<F: Embedded<T>>(self) -> NonNull<F> {
        ManuallyDrop::new(self).field()
    }

    /// Converts a pointer back into the reference.
    ///
    /// # Safety
    /// The pointer came from [`Ref::into_field`], and the caller passes the reference for which it
    /// stands.
    #[inline(always)]
    pub unsafe fn of_field<F: Embedded<T>>(field: NonNull<F>) -> Self {
        // SAFETY: `into_field` made the pointer from one to the record (this function's contract).
        Self(unsafe { F::record(field) })
    }

    /// Acquires one more reference. Wait-free.
    pub fn share(&self) -> Self {
        self.add_ref();
        Self(self.0)
    }

    /// Releases the reference. Memory is returned to the pool, if there is one. Wait-free.
    #[inline]
    pub fn release(self, pool: Option<&Pool>) {
        ManuallyDrop::new(self).release_to(pool);
    }

    #[inline]
    fn release_to(&self, pool: Option<&Pool>) {
        if self.drop_ref() {
            // SAFETY: this was the last reference, which the caller does not use again: `release`
            // consumes it, and `drop` ends it.
            unsafe { T::free(self.0, pool) };
        }
    }
}

impl<T: Counted> Deref for Ref<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this reference keeps the record live (`Counted`).
        unsafe { self.0.as_ref() }
    }
}

impl<T: Counted> Drop for Ref<T> {
    fn drop(&mut self) {
        self.release_to(None);
    }
}

// SAFETY: all holders share the record through `&T`, and any of them may drop it.
unsafe impl<T: Counted + Send + Sync> Send for Ref<T> {}
// SAFETY: a shared reference gives only `&T`, and more references.
unsafe impl<T: Counted + Send + Sync> Sync for Ref<T> {}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::intrusive::refcount::RefCount;
    use alloc::sync::Arc;
    use core::mem::offset_of;

    #[repr(C)]
    struct Record {
        shares: RefCount,
        field: Field,
    }

    struct Field(Arc<()>);

    // SAFETY: each test's record counts two references.
    unsafe impl Counted for Record {
        const BORN: usize = 2;

        fn add_ref(&self) {
            self.shares.add();
        }

        fn drop_ref(&self) -> bool {
            self.shares.release()
        }
    }

    // SAFETY: the field `field`, which is the only one of its type.
    unsafe impl Embedded<Record> for Field {
        const OFFSET: usize = offset_of!(Record, field);
    }

    fn pair(alive: &Arc<()>) -> (Ref<Record>, Ref<Record>) {
        let record = Record { shares: RefCount::new(2), field: Field(alive.clone()) };
        Ref::try_pair(record, None).ok().expect("memory")
    }

    #[test]
    fn last_reference_frees_the_record() {
        let alive = Arc::new(());
        let (one, other) = pair(&alive);
        let third = one.share();
        one.release(None);
        drop(third);
        assert_eq!(Arc::strong_count(&other.field.0), 2, "a reference is left");
        other.release(None);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn field_leads_back_to_its_record() {
        let alive = Arc::new(());
        let (one, other) = pair(&alive);
        let record = one.as_ptr();
        let field: NonNull<Field> = one.into_field();
        assert_eq!(field, other.field());
        // SAFETY: `into_field` converted the reference.
        let one = unsafe { Ref::<Record>::of_field(field) };
        assert_eq!(one.as_ptr(), record);
        drop((one, other));
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    #[should_panic(expected = "a few references")]
    fn count_does_not_wrap() {
        let (one, _other) = pair(&Arc::new(()));
        let _kept: [_; 200] = core::array::from_fn(|_| core::mem::ManuallyDrop::new(one.share()));
    }
}
