//! Death: what happens when a process ends, in this order, and allocating nothing.
//!
//! 1. The body is dropped; a panic of its destructors is contained.
//! 2. Its name is given up, the reason is written, and the mailbox closed: from now on senders get their
//!    signals back. Who knows that it is dead finds its name free: a monitor of the dead fires at once.
//! 3. What others have left for it to do is done (`proxy`). Its aliases, timers and monitors are given up; unread
//!    messages are dropped. Who waits for room in its mailbox is told.
//! 4. Links fire, oldest first, then monitors, then requests that are not answered (a process that is linked and monitors gets EXIT
//!    before DOWN, as in OTP). Those whom an EXIT kills are queued by it and die in turn on
//!    whatever core runs them: no recursion, and no list but the run queues.
//! 5. Links and monitors that were still on their way here are answered with `noproc`, requests with the reason.
//! 6. The slot remembers the reason, and leads nowhere.
//! 7. Those are told who are no processes, and find everything gone.
//! 8. The slot is free, and the memory is retired.

use core::ptr::NonNull;

use crate::cx::Slice;
use crate::hand::KernelCx;
use crate::link::{LinkEnd, Link};
use crate::list::Chain;
use crate::mailbox::Fifo;
use crate::memory;
use crate::monitor::{CancelOutcome, Monitor};
use crate::mutate::Mutation;
use crate::name;
use crate::process::header::Header;
use crate::process::ties::watch_was_cancelled;
use crate::proxy::OwnerOp;
use crate::reason::Reason;
use crate::reply::watch as request_watch;
use crate::signal::message;
use crate::signal::node::{SignalKind, Node};
use crate::signal::queue::Queue;
use crate::sync::Ordering;
use crate::task::waiters;
use crate::timer::record::{Target, TimerHead};
use crate::watch::WatcherEntry;

/// Ends the owned process. Everything that it had is gone when this returns.
///
/// # Safety
/// The caller is the slice's core, owns the process, and does not use it again.
pub(crate) unsafe fn die(process: NonNull<Header>, slice: &Slice<'_>, reason: Reason) {
    let (hand, core) = (&slice.hand, slice.core);
    reason.come_into(hand.kernel.world());
    // SAFETY: owned, so live.
    let header = unsafe { process.as_ref() };
    // What the body's destructors ask for is done, but nothing is fetched any more: what it would meet is for the
    // death to answer.
    // SAFETY: the owner.
    unsafe { header.private() }.fetches = false;
    if let Some(drop_body) = header.vtable.drop_body {
        hand.kernel.catch_panic(|| {
            let _outside = slice.leave();
            // SAFETY: the owner; once, since nobody runs it again.
            unsafe { drop_body(process) };
        });
    }
    // Their destructors are foreign: while nothing of the process's is closed yet.
    waiters::end(header, hand);
    // From here on all is refused.
    // SAFETY: the owner.
    unsafe { header.private() }.dying = Some(reason.clone());
    // SAFETY: the owner, before anything is closed (P3).
    let write = || header.reason.with_mut(|place| unsafe { *place = reason.clone() });
    if !hand.kernel.mutated(Mutation::ReasonLast) {
        write();
    }
    let late = close(header, hand);
    if hand.kernel.mutated(Mutation::ReasonLast) {
        write();
    }
    close_line(header, hand, true);
    let outside = fire(header, hand, &reason);
    answer(header, hand, late, &reason);
    vacate(header, hand, outside, reason);
    // SAFETY: the owner.
    if core::mem::take(&mut unsafe { header.private() }.spare) {
        // Its body has panicked behind a request.
        // SAFETY: the share that the request has left; the table's is there still.
        unsafe { Header::give_up_waker(process) };
    }
    core.release(hand.kernel, header.pid);
    // SAFETY: vacated.
    unsafe { core.retire(process) };
}

/// Who waits for room is told that there will be none, or, where nobody can be told, let go.
fn close_line(header: &Header, hand: &KernelCx<'_>, tells: bool) {
    if let Some(bound) = header.bound() {
        bound.close(hand, tells);
    }
}

/// Steps 2 and 3; returns the questions that step 5 answers.
fn close(header: &Header, hand: &KernelCx<'_>) -> Queue {
    // Before anybody can find it dead: who does may register the name.
    name::release_name(header);
    let rest = header.mailbox.close();
    // SAFETY: the owner.
    let private = unsafe { header.private() };
    if rest.is_empty() && private.has_nothing() {
        return Queue::new();
    }
    let rest = rest.into_fifo();
    // What was to be done for it by proxy is done, before anything is fired (`proxy`, X3), and without memory.
    private.monitors.freeze();
    private.links.freeze();
    private.timers.freeze();
    private.aliases.freeze();
    let unmet = core::mem::replace(&mut private.unmet, Fifo::empty());
    let mut unread = Queue::new();
    for node in unmet.chain(rest) {
        // SAFETY: taken, so the owner's.
        if unsafe { Node::kind(node) } == SignalKind::Proxy && !hand.kernel.mutated(Mutation::ProxiesUnmet) {
            // SAFETY: likewise.
            unsafe { OwnerOp::meet(node, header, hand) };
        } else {
            // SAFETY: likewise, in no queue.
            unsafe { unread.push_back(node) };
        }
    }
    // SAFETY: the owner; no other borrow is kept.
    let private = unsafe { header.private() };
    // Nothing looks anything up from here on: emptying a set is a walk.
    private.monitors.forget_index();
    private.timers.forget_index();
    private.aliases.forget_index();
    private.links.forget_index();
    let mut fetched = core::mem::take(&mut private.queue);
    while let Some(alias) = private.aliases.pop() {
        // SAFETY: the set's own.
        unsafe { memory::drop_and_free(alias) };
    }
    let mut late = Queue::new();
    while let Some(node) = fetched.pop_front() {
        // SAFETY: the owner's.
        if unsafe { Node::kind(node) } == SignalKind::Request {
            // SAFETY: likewise, in no queue any more.
            unsafe { late.push_back(node) };
        } else {
            // SAFETY: likewise; a destructor's panic is contained.
            unsafe { hand.release(node) };
        }
    }
    while let Some(node) = unread.pop_front() {
        // SAFETY: taken, so the owner's.
        match unsafe { Node::kind(node) } {
            // SAFETY: likewise, in no queue.
            SignalKind::LinkRequest | SignalKind::MonitorRequest | SignalKind::Ask | SignalKind::Request => unsafe { late.push_back(node) },
            // A part of the process: nothing to free.
            SignalKind::Wake => {}
            // SAFETY: likewise.
            _ => unsafe { hand.release(node) },
        }
    }
    give_up_timers(header, hand);
    give_up_monitors(header, hand);
    late
}

/// Timers to itself end with it; those to others go on.
fn give_up_timers(header: &Header, hand: &KernelCx<'_>) {
    loop {
        // SAFETY: the owner; not kept over the foreign destructor below.
        let Some(timer) = (unsafe { header.private() }).timers.pop() else { return };
        // SAFETY: the set's share keeps it.
        if matches!(unsafe { timer.as_ref() }.target(), Target::Pid(pid) if pid == header.pid) {
            // SAFETY: likewise.
            unsafe { TimerHead::cancel(timer, hand) };
        }
        // SAFETY: the set's share.
        unsafe { TimerHead::give_up(timer, hand.pool()) };
    }
}

fn give_up_monitors(header: &Header, hand: &KernelCx<'_>) {
    // SAFETY: the owner.
    let private = unsafe { header.private() };
    while let Some(monitor) = private.monitors.pop() {
        // SAFETY: the set's share keeps it.
        let record = unsafe { monitor.as_ref() };
        if record.cancel() == CancelOutcome::InTime
            && let Some(target) = record.target()
            && target != header.pid
            && let Some(target) = hand.find(target)
        {
            watch_was_cancelled(target, hand);
        }
        // SAFETY: the set's share.
        unsafe { Monitor::give_up(monitor, hand.pool()) };
    }
}

/// Step 4; returns the watches that step 7 fires.
fn fire(header: &Header, hand: &KernelCx<'_>, reason: &Reason) -> Chain<WatcherEntry> {
    let killed = hand.kernel.mutated(Mutation::TellsTheKill) && header.killed.load(Ordering::Relaxed);
    let told = if killed { &Reason::KILLED } else { reason };
    if hand.kernel.mutated(Mutation::DownsFirst) {
        fire_requests(header, hand, reason);
    }
    // SAFETY: the owner.
    let private = unsafe { header.private() };
    while let Some(half) = private.links.pop() {
        // SAFETY: the half's share, which the set had.
        unsafe { Link::fire(LinkEnd::link(half), header.pid, hand, told) };
    }
    for link in header.links.close() {
        // SAFETY: the half's share, which the list had.
        unsafe { Link::fire(link, header.pid, hand, told) };
    }
    let mut outside = Chain::empty();
    for watch in header.watchers.close() {
        // SAFETY: taken from the list, with its share.
        if unsafe { WatcherEntry::is_outside(watch) } {
            // SAFETY: likewise, in no other chain.
            unsafe { outside.push(watch) };
        } else {
            // SAFETY: the list's share.
            unsafe { WatcherEntry::fire(watch, hand, reason) };
        }
    }
    fire_requests(header, hand, reason);
    outside
}

/// Those are told whose requests it has received and not answered.
fn fire_requests(header: &Header, hand: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: the owner; no other borrow is kept.
    while let Some(request) = unsafe { header.private() }.open.pop() {
        if hand.kernel.mutated(Mutation::ForgetsRequests) {
            // SAFETY: the owner's watch.
            unsafe { request_watch::let_go(request, hand.pool()) };
        } else {
            // SAFETY: likewise.
            unsafe { request_watch::down(request, hand, reason) };
        }
    }
}

/// Step 5.
fn answer(header: &Header, hand: &KernelCx<'_>, mut late: Queue, reason: &Reason) {
    while let Some(node) = late.pop_front() {
        // SAFETY: taken from the mailbox, so ours.
        match unsafe { Node::kind(node) } {
            _ if hand.kernel.mutated(Mutation::LateIsDropped) => {}
            SignalKind::LinkRequest => {
                // SAFETY: the half's share, which the request had.
                unsafe { Link::fire(Link::of_request(node), header.pid, hand, &Reason::NOPROC) };
            }
            SignalKind::MonitorRequest => {
                let said = if hand.kernel.options.tombstones { reason } else { &Reason::NOPROC };
                // SAFETY: the target side's share, which the request had; in no queue.
                unsafe { Monitor::fire(node.cast(), hand, said) };
            }
            SignalKind::Request => {
                // SAFETY: ours, once.
                unsafe { message::down(node, hand, reason) };
                // SAFETY: ours.
                unsafe { hand.release(node) };
            }
            // SAFETY: ours.
            _ => unsafe { hand.release(node) },
        }
    }
}

/// Steps 6 and 7.
fn vacate(header: &Header, hand: &KernelCx<'_>, outside: Chain<WatcherEntry>, reason: Reason) {
    let observed = hand.kernel.observes_exits();
    if outside.is_empty() && !observed {
        return hand.kernel.table.vacate(header.pid, reason);
    }
    hand.kernel.table.vacate(header.pid, reason.clone());
    if observed {
        hand.kernel.world().on_process_exit(header.pid, &reason, hand.guard);
    }
    for watch in outside.reversed() {
        // SAFETY: from the list, with its share.
        unsafe { WatcherEntry::fire(watch, hand, &reason) };
    }
}

/// Ends a process that will never run again, of a kernel that has no core any more. No process is told: those who could
/// be end as well. Its memory is the caller's to retire.
///
/// # Safety
/// The kernel has no core, and the caller is the one who ends its processes.
pub(crate) unsafe fn discard(hand: &KernelCx<'_>, process: NonNull<Header>) {
    // SAFETY: by contract ours: who could run it is gone.
    let header = unsafe { process.as_ref() };
    // SAFETY: as above.
    let private = unsafe { header.private() };
    // A death that a panic has cut short, in a world that contains none, has dropped the body.
    if core::mem::replace(&mut private.fetches, false)
        && let Some(drop_body) = header.vtable.drop_body
    {
        // SAFETY: ours, once.
        hand.catch_panic(|| unsafe { drop_body(process) });
    }
    waiters::end(header, hand);
    // SAFETY: as above.
    unsafe { header.private() }.dying = Some(Reason::KILLED);
    // SAFETY: ours, before anything is closed (P3).
    header.reason.with_mut(|place| unsafe { *place = Reason::KILLED });
    let mut late = close(header, hand);
    close_line(header, hand, false);
    while let Some(node) = late.pop_front() {
        // SAFETY: taken, so ours.
        unsafe { hand.release(node) };
    }
    // SAFETY: ours.
    let private = unsafe { header.private() };
    while let Some(half) = private.links.pop() {
        // SAFETY: the half's share.
        unsafe { Link::give_up(LinkEnd::link(half), hand.pool()) };
    }
    for link in header.links.close() {
        // SAFETY: the half's share.
        unsafe { Link::give_up(link, hand.pool()) };
    }
    // SAFETY: ours.
    while let Some(request) = unsafe { header.private() }.open.pop() {
        // SAFETY: the watch was this process's.
        unsafe { request_watch::let_go(request, hand.pool()) };
    }
    let mut outside = Chain::empty();
    for watch in header.watchers.close() {
        // SAFETY: taken from the list, with its share.
        if unsafe { WatcherEntry::is_outside(watch) } {
            // SAFETY: likewise, in no other chain.
            unsafe { outside.push(watch) };
        } else {
            // SAFETY: the list's share.
            unsafe { WatcherEntry::release(watch, hand.pool()) };
        }
    }
    vacate(header, hand, outside, Reason::KILLED);
}
