//! The call site of a request's end, `CallSite`: on a core of its requester's kernel, or
//! elsewhere; see `process::request_cell`, A4.

use core::mem::ManuallyDrop;

use crate::catch_drop::DropCatcher;
use crate::kernel::slice::Slice;
use crate::kernel_ptr::KernelPtr;
use crate::memory::pool::Pool;
use crate::ops::drain::{FetchedBy, fetch};
use crate::ops::waker;
use crate::process::counted_ref::WakerRef;
use crate::process::request_cell::{DeathWatch, Orders, Requester, ResponderParty};
use crate::process::request_watch::OpenRequests;

/// The requests that a process has received and not answered, for the process that answers the
/// newest of them.
pub(crate) enum ReceivedRequests<'s> {
    /// Those of the process whose body runs here.
    OfSlice(&'s Slice<'s>),
    /// Those of a model without processes.
    OfModel(&'s mut OpenRequests),
}

impl ReceivedRequests<'_> {
    /// Runs `f` with the requests. `f` calls no foreign code.
    #[inline(always)]
    pub(crate) fn with<R>(&mut self, f: impl FnOnce(&mut OpenRequests) -> R) -> R {
        match self {
            Self::OfSlice(slice) => slice.state(|state| f(&mut state.open)),
            Self::OfModel(open) => f(open),
        }
    }
}

/// The place where an end of a request is used.
pub(crate) struct CallSite<'s>(Option<&'s Slice<'s>>);

impl<'s> CallSite<'s> {
    /// Returns the current place.
    pub(crate) fn of(requester: &Requester) -> Self {
        // SAFETY: this value is used no longer than the call that it is made for.
        let slice = unsafe { requester.current_slot.slice() };
        Self(slice.filter(|slice| KernelPtr::of(slice.kernel_cx.kernel) == requester.kernel))
    }

    /// Returns `true` on a core of the requester's kernel, in a slice: no memory is reclaimed
    /// during it.
    pub(crate) fn is_core(&self) -> bool {
        self.0.is_some()
    }

    /// Runs foreign code, and catches its panic if this is a core.
    pub(crate) fn catch_panic(&self, code: impl FnOnce()) {
        let mut code = Some(code);
        let mut run = || code.take().into_iter().for_each(|code| code());
        match self.0 {
            Some(slice) => slice.kernel_cx.catch_panic(run),
            None => run(),
        }
    }

    /// Returns the platform's way to catch the panics of destructors, if this is a core.
    pub(crate) fn drop_catcher(&self) -> DropCatcher {
        DropCatcher::new(self.0.and_then(|slice| slice.kernel_cx.kernel.world().panic_catcher()))
    }

    /// Returns the pool that takes freed memory.
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.0.and_then(|slice| slice.kernel_cx.pool())
    }

    /// Returns the requester's slice, if it runs here and its body is running.
    fn body_of(&self, requester: &Requester) -> Option<&'s Slice<'s>> {
        let at_work = |slice: &&Slice<'s>| slice.is_in_body() && slice.process().as_ptr() == requester.process;
        self.0.filter(at_work)
    }

    /// Returns the requests of the process whose body runs here, if the responder's request is the
    /// newest of them.
    pub(crate) fn is_newest_request<T>(&self, request: &ResponderParty<T>) -> Option<ReceivedRequests<'s>> {
        let slice = self.0.filter(|slice| slice.is_in_body())?;
        slice.state(|state| state.open.is_newest(request)).then_some(ReceivedRequests::OfSlice(slice))
    }

    /// Answers for the process that received the request, before any other party has acted, and
    /// wakes the requester. The answer is in the cell, whose watch is the newest of `open`.
    ///
    /// # Errors
    /// The responder, with no effect, if the requester or a waker is there first.
    #[inline]
    pub(crate) fn answers_first<T, O: Orders>(
        &self,
        requester: &Requester,
        responder: ResponderParty<T>,
        open: &mut ReceivedRequests<'_>,
    ) -> Result<(), ResponderParty<T>> {
        let Some(Slice { kernel_cx, .. }) = self.0 else { return Err(responder) };
        // After the exchange the cell may not be touched.
        let Some(watch) = open.with(OpenRequests::pop) else { return Err(responder) };
        match responder.answer_first::<O>(watch.into_party()) {
            Ok(()) => {
                requester.wake(kernel_cx);
                Ok(())
            }
            Err((responder, watch)) => {
                open.with(|open| open.put_back(DeathWatch::of(watch)));
                Err(responder)
            }
        }
    }

    /// Answers as a mutant of [`RequestHead::event`] would when the requester sleeps: claims the
    /// process and treats the cell as its own (`request_cell`, A5). Otherwise as
    /// [`CallSite::answers_first`].
    ///
    /// [`RequestHead::event`]: crate::process::request_cell::RequestHead::event
    #[cfg(loom)]
    pub(crate) fn can_complete_inline<T>(
        &self,
        requester: &Requester,
        responder: ResponderParty<T>,
        open: &mut ReceivedRequests<'_>,
    ) -> Result<(), ResponderParty<T>> {
        let Some(Slice { kernel_cx, .. }) = self.0 else { return Err(responder) };
        if !kernel_cx.kernel.mutations.injects(crate::mutation::Mutation::TakesTheSleepersCell) {
            return Err(responder);
        }
        let Some(owned) = kernel_cx.find(requester.pid).and_then(waker::claim) else { return Err(responder) };
        let alone = responder.load(crate::sync::Ordering::Relaxed) == 0;
        // After the store the cell may not be touched.
        let answered = match if alone { open.with(OpenRequests::pop) } else { None } {
            Some(watch) => {
                responder.store_answered(watch.into_party());
                Ok(())
            }
            None => Err(responder),
        };
        kernel_cx.schedule(owned);
        answered
    }

    /// Drains what has arrived before the requester acts on a DOWN (Q3). Returns `true` if that is
    /// fatal.
    #[cold]
    pub(crate) fn died_while_draining(&self, requester: &Requester) -> bool {
        let Some(slice) = self.body_of(requester) else { return false };
        if !slice.looking.get() {
            slice.with_owned(|owned| fetch(owned, &slice.kernel_cx, FetchedBy::Core));
        }
        slice.is_dying()
    }

    /// Wakes the requester.
    ///
    /// # Safety
    /// The caller is on a core, or holds a reference to the process.
    #[inline]
    pub(crate) unsafe fn wake(&self, requester: &Requester) {
        match self.0 {
            Some(slice) => requester.wake(&slice.kernel_cx),
            // SAFETY: P4: not on a core, so the caller holds a reference (this function's
            // contract), which is not dropped here.
            None => waker::wake_by_ref(&ManuallyDrop::new(unsafe { WakerRef::from_raw(requester.process) })),
        }
    }

    /// Returns the requester's reference: to the process itself if it runs here, for its next
    /// request.
    ///
    /// # Safety
    /// The caller holds the reference, and does not use it again.
    pub(crate) unsafe fn give_back(&self, requester: &Requester) {
        // SAFETY: the caller holds the reference, and does not use it again (this function's
        // contract).
        let reference = unsafe { requester.reference() };
        match self.body_of(requester) {
            Some(slice) => drop(slice.with_owned(|owned| owned.keep_spare(reference))),
            None => drop(reference),
        }
    }
}

impl Requester {
    /// Returns the reference.
    ///
    /// # Safety
    /// The caller holds it, and takes it once.
    pub(crate) unsafe fn reference(&self) -> WakerRef {
        // SAFETY: the caller holds the reference (this function's contract), which the request got
        // from `into_raw`.
        unsafe { WakerRef::from_raw(self.process) }
    }
}
