//! Timers on a kernel.

use core::time::Duration;

use atropos_kernel::{ActAsError, Caller, CallerState, MaybeReady, Pid, Reference, TimerError as KernelTimerError};

use super::{KernelAccess, KernelFacilities, act};
use crate::timer::{TimeLeft, TimerError, TimerFacility};

impl<G: KernelAccess, M: Send + 'static> TimerFacility<M> for KernelFacilities<G> {
    fn start(&self, caller: u64, target: u64, after: Duration, message: M) -> Result<u64, TimerError> {
        let started = act(&self.0, caller, |behalf| {
            if matches!(behalf.standing(), CallerState::Dead | CallerState::NeverAllocated) {
                return Err(TimerError::NoCaller);
            }
            let target = Pid::from_raw(target).filter(|target| behalf.was_allocated(*target));
            let timer = behalf.send_after(target.ok_or(TimerError::NoProc)?, after, message);
            timer.map(Reference::to_raw).map_err(refusal)
        });
        started.ok_or(TimerError::NoCaller)?
    }

    fn cancel(&self, caller: u64, timer: u64) -> Result<TimeLeft, TimerError> {
        self.time_left(caller, timer, |behalf, timer| behalf.cancel_timer(timer))
    }

    fn read(&self, caller: u64, timer: u64) -> Result<TimeLeft, TimerError> {
        self.time_left(caller, timer, |behalf, timer| behalf.read_timer(timer))
    }
}

impl<G: KernelAccess> KernelFacilities<G> {
    fn time_left(
        &self,
        caller: u64,
        timer: u64,
        what: impl FnOnce(&Caller<'_>, Reference) -> Result<MaybeReady<Option<Duration>>, ActAsError>,
    ) -> Result<TimeLeft, TimerError> {
        let done = act(&self.0, caller, |behalf| match (behalf.standing(), Reference::from_raw(timer)) {
            (CallerState::Dead | CallerState::NeverAllocated, _) => Err(TimerError::NoCaller),
            (_, None) => Ok(TimeLeft::Known(None)),
            (_, Some(timer)) => match what(behalf, timer) {
                Ok(MaybeReady::Ready(left)) => Ok(TimeLeft::Known(left)),
                // The state of a timer never needs a query.
                Ok(MaybeReady::Pending(_)) | Err(_) => Err(TimerError::NoCaller),
            },
        });
        done.ok_or(TimerError::NoCaller)?
    }
}

fn refusal(error: KernelTimerError) -> TimerError {
    match error {
        KernelTimerError::WrongType => TimerError::WrongType,
        KernelTimerError::TooMany => TimerError::TooMany,
        KernelTimerError::Dying => TimerError::NoCaller,
        _ => TimerError::NoMemory,
    }
}
