//! Timers of a process's that somebody else starts, reads or cancels for it.
//!
//! A timer lies on a core's wheel, and whoever acts for a process that is elsewhere does not have that core. So the record goes by proxy,
//! and the core that meets it starts it (`timer::start`): its time counts from the call, though a process that does not let
//! go of its slice may meet it late. Reading and cancelling are questions, which take their place behind it.

use core::time::Duration;

use super::{Behalf, BehalfError, Way};
use crate::cx::{Asked, Dest, ask};
use crate::memory::NoMemory;
use crate::pid::{Pid, Reference};
use crate::proxy::Order;
use crate::signal::ask::Question;
use crate::timer::record::{TimerError, TimerHead};
use crate::timer::start;

impl Behalf<'_> {
    /// Sends `message` after a while, as [`crate::Cx::send_after`]. For the dead: [`TimerError::Dying`].
    pub fn send_after<N: Send + 'static>(&self, to: Pid, after: Duration, message: N) -> Result<Reference, TimerError> {
        let process = match self.way {
            Way::Here(cx) => return cx.send_after(to, after, message),
            Way::There(process) => process,
            Way::Gone | Way::NeverGivenOut => return Err(TimerError::Dying),
        };
        let hand = &self.hand;
        let target = start::target::<N>(process, hand, Dest::Pid(to))?;
        let place = hand.kernel.timers_by_proxy.count().ok_or(TimerError::TooMany)?;
        let reference = self.reference().map_err(|_| TimerError::NoMemory)?;
        let due = start::due(hand, after);
        let timer = TimerHead::try_message(hand, target, due, reference, false, message)?;
        // SAFETY: new, so ours.
        unsafe { TimerHead::counted(timer, place) };
        let pushed = self.order(process, Order::Start(timer));
        if pushed == Ok(true) {
            return Ok(reference);
        }
        // SAFETY: ours still (X2).
        hand.kernel.contain(|| unsafe { TimerHead::abandon(timer, hand.pool()) });
        Err(if pushed.is_ok() { TimerError::Dying } else { TimerError::NoMemory })
    }

    /// Cancels a timer of the caller's: the time it had left, if it was still to come. A caller that is not here has to be asked;
    /// one that dies before it answers has not cancelled it.
    pub fn cancel_timer(&self, timer: Reference) -> Result<Asked<Option<Duration>>, BehalfError> {
        match self.way {
            Way::Here(cx) => Ok(Asked::Known(cx.cancel_timer(timer))),
            _ => self.ask_of_timer(Question::Cancel(timer)),
        }
    }

    /// The time that a timer of the caller's has left, if it is still to come. A caller that is not here has to be asked.
    pub fn read_timer(&self, timer: Reference) -> Result<Asked<Option<Duration>>, BehalfError> {
        match self.way {
            Way::Here(cx) => Ok(Asked::Known(cx.read_timer(timer))),
            _ => self.ask_of_timer(Question::Timer(timer)),
        }
    }

    fn ask_of_timer(&self, question: Question) -> Result<Asked<Option<Duration>>, BehalfError> {
        let Way::There(process) = self.way else { return Err(BehalfError::NoCaller) };
        match ask(&self.hand, process, question) {
            Ok(Some(waiting)) => Ok(Asked::Later(waiting)),
            Ok(None) => Err(BehalfError::NoCaller),
            Err(NoMemory) => Err(BehalfError::NoMemory),
        }
    }
}
