//! Dying at once: who sleeps, and would not survive an exit signal, dies within the slice of who sends it, without one.
//!
//! A push that wakes a process gives it to who pushed (`header`, P1), who queues it as a rule. Here the sender claims a process
//! that sleeps (`mailbox`), so that it has met all that was sent to it before, and if it would die of the signal, sees to its
//! death as its core would. So a supervisor that stops its children, one after the other, neither sleeps for each nor is
//! woken, nothing goes to another core, and nothing needs memory. It is for those only who hold nothing, no lock and
//! no borrow, that the dying body's destructors may want.
//!
//! - **O1, a slice of its own.** While the process dies a slice of its own is noted, and not the sender's: its destructors find
//!   their process as they always do, and nobody gets at the sender's private part.
//! - **O2, no recursion.** Whom a destructor stops in such a slice is sent a signal, and whom a death kills by links is queued.
//! - **O3, its own core.** Who may run only elsewhere is sent a signal.
//! - **O4, the owner.** Who is awake is another's, or in a queue: only a claim gives it to us.

use crate::cx::Slice;
use crate::memory::NoMemory;
use crate::mutate::Mutation;
use crate::pid::Pid;
use crate::process::exit::die;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sched::turn::Noted;
use crate::signal::exit_signal;
use crate::sync::Ordering;

/// Sends an exit signal on behalf of the slice's process, which is another; who sleeps and does not survive it is dead
/// afterwards. Lock-free, but for the destructors.
pub(crate) fn exit(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    let hand = &slice.hand;
    let Some(process) = hand.find(to) else { return Ok(()) };
    let here = !slice.is_within_another() && slice.core.takes(process);
    let claimed = here && process.mailbox.claim();
    if claimed && let Some(reason) = fatal(process, &reason) {
        // SAFETY: claimed (O4).
        unsafe { die_here(slice, process, reason) };
        return Ok(());
    }
    let sent = send(slice, to, reason);
    if claimed && !hand.kernel.mutated(Mutation::ForgetsTheClaimed) {
        // It has the signal, or nothing, and then it goes to sleep again.
        hand.schedule(process);
    }
    sent
}

/// What a claimed process dies of, if it does: as it would when it fetched the signal.
fn fatal(process: &Header, reason: &Reason) -> Option<Reason> {
    if *reason == Reason::KILL {
        return Some(Reason::KILLED);
    }
    // Relaxed: as in `Header::trap_exit`.
    let survives = reason.is_normal() || process.trap_exit.load(Ordering::Relaxed);
    (!survives).then(|| reason.clone())
}

fn send(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    exit_signal::send(&slice.hand, Some(slice.process().pid), to, reason).map(|_| ())
}

/// # Safety
/// The caller has `process` (P1), which is not the slice's, and does not use it again.
unsafe fn die_here(slice: &Slice<'_>, process: &Header, reason: Reason) {
    let hand = &slice.hand;
    let own = Slice::within_another(*hand, slice.core, process);
    let noted = Noted::of(&own, hand.kernel);
    // SAFETY: by contract, and nobody runs it again.
    unsafe { die(process.whole(), &own, reason) };
    drop(noted);
    hand.kernel.cores[slice.core.id()].mark.enter(slice.process().pid);
}
