//! A borrowed reference to a whole process, [`ProcessRef`].
//!
//! A process is one allocation that begins with its header. A `&Header` is valid for the header
//! only, but a run queue, a waker and the table need a pointer to the whole allocation. So a
//! process is passed as a [`ProcessRef`] from the table on: it has the provenance of the whole
//! allocation, and dereferences to the header.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use crate::mailbox::Pushed;
use crate::memory::pool_box::PoolBox;
use crate::process::header::Header;
use crate::process::owned::Owned;
use crate::signal::held::{BoxedSignal, HeldNode};

/// A borrowed reference to a whole process.
#[derive(Clone, Copy)]
pub struct ProcessRef<'a>(NonNull<Header>, PhantomData<&'a Header>);

// SAFETY: it is used as a `&Header`, and a header is Sync.
unsafe impl Send for ProcessRef<'_> {}
// SAFETY: it is used as a `&Header`, and a header is Sync.
unsafe impl Sync for ProcessRef<'_> {}

impl<'a> ProcessRef<'a> {
    /// Creates the reference from a pointer.
    ///
    /// # Safety
    /// The pointer has the provenance of the whole process, whose memory exists for `'a`.
    #[inline(always)]
    pub(crate) const unsafe fn new(process: NonNull<Header>) -> Self {
        Self(process, PhantomData)
    }

    /// Returns the header.
    #[inline(always)]
    pub fn header(self) -> &'a Header {
        // SAFETY: the memory exists for `'a` (`new`'s contract), and a header is only shared.
        unsafe { self.0.as_ref() }
    }

    /// Returns the pointer, with the provenance of the whole process.
    #[inline(always)]
    pub(crate) const fn as_ptr(self) -> NonNull<Header> {
        self.0
    }

    /// Takes ownership of the process if it waits and no signal is pending (`mailbox`, edge 6).
    /// Wait-free.
    #[inline(always)]
    pub(crate) fn claim(self) -> Option<Owned<'a>> {
        // SAFETY: P1, M1: the thread whose exchange claims the process owns it.
        self.mailbox.claim().then(|| unsafe { Owned::assume(self) })
    }
}

impl<'a> ProcessRef<'a> {
    /// Pushes a signal. Returns the process if it was waiting: this thread owns it now, and must
    /// queue it. Lock-free.
    ///
    /// # Errors
    /// The signal, if the process is dead.
    #[inline(always)]
    pub(crate) fn push(self, node: HeldNode) -> Result<Option<Owned<'a>>, HeldNode> {
        let pushed = self.mailbox.push(node)?;
        Ok(self.woken_by(pushed))
    }

    /// Does the same as [`ProcessRef::push`] with a signal in a box.
    ///
    /// # Errors
    /// The signal, if the process is dead.
    #[inline(always)]
    pub(crate) fn push_box<T: BoxedSignal>(self, signal: PoolBox<T>) -> Result<Option<Owned<'a>>, PoolBox<T>> {
        let pushed = self.mailbox.push_box(signal)?;
        Ok(self.woken_by(pushed))
    }

    #[inline(always)]
    fn woken_by(self, pushed: Pushed) -> Option<Owned<'a>> {
        // SAFETY: P1, M1: the thread whose push wakes the process owns it.
        (pushed == Pushed::Wake).then(|| unsafe { Owned::assume(self) })
    }
}

impl Deref for ProcessRef<'_> {
    type Target = Header;

    #[inline(always)]
    fn deref(&self) -> &Header {
        self.header()
    }
}

impl PartialEq for ProcessRef<'_> {
    /// Compares the identity of the processes, not their state.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for ProcessRef<'_> {}

impl fmt::Debug for ProcessRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.pid, f)
    }
}
