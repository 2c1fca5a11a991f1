//! One turn of a process, which is a slice: what a core does with a process that it has popped.
//!
//! A slice fetches the signals that have arrived. The process dies of them, or its body is resumed
//! if there is something for it. It sleeps, by one exchange, if no signal has arrived in between. A
//! body that yields goes behind the queued processes.

use crate::kernel::slice::Turns;
use crate::mutation::mutant;
use crate::ops::drain::{FetchedBy, fetch};
use crate::process::owned::Owned;
use crate::process::vtable::BodyPoll;
use crate::reason::Reason;

/// How a slice ended.
pub(super) enum TurnOutcome<'a> {
    /// The process sleeps, and another core may already own it.
    Sleeps,
    /// The process goes behind the queued processes.
    Yields(Owned<'a>),
    /// The process dies of this reason.
    Dies(Owned<'a>, Reason),
}

#[cold]
fn dies(mut owned: Owned<'_>) -> TurnOutcome<'_> {
    match owned.state(|state| state.dying.take()) {
        Some(reason) => TurnOutcome::Dies(owned, reason),
        None => TurnOutcome::Yields(owned),
    }
}

/// Does the same as [`dies`] after a slice of the body that ended in this way.
#[cold]
#[inline(never)]
fn dies_instead<'a>(owned: Owned<'a>, turns: &Turns<'a>, polled: BodyPoll) -> TurnOutcome<'a> {
    if let BodyPoll::Exit(unheard) = &polled {
        // Its value is foreign, and is dropped here.
        unheard.come_into(turns.kernel_cx.kernel.world());
    }
    dies(owned)
}

/// Puts the process to sleep. Returns nothing if it sleeps: another core may already own it then.
#[inline(always)]
fn sleep<'a>(turns: &Turns<'a>, owned: Owned<'a>) -> Option<Owned<'a>> {
    let awake = owned.sleep().err();
    mutant!(turns.kernel_cx.kernel.mutations, SleepsAnyway, right => awake, wrong => awake.filter(|_| false))
}

/// What a process does next, after it has fetched its signals.
enum Next {
    Dies,
    Waits,
    Resumes,
}

/// Runs one turn of a process. The slice is the current slice of this thread.
pub(super) fn turn<'a>(turns: &Turns<'a>, mut owned: Owned<'a>) -> TurnOutcome<'a> {
    loop {
        fetch(&mut owned, &turns.kernel_cx, FetchedBy::Core);
        let next = owned.peek(|state| {
            if state.dying.is_some() {
                Next::Dies
            } else if !state.resume || state.suspended > 0 {
                // A suspended process sleeps like a waiting one. `resume` stays set, for what has
                // arrived for it, until a signal ends the suspension.
                Next::Waits
            } else {
                Next::Resumes
            }
        });
        match next {
            Next::Dies => return dies(owned),
            Next::Waits => {
                let Some(awake) = sleep(turns, owned) else { return TurnOutcome::Sleeps };
                owned = awake;
                // More signals have arrived, perhaps none for the body. Other processes get their
                // turn all the same.
                if turns.is_exhausted() {
                    return TurnOutcome::Yields(owned);
                }
                turns.pay(1);
                continue;
            }
            Next::Resumes => {}
        }
        if turns.is_exhausted() {
            return TurnOutcome::Yields(owned);
        }
        turns.begin();
        let (after, polled) = turns.resume(owned);
        owned = after;
        owned.state(|state| state.reductions += turns.spent() + 1);
        turns.pay(1);
        // The process waits for no answer, so a reference that is kept for the next request need
        // not hold the kernel.
        drop(owned.take_spare());
        if owned.peek(|state| state.dying.is_some()) {
            return dies_instead(owned, turns, polled);
        }
        match polled {
            BodyPoll::Exit(reason) => return TurnOutcome::Dies(owned, reason),
            // Each arm moves the outcome, so that nothing is left to be dropped later.
            _yields @ BodyPoll::Yield => {
                owned.state(|state| state.resume = true);
                return TurnOutcome::Yields(owned);
            }
            _waits @ BodyPoll::Wait => {}
        }
        // Usually no signal has arrived in between.
        if !owned.peek(|state| state.resume) {
            match sleep(turns, owned) {
                None => return TurnOutcome::Sleeps,
                Some(awake) => owned = awake,
            }
        }
    }
}
