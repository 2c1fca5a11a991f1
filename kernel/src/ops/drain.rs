//! Draining the mailbox: the owner takes the pending signals and handles each of them.
//!
//! Messages, and signals that have become messages, go to the private queue. An exit that the
//! process does not survive ends the fetch; the signals after it stay in `unhandled` for the death
//! to answer. No thread sees the mailbox as clear until the whole batch is handled (`mailbox`, M4).
//!
//! A batch of only plain messages is appended as a whole, which is all the handling that they need.
//! A sender that wakes the process with a plain message has put it there itself (`mailbox`, edge
//! 6). A body that receives checks the mailbox again when it has received everything, and every
//! [`crate::config::LOOK_EVERY`] reductions: the senders write the word too, and each check takes
//! its cache line from them.
//!
//! Nothing foreign runs while a batch is being handled. A signal in it that the process does not
//! receive (a late reply, or a message that a full mailbox drops) is released, with its destructor,
//! after the batch. That destructor may itself fetch.

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::process::relation::link::Link;

use crate::intrusive::record_set::Member;
use crate::mailbox::Fifo;
use crate::mailbox::batch::Queue;
use crate::mutation::Mutation;
use crate::ops::owner_op::OwnerOp;
use crate::ops::query::QueryNode;
use crate::ops::relations::monitor;
use crate::process::header::Header;
use crate::process::relation::monitor::Monitor;
use crate::process::timer_record::{Target, TimerHead};
use crate::reason::Reason;
use crate::signal::exit_signal::ExitSignal;
use crate::signal::message;
use crate::signal::node::{Node, SignalKind};
use crate::sync::Ordering;

/// The outcome of handling a signal.
enum SignalOutcome {
    /// It is done, and the body need not see anything.
    Consumed,
    /// The signal goes to the private queue.
    Queue,
    /// The body waits for it without receiving it.
    Resume,
    /// The process does not receive the signal, which is released after the batch.
    Refused,
    /// The process dies of it.
    Die(Reason),
}

/// The code that fetches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchedBy {
    /// The core, before it resumes the body: the body must see what arrives.
    Core,
    /// The body, which will look at the queue itself.
    Body,
}

/// Takes and handles the pending signals. The caller owns the process.
#[inline]
pub(crate) fn fetch(process: &Header, kernel_cx: &KernelCx<'_>, by: FetchedBy) {
    if process.mailbox.has_pending() {
        fetch_batch(process, kernel_cx, by);
    }
}

fn fetch_batch(process: &Header, kernel_cx: &KernelCx<'_>, by: FetchedBy) {
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    if private.dying.is_some() || !private.fetches {
        return;
    }
    let piece = process.mailbox.take().into_piece();
    if piece.is_plain() && process.bound().is_none() {
        private.queue.append(piece);
        private.resume |= by == FetchedBy::Core;
        process.mailbox.end_fetch();
        process.mailbox.record_backlog(private.queue.len());
        return;
    }
    fetch_others(process, kernel_cx, by, piece.into_fifo());
}

/// Completes a fetch whose batch has more than plain messages.
#[inline(never)]
fn fetch_others(process: &Header, kernel_cx: &KernelCx<'_>, by: FetchedBy, fifo: Fifo) {
    let mut refused = Queue::new();
    handle_all(process, kernel_cx, by, fifo, &mut refused);
    // SAFETY: P1: the caller owns the process.
    process.mailbox.record_backlog(unsafe { process.private() }.queue.len());
    while let Some(node) = refused.pop_front() {
        // SAFETY: N1: fetched, so the owner holds it. Foreign: nothing is borrowed here.
        unsafe { kernel_cx.release(node) };
    }
}

fn handle_all(process: &Header, kernel_cx: &KernelCx<'_>, by: FetchedBy, mut fifo: Fifo, refused: &mut Queue) {
    while let Some(node) = fifo.next() {
        // SAFETY: N1: fetched, so the owner holds it.
        let met = match unsafe { Node::kind(node) } {
            SignalKind::Message | SignalKind::Request => come(process),
            kind => handle(process, kernel_cx, node, kind),
        };
        match met {
            SignalOutcome::Consumed => {}
            SignalOutcome::Queue => {
                // SAFETY: P1: the caller owns the process.
                let private = unsafe { process.private() };
                // SAFETY: N1: fetched, so the owner holds it; it is in no queue.
                unsafe { private.queue.push_back(node) };
                private.resume |= by == FetchedBy::Core;
            }
            // SAFETY: P1: the caller owns the process.
            SignalOutcome::Resume => unsafe { process.private() }.resume = true,
            // SAFETY: N1: fetched, so the owner holds it; it is in no queue.
            SignalOutcome::Refused => unsafe { refused.push_back(node) },
            SignalOutcome::Die(reason) => {
                // SAFETY: P1: the caller owns the process.
                let private = unsafe { process.private() };
                private.dying = Some(reason);
                private.unhandled = fifo;
                return;
            }
        }
    }
    if let Some(bound) = process.bound() {
        // SAFETY: P1: the caller owns the process.
        bound.drop_oldest_over_limit(&mut unsafe { process.private() }.queue, refused);
    }
    process.mailbox.end_fetch();
}

/// Accepts a message for the private queue.
#[inline(always)]
fn come(process: &Header) -> SignalOutcome {
    if let Some(bound) = process.bound() {
        bound.on_fetched();
    }
    SignalOutcome::Queue
}

// Not inlined: most signals are messages, which do not come here.
#[inline(never)]
fn handle(process: &Header, kernel_cx: &KernelCx<'_>, node: NonNull<Node>, kind: SignalKind) -> SignalOutcome {
    match kind {
        SignalKind::Message | SignalKind::Request => come(process),
        SignalKind::AliasMessage => handle_alias(process, kernel_cx, node),
        SignalKind::Timer => {
            forget_timer(process, kernel_cx, node);
            SignalOutcome::Queue
        }
        SignalKind::Alarm => {
            // SAFETY: the signal's reference keeps the record live.
            let rings = unsafe { node.cast::<TimerHead>().as_ref() }.reference;
            // SAFETY: P1: the caller owns the process.
            if let Some(waiters) = &mut unsafe { process.private() }.waiters {
                waiters.ring(rings);
            }
            forget_timer(process, kernel_cx, node);
            // SAFETY: fetched, so the signal's reference is ours; not used again.
            unsafe { Node::release(node, kernel_cx.pool()) };
            SignalOutcome::Resume
        }
        SignalKind::Exit => handle_exit(process, kernel_cx, node),
        SignalKind::LinkExit => handle_link_exit(process, kernel_cx, node),
        SignalKind::LinkRequest => {
            let link = Link::of_request(node);
            // SAFETY: P1: the caller owns the process; the end's reference came with the request.
            unsafe { adopt_link(process, kernel_cx, link) };
            SignalOutcome::Consumed
        }
        SignalKind::MonitorRequest => {
            let monitor = node.cast::<Monitor>();
            // SAFETY: fetched, so the signal's reference is ours and keeps the record live.
            if unsafe { monitor.as_ref() }.is_armed() {
                // SAFETY: the record is on no list; the reference goes with it.
                let pushed = unsafe { process.watchers.push(Monitor::watch(monitor)) };
                // If it failed, the reference would leak, and nothing else would go wrong.
                debug_assert!(pushed.is_ok(), "only the owner closes the list");
            } else {
                // SAFETY: the reference that came with the request; not used again.
                unsafe { Monitor::release(monitor, kernel_cx.pool()) };
            }
            SignalOutcome::Consumed
        }
        SignalKind::Down => {
            let monitor = node.cast::<Monitor>();
            // SAFETY: fetched, so the signal's reference is ours and keeps the record live.
            if unsafe { monitor.as_ref() }.accept_down() {
                // SAFETY: the signal's reference keeps the record live.
                let reference = unsafe { monitor.as_ref() }.reference;
                // SAFETY: P1: the caller owns the process.
                let private = unsafe { process.private() };
                private.end_alias_with_monitor(reference);
                SignalOutcome::Queue
            } else {
                // SAFETY: the signal's reference; not used again.
                unsafe { Monitor::release(monitor, kernel_cx.pool()) };
                SignalOutcome::Consumed
            }
        }
        SignalKind::Wake => {
            // AcqRel: the node is in no queue now. A waker, `request_wake` or `kill` whose swap
            // found the flag set relied on this wake-up, and we must see what it wrote before.
            let clear =
                if kernel_cx.kernel.mutated(Mutation::WakingRelaxed) { Ordering::Relaxed } else { Ordering::AcqRel };
            process.waking.swap(false, clear);
            if process.killed.load(Ordering::Relaxed) {
                return SignalOutcome::Die(Reason::KILLED);
            }
            // The wake-up may come from `request_wake`: many links on the list are unlinked.
            adopt_links(process, kernel_cx);
            // Or a slot is free for a sender that waits for capacity.
            if let Some(bound) = process.bound() {
                bound.look(kernel_cx);
            }
            SignalOutcome::Resume
        }
        SignalKind::Ask => {
            // SAFETY: N1: fetched, so the owner holds it; not used again.
            unsafe { QueryNode::answer(node, process, kernel_cx) };
            SignalOutcome::Consumed
        }
        SignalKind::Proxy => {
            // SAFETY: N1: fetched, so the owner holds it; not used again.
            unsafe { OwnerOp::handle(node, process, kernel_cx) };
            SignalOutcome::Consumed
        }
    }
}

/// Removes a timer of the process that has fired from its set of timers.
fn forget_timer(process: &Header, kernel_cx: &KernelCx<'_>, node: NonNull<Node>) {
    let timer = node.cast::<TimerHead>();
    // SAFETY: the signal's reference keeps the record live.
    let record = unsafe { timer.as_ref() };
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    let is_among_them = match record.target() {
        // A timer that another process started is in the starter's set, and on this process's list
        // of watchers (`ops::timer`).
        Target::Pid(_) => !record.watched && Member::joint(record).is_in_set(),
        Target::Name(_) => private.timers.find(record.reference.to_raw()) == Some(timer),
    };
    if is_among_them {
        // SAFETY: the check above found the timer in this set.
        unsafe { private.timers.remove(timer) };
        // SAFETY: the starter's reference, which the set held; not used again.
        unsafe { TimerHead::release(timer, kernel_cx.pool()) };
    }
}

fn handle_alias(process: &Header, kernel_cx: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    // SAFETY: N1: fetched, so the owner holds it; it is of this kind.
    let via = unsafe { message::alias_of(node) };
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    let Some(alias) = private.aliases.find(via.to_raw()) else {
        if let Some(bound) = process.bound() {
            bound.left(kernel_cx);
        }
        return SignalOutcome::Refused;
    };
    // SAFETY: the set owns the record, which is still in it.
    let mode = unsafe { alias.as_ref() }.mode;
    if mode.ends_with_reply() {
        private.end_alias(via);
        if mode.ends_with_monitor() {
            monitor::demonitor(process, kernel_cx, via, false);
        }
    }
    come(process)
}

fn handle_exit(process: &Header, kernel_cx: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    // SAFETY: N1: fetched, so the owner holds it; of this kind, and not consumed yet.
    let signal = unsafe { node.cast::<ExitSignal>().as_ref() };
    let (from, reason) = (signal.from, signal.reason.clone());
    let trapping = process.trap_exit.load(Ordering::Relaxed);
    let met = if reason == Reason::KILL {
        SignalOutcome::Die(Reason::KILLED)
    } else if trapping {
        return SignalOutcome::Queue;
    } else if reason.is_normal() && from != Some(process.pid) {
        SignalOutcome::Refused
    } else {
        SignalOutcome::Die(reason)
    };
    if let SignalOutcome::Die(_) = met {
        // SAFETY: N1: fetched, not used again. The reason's value, which may be foreign, lives on
        // in `met`.
        drop(unsafe { ExitSignal::open(node, kernel_cx.pool()) });
        return met;
    }
    // Its reason may be foreign, so it is released after the batch.
    SignalOutcome::Refused
}

fn handle_link_exit(process: &Header, kernel_cx: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    adopt_links(process, kernel_cx);
    let link = node.cast::<Link>();
    let half = Link::half_of(link, process.pid);
    // SAFETY: the signal's reference keeps the record live; the fields belong to the owner.
    let fields = unsafe { half.as_ref() };
    let welcome = !fields.ignores_exit() || kernel_cx.kernel.mutated(Mutation::WithdrawnIsWelcome);
    let peer = fields.peer;
    // SAFETY: the signal's reference keeps the record live.
    let is_down = unsafe { link.as_ref() }.down_to(fields).is_some();
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    // SAFETY: the end belongs to the owner; the signal's reference keeps the record live.
    unsafe { private.release_link_end(half, kernel_cx) };
    if !welcome {
        // SAFETY: the signal's reference; not used again.
        unsafe { Link::release(link, kernel_cx.pool()) };
        return SignalOutcome::Consumed;
    }
    if private.adopted_links && !is_down {
        // K2: the record of the peer's link, if both linked at once.
        private.unlink_all(peer, kernel_cx);
    }
    if is_down || process.trap_exit.load(Ordering::Relaxed) {
        return SignalOutcome::Queue;
    }
    // SAFETY: this process fetched the exit node.
    let (_, reason) = unsafe { Link::read_exit(link, process.pid) };
    // SAFETY: the signal's reference; not used again.
    unsafe { Link::release(link, kernel_cx.pool()) };
    let survives = reason.is_normal() && !kernel_cx.kernel.mutated(Mutation::NormalKills);
    if survives { SignalOutcome::Consumed } else { SignalOutcome::Die(reason) }
}

/// Moves an end that was on the list, or in a request, to the set.
///
/// # Safety
/// The caller owns the process and holds the reference of the process's end.
unsafe fn adopt_link(process: &Header, kernel_cx: &KernelCx<'_>, link: NonNull<Link>) {
    // SAFETY: the end's reference keeps the record live.
    if unsafe { link.as_ref() }.is_unlinked() {
        // SAFETY: the end's reference; not used again.
        return unsafe { Link::release(link, kernel_cx.pool()) };
    }
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    private.adopted_links = true;
    // SAFETY: the end's reference is the caller's, and the end is in no set.
    unsafe { private.insert_link_end(Link::half_of(link, process.pid), kernel_cx) };
}

/// Adopts the links that other processes made: moves them to the set (`link`, K1). The caller owns
/// the process.
pub(crate) fn adopt_links(process: &Header, kernel_cx: &KernelCx<'_>) {
    for link in process.links.take() {
        // SAFETY: taken from the list, with the end's reference.
        unsafe { adopt_link(process, kernel_cx, link) };
    }
}
