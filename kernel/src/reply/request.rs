//! A request: a message with a [`Reply`] in it, whose asker learns as well of the death of whom it asks.
//!
//! OTP's call is a monitor, a message, an answer, and the monitor taken back. Here the *watch* travels with the message: it is
//! the same node, so it needs no signal of its own and keeps its place by itself. Who receives the message has the
//! watch from then on ([`Open`]), and when it dies every request that it has not answered says so to its asker, also one
//! that still waits in its mailbox. An answer ends the watch where it is: the process lets go of what is answered when it
//! next receives.
//!
//! - **Q1.** The watch is in the message's node until the message is received, then among the receiver's requests. It is let
//!   go of with a message that is dropped on the way, and when it is found answered. Only a death says DOWN.
//! - **Q2.** A process looks at the newest of its requests each time it receives, and at all of them when their number
//!   has doubled: so what is answered later by others is let go of in amortised O(1), and no more linger than twice as many
//!   as once waited together.
//! - **Q3.** DOWN comes to the asker after the EXITs of the same death, and after what the dead had sent it: a process that
//!   finds it takes what has come first, and if it dies of that, has not seen it.
//!
//! A reply that is dropped may be so because the process dies: an asker that finds it dropped with the watch still in
//! asks whether the process is alive, and waits for DOWN when it is not ([`Lost::Dropped`]).

use core::fmt;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, Waker};

use super::cell::{ANSWERED, Asker, Cell, DOWN, EVENTS, GONE, Head, OUT_ANSWERER, OUT_WATCH, Orders, Real, Seen};
use super::{Asking, Reply};
use crate::cx::Slice;
use crate::hand::Hand;
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::process::fetch::{By, fetch};
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sync::Ordering;
use crate::task::waker;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// The process has dropped the reply, and lives.
    NoReply,
    /// The reply was dropped, perhaps because the process dies: then `Down` comes next. Said once.
    Dropped,
    /// The process is dead.
    Down(Reason),
}

/// Where the answer to a request is waited for. Dropping it is to be no longer interested, also in the death.
#[must_use = "the answer comes here"]
pub struct Requested<T, O: Orders = Real> {
    asking: Asking<T, O>,
    /// A dropped reply was told.
    told: bool,
}

impl<T, O: Orders> Requested<T, O> {
    /// The answer, or why there is none. Pending, the process that has asked is resumed when there is more to see, and so is
    /// another task that polls it, by its waker. Lock-free.
    ///
    /// # Panics
    /// After it was ready, but for [`Lost::Dropped`].
    #[inline]
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<T, Lost>> {
        let asking = &mut self.asking;
        assert!(!asking.ready, "polled after it was ready");
        if let Seen::Answered = asking.head().look::<O>() {
            return Poll::Ready(asking.take().ok_or(Lost::NoReply));
        }
        self.poll_others(task)
    }

    /// [`Requested::poll`], where there is no answer yet.
    #[inline(never)]
    fn poll_others(&mut self, task: &mut Context<'_>) -> Poll<Result<T, Lost>> {
        let asking = &mut self.asking;
        loop {
            match asking.head().look::<O>() {
                Seen::Answered => return Poll::Ready(asking.take().ok_or(Lost::NoReply)),
                Seen::Down => {
                    if asking.head().asker.is_some_and(|asker| Place::of(&asker).dies_of_what_came(&asker)) {
                        return Poll::Pending;
                    }
                    asking.ready = true;
                    return Poll::Ready(Err(Lost::Down(asking.head().reason())));
                }
                Seen::Dropped if asking.head().load(O::LOOK) & (OUT_WATCH | DOWN) == OUT_WATCH => {
                    asking.ready = true;
                    return Poll::Ready(Err(Lost::NoReply));
                }
                Seen::Dropped if !core::mem::replace(&mut self.told, true) => {
                    return Poll::Ready(Err(Lost::Dropped));
                }
                Seen::Dropped | Seen::Nothing => {}
            }
            if asking.head().asker.is_some_and(|asker| waker::is_of(task.waker(), asker.process)) {
                return Poll::Pending;
            }
            if self.told && O::HEEDS_OUT && asking.head().load(O::LOOK) & OUT_ANSWERER == 0 {
                // In the middle of its exit: a moment, and the waker has its place again (`cell`, A1).
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if asking.head().register::<O>(task.waker(), if self.told { DOWN } else { EVENTS }) {
                return Poll::Pending;
            }
        }
    }
}

impl<T, O: Orders> fmt::Debug for Requested<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requested").field("ready", &self.asking.ready).finish_non_exhaustive()
    }
}

/// The watch, while nobody has it: it is let go of when it is dropped.
#[derive(Debug)]
pub struct Watching<O: Orders = Real>(NonNull<Head>, PhantomData<fn() -> O>);

// SAFETY: the word decides who may touch the cells (see `cell`).
unsafe impl<O: Orders> Send for Watching<O> {}

impl<O: Orders> Watching<O> {
    /// It travels on.
    pub(crate) fn travels(self) -> NonNull<Head> {
        core::mem::ManuallyDrop::new(self).0
    }

    /// The process is dead: what [`down`] does with the cell, and the waker that is to be called. For the models.
    pub fn down(self, reason: &Reason) -> Option<Waker> {
        // SAFETY: the watch's, not used again.
        unsafe { say_down::<O>(self.travels(), None, reason) }.and_then(|(_, waker)| waker)
    }

    /// Lets go if it is settled, as [`settle`]. For the models.
    pub fn settle(self) -> Option<Self> {
        let head = self.travels();
        // SAFETY: the watch's, not used again if it was.
        (!unsafe { settle::<O>(head, None) }).then(|| Self(head, PhantomData))
    }
}

impl<O: Orders> Drop for Watching<O> {
    fn drop(&mut self) {
        // SAFETY: the watch's, not used again.
        unsafe { leave::<O>(self.0, None) };
    }
}

/// The three ends of a request, with whatever orderings.
pub type Triple<T, O> = (Reply<T, O>, Watching<O>, Requested<T, O>);

/// The three ends of a request of nobody, with other orderings: for the models.
pub fn request_with<T: Send, O: Orders>() -> Result<Triple<T, O>, NoMemory> {
    let head = memory::try_new(Cell::<T>::new(None, true)).map_err(|_| NoMemory)?.cast();
    Ok(ends(head))
}

fn ends<T, O: Orders>(head: NonNull<Head>) -> Triple<T, O> {
    let requested = Requested { asking: Asking::new(head), told: false };
    (Reply(head, PhantomData), Watching(head, PhantomData), requested)
}

/// The three ends of a request of a process that runs on this core.
pub(crate) fn request<T: Send>(process: &Header, hand: &Hand<'_>) -> Result<Triple<T, Real>, NoMemory> {
    // The cell is whole before it has the share: nobody has to give it back.
    let (kernel, here) = (process.kernel, hand.kernel.here);
    let asker = Asker { pid: process.pid, process: process.whole(), kernel, here };
    let head: NonNull<Head> = hand.try_new(Cell::<T>::new(Some(asker), true)).map_err(|_| NoMemory)?.cast();
    // SAFETY: the caller runs the process's slice.
    let private = unsafe { process.private() };
    if !core::mem::take(&mut private.spare) {
        process.share_with_waker();
    }
    Ok(ends(head))
}

/// The watch lets go.
///
/// # Safety
/// The caller has the watch, and does not use it again.
pub(crate) unsafe fn let_go(head: NonNull<Head>, pool: Option<&Pool>) {
    // SAFETY: by contract.
    unsafe { leave::<Real>(head, pool) };
}

/// As [`let_go`].
unsafe fn leave<O: Orders>(head: NonNull<Head>, pool: Option<&Pool>) {
    // SAFETY: the watch is not out.
    let before = unsafe { head.as_ref() }.leave::<O>(OUT_WATCH);
    if Head::is_last(before, OUT_WATCH) {
        // SAFETY: the last one.
        unsafe { Head::free(head, pool) };
    }
}

/// Lets go of what is answered or dropped; whether it was.
///
/// # Safety
/// The caller has the watch, and does not use it again after `true`.
unsafe fn settle<O: Orders>(head: NonNull<Head>, pool: Option<&Pool>) -> bool {
    // SAFETY: the watch is not out.
    let word = unsafe { head.as_ref() }.load(O::SETTLE);
    if word & (GONE | OUT_ANSWERER) == GONE | OUT_ANSWERER {
        // The last one.
        // SAFETY: both others are out, by Acquire.
        unsafe { Head::free(head, pool) };
        return true;
    }
    let settled = word & (OUT_ANSWERER | ANSWERED) != 0 || !O::HEEDS_THE_ANSWERER;
    if settled {
        // SAFETY: the watch, not used again.
        unsafe { leave::<O>(head, pool) };
    }
    settled
}

/// Says to the asker that the process is dead.
///
/// # Safety
/// The caller has the watch, and does not use it again. With a hand of the asker's kernel.
pub(crate) unsafe fn down(head: NonNull<Head>, hand: &Hand<'_>, reason: &Reason) {
    // SAFETY: by contract.
    let Some((asker, called)) = (unsafe { say_down::<Real>(head, hand.pool(), reason) }) else { return };
    if let Some(asker) = asker {
        asker.wake(hand);
    }
    if let Some(called) = called {
        let mut called = Some(called);
        hand.kernel.contain(&mut || called.take().into_iter().for_each(Waker::wake));
    }
}

/// What [`down`] does with the cell; whom to wake, if somebody waits who has no answer.
///
/// # Safety
/// As for [`let_go`].
unsafe fn say_down<O: Orders>(
    head: NonNull<Head>,
    pool: Option<&Pool>,
    reason: &Reason,
) -> Option<(Option<Asker>, Option<Waker>)> {
    // SAFETY: the watch is not out.
    let cell = unsafe { head.as_ref() };
    let asker = cell.asker;
    let unless = if O::HEEDS_GONE { GONE | ANSWERED } else { ANSWERED };
    // Relaxed: a hint.
    let said = if cell.load(Ordering::Relaxed) & unless == 0 {
        cell.set_reason(reason.clone());
        cell.event::<O>(DOWN, OUT_WATCH, unless)
    } else {
        Err(0)
    };
    if !matches!(said, Ok((_, None))) {
        // Not out with the event: it had a waker, or there was none.
        // SAFETY: the watch, not used again.
        unsafe { leave::<O>(head, pool) };
    }
    said.ok().map(|(_, called)| (asker, called))
}

/// Where an end of a request is used.
pub(super) struct Place<'s>(Option<&'s Slice<'s>>);

impl<'s> Place<'s> {
    /// Here.
    pub(super) fn of(asker: &Asker) -> Self {
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

    /// Where freed memory goes.
    pub(super) fn pool(&self) -> Option<&Pool> {
        self.0.and_then(|slice| slice.hand.pool())
    }

    /// The asker's slice, if that is here and its body is at work.
    fn body_of(&self, asker: &Asker) -> Option<&'s Slice<'s>> {
        let at_work = |slice: &&Slice<'s>| {
            slice.resumed.get() && !slice.inside.get() && ptr::eq(slice.process(), asker.process.as_ptr())
        };
        self.0.filter(at_work)
    }

    /// The asker takes what has come before it looks at what it has seen (Q3); whether it dies of that.
    #[cold]
    fn dies_of_what_came(&self, asker: &Asker) -> bool {
        let Some(slice) = self.body_of(asker) else { return false };
        if !slice.looking.get() {
            let _inside = slice.enter();
            fetch(slice.process(), &slice.hand, By::Core);
        }
        // SAFETY: its slice, and its body is at work: nobody else looks.
        unsafe { slice.process().private() }.dying.is_some()
    }

    /// Wakes the asker.
    ///
    /// # Safety
    /// On a core, or the caller has a share of the process.
    pub(super) unsafe fn wake(&self, asker: Asker) {
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
    pub(super) unsafe fn give_back(&self, asker: Asker) {
        if let Some(slice) = self.body_of(&asker) {
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

impl Asker {
    /// Gives up the share.
    ///
    /// # Safety
    /// The caller has it.
    pub(super) unsafe fn give_up(self) {
        // SAFETY: by contract.
        unsafe { Header::give_up_waker(self.process) };
    }
}

/// The requests that a process has received and not answered, newest first. The owner's.
#[derive(Debug)]
pub struct Open {
    first: *mut Head,
    count: u32,
    /// So many are there when all are looked at next.
    sweep: u32,
}

/// So many requests are looked at together at least.
const FEW: u32 = 16;

impl Default for Open {
    fn default() -> Self {
        Self::new()
    }
}

impl Open {
    /// None.
    pub const fn new() -> Self {
        Self { first: ptr::null_mut(), count: 0, sweep: FEW }
    }

    /// Whether there is one that may be answered.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// A request is received: the watch is the process's.
    ///
    /// # Safety
    /// The caller has the watch, which goes over.
    pub(crate) unsafe fn add(&mut self, head: NonNull<Head>, pool: Option<&Pool>) {
        if self.count >= self.sweep {
            self.sweep(pool);
        }
        // SAFETY: by contract in no list, and the watch's.
        unsafe { head.as_ref() }.next.with_mut(|next| unsafe { *next = self.first });
        self.first = head.as_ptr();
        self.count += 1;
    }

    /// The newest.
    pub(crate) fn pop(&mut self) -> Option<NonNull<Head>> {
        let head = NonNull::new(self.first)?;
        // SAFETY: in the list, so its watch is not out; `next` is the owner's.
        self.first = unsafe { head.as_ref() }.next.with(|next| unsafe { *next });
        self.count -= 1;
        Some(head)
    }

    /// Lets go of the newest, if it is answered.
    pub(crate) fn settle(&mut self, pool: Option<&Pool>) {
        if let Some(head) = self.pop() {
            self.keep(head, pool);
        }
    }

    /// Puts one back, unless it is settled.
    fn keep(&mut self, head: NonNull<Head>, pool: Option<&Pool>) {
        // SAFETY: taken out of the list.
        let next = unsafe { head.as_ref() }.next.with(|next| unsafe { *next });
        debug_assert_eq!(next, self.first, "it was the first one");
        // SAFETY: likewise, not used again when it is settled.
        if !unsafe { settle::<Real>(head, pool) } {
            self.first = head.as_ptr();
            self.count += 1;
        }
    }

    #[cold]
    fn sweep(&mut self, pool: Option<&Pool>) {
        let mut all = core::mem::take(self);
        while let Some(head) = all.pop() {
            // SAFETY: taken out of the list.
            if !unsafe { settle::<Real>(head, pool) } {
                // SAFETY: taken out of the list, so in none.
                unsafe { head.as_ref() }.next.with_mut(|next| unsafe { *next = self.first });
                self.first = head.as_ptr();
                self.count += 1;
            }
        }
        self.sweep = (2 * self.count).max(FEW);
    }
}
