//! Ending a process that sleeps: what would not survive an exit signal, and waits, is ended without one.
//!
//! A push that wakes a process gives it to the sender (`header`, P1), which queues it as a rule. Here the sender claims a process
//! that sleeps (`mailbox`), so that it has met all that was sent to it before, and if it would die of the signal, decides its
//! death. So a supervisor that stops its children, one after the other, sends no signal and needs no memory.
//!
//! The death itself happens in one of two places.
//!
//! - *Within the caller's slice*, when nothing foreign is dropped or called in it: then it takes a bounded number of steps, and the
//!   caller neither sleeps for it nor is woken.
//! - *In a slice of its own*, when there is something foreign: a body with a destructor, a message that nobody has received, a
//!   request that has to be answered, a watch from outside. A destructor may take for ever (it blocks, or waits for a lock that the
//!   caller's next step would free), and the caller must not: a supervisor that ran it could keep no promise about time. So the
//!   process is *doomed*: its reason is written, its name is free, and it is queued to die.
//!
//! Rules:
//!
//! - **O1, nothing foreign in another's slice.** [`is_plain`] is true only if the death drops no body, message, timer's message or foreign waker,
//!   and wakes nothing but processes. It errs to the safe side.
//! - **O2, no recursion.** A death within a slice starts no other one in it: whatever it kills by links is queued.
//! - **O3, its own core.** A process that may run only elsewhere is sent a signal.
//! - **O4, the owner.** A process that is awake belongs to another core, or to a queue: only a claim gives it to the caller.
//! - **O5, the doomed look as if they were told.** `Mailbox::doom` closes the short way (`mailbox`, M4), so that
//!   what the caller asks of the doomed process afterwards is answered by the death, as it is when a signal is pending.

use crate::cx::Slice;
use crate::hand::KernelCx;
use crate::memory::NoMemory;
use crate::mutate::Mutation;
use crate::name;
use crate::pid::Pid;
use crate::process::exit::die;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::sched::turn::CurrentGuard;
use crate::signal::exit_signal;
use crate::sync::Ordering;

/// Sends an exit signal on behalf of the slice's process, which is another. A process that sleeps and does not survive it is dead
/// afterwards, or doomed. Lock-free.
pub(crate) fn exit(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    let hand = &slice.hand;
    let Some(process) = hand.find(to) else { return Ok(()) };
    let here = !slice.is_within_another() && slice.core.takes(process);
    let claimed = here && process.mailbox.claim();
    if claimed && let Some(reason) = fatal(process, &reason) {
        if is_plain(process) {
            // SAFETY: claimed (O4).
            unsafe { die_here(slice, process, reason) };
        } else {
            doom(hand, process, reason);
        }
        return Ok(());
    }
    let sent = send(slice, to, reason);
    if claimed && !hand.kernel.mutated(Mutation::ForgetsTheClaimed) {
        // It has the signal, or nothing, and goes to sleep again then.
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

/// Whether the death of a claimed process runs nothing foreign (O1).
fn is_plain(process: &Header) -> bool {
    // SAFETY: claimed (O4); the borrow ends here.
    let private = unsafe { process.private() };
    process.vtable.drop_body.is_none()
        && private.queue.is_empty()
        && private.timers.is_empty()
        && private.open.is_empty()
        && private.waiters.is_none()
        && process.watchers.is_empty()
        && process.bound().is_none()
}

/// Has a claimed process die in a slice of its own, the next one that it gets (O5).
fn doom(hand: &KernelCx<'_>, process: &Header, reason: Reason) {
    if !hand.kernel.mutated(Mutation::DoomedLookAlive) {
        process.mailbox.doom();
    }
    // SAFETY: claimed (O4); nothing foreign is dropped: a process that dies of something already is not asleep.
    unsafe { process.private() }.dying = Some(reason);
    // Before the destructors have run: a start that is given up leaves no name to the next one.
    name::release_name(process);
    hand.schedule(process);
}

fn send(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    exit_signal::send(&slice.hand, Some(slice.process().pid), to, reason).map(|_| ())
}

/// # Safety
/// The caller has `process` (P1), which is not the slice's, and does not use it again.
unsafe fn die_here(slice: &Slice<'_>, process: &Header, reason: Reason) {
    let hand = &slice.hand;
    let own = Slice::within_another(*hand, slice.core, process);
    let noted = CurrentGuard::of(&own, hand.kernel);
    // SAFETY: by contract, and nobody runs it again.
    unsafe { die(process.whole(), &own, reason) };
    drop(noted);
    hand.kernel.cores[slice.core.id()].mark.enter(slice.process().pid);
}
