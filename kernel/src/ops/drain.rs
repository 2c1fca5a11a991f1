//! Draining the mailbox: the owner takes the pending signals and handles each of them.
//!
//! Messages, and signals that have become messages, go to the private queue. An exit that the
//! process does not survive ends the fetch; the signals after it stay in `unmet` for the death to
//! answer. No thread sees the mailbox as clear until the whole batch is handled (`mailbox`, M4).
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
pub(crate) fn fetch(process: &Header, hand: &KernelCx<'_>, by: FetchedBy) {
    if process.mailbox.has_pending() {
        fetch_batch(process, hand, by);
    }
}

fn fetch_batch(process: &Header, hand: &KernelCx<'_>, by: FetchedBy) {
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    if private.dying.is_some() || !private.fetches {
        return;
    }
    let piece = process.mailbox.take().into_piece();
    if piece.is_plain() && process.bound().is_none() {
        private.queue.append(piece);
        private.resume |= by == FetchedBy::Core;
        process.mailbox.settle();
        process.mailbox.note(private.queue.len());
        return;
    }
    fetch_others(process, hand, by, piece.into_fifo());
}

/// Completes a fetch whose batch has more than plain messages.
#[inline(never)]
fn fetch_others(process: &Header, hand: &KernelCx<'_>, by: FetchedBy, fifo: Fifo) {
    let mut refused = Queue::new();
    meet_all(process, hand, by, fifo, &mut refused);
    // SAFETY: P1: the caller owns the process.
    process.mailbox.note(unsafe { process.private() }.queue.len());
    while let Some(node) = refused.pop_front() {
        // SAFETY: N1: fetched, so the owner holds it. Foreign: nothing is borrowed here.
        unsafe { hand.release(node) };
    }
}

fn meet_all(process: &Header, hand: &KernelCx<'_>, by: FetchedBy, mut fifo: Fifo, refused: &mut Queue) {
    while let Some(node) = fifo.next() {
        // SAFETY: N1: fetched, so the owner holds it.
        let met = match unsafe { Node::kind(node) } {
            SignalKind::Message | SignalKind::Request => come(process),
            kind => meet(process, hand, node, kind),
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
                private.unmet = fifo;
                return;
            }
        }
    }
    if let Some(bound) = process.bound() {
        // SAFETY: P1: the caller owns the process.
        bound.trim(&mut unsafe { process.private() }.queue, refused);
    }
    process.mailbox.settle();
}

/// Accepts a message for the private queue.
#[inline(always)]
fn come(process: &Header) -> SignalOutcome {
    if let Some(bound) = process.bound() {
        bound.fetched();
    }
    SignalOutcome::Queue
}

// Not inlined: most signals are messages, which do not come here.
#[inline(never)]
fn meet(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>, kind: SignalKind) -> SignalOutcome {
    match kind {
        SignalKind::Message | SignalKind::Request => come(process),
        SignalKind::AliasMessage => meet_alias(process, hand, node),
        SignalKind::Timer => {
            forget_timer(process, hand, node);
            SignalOutcome::Queue
        }
        SignalKind::Alarm => {
            // SAFETY: the signal's reference keeps the record live.
            let rings = unsafe { node.cast::<TimerHead>().as_ref() }.reference;
            // SAFETY: P1: the caller owns the process.
            if let Some(waiters) = &mut unsafe { process.private() }.waiters {
                waiters.ring(rings);
            }
            forget_timer(process, hand, node);
            // SAFETY: fetched, so the signal's reference is ours; not used again.
            unsafe { Node::release(node, hand.pool()) };
            SignalOutcome::Resume
        }
        SignalKind::Exit => meet_exit(process, hand, node),
        SignalKind::LinkExit => meet_link_exit(process, hand, node),
        SignalKind::LinkRequest => {
            let link = Link::of_request(node);
            // SAFETY: P1: the caller owns the process; the end's reference came with the request.
            unsafe { take_up_one(process, hand, link) };
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
                unsafe { Monitor::give_up(monitor, hand.pool()) };
            }
            SignalOutcome::Consumed
        }
        SignalKind::Down => {
            let monitor = node.cast::<Monitor>();
            // SAFETY: fetched, so the signal's reference is ours and keeps the record live.
            if unsafe { monitor.as_ref() }.arrive() {
                // SAFETY: the signal's reference keeps the record live.
                let reference = unsafe { monitor.as_ref() }.reference;
                // SAFETY: P1: the caller owns the process.
                let private = unsafe { process.private() };
                private.end_alias_with_monitor(reference);
                SignalOutcome::Queue
            } else {
                // SAFETY: the signal's reference; not used again.
                unsafe { Monitor::give_up(monitor, hand.pool()) };
                SignalOutcome::Consumed
            }
        }
        SignalKind::Wake => {
            // AcqRel: the node is in no queue now. A waker, `nudge` or `kill` whose swap found the
            // flag set relied on this wake-up, and we must see what it wrote before.
            let clear = if hand.kernel.mutated(Mutation::WakingRelaxed) { Ordering::Relaxed } else { Ordering::AcqRel };
            process.waking.swap(false, clear);
            if process.killed.load(Ordering::Relaxed) {
                return SignalOutcome::Die(Reason::KILLED);
            }
            // The wake-up may come from `nudge`: many links on the list are unlinked.
            take_up(process, hand);
            // Or a slot is free for a sender that waits for capacity.
            if let Some(bound) = process.bound() {
                bound.look(hand);
            }
            SignalOutcome::Resume
        }
        SignalKind::Ask => {
            // SAFETY: N1: fetched, so the owner holds it; not used again.
            unsafe { QueryNode::answer(node, process, hand) };
            SignalOutcome::Consumed
        }
        SignalKind::Proxy => {
            // SAFETY: N1: fetched, so the owner holds it; not used again.
            unsafe { OwnerOp::meet(node, process, hand) };
            SignalOutcome::Consumed
        }
    }
}

/// Removes a timer of the process that has fired from its set of timers.
fn forget_timer(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) {
    let timer = node.cast::<TimerHead>();
    // SAFETY: the signal's reference keeps the record live.
    let record = unsafe { timer.as_ref() };
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    let is_among_them = match record.target() {
        // A timer that another process started is in the starter's set, and on this process's list
        // of watchers (`timer::start`).
        Target::Pid(_) => !record.watched && Member::joint(record).is_in_set(),
        Target::Name(_) => private.timers.find(record.reference.to_raw()) == Some(timer),
    };
    if is_among_them {
        // SAFETY: the check above found the timer in this set.
        unsafe { private.timers.remove(timer) };
        // SAFETY: the starter's reference, which the set held; not used again.
        unsafe { TimerHead::give_up(timer, hand.pool()) };
    }
}

fn meet_alias(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    // SAFETY: N1: fetched, so the owner holds it; it is of this kind.
    let via = unsafe { message::alias_of(node) };
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    let Some(alias) = private.aliases.find(via.to_raw()) else {
        if let Some(bound) = process.bound() {
            bound.left(hand);
        }
        return SignalOutcome::Refused;
    };
    // SAFETY: the set owns the record, which is still in it.
    let mode = unsafe { alias.as_ref() }.mode;
    if mode.ends_with_reply() {
        private.end_alias(via);
        if mode.ends_with_monitor() {
            monitor::demonitor(process, hand, via, false);
        }
    }
    come(process)
}

fn meet_exit(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
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
        drop(unsafe { ExitSignal::open(node, hand.pool()) });
        return met;
    }
    // Its reason may be foreign, so it is released after the batch.
    SignalOutcome::Refused
}

fn meet_link_exit(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    take_up(process, hand);
    let link = node.cast::<Link>();
    let half = Link::half_of(link, process.pid);
    // SAFETY: the signal's reference keeps the record live; the fields belong to the owner.
    let fields = unsafe { half.as_ref() };
    let welcome = !fields.is_withdrawn() || hand.kernel.mutated(Mutation::WithdrawnIsWelcome);
    let peer = fields.peer;
    // SAFETY: the signal's reference keeps the record live.
    let is_down = unsafe { link.as_ref() }.down_to(fields).is_some();
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    // SAFETY: the end belongs to the owner; the signal's reference keeps the record live.
    unsafe { private.drop_half(half, hand) };
    if !welcome {
        // SAFETY: the signal's reference; not used again.
        unsafe { Link::give_up(link, hand.pool()) };
        return SignalOutcome::Consumed;
    }
    if private.taken_up && !is_down {
        // K2: the record of the peer's link, if both linked at once.
        private.cut_all(peer, hand);
    }
    if is_down || process.trap_exit.load(Ordering::Relaxed) {
        return SignalOutcome::Queue;
    }
    // SAFETY: this process fetched the exit node.
    let (_, reason) = unsafe { Link::opened(link, process.pid) };
    // SAFETY: the signal's reference; not used again.
    unsafe { Link::give_up(link, hand.pool()) };
    let survives = reason.is_normal() && !hand.kernel.mutated(Mutation::NormalKills);
    if survives { SignalOutcome::Consumed } else { SignalOutcome::Die(reason) }
}

/// Moves an end that was on the list, or in a request, to the set.
///
/// # Safety
/// The caller owns the process and holds the reference of the process's end.
unsafe fn take_up_one(process: &Header, hand: &KernelCx<'_>, link: NonNull<Link>) {
    // SAFETY: the end's reference keeps the record live.
    if unsafe { link.as_ref() }.is_cut() {
        // SAFETY: the end's reference; not used again.
        return unsafe { Link::give_up(link, hand.pool()) };
    }
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    private.taken_up = true;
    // SAFETY: the end's reference is the caller's, and the end is in no set.
    unsafe { private.hold_half(Link::half_of(link, process.pid), hand) };
}

/// Adopts the links that other processes made: moves them to the set (`link`, K1). The caller owns
/// the process.
pub(crate) fn take_up(process: &Header, hand: &KernelCx<'_>) {
    for link in process.links.take() {
        // SAFETY: taken from the list, with the end's reference.
        unsafe { take_up_one(process, hand, link) };
    }
}
