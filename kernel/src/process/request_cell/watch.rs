//! What the watch may do with the cell ([`WatchParty`]), and the watch itself, [`DeathWatch`].

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::task::Waker;

use super::{DOWN, Orders, Party, WATCH_DONE, WatchParty};
use crate::memory::pool::Pool;
use crate::reason::Reason;
use crate::shipped::Shipped;

/// The watch of a request, in its message and then among the requests of the process that received
/// it (`request_watch`). Dropping it releases it, and the cell if the watch is the last party.
#[derive(Debug)]
#[repr(transparent)]
pub struct DeathWatch(WatchParty);

// SAFETY: A1 to A5: the word decides which party may touch the cell.
unsafe impl Send for DeathWatch {}

impl DeathWatch {
    /// Returns the watch of a right.
    #[inline(always)]
    pub(crate) fn of(party: WatchParty) -> Self {
        Self(party)
    }

    /// Returns the right, whose end is now the caller's duty.
    #[inline(always)]
    pub(crate) fn into_party(self) -> WatchParty {
        Party(ManuallyDrop::new(self).0.0, PhantomData)
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        Party::<WATCH_DONE>(self.0.0, PhantomData).finish::<Shipped>(None);
    }
}

impl WatchParty {
    /// Replaces the request behind this one in a process's list.
    pub(crate) fn replace_next(&mut self, next: Option<WatchParty>) -> Option<WatchParty> {
        // SAFETY: `next` belongs to the watch.
        self.next.with_mut(|place| unsafe { core::mem::replace(&mut *place, next) })
    }

    /// Reports the death of the watched process, unless one of the bits `unless` is set. The watch
    /// is done then. Returns the waker of the requester, or `None` if there was no event.
    pub(crate) fn down<O: Orders>(self, reason: Reason, unless: u8, pool: Option<&Pool>) -> Option<Option<Waker>> {
        // SAFETY: A2: the reason belongs to the watch until DOWN.
        self.reason.with_mut(|place| unsafe { *place = Some(reason) });
        // SAFETY: this is the watch's right, which ends here if the event gives it up.
        let said = unsafe { self.event::<O>(DOWN, WATCH_DONE, unless) };
        if matches!(said, Ok((_, None))) {
            self.was_given_up();
        } else {
            // The watch is not done with the event: there was a waker, or no event.
            self.finish::<O>(pool);
        }
        said.ok().map(|(_, waker)| waker)
    }
}
