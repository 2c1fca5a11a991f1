//! The code that a process runs, [`Body`].

use core::any::TypeId;
use core::ptr::NonNull;

use crate::api::cx::Cx;
use crate::process::header::Header;
use crate::process::vtable::{BodyPoll, BodyVtable, ErasedBody, Process, SlicePtr};

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
    fn resume(&mut self, cx: &Cx<'_, Self::Message>) -> BodyPoll;
}

impl<B: Body> ErasedBody for B {
    const VTABLE: &'static BodyVtable = &Process::<B>::vtable(TypeId::of::<B::Message>(), resume::<B>);
}

/// Runs a slice of a process whose body is a `B`.
///
/// # Safety
/// The caller owns the process, which is a `Process<B>` whose body has not been dropped. `slice` is
/// a slice of it.
unsafe fn resume<B: Body>(process: NonNull<Header>, slice: SlicePtr<'_>) -> BodyPoll {
    // SAFETY: P1: the caller is the owner, so no other thread touches the body.
    unsafe { &*Process::<B>::body(process) }.with_mut(|body| {
        // SAFETY: P1: the caller is the owner; the body exists until `drop_body`.
        unsafe { &mut *body }.resume(Cx::of(slice.get()))
    })
}
