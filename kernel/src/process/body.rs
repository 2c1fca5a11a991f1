//! What a process runs: [`Body`].

use core::any::TypeId;
use core::mem::needs_drop;
use core::ptr::NonNull;

use crate::cx::{Cx, Slice};
use crate::memory::pool::{self, Pool};
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sync::UnsafeCell;

/// What a process runs, one slice at a time: a future, an interpreter, a state machine.
///
/// The kernel drops the body when the process ends, on the core that ran it last, before
/// anybody is told of the end.
pub trait Body: Send + 'static {
    /// What it can be sent.
    type Message: Send + 'static;

    /// Runs until it has to wait, has used up its reductions ([`Cx::spend`]), or ends.
    ///
    /// Never called at the same time from two places. A panic in here ends the process
    /// with a crash, where the world can catch it.
    fn resume(&mut self, cx: &Cx<'_, Self::Message>) -> Resumed;
}

/// Why [`Body::resume`] returned.
#[derive(Debug)]
pub enum Resumed {
    /// It could go on: queue it behind the others.
    Yield,
    /// It waits: resume it when a message, an EXIT, a DOWN, an alarm or a waker comes that
    /// it has not had a chance to see.
    Wait,
    /// It ends.
    Exit(Reason),
}

/// How the kernel handles a body whose type it does not know.
#[derive(Debug)]
pub struct BodyVtable {
    /// The type of its messages.
    pub takes: TypeId,
    /// Runs a slice. The caller is the owner, and the body is there.
    pub resume: unsafe fn(NonNull<Header>, &Slice<'_>) -> Resumed,
    /// Drops the body. The caller is the owner, and it is done once. `None` where that would do nothing.
    pub drop_body: Option<unsafe fn(NonNull<Header>)>,
    /// Frees the memory. The body has been dropped, and the caller has the last share.
    pub free: unsafe fn(NonNull<Header>, Option<&Pool>),
}

/// Header and body in one allocation.
#[repr(C)]
pub(super) struct Process<B> {
    pub(super) header: Header,
    pub(super) body: UnsafeCell<B>,
}

impl<B: Body> Process<B> {
    pub(super) const VTABLE: &'static BodyVtable = &BodyVtable {
        takes: TypeId::of::<B::Message>(),
        resume: Self::resume,
        drop_body: if needs_drop::<B>() { Some(Self::drop_body) } else { None },
        free: Self::free,
    };

    fn body(process: NonNull<Header>) -> *mut UnsafeCell<B> {
        // SAFETY: within the allocation of the `Process<B>` that the header starts.
        unsafe { &raw mut (*process.cast::<Self>().as_ptr()).body }
    }

    unsafe fn resume(process: NonNull<Header>, slice: &Slice<'_>) -> Resumed {
        // SAFETY: the caller is the owner (P1): nobody else touches the body.
        unsafe { &*Self::body(process) }.with_mut(|body| {
            // SAFETY: likewise; the body is there until `drop_body`.
            unsafe { &mut *body }.resume(Cx::of(slice))
        })
    }

    unsafe fn drop_body(process: NonNull<Header>) {
        // SAFETY: by the vtable's contract the owner, once.
        unsafe { Self::body(process).drop_in_place() };
    }

    unsafe fn free(process: NonNull<Header>, pool: Option<&Pool>) {
        // SAFETY: the last share: nobody else looks.
        let header = unsafe { process.as_ref() };
        // SAFETY: nobody else looks.
        let predecessor = header.predecessor.with(|word| unsafe { *word });
        // SAFETY: taken out of the slot by this process's claim (T3), given back once.
        drop(unsafe { Reason::from_word(predecessor) });
        // SAFETY: the body is gone already; this drops the header's own parts.
        unsafe { process.drop_in_place() };
        // SAFETY: allocated as a `Process<B>` by `spawn`.
        unsafe { pool::free(process.cast::<Self>(), pool) };
    }
}
