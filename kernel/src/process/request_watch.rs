//! The watch of a request, in transit ([`DeathWatch`]) and at the receiver ([`OpenRequests`]); see
//! `ops::request::open_request`, Q1 and Q2.

use core::task::Waker;

use crate::memory::pool::Pool;
pub use crate::process::request_cell::DeathWatch;
use crate::process::request_cell::{ANSWERED, GONE, Orders, RESPONDER_DONE, Requester, ResponderParty, WatchParty};
use crate::reason::Reason;
use crate::shipped::Shipped;
use crate::sync::Ordering;

impl DeathWatch {
    /// Releases the watch, and the memory of the cell to `pool` if the watch is the last party.
    pub(crate) fn release(self, pool: Option<&Pool>) {
        self.release_by::<Shipped>(pool);
    }

    /// Releases the watch as [`DeathWatch::release`] does, with the orderings `O`.
    pub fn release_by<O: Orders>(self, pool: Option<&Pool>) {
        self.into_party().finish::<O>(pool);
    }

    /// Releases the watch of an answered or dropped request; otherwise returns the watch.
    pub fn settle<O: Orders>(self, pool: Option<&Pool>) -> Option<Self> {
        let party = self.into_party();
        let word = party.load(O::SETTLE);
        if word & (GONE | RESPONDER_DONE) == GONE | RESPONDER_DONE {
            // SAFETY: A3: both other parties are done, seen with Acquire (`SETTLE`).
            unsafe { party.free(pool) };
            return None;
        }
        if word & (RESPONDER_DONE | ANSWERED) != 0 || !O::HEEDS_THE_ANSWERER {
            party.finish::<O>(pool);
            return None;
        }
        Some(Self::of(party))
    }

    /// Reports to the requester that the process is dead. Returns the requester and its waker, if
    /// one waits without an answer.
    pub(crate) fn report<O: Orders>(
        self,
        pool: Option<&Pool>,
        reason: &Reason,
    ) -> Option<(Option<Requester>, Option<Waker>)> {
        let party = self.into_party();
        let requester = party.requester;
        let unless = if O::HEEDS_GONE { GONE | ANSWERED } else { ANSWERED };
        // Relaxed: only a hint.
        if party.load(Ordering::Relaxed) & unless != 0 {
            party.finish::<O>(pool);
            return None;
        }
        let waker = party.down::<O>(reason.clone(), unless, pool)?;
        Some((requester, waker))
    }

    /// Reports the death of the process, as `ops::request::watch` does. Returns the waker to call.
    /// For the models.
    pub fn down<O: Orders>(self, reason: &Reason) -> Option<Waker> {
        self.report::<O>(None, reason).and_then(|(_, waker)| waker)
    }
}

/// The requests that a process has received and not answered, newest first. Only the owner touches
/// it.
///
/// `repr(C)`: every receive checks if there is one.
#[derive(Debug)]
#[repr(C)]
pub struct OpenRequests {
    first: Option<WatchParty>,
    count: u32,
    /// The number of requests at which all are checked next.
    sweep: u32,
}

/// The smallest number of requests that are checked together.
const FEW: u32 = 16;

impl Default for OpenRequests {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenRequests {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self { first: None, count: 0, sweep: FEW }
    }

    /// Returns `true` if it is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Returns `true` if the responder's request is the newest one.
    #[inline]
    pub(crate) fn is_newest<T>(&self, responder: &ResponderParty<T>) -> bool {
        self.first.as_ref().is_some_and(|first| first.cell() == responder.cell())
    }

    /// Adds the watch of a request that the process receives.
    pub(crate) fn add(&mut self, watch: DeathWatch, pool: Option<&Pool>) {
        if self.count >= self.sweep {
            self.sweep(pool);
        }
        self.put_back(watch);
    }

    /// Adds a request that has been in the list before, as [`OpenRequests::add`] does.
    pub(crate) fn put_back(&mut self, watch: DeathWatch) {
        let mut watch = watch.into_party();
        let _nothing = watch.replace_next(self.first.take());
        self.first = Some(watch);
        self.count += 1;
    }

    /// Removes and returns the newest request.
    pub(crate) fn pop(&mut self) -> Option<DeathWatch> {
        let mut watch = self.first.take()?;
        self.first = watch.replace_next(None);
        self.count -= 1;
        Some(DeathWatch::of(watch))
    }

    /// Releases the newest request, if it is answered.
    pub(crate) fn settle(&mut self, pool: Option<&Pool>) {
        if let Some(open) = self.pop().and_then(|watch| watch.settle::<Shipped>(pool)) {
            self.put_back(open);
        }
    }

    #[cold]
    fn sweep(&mut self, pool: Option<&Pool>) {
        let mut all = core::mem::take(self);
        while let Some(watch) = all.pop() {
            if let Some(open) = watch.settle::<Shipped>(pool) {
                self.put_back(open);
            }
        }
        self.sweep = (2 * self.count).max(FEW);
    }
}

impl Drop for OpenRequests {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.is_empty() {
            release_all(self);
        }
    }
}

#[cold]
#[inline(never)]
fn release_all(open: &mut OpenRequests) {
    while let Some(watch) = open.pop() {
        drop(watch);
    }
}
