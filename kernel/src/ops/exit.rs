//! Death: the steps by which a process ends, in this order, with no allocation.
//!
//! 1. The body is dropped; a panic of its destructors is caught.
//! 2. The name is released, the reason is written, and the mailbox is closed: from now on senders
//!    get their signals back. A thread that knows that the process is dead finds its name free, and
//!    a monitor of the dead process fires immediately.
//! 3. The operations that other threads queued for the process are applied (`owner_op`). Its
//!    aliases, timers and monitors are released. Unread messages are dropped. Senders that wait for
//!    capacity in its mailbox are notified.
//! 4. Links fire, oldest first, then monitors, then requests that are not answered. (A process that
//!    is linked and monitors gets EXIT before DOWN, as in OTP.) A process that an EXIT kills is
//!    queued by it and dies in turn on the core that runs it: no recursion, and no list but the run
//!    queues.
//! 5. Links and monitors that were still in transit are answered with `noproc`, requests with the
//!    reason.
//! 6. The slot records the reason, and no longer leads to the process.
//! 7. Watchers that are not processes are notified, and find everything gone.
//! 8. The slot is freed, and the memory is retired.
//!
//! The end of a kernel ends the processes that are left by the same steps, without notifying any
//! process ([`ExitMode::Silent`]).

use crate::intrusive::list::Chain;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Turns;
use crate::mailbox::queue::Queue;
use crate::mailbox::{Batch, Fifo};
use crate::mutation::mutant;
use crate::ops::owner_op::OwnerOp;
use crate::ops::relations::{link, monitor, watch_was_cancelled};
use crate::ops::request::watch;
use crate::ops::signal::Signal;
use crate::ops::{timer_outcome, waiters};
use crate::process::name;
use crate::process::owned::{Owned, OwnerState, Vacated};
use crate::process::relation::link::PeerEnd;
use crate::process::relation::monitor::{CancelOutcome, TargetSide};
use crate::process::relation::watcher::Watcher;
use crate::process::table::HeldSlot;
use crate::process::timer_record::Target;
use crate::reason::Reason;
use crate::signal::held::HeldNode;
use crate::signal::node::SignalKind;

/// Says if other processes are notified of an exit. Watchers that are not processes always are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ExitMode {
    /// They are.
    Notify,
    /// They are not: no core runs processes now, and those that could be notified end as well.
    Silent,
}

/// Ends the owned process. Everything that it had is gone when this returns.
pub(crate) fn terminate<'a>(owned: Owned<'a>, turns: &Turns<'a>, reason: Reason) {
    let kernel_cx = &turns.kernel_cx;
    reason.come_into(kernel_cx.kernel.world());
    // What the body's destructors request is done, but nothing more is fetched: the death must
    // answer what is still in the mailbox.
    let (mut owned, body) = owned.take_body();
    if let Some(body) = body {
        kernel_cx.kernel.catch_panic(|| turns.lend(&mut owned, || body.run()));
    }
    let (vacated, slot) = teardown(owned, kernel_cx, reason, ExitMode::Notify);
    turns.core.release(kernel_cx.kernel, slot);
    turns.core.retire(vacated);
}

/// Runs the steps from the second to the seventh. The body has been dropped.
#[inline(always)]
pub(super) fn teardown(
    mut owned: Owned<'_>,
    kernel_cx: &KernelCx<'_>,
    reason: Reason,
    mode: ExitMode,
) -> (Vacated, HeldSlot) {
    // The waiters' destructors are foreign: run them while nothing of the process is closed yet.
    waiters::end(&mut owned, kernel_cx);
    // From here on every operation of the process is refused. What was there before may be foreign.
    drop(owned.state(|state| state.dying.replace(reason.clone())));
    let mutations = kernel_cx.kernel.mutations;
    let late = mutant!(mutations, ReasonLast,
        right => {
            owned.set_exit_reason(reason.clone(), mutations);
            close(&mut owned, kernel_cx)
        },
        wrong => {
            let late = close(&mut owned, kernel_cx);
            owned.set_exit_reason(reason.clone(), mutations);
            late
        },
    );
    if let Some(limit) = owned.limit() {
        limit.close(kernel_cx, mode == ExitMode::Notify);
    }
    let outside = fire(&mut owned, kernel_cx, &reason, mode);
    answer(kernel_cx, late, &reason, mode);
    // One is left if the body has panicked after a request.
    let spare = owned.take_spare();
    let vacated = vacate(owned, kernel_cx, outside, reason);
    drop(spare);
    vacated
}

/// Runs steps 2 and 3. Returns the signals that step 5 answers.
#[inline(always)]
fn close(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) -> Queue {
    // Before another thread can find the process dead: a thread that does may register the name.
    name::release_name(owned.process());
    let rest = owned.close_mailbox();
    if rest.is_empty() && owned.peek(OwnerState::is_empty) {
        return Queue::new();
    }
    release_contents(owned, kernel_cx, rest)
}

/// Runs step 3 for a process that has something to release.
#[inline(never)]
fn release_contents(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, rest: Batch) -> Queue {
    let rest = rest.into_fifo();
    let unhandled = owned.state(|state| {
        // Queued operations are applied before anything is fired (`owner_op`, X3), and without
        // memory.
        state.monitors.freeze();
        state.links.freeze();
        state.timers.freeze();
        state.aliases.freeze();
        core::mem::replace(&mut state.unhandled, Fifo::empty())
    });
    let mut unread = Queue::new();
    for node in unhandled.chain(rest) {
        let is_operation = node.kind() == SignalKind::Proxy;
        if mutant!(kernel_cx.kernel.mutations, ProxiesUnmet, right => is_operation, wrong => false) {
            OwnerOp::handle(node.typed::<OwnerOp>().into_box(), owned, kernel_cx);
        } else {
            unread.push_back(node);
        }
    }
    let mut fetched = owned.state(|state| {
        // No code looks anything up from here on: emptying a set is a walk.
        state.monitors.drop_index();
        state.timers.drop_index();
        state.aliases.drop_index();
        state.links.drop_index();
        while let Some(alias) = state.aliases.pop() {
            drop(alias);
        }
        core::mem::take(&mut state.queue)
    });
    let mut late = Queue::new();
    while let Some(node) = fetched.pop_front() {
        if node.kind() == SignalKind::Request {
            late.push_back(node);
        } else {
            kernel_cx.release(node);
        }
    }
    while let Some(node) = unread.pop_front() {
        match node.kind() {
            SignalKind::LinkRequest | SignalKind::MonitorRequest | SignalKind::Ask | SignalKind::Request => {
                late.push_back(node);
            }
            _ => kernel_cx.release(node),
        }
    }
    give_up_timers(owned, kernel_cx);
    give_up_monitors(owned, kernel_cx);
    late
}

/// Releases the process's timers. Those to the process itself end with it; others continue.
fn give_up_timers(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
    // Not in one access of the state: a message's destructor is foreign.
    while let Some(timer) = owned.state(|state| state.timers.pop()) {
        if matches!(timer.target(), Target::Pid(pid) if pid == owned.pid) {
            timer_outcome::cancel(&timer, kernel_cx);
        }
        timer.release(kernel_cx.pool());
    }
}

fn give_up_monitors(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
    while let Some(monitor) = owned.state(|state| state.monitors.pop()) {
        if monitor.cancel() == CancelOutcome::InTime
            && let Some(target) = monitor.target()
            && target != owned.pid
            && let Some(target) = kernel_cx.find(target)
        {
            watch_was_cancelled(target, kernel_cx);
        }
        monitor.release(kernel_cx.pool());
    }
}

/// Runs step 4. Returns the watches that step 7 fires.
// Inlined into the two deaths: most processes have nothing to fire.
#[inline(always)]
fn fire(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, reason: &Reason, mode: ExitMode) -> Chain<Watcher> {
    let pool = kernel_cx.pool();
    let sent_reason = mutant!(kernel_cx.kernel.mutations, TellsTheKill,
        right => reason,
        wrong => if owned.killed.load(crate::sync::Ordering::Relaxed) { &Reason::KILLED } else { reason },
    );
    mutant!(kernel_cx.kernel.mutations, DownsFirst,
        right => (),
        wrong => fire_requests(owned, kernel_cx, reason, mode),
    );
    while let Some(end) = owned.state(|state| state.links.pop()) {
        match mode {
            ExitMode::Notify => link::fire(end, kernel_cx, sent_reason),
            ExitMode::Silent => end.release(pool),
        }
    }
    for link in owned.links.close() {
        match mode {
            ExitMode::Notify => link::fire(link.into_end(), kernel_cx, sent_reason),
            ExitMode::Silent => link.release(pool),
        }
    }
    let mut outside = Chain::empty();
    for watcher in owned.watchers.close() {
        match mode {
            _ if watcher.is_host() => outside.push(watcher),
            ExitMode::Notify => watcher.fire(kernel_cx, reason),
            ExitMode::Silent => watcher.release(pool),
        }
    }
    fire_requests(owned, kernel_cx, reason, mode);
    outside
}

/// Notifies the requesters whose requests the process has received and not answered.
fn fire_requests(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, reason: &Reason, mode: ExitMode) {
    let is_silent = mode == ExitMode::Silent;
    let forgets = mutant!(kernel_cx.kernel.mutations, ForgetsRequests, right => is_silent, wrong => true);
    while let Some(request) = owned.state(|state| state.open.pop()) {
        if forgets {
            request.release(kernel_cx.pool());
        } else {
            watch::down(request, kernel_cx, reason);
        }
    }
}

/// Runs step 5: answers the signals that were still in transit.
#[inline(always)]
fn answer(kernel_cx: &KernelCx<'_>, late: Queue, reason: &Reason, mode: ExitMode) {
    if !late.is_empty() {
        answer_each(kernel_cx, late, reason, mode);
    }
}

#[inline(never)]
fn answer_each(kernel_cx: &KernelCx<'_>, mut late: Queue, reason: &Reason, mode: ExitMode) {
    while let Some(node) = late.pop_front() {
        mutant!(kernel_cx.kernel.mutations, LateIsDropped,
            right => match mode {
                ExitMode::Notify => answer_one(kernel_cx, node, reason),
                ExitMode::Silent => kernel_cx.release(node),
            },
            wrong => _ = node.into_raw(),
        );
    }
}

fn answer_one(kernel_cx: &KernelCx<'_>, late: HeldNode, reason: &Reason) {
    match Signal::open(late) {
        Signal::LinkRequest(request) => {
            link::fire(PeerEnd::of_request(request).into_end(), kernel_cx, &Reason::NOPROC);
        }
        Signal::MonitorRequest(monitor) => {
            let said = if kernel_cx.kernel.options.tombstones { reason } else { &Reason::NOPROC };
            monitor::fire(TargetSide::of_request(monitor), kernel_cx, said);
        }
        Signal::Request(request) => {
            watch::down_unreceived(&request, kernel_cx, reason);
            kernel_cx.release(request.into_node());
        }
        Signal::Query(query) => kernel_cx.release(query.into_node()),
        _ => unreachable!("`close` keeps only these for the end"),
    }
}

/// Runs steps 6 and 7.
#[inline(always)]
fn vacate(owned: Owned<'_>, kernel_cx: &KernelCx<'_>, outside: Chain<Watcher>, reason: Reason) -> (Vacated, HeldSlot) {
    if outside.is_empty() && !kernel_cx.kernel.observes_exits() {
        return kernel_cx.kernel.table.vacate(owned, reason);
    }
    vacate_watched(owned, kernel_cx, outside, reason)
}

/// Runs steps 6 and 7 for a process whose death something outside the processes watches.
#[inline(never)]
fn vacate_watched(
    owned: Owned<'_>,
    kernel_cx: &KernelCx<'_>,
    outside: Chain<Watcher>,
    reason: Reason,
) -> (Vacated, HeldSlot) {
    let pid = owned.pid;
    let observed = kernel_cx.kernel.observes_exits();
    let vacated = kernel_cx.kernel.table.vacate(owned, reason.clone());
    if observed {
        kernel_cx.kernel.world().on_process_exit(pid, &reason, kernel_cx.guard);
    }
    for watcher in outside.reversed() {
        watcher.fire(kernel_cx, &reason);
    }
    vacated
}
