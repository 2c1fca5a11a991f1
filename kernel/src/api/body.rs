//! The code that a process runs, [`Body`].

use core::any::TypeId;
use core::mem::needs_drop;
use core::ptr::NonNull;

use crate::api::cx::{Cx, Slice};
use crate::memory::pool::{self, Pool};
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sync::UnsafeCell;

/// The code that a process runs, one slice at a time: a future, an interpreter, a state machine.
///
/// The kernel drops the body when the process ends, on the core that ran it last, before any
/// process or host thread is notified of the end.
pub trait Body: Send + 'static {
    /// The type of the messages that it receives.
    type Message: Send + 'static;

    /// Runs until it must wait, has used up its reductions ([`Cx::spend`]), or ends.
    ///
    /// Never called from two places at the same time. A panic in here ends the process with a
    /// crash, if the platform can catch it.
    fn resume(&mut self, cx: &Cx<'_, Self::Message>) -> Resumed;
}

/// The reason why [`Body::resume`] returned.
#[derive(Debug)]
pub enum Resumed {
    /// It can continue: queue it behind the other runnable processes.
    Yield,
    /// It waits: resume it when a message, an EXIT, a DOWN, a timer or a waker arrives that it has
    /// not had a chance to see.
    Wait,
    /// It ends with this reason.
    Exit(Reason),
}

/// The functions of a body whose type the kernel does not know.
#[derive(Debug)]
pub struct BodyVtable {
    /// The type of its messages.
    pub takes: TypeId,
    /// Runs a slice. The caller is the owner, and the body has not been dropped.
    pub resume: unsafe fn(NonNull<Header>, &Slice<'_>) -> Resumed,
    /// Drops the body. The caller is the owner and calls it once. `None` if it would do nothing.
    pub drop_body: Option<unsafe fn(NonNull<Header>)>,
    /// Frees the memory. The body has been dropped, and the caller holds the last reference.
    pub free: unsafe fn(NonNull<Header>, Option<&Pool>),
}

/// A process: header and body in one allocation.
#[repr(C)]
pub(crate) struct Process<B> {
    pub(crate) header: Header,
    pub(crate) body: UnsafeCell<B>,
}

impl<B: Body> Process<B> {
    pub(crate) const VTABLE: &'static BodyVtable = &BodyVtable {
        takes: TypeId::of::<B::Message>(),
        resume: Self::resume,
        drop_body: if needs_drop::<B>() { Some(Self::drop_body) } else { None },
        free: Self::free,
    };

    fn body(process: NonNull<Header>) -> *mut UnsafeCell<B> {
        // SAFETY: the body lies within the allocation of the `Process<B>` that the header starts.
        unsafe { &raw mut (*process.cast::<Self>().as_ptr()).body }
    }

    unsafe fn resume(process: NonNull<Header>, slice: &Slice<'_>) -> Resumed {
        // SAFETY: P1: the caller is the owner, so no other thread touches the body.
        unsafe { &*Self::body(process) }.with_mut(|body| {
            // SAFETY: P1: the caller is the owner; the body exists until `drop_body`.
            unsafe { &mut *body }.resume(Cx::of(slice))
        })
    }

    unsafe fn drop_body(process: NonNull<Header>) {
        // SAFETY: the caller is the owner and calls this once (the vtable's contract).
        unsafe { Self::body(process).drop_in_place() };
    }

    unsafe fn free(process: NonNull<Header>, pool: Option<&Pool>) {
        // SAFETY: the caller holds the last reference, so no other thread reads the header.
        let header = unsafe { process.as_ref() };
        // SAFETY: the caller holds the last reference, so no other thread reads it.
        let predecessor = header.predecessor.with(|word| unsafe { *word });
        // SAFETY: T3: this process's claim took it out of the slot; returned once.
        drop(unsafe { Reason::from_word(predecessor) });
        // SAFETY: the body is dropped already; this drops the header's own parts.
        unsafe { process.drop_in_place() };
        // SAFETY: `spawn` allocated it as a `Process<B>`.
        unsafe { pool::free(process.cast::<Self>(), pool) };
    }
}
