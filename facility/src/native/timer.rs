//! Timers on a kernel.

use core::time::Duration;

use atropos_kernel::{ActAsError, Caller, CallerState, Pid, Reference, TimerError as KernelTimerError};

use super::{KernelAccess, KernelFacilities, act};
use crate::timer::{RemainingTime, TimerError, TimerFacility};

impl<G: KernelAccess, M: Send + 'static> TimerFacility<M> for KernelFacilities<G> {
    fn start(&self, caller: u64, target: u64, after: Duration, message: M) -> Result<u64, TimerError> {
        let started = act(&self.0, caller, |acting| {
            if matches!(acting.state(), CallerState::Dead | CallerState::NeverAllocated) {
                return Err(TimerError::NoCaller);
            }
            let target = Pid::from_raw(target).filter(|target| acting.was_allocated(*target));
            let timer = acting.send_after(target.ok_or(TimerError::NoProc)?, after, message);
            timer.map(Reference::to_raw).map_err(refusal)
        });
        started.ok_or(TimerError::NoCaller)?
    }

    fn cancel(&self, caller: u64, timer: u64) -> Result<RemainingTime, TimerError> {
        self.time_left(caller, timer, |acting, timer| acting.cancel_timer(timer))
    }

    fn read(&self, caller: u64, timer: u64) -> Result<RemainingTime, TimerError> {
        self.time_left(caller, timer, |acting, timer| acting.read_timer(timer))
    }
}

impl<G: KernelAccess> KernelFacilities<G> {
    fn time_left(
        &self,
        caller: u64,
        timer: u64,
        what: impl FnOnce(&Caller<'_>, Reference) -> Result<Option<Duration>, ActAsError>,
    ) -> Result<RemainingTime, TimerError> {
        let done = act(&self.0, caller, |acting| match (acting.state(), Reference::from_raw(timer)) {
            (CallerState::Dead | CallerState::NeverAllocated, _) => Err(TimerError::NoCaller),
            (_, None) => Ok(RemainingTime::Known(None)),
            (_, Some(timer)) => match what(acting, timer) {
                Ok(left) => Ok(RemainingTime::Known(left)),
                Err(_) => Err(TimerError::NoCaller),
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
