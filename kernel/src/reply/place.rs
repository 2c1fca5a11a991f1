//! [`CallSite`], where an end of a request is used: on a core of its asker's kernel, or elsewhere; see `cell`, A4.

use core::ptr::{self, NonNull};

use super::cell::{Caller, RequestHead, Orders};
use super::watch::OpenRequests;
use crate::cx::Slice;
use crate::memory::pool::Pool;
use crate::process::fetch::{FetchedBy, fetch};
use crate::process::header::Header;
use crate::task::waker;

/// Where an end of a request is used.
pub(super) struct CallSite<'s>(Option<&'s Slice<'s>>);

impl<'s> CallSite<'s> {
    /// Here.
    pub(super) fn of(asker: &Caller) -> Self {
        // SAFETY: the place of this thread of execution, by World's contract.
        let slice = unsafe { (*(asker.here)()).get() }.cast::<Slice<'_>>();
        // SAFETY: null, or noted for as long as the slice lasts, which is longer than the call that this is made for.
        let slice = unsafe { slice.as_ref() };
        Self(slice.filter(|slice| ptr::eq(slice.hand.kernel, asker.kernel.as_ptr())))
    }

    /// On a core of the asker's kernel, in a slice: nothing is reclaimed meanwhile.
    pub(super) fn is_core(&self) -> bool {
        self.0.is_some()
    }

    /// Runs foreign code, contained if this is a core.
    pub(super) fn catch_panic(&self, code: impl FnOnce()) {
        let mut code = Some(code);
        let mut run = || code.take().into_iter().for_each(|code| code());
        match self.0 {
            Some(slice) => slice.hand.catch_panic(run),
            None => run(),
        }
    }

    /// Where freed memory goes.
    pub(super) fn pool(&self) -> Option<&Pool> {
        self.0.and_then(|slice| slice.hand.pool())
    }

    /// The asker's slice, if that is here and its body is at work.
    fn body_of(&self, asker: &Caller) -> Option<&'s Slice<'s>> {
        let at_work = |slice: &&Slice<'s>| {
            slice.resumed.get() && !slice.inside.get() && ptr::eq(slice.process(), asker.process.as_ptr())
        };
        self.0.filter(at_work)
    }

    /// The requests of the process whose body is at work here, if this is the newest of them.
    pub(super) fn has_newest(&self, request: NonNull<RequestHead>) -> Option<&'s mut OpenRequests> {
        let slice = self.0.filter(|slice| slice.resumed.get() && !slice.inside.get())?;
        // SAFETY: its slice, and its body is at work: nobody else looks, and the caller calls nothing foreign meanwhile.
        let open = &mut unsafe { slice.process().private() }.open;
        open.is_newest(request).then_some(open)
    }

    /// The process that was asked answers before anybody has done anything else, and wakes the asker; false, and nothing has
    /// happened, when the asker or a waker is there first.
    ///
    /// # Safety
    /// The answer is in the cell; neither the answerer nor the watch is out, which is the newest of `open`, and after true both
    /// are.
    #[inline]
    pub(super) unsafe fn answers_first<O: Orders>(&self, asker: &Caller, head: NonNull<RequestHead>, open: &mut OpenRequests) -> bool {
        let Some(Slice { hand, .. }) = self.0 else { return false };
        // Afterwards the cell is not looked at.
        open.pop();
        // SAFETY: not out.
        if unsafe { head.as_ref() }.answer_first::<O>() {
            asker.wake(hand);
            return true;
        }
        // SAFETY: not out, and taken out above.
        unsafe { open.put_back(head) };
        false
    }

    /// As a mutant of [`RequestHead::event`] does with an asker that sleeps: claims it, and takes the cell for its own (`cell`, A5).
    ///
    /// # Safety
    /// The answer is in the cell; neither the answerer nor the watch is out, which is the newest of `open`, and after true both
    /// are.
    #[cfg(loom)]
    pub(super) unsafe fn answers_the_sleeping(&self, asker: &Caller, head: NonNull<RequestHead>, open: &mut OpenRequests) -> bool {
        let Some(Slice { hand, .. }) = self.0 else { return false };
        if !hand.kernel.mutated(crate::mutate::Mutation::TakesTheSleepersCell) {
            return false;
        }
        let Some(process) = hand.find(asker.pid).filter(|process| waker::claim(process)) else { return false };
        // SAFETY: not out.
        let cell = unsafe { head.as_ref() };
        let alone = cell.load(crate::sync::Ordering::Relaxed) == 0;
        if alone {
            // Afterwards the cell is not looked at.
            open.pop();
            cell.store_answered();
        }
        hand.schedule(process);
        alone
    }

    /// The asker takes what has come before it looks at what it has seen (Q3); whether it dies of that.
    #[cold]
    pub(super) fn dies_of_what_came(&self, asker: &Caller) -> bool {
        let Some(slice) = self.body_of(asker) else { return false };
        if !slice.looking.get() {
            let _inside = slice.enter();
            fetch(slice.process(), &slice.hand, FetchedBy::Core);
        }
        // SAFETY: its slice, and its body is at work: nobody else looks.
        unsafe { slice.process().private() }.dying.is_some()
    }

    /// Wakes the asker.
    ///
    /// # Safety
    /// On a core, or the caller has a share of the process.
    #[inline]
    pub(super) unsafe fn wake(&self, asker: &Caller) {
        match self.0 {
            Some(slice) => asker.wake(&slice.hand),
            // SAFETY: by contract shared.
            None => unsafe { waker::wake_shared(asker.process) },
        }
    }

    /// Gives the asker's share back: to the asker itself if it runs here, for its next request.
    ///
    /// # Safety
    /// The caller has the share.
    pub(super) unsafe fn give_back(&self, asker: &Caller) {
        if let Some(slice) = self.body_of(asker) {
            // SAFETY: its slice, and its body is at work: nobody else looks.
            let private = unsafe { slice.process().private() };
            if !core::mem::replace(&mut private.spare, true) {
                return;
            }
        }
        // SAFETY: by contract.
        unsafe { asker.give_up() };
    }
}

impl Caller {
    /// Gives up the share.
    ///
    /// # Safety
    /// The caller has it.
    pub(super) unsafe fn give_up(&self) {
        // SAFETY: by contract.
        unsafe { Header::give_up_waker(self.process) };
    }
}
