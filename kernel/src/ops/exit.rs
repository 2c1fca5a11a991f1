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

use core::ptr::NonNull;

use crate::intrusive::list::Chain;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::slice::Slice;
use crate::mailbox::Fifo;
use crate::mailbox::batch::Queue;
use crate::memory;
use crate::mutation::Mutation;
use crate::ops::owner_op::OwnerOp;
use crate::ops::relations::watch_was_cancelled;
use crate::ops::request::watch;
use crate::ops::waiters;
use crate::process::header::Header;
use crate::process::name;
use crate::process::relation::link::{Link, LinkEnd};
use crate::process::relation::monitor::{CancelOutcome, Monitor};
use crate::process::relation::watcher::WatcherEntry;
use crate::process::request_watch;
use crate::process::timer_record::{Target, TimerHead};
use crate::reason::Reason;
use crate::signal::node::{Node, SignalKind};
use crate::sync::Ordering;

/// Ends the owned process. Everything that it had is gone when this returns.
///
/// # Safety
/// The caller is the slice's core, owns the process, and does not use it again.
pub(crate) unsafe fn terminate(process: NonNull<Header>, slice: &Slice<'_>, reason: Reason) {
    let (kernel_cx, core) = (&slice.kernel_cx, slice.core);
    reason.come_into(kernel_cx.kernel.world());
    // SAFETY: P1: the caller owns the process, so it is live.
    let header = unsafe { process.as_ref() };
    // What the body's destructors request is done, but nothing more is fetched: the death must
    // answer what is still in the mailbox.
    // SAFETY: P1: the caller owns the process (this function's contract).
    unsafe { header.private() }.fetches = false;
    if let Some(drop_body) = header.vtable.drop_body {
        kernel_cx.kernel.catch_panic(|| {
            let _outside = slice.leave();
            // SAFETY: P1: the caller owns the process; once, since no core runs it again.
            unsafe { drop_body(process) };
        });
    }
    // The waiters' destructors are foreign: run them while nothing of the process is closed yet.
    waiters::end(header, kernel_cx);
    // From here on every operation of the process is refused.
    // SAFETY: P1: the caller owns the process.
    unsafe { header.private() }.dying = Some(reason.clone());
    // SAFETY: P3: the owner writes it before anything is closed.
    let write = || header.reason.with_mut(|place| unsafe { *place = reason.clone() });
    if !kernel_cx.kernel.mutated(Mutation::ReasonLast) {
        write();
    }
    let late = close(header, kernel_cx);
    if kernel_cx.kernel.mutated(Mutation::ReasonLast) {
        write();
    }
    close_capacity(header, kernel_cx, true);
    let outside = fire(header, kernel_cx, &reason);
    answer(header, kernel_cx, late, &reason);
    vacate(header, kernel_cx, outside, reason);
    // SAFETY: P1: the caller owns the process.
    if core::mem::take(&mut unsafe { header.private() }.spare) {
        // Its body has panicked after a request.
        // SAFETY: the reference that the request left here; the table's is still held.
        unsafe { Header::release_waker_ref(process) };
    }
    core.release(kernel_cx.kernel, header.pid);
    // SAFETY: `vacate` has made the process unreachable.
    unsafe { core.retire(process) };
}

/// Closes the capacity of the mailbox. The waiting senders are notified, if `tells`, and otherwise
/// only released.
pub(super) fn close_capacity(header: &Header, kernel_cx: &KernelCx<'_>, tells: bool) {
    if let Some(bound) = header.bound() {
        bound.close(kernel_cx, tells);
    }
}

/// Runs steps 2 and 3. Returns the signals that step 5 answers.
pub(super) fn close(header: &Header, kernel_cx: &KernelCx<'_>) -> Queue {
    // Before another thread can find the process dead: a thread that does may register the name.
    name::release_name(header);
    let rest = header.mailbox.close();
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { header.private() };
    if rest.is_empty() && private.is_empty() {
        return Queue::new();
    }
    let rest = rest.into_fifo();
    // Queued operations are applied before anything is fired (`owner_op`, X3), and without memory.
    private.monitors.freeze();
    private.links.freeze();
    private.timers.freeze();
    private.aliases.freeze();
    let unhandled = core::mem::replace(&mut private.unhandled, Fifo::empty());
    let mut unread = Queue::new();
    for node in unhandled.chain(rest) {
        // SAFETY: N1: the node was taken, so the owner holds it.
        if unsafe { Node::kind(node) } == SignalKind::Proxy && !kernel_cx.kernel.mutated(Mutation::ProxiesUnmet) {
            // SAFETY: N1: the node was taken, so the owner holds it; not used again.
            unsafe { OwnerOp::handle(node, header, kernel_cx) };
        } else {
            // SAFETY: N1: the owner holds the node, which is in no queue.
            unsafe { unread.push_back(node) };
        }
    }
    // SAFETY: P1: the caller owns the process; no other borrow is kept.
    let private = unsafe { header.private() };
    // No code looks anything up from here on: emptying a set is a walk.
    private.monitors.drop_index();
    private.timers.drop_index();
    private.aliases.drop_index();
    private.links.drop_index();
    let mut fetched = core::mem::take(&mut private.queue);
    while let Some(alias) = private.aliases.pop() {
        // SAFETY: the set owned the record, and it has been removed.
        unsafe { memory::drop_and_free(alias) };
    }
    let mut late = Queue::new();
    while let Some(node) = fetched.pop_front() {
        // SAFETY: N1: the node came from the private queue, so the owner holds it.
        if unsafe { Node::kind(node) } == SignalKind::Request {
            // SAFETY: N1: the owner holds the node, which is in no queue now.
            unsafe { late.push_back(node) };
        } else {
            // SAFETY: N1: the owner holds the node; a destructor's panic is caught.
            unsafe { kernel_cx.release(node) };
        }
    }
    while let Some(node) = unread.pop_front() {
        // SAFETY: N1: the node was taken, so the owner holds it.
        match unsafe { Node::kind(node) } {
            // SAFETY: N1: the owner holds the node, which is in no queue.
            SignalKind::LinkRequest | SignalKind::MonitorRequest | SignalKind::Ask | SignalKind::Request => unsafe {
                late.push_back(node)
            },
            // It is a part of the process: nothing to free.
            SignalKind::Wake => {}
            // SAFETY: N1: the owner holds the node; not used again.
            _ => unsafe { kernel_cx.release(node) },
        }
    }
    give_up_timers(header, kernel_cx);
    give_up_monitors(header, kernel_cx);
    late
}

/// Releases the process's timers. Those to the process itself end with it; others continue.
fn give_up_timers(header: &Header, kernel_cx: &KernelCx<'_>) {
    loop {
        // SAFETY: P1: the caller owns the process; not kept over the foreign destructor below.
        let Some(timer) = (unsafe { header.private() }).timers.pop() else { return };
        // SAFETY: the set's reference keeps the record live.
        if matches!(unsafe { timer.as_ref() }.target(), Target::Pid(pid) if pid == header.pid) {
            // SAFETY: the set's reference keeps the record live.
            unsafe { TimerHead::cancel(timer, kernel_cx) };
        }
        // SAFETY: the set's reference; not used again.
        unsafe { TimerHead::release(timer, kernel_cx.pool()) };
    }
}

fn give_up_monitors(header: &Header, kernel_cx: &KernelCx<'_>) {
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { header.private() };
    while let Some(monitor) = private.monitors.pop() {
        // SAFETY: the set's reference keeps the record live.
        let record = unsafe { monitor.as_ref() };
        if record.cancel() == CancelOutcome::InTime
            && let Some(target) = record.target()
            && target != header.pid
            && let Some(target) = kernel_cx.find(target)
        {
            watch_was_cancelled(target, kernel_cx);
        }
        // SAFETY: the set's reference; not used again.
        unsafe { Monitor::release(monitor, kernel_cx.pool()) };
    }
}

/// Runs step 4. Returns the watches that step 7 fires.
fn fire(header: &Header, kernel_cx: &KernelCx<'_>, reason: &Reason) -> Chain<WatcherEntry> {
    let killed = kernel_cx.kernel.mutated(Mutation::TellsTheKill) && header.killed.load(Ordering::Relaxed);
    let sent_reason = if killed { &Reason::KILLED } else { reason };
    if kernel_cx.kernel.mutated(Mutation::DownsFirst) {
        fire_requests(header, kernel_cx, reason);
    }
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { header.private() };
    while let Some(half) = private.links.pop() {
        // SAFETY: the set held the end's reference, which goes to the link.
        unsafe { Link::fire(LinkEnd::link(half), header.pid, kernel_cx, sent_reason) };
    }
    for link in header.links.close() {
        // SAFETY: the list held the end's reference, which goes to the link.
        unsafe { Link::fire(link, header.pid, kernel_cx, sent_reason) };
    }
    let mut outside = Chain::empty();
    for watch in header.watchers.close() {
        // SAFETY: the watch was taken from the list, with its reference.
        if unsafe { WatcherEntry::is_host(watch) } {
            // SAFETY: the watch was taken from the list, and is in no other chain.
            unsafe { outside.push(watch) };
        } else {
            // SAFETY: the list's reference goes to the watch.
            unsafe { WatcherEntry::fire(watch, kernel_cx, reason) };
        }
    }
    fire_requests(header, kernel_cx, reason);
    outside
}

/// Notifies the requesters whose requests the process has received and not answered.
fn fire_requests(header: &Header, kernel_cx: &KernelCx<'_>, reason: &Reason) {
    // SAFETY: P1: the caller owns the process; no other borrow is kept.
    while let Some(request) = unsafe { header.private() }.open.pop() {
        if kernel_cx.kernel.mutated(Mutation::ForgetsRequests) {
            // SAFETY: the watch belonged to the owner; not used again.
            unsafe { request_watch::let_go(request, kernel_cx.pool()) };
        } else {
            // SAFETY: the watch belonged to the owner; not used again.
            unsafe { watch::down(request, kernel_cx, reason) };
        }
    }
}

/// Runs step 5: answers the signals that were still in transit.
fn answer(header: &Header, kernel_cx: &KernelCx<'_>, mut late: Queue, reason: &Reason) {
    while let Some(node) = late.pop_front() {
        // SAFETY: N1: the node was taken from the mailbox, so the caller holds it.
        match unsafe { Node::kind(node) } {
            _ if kernel_cx.kernel.mutated(Mutation::LateIsDropped) => {}
            SignalKind::LinkRequest => {
                // SAFETY: the request held the end's reference, which goes to the link.
                unsafe { Link::fire(Link::of_request(node), header.pid, kernel_cx, &Reason::NOPROC) };
            }
            SignalKind::MonitorRequest => {
                let said = if kernel_cx.kernel.options.tombstones { reason } else { &Reason::NOPROC };
                // SAFETY: the request held the target side's reference; the node is in no queue.
                unsafe { Monitor::fire(node.cast(), kernel_cx, said) };
            }
            SignalKind::Request => {
                // SAFETY: N1: the caller holds the node; answered once.
                unsafe { watch::down_unreceived(node, kernel_cx, reason) };
                // SAFETY: N1: the caller holds the node; not used again.
                unsafe { kernel_cx.release(node) };
            }
            // SAFETY: N1: the caller holds the node; not used again.
            _ => unsafe { kernel_cx.release(node) },
        }
    }
}

/// Runs steps 6 and 7.
pub(super) fn vacate(header: &Header, kernel_cx: &KernelCx<'_>, outside: Chain<WatcherEntry>, reason: Reason) {
    let observed = kernel_cx.kernel.observes_exits();
    if outside.is_empty() && !observed {
        return kernel_cx.kernel.table.vacate(header.pid, reason);
    }
    kernel_cx.kernel.table.vacate(header.pid, reason.clone());
    if observed {
        kernel_cx.kernel.world().on_process_exit(header.pid, &reason, kernel_cx.guard);
    }
    for watch in outside.reversed() {
        // SAFETY: the watch was taken from the list, with its reference.
        unsafe { WatcherEntry::fire(watch, kernel_cx, &reason) };
    }
}
