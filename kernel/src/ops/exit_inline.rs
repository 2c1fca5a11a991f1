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

use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::{Slice, Turns};
use crate::memory::NoMemory;
use crate::mutation::mutant;
use crate::ops::exit::terminate;
use crate::ops::exit_signal;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::process::name;
use crate::process::owned::Owned;
use crate::reason::Reason;
use crate::sync::Ordering;

/// Sends an exit signal from the slice's process to another one. A target that sleeps and does not
/// survive the signal is dead or doomed when this returns. Lock-free.
pub(crate) fn exit(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    let kernel_cx = &slice.kernel_cx;
    let Some(process) = kernel_cx.find(to) else { return Ok(()) };
    let may_claim = !slice.is_within_another() && slice.core.takes(&process);
    let claimed = if may_claim { process.claim() } else { None };
    let Some(owned) = claimed else { return send(slice, to, reason) };
    if let Some(reason) = fatal_reason(&owned, &reason) {
        if is_plain(&owned) {
            terminate_inline(slice, owned, reason);
        } else {
            doom(kernel_cx, owned, reason);
        }
        return Ok(());
    }
    let sent = send(slice, to, reason);
    mutant!(kernel_cx.kernel.mutations, ForgetsTheClaimed,
        // The process has the signal, or nothing, and then goes to sleep again.
        right => kernel_cx.schedule(owned),
        wrong => drop(owned),
    );
    sent
}

/// Returns the reason that a claimed process would die of, if it would, as when it fetched the
/// signal itself.
fn fatal_reason(process: &Header, reason: &Reason) -> Option<Reason> {
    // Relaxed: see `Header::trap_exit`.
    let trapping = process.trap_exit.load(Ordering::Relaxed);
    if *reason == Reason::KILL && !(process.proxy && trapping) {
        return Some(Reason::KILLED);
    }
    let survives = reason.is_normal() || trapping;
    (!survives).then(|| reason.clone())
}

/// Returns `true` if the death of a claimed process runs nothing foreign (O1).
fn is_plain(owned: &Owned<'_>) -> bool {
    owned.vtable.drop_body.is_none()
        && owned.peek(|state| {
            state.queue.is_empty() && state.timers.is_empty() && state.open.is_empty() && state.waiters.is_none()
        })
        && owned.watchers.is_empty()
        && owned.bound().is_none()
}

/// Dooms a claimed process: it dies in a slice of its own, the next one that it gets (O5).
fn doom(kernel_cx: &KernelCx<'_>, mut owned: Owned<'_>, reason: Reason) {
    mutant!(kernel_cx.kernel.mutations, DoomedLookAlive, right => owned.doom(), wrong => ());
    // This drops nothing foreign: a process that is dying already is not asleep.
    owned.state(|state| state.dying = Some(reason));
    // Before the destructors have run: a cancelled start leaves the name free for the next one.
    name::release_name(owned.process());
    kernel_cx.schedule(owned);
}

fn send(slice: &Slice<'_>, to: Pid, reason: Reason) -> Result<(), NoMemory> {
    exit_signal::send(&slice.kernel_cx, Some(slice.process().pid), to, reason).map(|_| ())
}

/// Runs the death of a process within the slice of another one.
fn terminate_inline<'a>(slice: &Slice<'a>, owned: Owned<'a>, reason: Reason) {
    let kernel_cx = &slice.kernel_cx;
    let own = Turns::nested(*kernel_cx, slice.core, owned.process());
    own.run_as_current(kernel_cx.kernel, || terminate(owned, &own, reason));
    kernel_cx.kernel.cores[slice.core.id()].mark.enter(slice.process().pid);
}
