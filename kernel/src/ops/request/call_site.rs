//! The call site of a request's end, `CallSite`: on a core of its requester's kernel, or
//! elsewhere; see `process::request_cell`, A4.

use core::ptr::{self, NonNull};

use crate::kernel::slice::Slice;
use crate::kernel_ptr::KernelPtr;
use crate::memory::pool::Pool;
use crate::ops::drain::{FetchedBy, fetch};
use crate::ops::waker;
use crate::process::header::Header;
use crate::process::request_cell::{Orders, RequestHead, Requester};
use crate::process::request_watch::OpenRequests;

/// The place where an end of a request is used.
pub(crate) struct CallSite<'s>(Option<&'s Slice<'s>>);

impl<'s> CallSite<'s> {
    /// Returns the current place.
    pub(crate) fn of(asker: &Requester) -> Self {
        // SAFETY: a platform's `current_slot`. This value is used no longer than the call that it
        // is made for.
        let slice = unsafe { Slice::current(asker.current_slot) };
        Self(slice.filter(|slice| KernelPtr::of(slice.kernel_cx.kernel) == asker.kernel))
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

    /// Returns the pool that takes freed memory.
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.0.and_then(|slice| slice.kernel_cx.pool())
    }

    /// Returns the requester's slice, if it runs here and its body is running.
    fn body_of(&self, asker: &Requester) -> Option<&'s Slice<'s>> {
        let at_work = |slice: &&Slice<'s>| {
            slice.resumed.get() && !slice.inside.get() && ptr::eq(slice.process(), asker.process.as_ptr())
        };
        self.0.filter(at_work)
    }

    /// Returns the requests of the process whose body runs here, if `request` is the newest of
    /// them.
    pub(crate) fn is_newest_request(&self, request: NonNull<RequestHead>) -> Option<&'s mut OpenRequests> {
        let slice = self.0.filter(|slice| slice.resumed.get() && !slice.inside.get())?;
        // SAFETY: P1: this is the process's slice and its body runs, so no other code touches it;
        // the caller runs nothing foreign while it uses the borrow.
        let open = &mut unsafe { slice.process().private() }.open;
        open.is_newest(request).then_some(open)
    }

    /// Answers for the process that received the request, before any other party has acted, and
    /// wakes the requester. Returns `false`, with no effect, if the requester or a waker is there
    /// first.
    ///
    /// # Safety
    /// The answer is in the cell. Neither the responder nor the watch is done; the watch is the
    /// newest of `open`. After `true` both are done.
    #[inline]
    pub(crate) unsafe fn answers_first<O: Orders>(
        &self,
        asker: &Requester,
        head: NonNull<RequestHead>,
        open: &mut OpenRequests,
    ) -> bool {
        let Some(Slice { kernel_cx, .. }) = self.0 else { return false };
        // After the exchange the cell may not be touched.
        open.pop();
        // SAFETY: A3: the responder is not done (this function's contract), so the cell is live.
        if unsafe { head.as_ref() }.answer_first::<O>() {
            asker.wake(kernel_cx);
            return true;
        }
        // SAFETY: the watch is not done, and was taken out of the list above.
        unsafe { open.put_back(head) };
        false
    }

    /// Answers as a mutant of [`RequestHead::event`] would when the requester sleeps: claims the
    /// process and treats the cell as its own (`request_cell`, A5).
    ///
    /// # Safety
    /// The answer is in the cell. Neither the responder nor the watch is done; the watch is the
    /// newest of `open`. After `true` both are done.
    #[cfg(loom)]
    pub(crate) unsafe fn can_complete_inline(
        &self,
        asker: &Requester,
        head: NonNull<RequestHead>,
        open: &mut OpenRequests,
    ) -> bool {
        let Some(Slice { kernel_cx, .. }) = self.0 else { return false };
        if !kernel_cx.kernel.mutated(crate::mutation::Mutation::TakesTheSleepersCell) {
            return false;
        }
        let Some(process) = kernel_cx.find(asker.pid).filter(|process| waker::claim(process)) else { return false };
        // SAFETY: A3: the responder is not done (this function's contract), so the cell is live.
        let cell = unsafe { head.as_ref() };
        let alone = cell.load(crate::sync::Ordering::Relaxed) == 0;
        if alone {
            // After the store the cell may not be touched.
            open.pop();
            cell.store_answered();
        }
        kernel_cx.schedule(process);
        alone
    }

    /// Drains what has arrived before the requester acts on a DOWN (Q3). Returns `true` if that is
    /// fatal.
    #[cold]
    pub(crate) fn died_while_draining(&self, asker: &Requester) -> bool {
        let Some(slice) = self.body_of(asker) else { return false };
        if !slice.looking.get() {
            let _inside = slice.enter();
            fetch(slice.process(), &slice.kernel_cx, FetchedBy::Core);
        }
        // SAFETY: P1: this is the process's slice and its body runs, so no other code touches it.
        unsafe { slice.process().private() }.dying.is_some()
    }

    /// Wakes the requester.
    ///
    /// # Safety
    /// The caller is on a core, or holds a reference to the process.
    #[inline]
    pub(crate) unsafe fn wake(&self, asker: &Requester) {
        match self.0 {
            Some(slice) => asker.wake(&slice.kernel_cx),
            // SAFETY: P4: not on a core, so the caller holds a reference (this function's
            // contract).
            None => unsafe { waker::wake_shared(asker.process) },
        }
    }

    /// Returns the requester's reference: to the process itself if it runs here, for its next
    /// request.
    ///
    /// # Safety
    /// The caller holds the reference, and does not use it again.
    pub(crate) unsafe fn give_back(&self, asker: &Requester) {
        if let Some(slice) = self.body_of(asker) {
            // SAFETY: P1: this is the process's slice and its body runs, so no other code touches
            // it.
            let private = unsafe { slice.process().private() };
            if !core::mem::replace(&mut private.spare, true) {
                return;
            }
        }
        // SAFETY: the caller holds the reference (this function's contract), which was not kept.
        unsafe { asker.release() };
    }
}

impl Requester {
    /// Releases the reference.
    ///
    /// # Safety
    /// The caller holds it, and does not use it again.
    pub(crate) unsafe fn release(&self) {
        // SAFETY: the caller holds the reference (this function's contract).
        unsafe { Header::release_waker_ref(self.process) };
    }
}
