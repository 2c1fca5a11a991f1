//! What a process is in memory ([`Process`]), and the functions by which code that does not know
//! the type of its body runs, drops and frees it ([`BodyVtable`]).

use core::any::TypeId;
use core::marker::PhantomData;
use core::mem::needs_drop;
use core::ptr::NonNull;

use crate::memory::pool::{self, Pool};
use crate::process::header::{Header, NewHeader};
use crate::process::owned::Owned;
use crate::process::process_ref::ProcessRef;
use crate::reason::Reason;
use crate::sync::UnsafeCell;

/// The reason why [`crate::Body::resume`] returned.
#[derive(Debug)]
pub enum BodyPoll {
    /// It can continue: queue it behind the other runnable processes.
    Yield,
    /// It waits: resume it when a message, an EXIT, a DOWN, a timer or a waker arrives that it has
    /// not had a chance to see.
    Wait,
    /// It ends with this reason.
    Exit(Reason),
}

/// A pointer to the running slice, whose type this folder does not know. `kernel::slice` makes and
/// follows it.
#[derive(Clone, Copy, Debug)]
pub struct SlicePtr<'s>(NonNull<()>, PhantomData<&'s ()>);

impl SlicePtr<'_> {
    /// Creates the pointer from an erased one.
    ///
    /// # Safety
    /// It points to a slice that lasts for the pointer's lifetime.
    #[inline(always)]
    pub(crate) const unsafe fn from_erased(slice: NonNull<()>) -> Self {
        Self(slice, PhantomData)
    }

    /// Returns the pointer without its type.
    #[inline(always)]
    pub(crate) const fn erased(self) -> NonNull<()> {
        self.0
    }
}

/// The functions of a body whose type the kernel does not know.
#[derive(Debug)]
pub struct BodyVtable {
    /// The type of its messages.
    pub takes: TypeId,
    /// Runs a slice. The caller is the owner, and the body has not been dropped.
    pub resume: unsafe fn(NonNull<Header>, SlicePtr<'_>) -> BodyPoll,
    /// Drops the body. The caller is the owner and calls it once. `None` if it would do nothing.
    pub drop_body: Option<unsafe fn(NonNull<Header>)>,
    /// Frees the memory. The body has been dropped, and the caller holds the last reference.
    pub free: unsafe fn(NonNull<Header>, Option<&Pool>),
}

/// A type of body that the kernel can run. Every [`crate::Body`] is one.
pub(crate) trait ErasedBody: Sized {
    /// The functions of the body.
    const VTABLE: &'static BodyVtable;
}

/// A process: header and body in one allocation.
#[repr(C)]
pub(crate) struct Process<B> {
    pub(crate) header: Header,
    pub(crate) body: UnsafeCell<B>,
}

impl<B> Process<B> {
    /// Creates the functions of a process whose body takes messages of the type `takes`, and is run
    /// by `resume`.
    pub(crate) const fn vtable(
        takes: TypeId,
        resume: unsafe fn(NonNull<Header>, SlicePtr<'_>) -> BodyPoll,
    ) -> BodyVtable {
        let drop_body: Option<unsafe fn(NonNull<Header>)> =
            if needs_drop::<B>() { Some(Self::drop_body) } else { None };
        BodyVtable { takes, resume, drop_body, free: Self::free }
    }

    /// Writes a new process, part by part in its final place: copying a whole process takes several
    /// cache lines.
    ///
    /// # Safety
    /// `memory` is fresh memory of this layout, which only the process's last reference frees. It
    /// is not freed during `'a`.
    #[inline(always)]
    pub(crate) unsafe fn write<'a>(memory: NonNull<Self>, header: NewHeader, body: B) -> Owned<'a> {
        // SAFETY: within fresh memory of this layout (this function's contract).
        let place = unsafe { &raw mut (*memory.as_ptr()).body };
        // SAFETY: within fresh memory of this layout.
        unsafe { place.write(UnsafeCell::new(body)) };
        let process = memory.cast::<Header>();
        // SAFETY: fresh memory, which starts with a header's layout.
        unsafe { header.write(process) };
        // SAFETY: initialised above; the pointer is that of the whole allocation.
        let process = unsafe { ProcessRef::new(process) };
        // SAFETY: P1: not published, so no other thread has it.
        unsafe { Owned::assume(process) }
    }

    /// Returns the body's place.
    pub(crate) fn body(process: NonNull<Header>) -> *mut UnsafeCell<B> {
        // SAFETY: the body lies within the allocation of the `Process<B>` that the header starts.
        unsafe { &raw mut (*process.cast::<Self>().as_ptr()).body }
    }

    unsafe fn drop_body(process: NonNull<Header>) {
        // SAFETY: the caller is the owner and calls this once (the vtable's contract).
        unsafe { Self::body(process).drop_in_place() };
    }

    unsafe fn free(process: NonNull<Header>, pool: Option<&Pool>) {
        // SAFETY: the body is dropped already, and the caller holds the last reference; this drops
        // the header's own parts.
        unsafe { process.drop_in_place() };
        // SAFETY: `spawn` allocated it as a `Process<B>`.
        unsafe { pool::free(process.cast::<Self>(), pool) };
    }
}
