//! [`SendReservation`], a sender's place in the line of those who wait for room in a mailbox.
//!
//! The record is in the line at the receiver (`room`), who calls by the signal of a waker; the sender, resumed, tries again. A
//! place that is kept for who has been called, and does not use it, is given back: the receiver is told, by the
//! same signal, to look at the line. That needs a slice to do it in: who goes on a core, as all do whose body ends, is in
//! one. A place that is forgotten, or dropped on another thread, after it has been called, is not given back until the
//! receiver takes another message.

use core::fmt;
use core::ptr::NonNull;

use crate::cx::Slice;
use crate::hand::KernelCx;
use crate::kernel::Kernel;
use crate::list::Closed;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::room::Waiter;
use crate::send::{self, SendError, Attachment};
use crate::task::waker;
use crate::world::CurrentSlot;

/// A process's place in the line of those who wait until another's mailbox has room; see [`crate::Cx::send_or_enqueue`].
/// Dropping it is to wait no more.
#[derive(Default)]
#[must_use = "dropping it is to wait no more"]
pub struct SendReservation(Option<Registration>);

struct Registration {
    /// With the sender's share.
    waiter: NonNull<Waiter>,
    /// At whose mailbox.
    at: Pid,
    /// Whose pid that is: only compared.
    kernel: *const Kernel,
    here: fn() -> *const CurrentSlot,
}

// SAFETY: a share of a record of atomics, and a pointer that is only compared.
unsafe impl Send for SendReservation {}
// SAFETY: as above; through `&` nothing is changed.
unsafe impl Sync for SendReservation {}

impl SendReservation {
    /// In no line yet.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Its record, while it is in a line.
    pub(crate) fn waiter(&self) -> Option<NonNull<Waiter>> {
        self.0.as_ref().map(|spot| spot.waiter)
    }

    /// Whether it waits in a line and has not been called.
    pub fn waits(&self) -> bool {
        // SAFETY: its share keeps it.
        self.0.as_ref().is_some_and(|spot| !unsafe { spot.waiter.as_ref() }.is_called())
    }

    /// See [`crate::Cx::send_or_enqueue`].
    pub(crate) fn send<M: Send + 'static>(
        &mut self,
        hand: &KernelCx<'_>,
        me: Pid,
        to: Pid,
        message: M,
    ) -> Result<(), SendError<M>> {
        if self.0.as_ref().is_some_and(|spot| spot.at != to) {
            self.leave(hand);
        }
        let called = !self.waits();
        match send::send(hand, to, message) {
            Err(SendError::Full(message)) if called => {
                self.used();
                self.get_in_line(hand, me, to, message)
            }
            // It was resumed for something else.
            Err(SendError::Full(message)) => Err(SendError::Full(message)),
            Ok(()) if called => {
                self.used();
                Ok(())
            }
            // It was quicker than its turn, or there is nothing to wait for.
            done => {
                self.leave(hand);
                done
            }
        }
    }

    /// To the end of the line, unless there is room by now.
    fn get_in_line<M: Send + 'static>(
        &mut self,
        hand: &KernelCx<'_>,
        me: Pid,
        to: Pid,
        message: M,
    ) -> Result<(), SendError<M>> {
        let Some((process, bound)) = hand.find(to).and_then(|process| Some((process, process.bound()?))) else {
            return Err(SendError::NoProc(message));
        };
        let Ok(waiter) = Waiter::try_new(me) else { return Err(SendError::NoMemory(message)) };
        let spot = Registration { waiter, at: to, kernel: hand.kernel, here: hand.kernel.here };
        // SAFETY: new; the line's share goes with it.
        if let Err(Closed) = unsafe { bound.room.line_up(waiter) } {
            for _share in 0..2 {
                // SAFETY: both shares are ours still.
                unsafe { Waiter::give_up(waiter) };
            }
            return Err(SendError::NoProc(message));
        }
        if !bound.room.get_in_line() {
            self.0 = Some(spot);
            return Err(SendError::Full(message));
        }
        // The place is taken, whoever was called for it.
        spot.leave(Some(hand));
        send::deliver(hand, process, message, Attachment::Nothing)
    }

    /// What it was called for is done.
    fn used(&mut self) {
        if let Some(spot) = self.0.take() {
            // SAFETY: its share keeps it.
            let _called = unsafe { spot.waiter.as_ref() }.go();
            // SAFETY: its share, not used again.
            unsafe { Waiter::give_up(spot.waiter) };
        }
    }

    /// It waits no more.
    fn leave(&mut self, hand: &KernelCx<'_>) {
        if let Some(spot) = self.0.take() {
            // Used at another kernel, nobody there has to do with it.
            let is_its_own = core::ptr::eq(hand.kernel, spot.kernel);
            spot.leave(is_its_own.then_some(hand));
        }
    }
}

impl Registration {
    /// Gives back a place that was kept for it; without a hand nobody can be told.
    fn leave(self, hand: Option<&KernelCx<'_>>) {
        // SAFETY: its share keeps it.
        let called = unsafe { self.waiter.as_ref() }.go();
        // SAFETY: its share, not used again.
        unsafe { Waiter::give_up(self.waiter) };
        let Some((hand, process)) = hand.and_then(|hand| Some((hand, hand.find(self.at)?))) else { return };
        if called || counts_as_many(process) {
            waker::nudge(process, hand);
        }
    }
}

/// One has gone from the line: whether it is time to sweep it.
fn counts_as_many(process: &Header) -> bool {
    process.bound().is_some_and(|bound| bound.room.count_gone())
}

impl Drop for SendReservation {
    fn drop(&mut self) {
        let Some(spot) = self.0.take() else { return };
        // SAFETY: the place of this thread of execution, by World's contract.
        let slice = unsafe { (*(spot.here)()).get() }.cast::<Slice<'_>>();
        // SAFETY: null, or noted for as long as the slice lasts, which is longer than this call.
        let slice = unsafe { slice.as_ref() };
        let hand = slice.map(|slice| slice.hand).filter(|hand| core::ptr::eq(hand.kernel, spot.kernel));
        spot.leave(hand.as_ref());
    }
}

impl fmt::Debug for SendReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InLine").field("at", &self.0.as_ref().map(|spot| spot.at)).finish()
    }
}
