//! Dying at once: who sleeps, and does not survive the exit signal that wakes it, dies within the slice of who sent it.
//!
//! A push that wakes a process gives it to who pushed (`header`, P1), who queues it as a rule. Here he meets himself what
//! has come, and if the process dies of it, sees to its death as its core would. So a supervisor that stops its children, one
//! after the other, neither sleeps for each nor is woken, and nothing goes to another core. It is for those only
//! who hold nothing, no lock and no borrow, that the dying body's destructors may want.
//!
//! - **O1, a slice of its own.** While the process dies a slice of its own is noted, and not the sender's: its destructors find
//!   their process as they always do, and nobody gets at the sender's private part.
//! - **O2, no recursion.** Whom a destructor stops in there is queued, and whom a death kills by links as well.
//! - **O3, its own core.** Who may run only elsewhere is queued there.
//! - **O4, the owner.** Who was awake is another's, or in a queue: only a push that says so gives it to us.

use crate::cx::Slice;
use crate::hand::Hand;
use crate::mailbox::Pushed;
use crate::memory::NoMemory;
use crate::mutate::Mutation;
use crate::pid::Pid;
use crate::process::exit::die;
use crate::process::fetch::{By, fetch};
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sched::core::Noted;
use crate::signal::exit_signal::{self, Prepared};

/// Sends an exit signal on behalf of the slice's process, which is another; who sleeps and does not survive it is dead
/// afterwards. Lock-free, but for the destructors.
pub(crate) fn exit(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    let hand = &slice.hand;
    let from = slice.process().pid;
    let Prepared::Signal(process, signal) = exit_signal::prepare(hand, Some(from), to, reason)? else { return Ok(()) };
    // SAFETY: new, so ours.
    match unsafe { process.mailbox.push(signal) } {
        // SAFETY: woken by the push (O4).
        Pushed::Wake => unsafe { die_or_queue(slice, hand, process) },
        // SAFETY: a model's: it is another's, and the model sees it.
        Pushed::Quiet if hand.kernel.mutated(Mutation::DiesAwake) => unsafe { die_or_queue(slice, hand, process) },
        Pushed::Quiet => {}
        // SAFETY: still ours.
        Pushed::Closed => unsafe { hand.release(signal) },
    }
    Ok(())
}

/// # Safety
/// The caller has `process` (P1), which is not the slice's, and does not use it again.
unsafe fn die_or_queue(slice: &Slice<'_>, hand: &Hand<'_>, process: &Header) {
    if slice.is_within_another() || !slice.core.takes(process) {
        return hand.schedule(process);
    }
    fetch(process, hand, By::Core);
    // SAFETY: by contract.
    let Some(reason) = (unsafe { process.private() }).dying.take() else { return hand.schedule(process) };
    let own = Slice::within_another(*hand, slice.core, process);
    let noted = Noted::of(&own, hand.kernel);
    // SAFETY: by contract, and nobody runs it again.
    unsafe { die(process.whole(), &own, reason) };
    drop(noted);
    hand.kernel.cores[slice.core.id()].mark.enter(slice.process().pid);
}
