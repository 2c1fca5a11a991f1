//! Fetching: the owner takes what has come and meets every signal in it.
//!
//! Messages, and what has become one, go to the private queue; an exit that the process
//! does not survive ends the fetch, and what is behind it stays in `unmet` for the death to
//! answer. Nobody sees the mailbox as clear until the whole batch is met (`mailbox`, M4).
//!
//! A batch of nothing but plain messages, which are met by that, is appended whole; and what woke the process by a plain message has put
//! it there itself (`mailbox`, edge 6). A body that receives looks for more when it has received all, and every
//! [`crate::config::LOOK_EVERY`] reductions: the word is its senders' as well, and each look takes the line from them.
//!
//! Nothing foreign runs while a batch is in hand: what it holds that nobody receives (a late reply, or what a bounded
//! mailbox drops) is released, with whatever its destructor does, when the batch is done. A destructor may fetch in its turn.

use core::ptr::NonNull;

use crate::hand::KernelCx;
use crate::link::{LinkEnd, Link};

use crate::mailbox::Fifo;
use crate::monitor::Monitor;
use crate::mutate::Mutation;
use crate::process::header::Header;
use crate::process::private::OwnerState;
use crate::process::ties;
use crate::proxy::OwnerOp;
use crate::reason::Reason;
use crate::set::Member;
use crate::signal::ask::QueryNode;
use crate::signal::exit_signal::ExitSignal;
use crate::signal::message;
use crate::signal::node::{SignalKind, Node};
use crate::signal::queue::Queue;
use crate::sync::Ordering;
use crate::timer::record::{Target, TimerHead};

/// What a signal did.
enum SignalOutcome {
    /// Nothing that the body must see.
    Consumed,
    /// Something for the private queue.
    Queue,
    /// Something that the body waits for without receiving it.
    Resume,
    /// A message that nobody receives.
    Refused,
    /// The process dies of it.
    Die(Reason),
}

/// Who fetches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchedBy {
    /// The core, before it resumes the body: the body must see what comes.
    Core,
    /// The body, which will look at the queue itself.
    Body,
}

/// Takes and meets what has come. The caller owns the process.
#[inline]
pub(crate) fn fetch(process: &Header, hand: &KernelCx<'_>, by: FetchedBy) {
    if process.mailbox.has_pending() {
        fetch_batch(process, hand, by);
    }
}

fn fetch_batch(process: &Header, hand: &KernelCx<'_>, by: FetchedBy) {
    // SAFETY: the caller owns the process (P1).
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

/// The rest of a fetch, when not all of it are plain messages.
#[inline(never)]
fn fetch_others(process: &Header, hand: &KernelCx<'_>, by: FetchedBy, fifo: Fifo) {
    let mut refused = Queue::new();
    meet_all(process, hand, by, fifo, &mut refused);
    // SAFETY: the owner.
    process.mailbox.note(unsafe { process.private() }.queue.len());
    while let Some(node) = refused.pop_front() {
        // SAFETY: fetched, so the owner's. Foreign: nothing is borrowed.
        unsafe { hand.release(node) };
    }
}

fn meet_all(process: &Header, hand: &KernelCx<'_>, by: FetchedBy, mut fifo: Fifo, refused: &mut Queue) {
    while let Some(node) = fifo.next() {
        // SAFETY: fetched, so the owner's.
        let met = match unsafe { Node::kind(node) } {
            SignalKind::Message | SignalKind::Request => come(process),
            kind => meet(process, hand, node, kind),
        };
        match met {
            SignalOutcome::Consumed => {}
            SignalOutcome::Queue => {
                // SAFETY: the owner.
                let private = unsafe { process.private() };
                // SAFETY: fetched, so the owner's.
                unsafe { private.queue.push_back(node) };
                private.resume |= by == FetchedBy::Core;
            }
            // SAFETY: the owner.
            SignalOutcome::Resume => unsafe { process.private() }.resume = true,
            // SAFETY: fetched, so the owner's.
            SignalOutcome::Refused => unsafe { refused.push_back(node) },
            SignalOutcome::Die(reason) => {
                // SAFETY: the owner.
                let private = unsafe { process.private() };
                private.dying = Some(reason);
                private.unmet = fifo;
                return;
            }
        }
    }
    if let Some(bound) = process.bound() {
        // SAFETY: the owner.
        bound.trim(unsafe { process.private() }, refused);
    }
    process.mailbox.settle();
}

/// A message goes to the private queue.
#[inline(always)]
fn come(process: &Header) -> SignalOutcome {
    if let Some(bound) = process.bound() {
        bound.fetched();
    }
    SignalOutcome::Queue
}

// Out of the way of the messages, which are most of what comes.
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
            // SAFETY: the signal's share keeps the record.
            let rings = unsafe { node.cast::<TimerHead>().as_ref() }.reference;
            // SAFETY: the owner.
            if let Some(waiters) = &mut unsafe { process.private() }.waiters {
                waiters.ring(rings);
            }
            forget_timer(process, hand, node);
            // SAFETY: fetched; the signal's share.
            unsafe { Node::release(node, hand.pool()) };
            SignalOutcome::Resume
        }
        SignalKind::Exit => meet_exit(process, hand, node),
        SignalKind::LinkExit => meet_link_exit(process, hand, node),
        SignalKind::LinkRequest => {
            let link = Link::of_request(node);
            // SAFETY: fetched; the share of the half comes with it.
            unsafe { take_up_one(process, hand, link) };
            SignalOutcome::Consumed
        }
        SignalKind::MonitorRequest => {
            let monitor = node.cast::<Monitor>();
            // SAFETY: fetched, so its share is ours.
            if unsafe { monitor.as_ref() }.is_armed() {
                // SAFETY: on no list; the share goes with it.
                let pushed = unsafe { process.watchers.push(Monitor::watch(monitor)) };
                // Otherwise its share leaks, and nothing else.
                debug_assert!(pushed.is_ok(), "its owner has not closed it");
            } else {
                // SAFETY: the share that came with the request.
                unsafe { Monitor::give_up(monitor, hand.pool()) };
            }
            SignalOutcome::Consumed
        }
        SignalKind::Down => {
            let monitor = node.cast::<Monitor>();
            // SAFETY: fetched; its share is ours.
            if unsafe { monitor.as_ref() }.arrive() {
                // SAFETY: live.
                let reference = unsafe { monitor.as_ref() }.reference;
                // SAFETY: the owner.
                let private = unsafe { process.private() };
                private.end_alias_with_monitor(reference);
                SignalOutcome::Queue
            } else {
                // SAFETY: the signal's share.
                unsafe { Monitor::give_up(monitor, hand.pool()) };
                SignalOutcome::Consumed
            }
        }
        SignalKind::Wake => {
            // AcqRel: the node is in no queue any more; and a waker, nudger or killer whose swap found the
            // flag set left it to us, who must see what it did before.
            let clear = if hand.kernel.mutated(Mutation::WakingRelaxed) { Ordering::Relaxed } else { Ordering::AcqRel };
            process.waking.swap(false, clear);
            if process.killed.load(Ordering::Relaxed) {
                return SignalOutcome::Die(Reason::KILLED);
            }
            // It may be a nudge: the list of links has many that are cut.
            take_up(process, hand);
            // Or there is room for who is in line.
            if let Some(bound) = process.bound() {
                bound.look(hand);
            }
            SignalOutcome::Resume
        }
        SignalKind::Ask => {
            // SAFETY: fetched, so ours.
            unsafe { QueryNode::answer(node, process, hand) };
            SignalOutcome::Consumed
        }
        SignalKind::Proxy => {
            // SAFETY: fetched, so ours.
            unsafe { OwnerOp::meet(node, process, hand) };
            SignalOutcome::Consumed
        }
    }
}

/// A timer of its own that has come is no longer among its timers.
fn forget_timer(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) {
    let timer = node.cast::<TimerHead>();
    // SAFETY: the signal's share keeps it.
    let record = unsafe { timer.as_ref() };
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    let is_among_them = match record.target() {
        // One that somebody else has started is in the starter's set, and on this process's list of watchers (`timer::start`).
        Target::Pid(_) => !record.watched && Member::joint(record).is_in_set(),
        Target::Name(_) => private.timers.find(record.reference.to_raw()) == Some(timer),
    };
    if is_among_them {
        // SAFETY: it is there.
        unsafe { private.timers.remove(timer) };
        // SAFETY: the starter's share, which the set had.
        unsafe { TimerHead::give_up(timer, hand.pool()) };
    }
}

fn meet_alias(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    // SAFETY: fetched, of this kind.
    let via = unsafe { message::alias_of(node) };
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    let Some(alias) = private.aliases.find(via.to_raw()) else {
        if let Some(bound) = process.bound() {
            bound.left(hand);
        }
        return SignalOutcome::Refused;
    };
    // SAFETY: in the set.
    let mode = unsafe { alias.as_ref() }.mode;
    if mode.ends_with_reply() {
        private.end_alias(via);
        if mode.ends_with_monitor() {
            ties::demonitor(process, hand, via, false);
        }
    }
    come(process)
}

fn meet_exit(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    // SAFETY: fetched, of this kind, and not consumed yet.
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
        // SAFETY: fetched. The reason's value, which may be foreign, lives on in `met`.
        drop(unsafe { ExitSignal::open(node, hand.pool()) });
        return met;
    }
    // Its reason may be foreign.
    SignalOutcome::Refused
}

fn meet_link_exit(process: &Header, hand: &KernelCx<'_>, node: NonNull<Node>) -> SignalOutcome {
    take_up(process, hand);
    let link = node.cast::<Link>();
    let half = Link::half_of(link, process.pid);
    // SAFETY: the signal's share keeps the record; the fields are the owner's.
    let fields = unsafe { half.as_ref() };
    let welcome = !fields.is_withdrawn() || hand.kernel.mutated(Mutation::WithdrawnIsWelcome);
    let peer = fields.peer;
    // SAFETY: the signal's share keeps the record.
    let is_down = unsafe { link.as_ref() }.down_to(fields).is_some();
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    // SAFETY: ours.
    unsafe { private.drop_half(half, hand) };
    if !welcome {
        // SAFETY: the signal's share.
        unsafe { Link::give_up(link, hand.pool()) };
        return SignalOutcome::Consumed;
    }
    if private.taken_up && !is_down {
        // K2: the record of the other side's link, if both linked at once.
        private.cut_all(peer, hand);
    }
    if is_down || process.trap_exit.load(Ordering::Relaxed) {
        return SignalOutcome::Queue;
    }
    // SAFETY: fetched by this process.
    let (_, reason) = unsafe { Link::opened(link, process.pid) };
    // SAFETY: the signal's share.
    unsafe { Link::give_up(link, hand.pool()) };
    let survives = reason.is_normal() && !hand.kernel.mutated(Mutation::NormalKills);
    if survives { SignalOutcome::Consumed } else { SignalOutcome::Die(reason) }
}

/// Takes a half that was on the list, or in a request, into the set.
///
/// # Safety
/// The caller owns the process and has the share of the process's half.
unsafe fn take_up_one(process: &Header, hand: &KernelCx<'_>, link: NonNull<Link>) {
    // SAFETY: shared, so live.
    if unsafe { link.as_ref() }.is_cut() {
        // SAFETY: the half's share.
        return unsafe { Link::give_up(link, hand.pool()) };
    }
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    private.taken_up = true;
    // SAFETY: the half's share is the caller's.
    unsafe { private.hold_half(Link::half_of(link, process.pid), hand) };
}

/// Takes the links that others made into the set (`link`, K1). The caller owns the process.
pub(crate) fn take_up(process: &Header, hand: &KernelCx<'_>) {
    for link in process.links.take() {
        // SAFETY: taken from the list, with the half's share.
        unsafe { take_up_one(process, hand, link) };
    }
}

impl OwnerState {
    /// Adds a half to the set.
    ///
    /// # Safety
    /// The half is the owner's, in no set, and its share comes with it.
    pub unsafe fn hold_half(&mut self, half: NonNull<LinkEnd>, hand: &KernelCx<'_>) {
        if self.links.sweep_is_due() {
            self.sweep_links(hand);
        }
        // SAFETY: by contract.
        unsafe { half.as_ref() }.set_held(true);
        // SAFETY: by contract.
        unsafe { self.links.insert(half) };
    }

    /// Takes a half out of the set, if it is there, and gives up its share.
    ///
    /// # Safety
    /// The half is the owner's; its record is not used afterwards without another share.
    pub unsafe fn drop_half(&mut self, half: NonNull<LinkEnd>, hand: &KernelCx<'_>) {
        // SAFETY: the owner's, live.
        if unsafe { half.as_ref() }.is_held() {
            // SAFETY: held.
            unsafe { half.as_ref() }.set_held(false);
            // SAFETY: held, so in the set.
            unsafe { self.links.remove(half) };
            // SAFETY: the half's share.
            unsafe { Link::give_up(LinkEnd::link(half), hand.pool()) };
        }
    }

    /// Drops the halves of links that the other side has cut.
    fn sweep_links(&mut self, hand: &KernelCx<'_>) {
        for half in self.links.iter() {
            // SAFETY: in the set, so shared.
            if unsafe { LinkEnd::link(half).as_ref() }.is_cut() {
                // SAFETY: the one the iterator returned last may be removed.
                unsafe { self.drop_half(half, hand) };
            }
        }
        self.links.swept();
    }
}
