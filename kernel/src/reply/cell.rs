//! [`RequestHead`], the word that the three parties of an answer share, and what hangs on it.
//!
//! The *answerer* holds the [`super::Reply`], the *asker* waits, and the *watch* is the process that was asked, if it was by
//! a request ([`super::request`]): who lets the asker know of its death. A reply that was made by itself has no watch.
//!
//! ```text
//!   answerer:  ─▶ ANSWERED or DROPPED ─▶ OUT_ANSWERER      (one exchange, if there is no waker to be called)
//!   watch:     ─▶ DOWN, or nothing    ─▶ OUT_WATCH         (likewise; or in the exchange for ANSWERED, if the process that
//!                                                           was asked answers, and has received nothing since)
//!   asker:     WAITING ⇄ nothing      ─▶ GONE
//! ```
//!
//! - **A1.** Each bit is set by its party alone, once, and never cleared, but for WAITING: the asker sets it when `waker` is
//!   written, and whoever takes it back has the waker. An event (ANSWERED, DROPPED, DOWN) takes it back in the same
//!   exchange; afterwards the asker sets it no more, but for DOWN behind a DROPPED whose answerer is out. Without WAITING,
//!   and in no event's hands, there is no waker: so whoever frees the cell runs nothing foreign, but for the asker.
//! - **A2.** `value` is the answerer's until ANSWERED, then the asker's. An answerer that finds GONE sets no ANSWERED and keeps
//!   its answer. `reason` is the watch's until DOWN, then nobody writes it.
//! - **A3.** Who is out, or GONE, touches the cell no more; the one whose exchange makes all three so frees it. An asker that
//!   finds both others out is the last without an exchange.
//! - **A4.** The asker of a request is a process, which is woken by every event. It has a waker's share of itself (`header`,
//!   P4) in the cell for an answerer that is on no core of its kernel. From the answerer's event until it is out the
//!   share is both's, and whoever goes last gives it up; otherwise the asker does. So nothing is held for one that has
//!   let go, and before its event an answerer touches nothing but the cell.
//! - **A5.** The asker's end is whoever has it: the process that asks, or any other thread that the end was moved to, in any
//!   order. Where the process is, and whether it sleeps, says nothing of where its end is: to own the sleeping process
//!   (`mailbox`, edge 6) gives no right to the cell. So each change of the word is an exchange, also that of an answerer whom nobody
//!   else seems to meet; an event comes before the wake-up of the process, and never the other way round.
//!
//! Every step is an exchange that fails only because another party has taken one of its few steps: wait-free, but for an
//! asker that looks again and again with another waker.

use core::ptr::NonNull;
use core::task::Waker;

use crate::hand::KernelCx;
use crate::kernel::Kernel;
use crate::memory::pool::{self, Pool};
use crate::pid::Pid;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sync::{AtomicU8, Ordering, Track, UnsafeCell};
use crate::world::CurrentSlot;

/// The orderings of the protocol and the steps that are easy to leave out, a parameter so that a model can weaken or drop one
/// and see it fail.
pub trait Orders: 'static {
    /// Of an event's exchange. Release: pairs with the Acquire of `LOOK`, hands over what was written. Acquire:
    /// sees the waker that `REGISTER` has published.
    const EVENT: Ordering = Ordering::AcqRel;
    /// Of the asker's look, which takes a WAITING back. Acquire, on failure as well: pairs with `EVENT`.
    const LOOK: Ordering = Ordering::Acquire;
    /// Of the asker's exchange for WAITING. Release: pairs with `EVENT`, hands over the waker.
    const REGISTER: Ordering = Ordering::AcqRel;
    /// Of a party's last exchange. Release: what it did comes before the free. Acquire: or is it the one that frees.
    const OUT: Ordering = Ordering::AcqRel;
    /// Of the watch's look whether it is the last. Acquire: the free comes after all that the others did.
    const SETTLE: Ordering = Ordering::Acquire;
    /// An answerer keeps its answer when the asker has let go.
    const HEEDS_GONE: bool = true;
    /// The asker frees the cell only when the watch is out as well.
    const HEEDS_THE_WATCH: bool = true;
    /// An asker that lets go takes what was answered, and was not looked at, out of the cell.
    const TAKES_THE_REST: bool = true;
    /// An asker that lets go takes its waker back, also when a party goes out meanwhile.
    const TAKES_ITS_WAKER: bool = true;
    /// A waker that an event was too early for is taken out again.
    const TAKES_BACK: bool = true;
    /// A watch lets go only of what is answered or dropped.
    const HEEDS_THE_ANSWERER: bool = true;
    /// An event is out in its own exchange only if it has no waker to take out of the cell.
    const HEEDS_WAITING: bool = true;
    /// A watch that is to be out with the answer is taken out of its list before.
    const TAKES_THE_WATCH_FIRST: bool = true;
    /// It is put back if it has not been.
    const PUTS_THE_WATCH_BACK: bool = true;
    /// An asker that waits for DOWN behind DROPPED leaves its waker only once the answerer is out.
    const HEEDS_OUT: bool = true;
    /// An event that finds nobody in the cell is an exchange, and not a look and a store (A5).
    const EXCHANGES: bool = true;
}

/// All as it must be.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// The answer is in `value`.
pub(super) const ANSWERED: u8 = 1;
/// There will be none from the answerer.
pub(super) const DROPPED: u8 = 2;
/// The watched process is dead, `reason` says why.
pub(super) const DOWN: u8 = 4;
/// The asker's waker is registered.
pub(super) const WAITING: u8 = 8;
/// The asker is out.
pub(super) const GONE: u8 = 16;
/// The answerer is out.
pub(super) const OUT_ANSWERER: u8 = 32;
/// The watch is out, or was never in.
pub(super) const OUT_WATCH: u8 = 64;

pub(super) const EVENTS: u8 = ANSWERED | DROPPED | DOWN;
const ALL_OUT: u8 = GONE | OUT_ANSWERER | OUT_WATCH;

/// The process that asks, of which there is a waker's share with the cell (A4). To be touched with that share only; who is on
/// a core of its kernel finds it by its pid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) pid: Pid,
    pub(super) process: NonNull<Header>,
    /// To be compared with.
    pub(super) kernel: NonNull<Kernel>,
    /// Where its kernel's cores note what they run.
    pub(super) here: fn() -> *const CurrentSlot,
}

/// What does not depend on the answer's type.
#[derive(Debug)]
#[repr(C)]
pub struct RequestHead {
    word: AtomicU8,
    pub(super) asker: Option<Caller>,
    waker: UnsafeCell<Option<Waker>>,
    reason: UnsafeCell<Option<Reason>>,
    /// The watch's: the next of its requests.
    pub(super) next: UnsafeCell<*mut RequestHead>,
    free: unsafe fn(NonNull<RequestHead>, Option<&Pool>),
    /// Freed once.
    _track: Track<()>,
}

/// Head and answer in one allocation.
#[repr(C)]
pub(super) struct Cell<T> {
    head: RequestHead,
    value: UnsafeCell<Option<T>>,
}

impl<T> Cell<T> {
    /// A cell without an answer.
    pub(super) fn new(asker: Option<Caller>, watched: bool) -> Self {
        Self {
            head: RequestHead {
                word: AtomicU8::new(if watched { 0 } else { OUT_WATCH }),
                asker,
                waker: UnsafeCell::new(None),
                reason: UnsafeCell::new(None),
                next: UnsafeCell::new(core::ptr::null_mut()),
                free: Self::free,
                _track: Track::new(()),
            },
            value: UnsafeCell::new(None),
        }
    }

    /// Frees the cell: [`RequestHead::free`], for those who know its type.
    ///
    /// # Safety
    /// As there, and `head` starts a `Cell<T>`.
    #[inline]
    pub(super) unsafe fn free(head: NonNull<RequestHead>, pool: Option<&Pool>) {
        // SAFETY: by contract.
        #[cfg(loom)]
        unsafe { head.cast::<Self>().as_ref() }.touch();
        // SAFETY: likewise.
        unsafe { pool::drop_and_free(head.cast::<Self>(), pool) }
    }

    /// To free is to write everything; loom looks only at accesses.
    #[cfg(loom)]
    fn touch(&self) {
        self.value.with_mut(|_| ());
        self.head.waker.with_mut(|_| ());
        self.head.reason.with_mut(|_| ());
        self.head.next.with_mut(|_| ());
    }

    /// The place of the answer: the answerer's until ANSWERED, then the asker's (A2).
    ///
    /// # Safety
    /// The caller is the one whose it is, and `head` starts a `Cell<T>`.
    pub(super) unsafe fn replace(head: NonNull<RequestHead>, value: Option<T>) -> Option<T> {
        // SAFETY: by contract.
        let cell = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: by contract nobody else touches it.
        cell.value.with_mut(|place| unsafe { core::mem::replace(&mut *place, value) })
    }
}

/// What there is to see for the asker.
pub(super) enum CellSnapshot {
    Nothing,
    Answered,
    Dropped,
    Down,
}

impl RequestHead {
    /// How things are. Acquire by `LOOK`, if the result is to be acted on.
    pub(super) fn load(&self, order: Ordering) -> u8 {
        self.word.load(order)
    }

    /// What the asker sees: an answer counts more than a death, and a death more than a dropped reply.
    pub(super) fn look<O: Orders>(&self) -> CellSnapshot {
        match self.load(O::LOOK) {
            word if word & ANSWERED != 0 => CellSnapshot::Answered,
            word if word & DOWN != 0 => CellSnapshot::Down,
            word if word & DROPPED != 0 => CellSnapshot::Dropped,
            _ => CellSnapshot::Nothing,
        }
    }

    /// The asker's: has `waker` called by the next event; false when there has been one of `news`.
    pub(super) fn register<O: Orders>(&self, waker: &Waker, news: u8) -> bool {
        let mut word = self.load(O::LOOK);
        while word & WAITING != 0 {
            // Who fails has been overtaken by an event, which has the waker, or by a party that goes out.
            match self.word.compare_exchange(word, word & !WAITING, O::LOOK, O::LOOK) {
                Ok(_) => word &= !WAITING,
                Err(now) => word = now,
            }
        }
        if word & news != 0 {
            return false;
        }
        self.waker.with_mut(|place| {
            // SAFETY: no WAITING, and no event that is not over: the asker's alone (A1).
            let place = unsafe { &mut *place };
            if !place.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
                // Foreign, both: a panic leaves no waker.
                drop(place.take());
                *place = Some(waker.clone());
            }
        });
        loop {
            match self.word.compare_exchange(word, word | WAITING, O::REGISTER, O::LOOK) {
                Ok(_) => return true,
                Err(now) if now & news != 0 => {
                    if O::TAKES_BACK {
                        // SAFETY: the event found no WAITING, so the waker is the asker's still.
                        drop(self.waker.with_mut(|place| unsafe { (*place).take() }));
                    }
                    return false;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Whether the waker is that of the process that asks.
    pub(super) fn is_of(&self, waker: &Waker) -> bool {
        self.asker.as_ref().is_some_and(|asker| crate::task::waker::is_of(waker, asker.process))
    }

    /// A party's event. `out` is set with it, if there is no waker to be taken out first. What was there before, and the waker.
    ///
    /// With `unless`, nothing happens if one of these bits is there already.
    pub(super) fn event<O: Orders>(&self, event: u8, out: u8, unless: u8) -> Result<(u8, Option<Waker>), u8> {
        // Relaxed: the exchange is the access that counts.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & unless != 0 {
                return Err(word);
            }
            let is_out = word & WAITING == 0 || !O::HEEDS_WAITING;
            let now = (word | event | if is_out { out } else { 0 }) & !WAITING;
            if !O::EXCHANGES && word == 0 {
                self.word.store(now, Ordering::Release);
                return Ok((word, None));
            }
            match self.word.compare_exchange(word, now, O::EVENT, Ordering::Relaxed) {
                Ok(_) if word & WAITING == 0 => return Ok((word, None)),
                Ok(_) => {
                    // SAFETY: WAITING was taken back (A1).
                    return Ok((word, self.waker.with_mut(|waker| unsafe { (*waker).take() })));
                }
                Err(other) => word = other,
            }
        }
    }

    /// The answerer's and the watch's event and end in one, if nobody has done anything yet: the exchange of [`RequestHead::event`]
    /// where it is most often made.
    #[inline]
    pub(super) fn answer_first<O: Orders>(&self) -> bool {
        // Relaxed: a failure is looked at again in `event`.
        self.word.compare_exchange(0, ANSWERED | OUT_ANSWERER | OUT_WATCH, O::EVENT, Ordering::Relaxed).is_ok()
    }

    /// A mutant's answer: a store.
    #[cfg(loom)]
    pub(super) fn store_answered(&self) {
        self.word.store(ANSWERED | OUT_ANSWERER | OUT_WATCH, Ordering::Release);
    }

    /// A party is out. What was there before.
    pub(super) fn leave<O: Orders>(&self, out: u8) -> u8 {
        self.word.fetch_or(out, O::OUT)
    }

    /// The asker's: takes back the waker, if no event has it. Then nobody calls it any more.
    pub(super) fn unregister<O: Orders>(&self) -> Option<Waker> {
        // Relaxed, here and below: the waker is the asker's own.
        let mut word = self.load(Ordering::Relaxed);
        while word & WAITING != 0 {
            match self.word.compare_exchange(word, word & !WAITING, Ordering::Relaxed, Ordering::Relaxed) {
                // SAFETY: WAITING was taken back (A1).
                Ok(_) => return self.waker.with_mut(|waker| unsafe { (*waker).take() }),
                Err(_) if !O::TAKES_ITS_WAKER => return None,
                // Overtaken by an event, which has the waker, or by a party that goes out.
                Err(now) => word = now,
            }
        }
        None
    }

    /// The asker's last step, if no answer is left to be dropped: `Err` with what there is otherwise.
    pub(super) fn go<O: Orders>(&self) -> Result<u8, ()> {
        let mut word = self.load(O::LOOK);
        loop {
            if word & ANSWERED != 0 && O::TAKES_THE_REST {
                return Err(());
            }
            match self.word.compare_exchange(word, word | GONE, O::OUT, O::LOOK) {
                Ok(_) => return Ok(word),
                Err(now) => word = now,
            }
        }
    }

    /// Whether the party that has just set `out`, and found `before`, is the last: then it frees the cell.
    pub(super) fn is_last(before: u8, out: u8) -> bool {
        before & ALL_OUT != ALL_OUT && (before | out) & ALL_OUT == ALL_OUT
    }

    /// Frees the cell.
    ///
    /// # Safety
    /// All parties are out, and the caller was the last, with Acquire (A3).
    pub(super) unsafe fn free(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: by contract still there.
        let free = unsafe { this.as_ref() }.free;
        // SAFETY: by contract.
        unsafe { free(this, pool) }
    }

    /// Why the watched process has died.
    pub(super) fn reason(&self) -> Reason {
        // SAFETY: after DOWN, which the caller has seen, nobody writes it (A2).
        self.reason.with(|reason| unsafe { (*reason).clone() }).unwrap_or(Reason::NOPROC)
    }

    /// The watch's, before DOWN.
    pub(super) fn set_reason(&self, reason: Reason) {
        // SAFETY: the watch's until DOWN (A2).
        self.reason.with_mut(|place| unsafe { *place = Some(reason) });
    }
}

impl Caller {
    /// Wakes it from a core of its kernel.
    #[inline]
    pub(super) fn wake(&self, hand: &KernelCx<'_>) {
        if let Some(process) = hand.find(self.pid) {
            crate::task::waker::resume(process, hand);
        }
    }
}
