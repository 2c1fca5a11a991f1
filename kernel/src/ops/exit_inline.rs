//! Synchronous exit: ends a *sleeping* process that would not survive an exit signal, without
//! sending one.
//!
//! Normally the sender that wakes a process must queue it (`header`, P1). Here the sender *claims*
//! the sleeping target instead (`mailbox`, edge 6). The claim proves that the target has handled
//! every earlier signal. If the exit would be fatal, the sender decides the target's death. A
//! supervisor that stops its children one by one therefore sends no signal and needs no memory.
//!
//! The death itself happens in one of two places.
//!
//! - *Within the caller's slice*, when it drops and calls nothing foreign. Then it takes a bounded
//!   number of steps, and the caller neither sleeps for it nor is woken.
//! - *In a slice of its own*, when something foreign is involved: a body with a destructor, an
//!   unreceived message, a request that must be answered, a watch by a host thread. A destructor
//!   may take for ever (it blocks, or waits for a lock that the caller's next step would release),
//!   and the caller must not: a supervisor that ran it could keep no promise about time. So the
//!   process is *doomed*: its reason is written, its name is released, and it is queued to die.
//!
//! Rules:
//!
//! - **O1, nothing foreign in the slice of another process.** [`is_plain`] returns `true` only if
//!   the death drops no body, message, timer's message or foreign waker, and wakes only processes.
//!   It errs on the safe side.
//! - **O2, no recursion.** A death within a slice starts no other one in it: every process that it
//!   kills through links is queued.
//! - **O3, its own core.** A process that may run only on another core is sent a signal.
//! - **O4, the owner.** A process that is awake belongs to another core, or to a queue: only a
//!   claim gives it to the caller.
//! - **O5, a doomed process looks as if a signal were pending.** `Mailbox::doom` closes the fast
//!   path (`mailbox`, M4). So the death answers what the caller later requests of the doomed
//!   process, as it does when a signal is pending.

use crate::kernel::current::CurrentGuard;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Slice;
use crate::memory::NoMemory;
use crate::mutation::Mutation;
use crate::ops::exit::terminate;
use crate::ops::exit_signal;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::process::name;
use crate::reason::Reason;
use crate::sync::Ordering;

/// Sends an exit signal from the slice's process to another one. A target that sleeps and does not
/// survive the signal is dead or doomed when this returns. Lock-free.
pub(crate) fn exit(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    let kernel_cx = &slice.kernel_cx;
    let Some(process) = kernel_cx.find(to) else { return Ok(()) };
    let current_slot = !slice.is_within_another() && slice.core.takes(process);
    let claimed = current_slot && process.mailbox.claim();
    if claimed && let Some(reason) = fatal_reason(process, &reason) {
        if is_plain(process) {
            // SAFETY: O4: claimed above, so the caller owns the process.
            unsafe { terminate_inline(slice, process, reason) };
        } else {
            doom(kernel_cx, process, reason);
        }
        return Ok(());
    }
    let sent = send(slice, to, reason);
    if claimed && !kernel_cx.kernel.mutated(Mutation::ForgetsTheClaimed) {
        // The process has the signal, or nothing, and then goes to sleep again.
        kernel_cx.schedule(process);
    }
    sent
}

/// Returns the reason that a claimed process would die of, if it would, as when it fetched the
/// signal itself.
fn fatal_reason(process: &Header, reason: &Reason) -> Option<Reason> {
    if *reason == Reason::KILL {
        return Some(Reason::KILLED);
    }
    // Relaxed: see `Header::trap_exit`.
    let survives = reason.is_normal() || process.trap_exit.load(Ordering::Relaxed);
    (!survives).then(|| reason.clone())
}

/// Returns `true` if the death of a claimed process runs nothing foreign (O1).
fn is_plain(process: &Header) -> bool {
    // SAFETY: O4: the caller claimed the process; the borrow ends here.
    let private = unsafe { process.private() };
    process.vtable.drop_body.is_none()
        && private.queue.is_empty()
        && private.timers.is_empty()
        && private.open.is_empty()
        && private.waiters.is_none()
        && process.watchers.is_empty()
        && process.bound().is_none()
}

/// Dooms a claimed process: it dies in a slice of its own, the next one that it gets (O5).
fn doom(kernel_cx: &KernelCx<'_>, process: &Header, reason: Reason) {
    if !kernel_cx.kernel.mutated(Mutation::DoomedLookAlive) {
        process.mailbox.doom();
    }
    // SAFETY: O4: the caller claimed the process. The assignment drops nothing foreign: a process
    // that is dying already is not asleep.
    unsafe { process.private() }.dying = Some(reason);
    // Before the destructors have run: a cancelled start leaves the name free for the next one.
    name::release_name(process);
    kernel_cx.schedule(process);
}

fn send(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    exit_signal::send(&slice.kernel_cx, Some(slice.process().pid), to, reason).map(|_| ())
}

/// Runs the death of `process` within the caller's slice.
///
/// # Safety
/// The caller owns `process` (P1), which is not the slice's, and does not use it again.
unsafe fn terminate_inline(slice: &Slice<'_>, process: &Header, reason: Reason) {
    let kernel_cx = &slice.kernel_cx;
    let own = Slice::nested(*kernel_cx, slice.core, process);
    let noted = CurrentGuard::of(&own, kernel_cx.kernel);
    // SAFETY: P1: the caller owns the process (this function's contract), and no core runs it
    // again.
    unsafe { terminate(process.whole(), &own, reason) };
    drop(noted);
    kernel_cx.kernel.cores[slice.core.id()].mark.enter(slice.process().pid);
}
