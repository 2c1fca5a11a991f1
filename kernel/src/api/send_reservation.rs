//! A send reservation, [`SendReservation`]: a sender's place among the waiters for capacity in a
//! mailbox.
//!
//! The record is in the waiter queue at the receiver (`capacity`). The receiver notifies the sender
//! with a waker's signal; the sender, when it is resumed, tries again. A slot that is reserved for
//! a notified sender that does not use it is returned: the receiver is notified, by the same
//! signal, to check its waiters. That notification needs a slice to run in. A reservation that is
//! dropped on a core is in one, and every process drops its own there when its body ends. A
//! reservation that is forgotten, or dropped on another thread, after it was notified, is not
//! returned until the receiver takes another message.

use core::fmt;

use crate::intrusive::counted::Ref;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::{CurrentSlotFn, KernelPtr};
use crate::mailbox::capacity::Waiter;
use crate::ops::send::{self, SendError};
use crate::ops::waker;
use crate::pid::Pid;
use crate::process::header::Header;

/// A process's place among the senders that wait until another process's mailbox has capacity; see
/// [`crate::Cx::send_or_enqueue`]. Dropping it cancels the wait.
#[derive(Default)]
#[must_use = "dropping it cancels the wait"]
pub struct SendReservation(Option<Registration>);

struct Registration {
    /// The waiter's record, with the sender's reference.
    waiter: Ref<Waiter>,
    /// The process whose mailbox the sender waits for.
    at: Pid,
    /// The kernel of that process: only compared.
    kernel: KernelPtr,
    current_slot: CurrentSlotFn,
}

// SAFETY: it is a reference to a record of atomics, and a pointer that is only compared.
unsafe impl Send for SendReservation {}
// SAFETY: nothing is changed through `&`, and the record consists of atomics.
unsafe impl Sync for SendReservation {}

impl SendReservation {
    /// Creates a reservation that waits for nothing yet.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Returns a reference to its record, while it waits.
    pub(crate) fn waiter(&self) -> Option<Ref<Waiter>> {
        self.0.as_ref().map(|spot| spot.waiter.share())
    }

    /// Returns `true` if it waits and has not been notified.
    pub fn waits(&self) -> bool {
        self.0.as_ref().is_some_and(|spot| !spot.waiter.is_called())
    }

    /// Sends `message`, or waits for capacity; see [`crate::Cx::send_or_enqueue`].
    pub(crate) fn send<M: Send + 'static>(
        &mut self,
        kernel_cx: &KernelCx<'_>,
        me: Pid,
        to: Pid,
        message: M,
    ) -> Result<(), SendError<M>> {
        if self.0.as_ref().is_some_and(|spot| spot.at != to) {
            self.leave(kernel_cx);
        }
        let called = !self.waits();
        match send::send(kernel_cx, to, message) {
            Err(SendError::Full(message)) if called => {
                self.used();
                self.get_in_line(kernel_cx, me, to, message)
            }
            // The process was resumed for another reason.
            Err(SendError::Full(message)) => Err(SendError::Full(message)),
            Ok(()) if called => {
                self.used();
                Ok(())
            }
            // The send succeeded before the waiter was notified, or waiting is useless.
            done => {
                self.leave(kernel_cx);
                done
            }
        }
    }

    /// Queues at the back, unless a slot is free by now.
    fn get_in_line<M: Send + 'static>(
        &mut self,
        kernel_cx: &KernelCx<'_>,
        me: Pid,
        to: Pid,
        message: M,
    ) -> Result<(), SendError<M>> {
        let found = kernel_cx.find(to).and_then(|process| Some((process, process.header().bound()?)));
        let Some((process, bound)) = found else { return Err(SendError::NoProc(message)) };
        let Ok((waiter, queued)) = Waiter::try_new(me) else { return Err(SendError::NoMemory(message)) };
        let spot = Registration {
            waiter,
            at: to,
            kernel: KernelPtr::of(kernel_cx.kernel),
            current_slot: kernel_cx.kernel.current_slot,
        };
        if bound.room.push_waiter(queued).is_err() {
            return Err(SendError::NoProc(message));
        }
        if !bound.room.reserve_or_wait() {
            self.0 = Some(spot);
            return Err(SendError::Full(message));
        }
        // The slot is taken, even if another waiter was notified for it.
        spot.leave(Some(kernel_cx));
        send::deliver_reserved(kernel_cx, process, message)
    }

    /// Releases the record: the slot that it was notified for is used, or it queues again.
    fn used(&mut self) {
        if let Some(spot) = self.0.take() {
            let _called = spot.waiter.cancel();
        }
    }

    /// Cancels the wait.
    fn leave(&mut self, kernel_cx: &KernelCx<'_>) {
        if let Some(spot) = self.0.take() {
            // If the reservation is used at another kernel, that kernel has nothing to do with it.
            let is_its_own = KernelPtr::of(kernel_cx.kernel) == spot.kernel;
            spot.leave(is_its_own.then_some(kernel_cx));
        }
    }
}

impl Registration {
    /// Returns a slot that was reserved for it. Without a kernel context no process can be
    /// notified.
    fn leave(self, kernel_cx: Option<&KernelCx<'_>>) {
        let called = self.waiter.cancel();
        drop(self.waiter);
        let Some((kernel_cx, process)) = kernel_cx.and_then(|kernel_cx| Some((kernel_cx, kernel_cx.find(self.at)?)))
        else {
            return;
        };
        if called || counts_as_many(&process) {
            waker::request_wake(process, kernel_cx);
        }
    }
}

/// Counts a cancelled waiter. Returns `true` if it is time to sweep the waiter queue.
fn counts_as_many(process: &Header) -> bool {
    process.bound().is_some_and(|bound| bound.room.count_cancelled())
}

impl Drop for SendReservation {
    fn drop(&mut self) {
        let Some(spot) = self.0.take() else { return };
        spot.current_slot.with_slice_of(spot.kernel, |slice| spot.leave(slice.map(|slice| &slice.kernel_cx)));
    }
}

impl fmt::Debug for SendReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendReservation").field("at", &self.0.as_ref().map(|spot| spot.at)).finish()
    }
}
