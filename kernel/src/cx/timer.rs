//! A body's timers.

use core::ptr::NonNull;
use core::time::Duration;

use super::{Cx, Dest};
use crate::hand::Hand;
use crate::pid::Reference;
use crate::process::private::Private;
use crate::timer::record::{Flags, Target, TimerError, TimerHead};

impl<M: Send + 'static> Cx<'_, M> {
    /// Sends `message` after a while. The timer ends with the receiver. O(1).
    pub fn send_after<'d, N: Send + 'static>(
        &self,
        to: impl Into<Dest<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.start_message(to.into(), after, message, false)
    }

    /// As [`Cx::send_after`], but what comes is a [`Received::Timer`] that names the timer.
    pub fn start_timer<'d, N: Send + 'static>(
        &self,
        to: impl Into<Dest<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.start_message(to.into(), after, message, true)
    }

    fn start_message<N: Send + 'static>(
        &self,
        to: Dest<'_>,
        after: Duration,
        message: N,
        labelled: bool,
    ) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        self.spend(1);
        let _inside = self.slice.enter();
        let hand = &self.slice.hand;
        let (target, other) = match to {
            Dest::Pid(pid) if pid == self.pid() => (Target::Pid(pid), None),
            Dest::Pid(pid) => (Target::Pid(pid), hand.find(pid)),
            Dest::Name(name) => {
                let entry = hand.kernel.names.intern(name).map_err(|_| TimerError::NoMemory)?;
                (Target::Name(NonNull::from(entry)), None)
            }
        };
        let takes = match to {
            Dest::Pid(pid) if pid == self.pid() => Some(self.slice.process().takes),
            _ => other.map(|other| other.takes),
        };
        if takes.is_some_and(|takes| takes != core::any::TypeId::of::<N>()) {
            return Err(TimerError::WrongType);
        }
        let reference = self.reference().ok_or(TimerError::NoMemory)?;
        let due = self.due(after);
        let flags = Flags { labelled, watched: other.is_some() };
        let timer = TimerHead::try_message(hand, target, self.core(), due, reference, flags, message)?;
        self.start(timer, due)?;
        if let Some(other) = other {
            let watch = TimerHead::share(timer);
            // SAFETY: on no list; the list's share goes with it.
            if unsafe { other.watchers.push(watch) }.is_err() {
                // The target has just died, and its timer with it.
                // SAFETY: shared.
                unsafe { TimerHead::cancel(timer, hand) };
                // SAFETY: the share that the list did not take.
                unsafe { TimerHead::give_up(timer, self.slice.hand.pool()) };
            }
        } else if let Target::Pid(pid) = target
            && pid != self.pid()
        {
            // SAFETY: shared: it ended with a target that is dead already.
            unsafe { TimerHead::cancel(timer, hand) };
        }
        Ok(reference)
    }

    fn due(&self, after: Duration) -> u64 {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        self.now().saturating_add(after)
    }

    /// Puts a new timer on the wheel and among its own.
    fn start(&self, timer: NonNull<TimerHead>, due: u64) -> Result<(), TimerError> {
        // SAFETY: new, for this core.
        if let Err(error) = unsafe { self.slice.core.start(timer, due) } {
            // SAFETY: ours alone; `cancel` drops the message and gives up the wheel's share.
            unsafe { TimerHead::cancel(timer, &self.slice.hand) };
            // SAFETY: the starter's share.
            unsafe { TimerHead::give_up(timer, self.slice.hand.pool()) };
            return Err(error);
        }
        self.private(|private| {
            if private.timers.sweep_is_due() {
                private.sweep_timers(&self.slice.hand);
            }
            // SAFETY: new, in no set; the starter's share goes with it.
            unsafe { private.timers.insert(timer) };
        });
        Ok(())
    }

    /// Cancels a timer of its own: the time it had left, or `None` when it has fired, was
    /// cancelled, or ended with its target. O(1).
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.alive(()).ok()?;
        let _inside = self.slice.enter();
        let record = self.private(|private| private.timers.find(timer.to_raw()))?;
        // Out of the set first, with its share: the message's destructor is foreign and may come here again.
        // SAFETY: found there just now.
        self.private(|private| unsafe { private.timers.remove(record) });
        // SAFETY: the set's share, which is ours now.
        let due = unsafe { record.as_ref() }.due;
        // SAFETY: likewise.
        let in_time = unsafe { TimerHead::cancel(record, &self.slice.hand) };
        // SAFETY: likewise, and not used again.
        unsafe { TimerHead::give_up(record, self.slice.hand.pool()) };
        in_time.then(|| Duration::from_nanos(due.saturating_sub(self.now())))
    }

    /// The time that a timer of its own has left. O(1).
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.alive(()).ok()?;
        let record = self.private(|private| private.timers.find(timer.to_raw()))?;
        // SAFETY: in the set, so shared.
        let record = unsafe { record.as_ref() };
        record.is_armed().then(|| Duration::from_nanos(record.due.saturating_sub(self.now())))
    }

    /// Resumes the body after a while: for sleeps and the patience of receives. It has rung
    /// when [`Cx::read_timer`] no longer finds it; [`Cx::cancel_timer`] ends it.
    pub fn alarm(&self, after: Duration) -> Result<Reference, TimerError> {
        self.alive(TimerError::Dying)?;
        let reference = self.reference().ok_or(TimerError::NoMemory)?;
        let due = self.due(after);
        let timer = TimerHead::try_alarm(&self.slice.hand, self.pid(), self.core(), due, reference)?;
        self.start(timer, due)?;
        Ok(reference)
    }
}

impl Private {
    /// Drops the timers to others that have fired or ended.
    fn sweep_timers(&mut self, hand: &Hand<'_>) {
        for timer in self.timers.iter() {
            // SAFETY: in the set, so shared.
            if !unsafe { timer.as_ref() }.is_armed() {
                // SAFETY: the one the iterator returned last may be removed.
                unsafe { self.timers.remove(timer) };
                // SAFETY: the set's share.
                unsafe { TimerHead::give_up(timer, hand.pool()) };
            }
        }
        self.timers.swept();
    }
}
