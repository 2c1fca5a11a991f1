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

mod requester;
mod responder;
mod watch;

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use core::task::Waker;

pub(crate) use self::requester::CellSnapshot;
pub use self::watch::DeathWatch;
use crate::kernel_ptr::{CurrentSlotFn, KernelPtr};
use crate::memory::NoMemory;
use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::shipped::Shipped;
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
    pub(crate) current_slot: CurrentSlotFn,
}

/// The part of a cell that does not depend on the answer's type.
#[derive(Debug)]
#[repr(C)]
pub struct RequestHead {
    word: AtomicU8,
    pub(crate) requester: Option<Requester>,
    waker: UnsafeCell<Option<Waker>>,
    reason: UnsafeCell<Option<Reason>>,
    /// The next request of the same process. Belongs to the watch.
    next: UnsafeCell<Option<WatchParty>>,
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

/// The right of one party to a cell, which is live while the right exists (A3): the party is not
/// done. `DONE` is the bit by which the party says that it is; `A` says what it does with the
/// answer.
///
/// A cell is made with one right for each party, and rights are not copied. A right that is lost
/// leaks the cell.
#[must_use = "the party must say that it is done"]
pub(crate) struct Party<const DONE: u8, A = ()>(NonNull<RequestHead>, PhantomData<A>);

/// The right of the party that gives the answer, a `T`.
pub(crate) type ResponderParty<T> = Party<RESPONDER_DONE, fn(T)>;
/// The right of the party that reports the receiver's death.
pub(crate) type WatchParty = Party<WATCH_DONE>;
/// The right of the party that waits for the answer, a `T`.
pub(crate) type RequesterParty<T> = Party<GONE, fn() -> T>;

impl<T> Cell<T> {
    /// Writes the cell field by field, in its final place: a whole one would be built on the stack
    /// and copied, and the copy would wait for its parts to be stored.
    #[inline(always)]
    fn try_new(word: u8, requester: Option<Requester>, pool: Option<&Pool>) -> Result<NonNull<RequestHead>, NoMemory> {
        let cell: NonNull<Self> = PoolBox::<Self>::try_uninit(pool)?.into_raw().cast();
        // The head comes first (`repr(C)`).
        let head = cell.cast::<RequestHead>();
        macro_rules! write {
            ($($field:ident: $value:expr),* $(,)?) => {
                // This pattern proves that no field is left out.
                let _ = |head: RequestHead| {
                    let RequestHead { $($field: _),* } = head;
                };
                $(
                    // SAFETY: B1 (`pool_box`): the block is this function's, and has the layout of
                    // a `Self`, which starts with the head.
                    let field = unsafe { &raw mut (*head.as_ptr()).$field };
                    // SAFETY: B1, as above.
                    unsafe { field.write($value) };
                )*
            };
        }
        write! {
            word: AtomicU8::new(word),
            requester: requester,
            waker: UnsafeCell::new(None),
            reason: UnsafeCell::new(None),
            next: UnsafeCell::new(None),
            free: Self::free,
            _track: Track::new(()),
        }
        // SAFETY: B1: the block is this function's, and has the layout of a `Self`.
        let value = unsafe { &raw mut (*cell.as_ptr()).value };
        // SAFETY: B1, as above.
        unsafe { value.write(UnsafeCell::new(None)) };
        Ok(head)
    }

    /// Allocates a cell without a watch and without an answer. Returns the rights of its parties.
    pub(crate) fn try_unwatched() -> Result<(ResponderParty<T>, RequesterParty<T>), NoMemory> {
        let head = Self::try_new(WATCH_DONE, None, None)?;
        Ok((Party(head, PhantomData), Party(head, PhantomData)))
    }

    /// Allocates a cell without an answer. Returns the rights of its parties.
    #[inline(always)]
    pub(crate) fn try_watched(
        requester: Option<Requester>,
        pool: Option<&Pool>,
    ) -> Result<(ResponderParty<T>, WatchParty, RequesterParty<T>), NoMemory> {
        let head = Self::try_new(0, requester, pool)?;
        Ok((Party(head, PhantomData), Party(head, PhantomData), Party(head, PhantomData)))
    }

    /// Frees the cell: for [`Party::free`], and for a caller that knows its type.
    ///
    /// # Safety
    /// As for [`Party::free`], and `head` starts a `Cell<T>`.
    #[inline]
    unsafe fn free(head: NonNull<RequestHead>, pool: Option<&Pool>) {
        // SAFETY: A3: the caller was the last party; `head` starts a `Cell<T>`, which `try_new`
        // took out of its box (this function's contract). Not dropped if a model fails here.
        let cell = ManuallyDrop::new(unsafe { PoolBox::from_raw(head.cast::<Self>()) });
        #[cfg(loom)]
        cell.touch();
        ManuallyDrop::into_inner(cell).release(pool);
    }

    /// Writes every field, because freeing does so; loom checks only accesses.
    #[cfg(loom)]
    fn touch(&self) {
        self.value.with_mut(|_| ());
        self.head.waker.with_mut(|_| ());
        self.head.reason.with_mut(|_| ());
        self.head.next.with_mut(|_| ());
    }

    /// Replaces the answer.
    ///
    /// # Safety
    /// `head` starts a live `Cell<T>`, and the caller is the party that owns the answer (A2).
    unsafe fn replace(head: NonNull<RequestHead>, value: Option<T>) -> Option<T> {
        // SAFETY: `head` starts a live `Cell<T>` (this function's contract).
        let cell = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: A2: the caller's party owns the answer, so no other touches it.
        cell.value.with_mut(|place| unsafe { core::mem::replace(&mut *place, value) })
    }
}

impl<const DONE: u8, A> Deref for Party<DONE, A> {
    type Target = RequestHead;

    #[inline(always)]
    fn deref(&self) -> &RequestHead {
        // SAFETY: A3: the party is not done, so the cell is live.
        unsafe { self.0.as_ref() }
    }
}

impl<const DONE: u8, A> fmt::Debug for Party<DONE, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Party").field(&self.0).finish()
    }
}

impl<const DONE: u8, A> Party<DONE, A> {
    /// Returns the address of the cell, to compare.
    #[inline(always)]
    pub(crate) fn cell(&self) -> NonNull<RequestHead> {
        self.0
    }

    /// Marks the party as done, and frees the cell if it is the last party. Returns the word
    /// before.
    pub(crate) fn finish<O: Orders>(self, pool: Option<&Pool>) -> u8 {
        let before = self.word.fetch_or(DONE, O::OUT);
        if RequestHead::is_last(before, DONE) {
            // SAFETY: A3: the exchange, with Acquire, made this the last party.
            unsafe { self.free(pool) };
        }
        before
    }

    /// Frees the cell.
    ///
    /// # Safety
    /// All other parties are done, and the caller has seen that with Acquire (A3).
    pub(crate) unsafe fn free(self, pool: Option<&Pool>) {
        let free = self.free;
        // SAFETY: A3: the caller is the last party (this function's contract), and `free` was made
        // for the type of the cell.
        unsafe { free(self.0, pool) }
    }

    /// Ends a right that an event's exchange has given up ([`RequestHead::event`]).
    #[inline(always)]
    pub(crate) fn was_given_up(self) {}
}

impl RequestHead {
    /// Loads the word. The ordering must be `LOOK` if the caller acts on the result.
    pub(crate) fn load(&self, order: Ordering) -> u8 {
        self.word.load(order)
    }

    /// Performs a party's event. Sets `done` as well, if no waker must be taken out first. Returns
    /// the word before, and the waker.
    ///
    /// With `unless`, nothing happens if one of these bits is set already.
    ///
    /// # Safety
    /// The caller has the rights of the parties in `done`, and the right of the event's party.
    /// After `Ok` without a waker, the rights in `done` are given up: they are not used again.
    /// After `Ok` the event's party does not use what belongs to the requester then (A2).
    pub(crate) unsafe fn event<O: Orders>(&self, event: u8, done: u8, unless: u8) -> Result<(u8, Option<Waker>), u8> {
        // Relaxed: only the exchange must synchronise.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & unless != 0 {
                return Err(word);
            }
            let is_done = word & WAITING == 0 || !O::HEEDS_WAITING;
            let now = (word | event | if is_done { done } else { 0 }) & !WAITING;
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

    /// Returns `true` if the party that has just set `out`, and found `before`, is the last: it
    /// must then free the cell.
    pub(crate) fn is_last(before: u8, out: u8) -> bool {
        before & ALL_OUT != ALL_OUT && (before | out) & ALL_OUT == ALL_OUT
    }
}
