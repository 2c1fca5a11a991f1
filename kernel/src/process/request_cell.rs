//! The shared cell of a reply, [`RequestHead`]: one word for its three parties, and the fields that
//! it guards.
//!
//! The *responder* holds the [`crate::Reply`]. The *requester* waits (`Requester`; OTP's caller).
//! The *watch*, if there is one, belongs to the process that received the request
//! (`request_watch`) and notifies the requester of that process's death. A reply that was not
//! made by a request has no watch.
//!
//! ```text
//!   responder: ─▶ ANSWERED or DROPPED ─▶ RESPONDER_DONE  (one exchange, if it has no waker to call)
//!   watch:     ─▶ DOWN, or nothing    ─▶ WATCH_DONE     (the same; or in the exchange for ANSWERED,
//!                                                       if the process that received the request
//!                                                       answers it, and has received nothing since)
//!   requester: WAITING ⇄ nothing      ─▶ GONE
//! ```
//!
//! - **A1.** Only a bit's own party sets it, once, and no party clears it, except WAITING. The
//!   requester sets WAITING after it has written `waker`, and the party that takes WAITING back has
//!   the waker. An event (ANSWERED, DROPPED, DOWN) takes it back in the same exchange. Afterwards
//!   the requester sets it no more, except for DOWN after a DROPPED whose responder is done.
//!   Without WAITING, and with no event holding it, there is no waker. So the party that frees the
//!   cell runs nothing foreign, unless it is the requester.
//! - **A2.** `value` belongs to the responder until ANSWERED, then to the requester. A responder
//!   that finds GONE does not set ANSWERED and keeps its answer. `reason` belongs to the watch
//!   until DOWN; after that no party writes it.
//! - **A3.** A party that is done (RESPONDER_DONE, WATCH_DONE, GONE) no longer touches the cell.
//!   The party whose exchange completes the three frees the cell. A requester that finds both other
//!   parties done is the last one without an exchange.
//! - **A4.** The requester of a request is a process, which every event wakes. It keeps a waker's
//!   reference to itself (`header`, P4) in the cell, for a responder that is not on a core of its
//!   kernel. From the responder's event until the responder is done, both own the reference, and
//!   the one that finishes last releases it. Otherwise the requester releases it. So nothing is
//!   held for a requester that is done, and before its event a responder touches only the cell.
//! - **A5.** The requester's end may be anywhere: with the process that made the request, or on any
//!   other thread that the end was moved to, in any order. Where the process is, and whether it
//!   sleeps, says nothing about where its end is: owning the sleeping process (`mailbox`, edge 6)
//!   gives no right to the cell. So each change of the word is an exchange, also by a responder
//!   that appears to be alone. An event comes before the wake-up of the process, and never the
//!   other way round.
//!
//! Every step is an exchange that fails only because another party has taken one of its few steps.
//! So every operation is wait-free, except for a requester that polls repeatedly with another
//! waker.

use core::ptr::NonNull;
use core::task::Waker;

use crate::kernel_ptr::{CurrentSlot, KernelPtr};
use crate::memory::pool::{self, Pool};
use crate::pid::Pid;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sync::{AtomicU8, Ordering, Track, UnsafeCell};

/// The orderings of the protocol, and the steps that are easy to leave out. They are parameters so
/// that a loom model can weaken or drop one of them and show that it then fails.
pub trait Orders: 'static {
    /// The ordering of an event's exchange. Release: pairs with the Acquire of `LOOK` and publishes
    /// what was written. Acquire: sees the waker that `REGISTER` has published.
    const EVENT: Ordering = Ordering::AcqRel;
    /// The ordering of the requester's check, which takes a WAITING back. Acquire, on failure as
    /// well: pairs with `EVENT`.
    const LOOK: Ordering = Ordering::Acquire;
    /// The ordering of the requester's exchange for WAITING. Release: pairs with `EVENT` and
    /// publishes the waker.
    const REGISTER: Ordering = Ordering::AcqRel;
    /// The ordering of a party's last exchange. Release: what it did comes before the free.
    /// Acquire: it may be the party that frees.
    const OUT: Ordering = Ordering::AcqRel;
    /// The ordering of the watch's check if it is the last. Acquire: the free comes after
    /// everything that the other parties did.
    const SETTLE: Ordering = Ordering::Acquire;
    /// A responder keeps its answer when the requester is done.
    const HEEDS_GONE: bool = true;
    /// The requester frees the cell only when the watch is done as well.
    const HEEDS_THE_WATCH: bool = true;
    /// A requester that is done takes an answer that it has not seen out of the cell.
    const TAKES_THE_REST: bool = true;
    /// A requester that is done takes its waker back, also when another party finishes at the same
    /// time.
    const TAKES_ITS_WAKER: bool = true;
    /// A waker that was registered too late for an event is taken out again.
    const TAKES_BACK: bool = true;
    /// A watch is released only when the request is answered or dropped.
    const HEEDS_THE_ANSWERER: bool = true;
    /// A party is done in its event's own exchange only if it has no waker to take out of the cell.
    const HEEDS_WAITING: bool = true;
    /// A watch that will be done with the answer is taken out of its list before the exchange.
    const TAKES_THE_WATCH_FIRST: bool = true;
    /// The watch is put back if it is not done with the answer.
    const PUTS_THE_WATCH_BACK: bool = true;
    /// A requester that waits for DOWN after DROPPED registers its waker only once the responder is
    /// done.
    const HEEDS_OUT: bool = true;
    /// An event that finds no other party in the cell is an exchange, and not a load and a store
    /// (A5).
    const EXCHANGES: bool = true;
}

/// The orderings and steps that the kernel uses.
#[derive(Debug)]
pub struct Shipped;
impl Orders for Shipped {}

/// The answer is in `value`.
pub(crate) const ANSWERED: u8 = 1;
/// The responder has dropped the reply: there will be no answer.
pub(crate) const DROPPED: u8 = 2;
/// The watched process is dead; `reason` holds the reason.
pub(crate) const DOWN: u8 = 4;
/// The requester's waker is registered.
pub(crate) const WAITING: u8 = 8;
/// The requester is done.
pub(crate) const GONE: u8 = 16;
/// The responder is done.
pub(crate) const RESPONDER_DONE: u8 = 32;
/// The watch is done, or never existed.
pub(crate) const WATCH_DONE: u8 = 64;

pub(crate) const EVENTS: u8 = ANSWERED | DROPPED | DOWN;
const ALL_OUT: u8 = GONE | RESPONDER_DONE | WATCH_DONE;

/// The process that waits for the answer. The cell holds a waker's reference to it (A4). Only a
/// thread that holds that reference may touch the process; a core of its kernel finds it by its
/// pid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requester {
    pub(crate) pid: Pid,
    pub(crate) process: NonNull<Header>,
    /// The process's kernel: only compared.
    pub(crate) kernel: KernelPtr,
    /// The accessor of the current slot, in which the cores of its kernel record what they run.
    pub(crate) current_slot: fn() -> *const CurrentSlot,
}

/// The part of a cell that does not depend on the answer's type.
#[derive(Debug)]
#[repr(C)]
pub struct RequestHead {
    word: AtomicU8,
    pub(crate) asker: Option<Requester>,
    waker: UnsafeCell<Option<Waker>>,
    reason: UnsafeCell<Option<Reason>>,
    /// The next request of the same process. Belongs to the watch.
    pub(crate) next: UnsafeCell<*mut RequestHead>,
    free: unsafe fn(NonNull<RequestHead>, Option<&Pool>),
    /// In models, checks that the cell is freed once.
    _track: Track<()>,
}

/// A cell: head and answer in one allocation.
#[repr(C)]
pub(crate) struct Cell<T> {
    head: RequestHead,
    value: UnsafeCell<Option<T>>,
}

impl<T> Cell<T> {
    /// Creates a cell without an answer.
    pub(crate) fn new(asker: Option<Requester>, watched: bool) -> Self {
        Self {
            head: RequestHead {
                word: AtomicU8::new(if watched { 0 } else { WATCH_DONE }),
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

    /// Frees the cell as [`RequestHead::free`] does, for a caller that knows its type.
    ///
    /// # Safety
    /// As for [`RequestHead::free`], and `head` starts a `Cell<T>`.
    #[inline]
    pub(crate) unsafe fn free(head: NonNull<RequestHead>, pool: Option<&Pool>) {
        // SAFETY: `head` starts a `Cell<T>` that is still allocated (this function's contract).
        #[cfg(loom)]
        unsafe { head.cast::<Self>().as_ref() }.touch();
        // SAFETY: A3: the caller was the last party; `head` starts a `Cell<T>` (this function's
        // contract).
        unsafe { pool::drop_and_free(head.cast::<Self>(), pool) }
    }

    /// Writes every field, because freeing does so; loom checks only accesses.
    #[cfg(loom)]
    fn touch(&self) {
        self.value.with_mut(|_| ());
        self.head.waker.with_mut(|_| ());
        self.head.reason.with_mut(|_| ());
        self.head.next.with_mut(|_| ());
    }

    /// Replaces the answer, which belongs to the responder until ANSWERED, then to the requester
    /// (A2).
    ///
    /// # Safety
    /// The caller is the party that owns the answer, and `head` starts a `Cell<T>`.
    pub(crate) unsafe fn replace(head: NonNull<RequestHead>, value: Option<T>) -> Option<T> {
        // SAFETY: `head` starts a `Cell<T>`, and the caller's party is not done (this function's
        // contract).
        let cell = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: A2: the caller's party owns the answer, so no other touches it.
        cell.value.with_mut(|place| unsafe { core::mem::replace(&mut *place, value) })
    }
}

/// The state of the cell that the requester sees.
pub(crate) enum CellSnapshot {
    Nothing,
    Answered,
    Dropped,
    Down,
}

impl RequestHead {
    /// Loads the word. The ordering must be `LOOK` if the caller acts on the result.
    pub(crate) fn load(&self, order: Ordering) -> u8 {
        self.word.load(order)
    }

    /// Returns what the requester sees: an answer takes precedence over a death, and a death over a
    /// dropped reply.
    pub(crate) fn look<O: Orders>(&self) -> CellSnapshot {
        match self.load(O::LOOK) {
            word if word & ANSWERED != 0 => CellSnapshot::Answered,
            word if word & DOWN != 0 => CellSnapshot::Down,
            word if word & DROPPED != 0 => CellSnapshot::Dropped,
            _ => CellSnapshot::Nothing,
        }
    }

    /// Registers `waker` for the next event. Returns `false` if one of `news` has happened already.
    /// Only the requester may call it.
    pub(crate) fn register<O: Orders>(&self, waker: &Waker, news: u8) -> bool {
        let mut word = self.load(O::LOOK);
        while word & WAITING != 0 {
            // A failed exchange was overtaken by an event, which has the waker, or by a party that
            // is now done.
            match self.word.compare_exchange(word, word & !WAITING, O::LOOK, O::LOOK) {
                Ok(_) => word &= !WAITING,
                Err(now) => word = now,
            }
        }
        if word & news != 0 {
            return false;
        }
        self.waker.with_mut(|place| {
            // SAFETY: A1: no WAITING, and no event in progress: the requester alone owns it.
            let place = unsafe { &mut *place };
            if !place.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
                // Both are foreign: a panic leaves no waker.
                drop(place.take());
                *place = Some(waker.clone());
            }
        });
        loop {
            match self.word.compare_exchange(word, word | WAITING, O::REGISTER, O::LOOK) {
                Ok(_) => return true,
                Err(now) if now & news != 0 => {
                    if O::TAKES_BACK {
                        // SAFETY: A1: the event found no WAITING, so the requester still owns the
                        // waker.
                        drop(self.waker.with_mut(|place| unsafe { (*place).take() }));
                    }
                    return false;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Performs a party's event. Sets `out` as well, if no waker must be taken out first. Returns
    /// the word before, and the waker.
    ///
    /// With `unless`, nothing happens if one of these bits is set already.
    pub(crate) fn event<O: Orders>(&self, event: u8, out: u8, unless: u8) -> Result<(u8, Option<Waker>), u8> {
        // Relaxed: only the exchange must synchronise.
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
                    // SAFETY: A1: WAITING was taken back, so the waker is this party's.
                    return Ok((word, self.waker.with_mut(|waker| unsafe { (*waker).take() })));
                }
                Err(other) => word = other,
            }
        }
    }

    /// Sets the event and the end of the responder and of the watch in one exchange, if no party
    /// has done anything yet: the most frequent case of [`RequestHead::event`].
    #[inline]
    pub(crate) fn answer_first<O: Orders>(&self) -> bool {
        // Relaxed: after a failure `event` loads the word again.
        self.word.compare_exchange(0, ANSWERED | RESPONDER_DONE | WATCH_DONE, O::EVENT, Ordering::Relaxed).is_ok()
    }

    /// Answers with a store: a mutant.
    #[cfg(loom)]
    pub(crate) fn store_answered(&self) {
        self.word.store(ANSWERED | RESPONDER_DONE | WATCH_DONE, Ordering::Release);
    }

    /// Marks a party as done. Returns the word before.
    pub(crate) fn leave<O: Orders>(&self, out: u8) -> u8 {
        self.word.fetch_or(out, O::OUT)
    }

    /// Takes back the waker, if no event has it. No thread calls it afterwards. Only the requester
    /// may call it.
    pub(crate) fn unregister<O: Orders>(&self) -> Option<Waker> {
        // Relaxed, here and below: the waker is the requester's own.
        let mut word = self.load(Ordering::Relaxed);
        while word & WAITING != 0 {
            match self.word.compare_exchange(word, word & !WAITING, Ordering::Relaxed, Ordering::Relaxed) {
                // SAFETY: A1: WAITING was taken back, so the waker is the requester's.
                Ok(_) => return self.waker.with_mut(|waker| unsafe { (*waker).take() }),
                Err(_) if !O::TAKES_ITS_WAKER => return None,
                // Overtaken by an event, which has the waker, or by a party that is now done.
                Err(now) => word = now,
            }
        }
        None
    }

    /// Performs the requester's last step, if no answer is left to drop. Returns the word before,
    /// or `Err` if an answer is left.
    pub(crate) fn go<O: Orders>(&self) -> Result<u8, ()> {
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

    /// Returns `true` if the party that has just set `out`, and found `before`, is the last: it
    /// must then free the cell.
    pub(crate) fn is_last(before: u8, out: u8) -> bool {
        before & ALL_OUT != ALL_OUT && (before | out) & ALL_OUT == ALL_OUT
    }

    /// Frees the cell.
    ///
    /// # Safety
    /// All parties are done, and the caller was the last, with Acquire (A3).
    pub(crate) unsafe fn free(this: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: A3: the cell is freed only by the caller (this function's contract), so it is
        // still there.
        let free = unsafe { this.as_ref() }.free;
        // SAFETY: A3: all parties are done, and the caller was the last (this function's contract).
        unsafe { free(this, pool) }
    }

    /// Returns the exit reason of the watched process.
    pub(crate) fn reason(&self) -> Reason {
        // SAFETY: A2: no party writes it after DOWN, which the caller has seen.
        self.reason.with(|reason| unsafe { (*reason).clone() }).unwrap_or(Reason::NOPROC)
    }

    /// Stores the exit reason, before DOWN. Only the watch may call it.
    pub(crate) fn set_reason(&self, reason: Reason) {
        // SAFETY: A2: the reason belongs to the watch until DOWN.
        self.reason.with_mut(|place| unsafe { *place = Some(reason) });
    }
}
