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

use crate::intrusive::record_set::Found;
use crate::kernel::kernel_cx::KernelCx;
use crate::mailbox::Fifo;
use crate::mailbox::queue::Queue;
use crate::mutation::mutant;
use crate::ops::owner_op::OwnerOp;
use crate::ops::query::QueryNode;
use crate::ops::relations::monitor;
use crate::ops::signal::Signal;
use crate::process::header::Header;
use crate::process::owned::Owned;
use crate::process::relation::link::{LinkExit, PeerEnd};
use crate::process::relation::monitor::{DownSignal, Monitor, TargetSide};
use crate::process::relation::watcher::Watcher;
use crate::process::timer_record::{Target, TimerHead};
use crate::reason::Reason;
use crate::signal::exit_signal::ExitSignal;
use crate::signal::held::{Held, HeldNode};
use crate::signal::message::AliasHead;
use crate::signal::node::SignalKind;
use crate::sync::Ordering;

/// The outcome of handling a signal.
enum SignalOutcome {
    /// It is done, and the body need not see anything.
    Consumed,
    /// The signal goes to the private queue.
    Queue(HeldNode),
    /// The body waits for it without receiving it.
    Resume,
    /// The process does not receive the signal, which is released after the batch.
    Refused(HeldNode),
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

/// Takes and handles the pending signals.
#[inline]
pub(crate) fn fetch(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, by: FetchedBy) {
    if owned.mailbox.has_pending() {
        fetch_batch(owned, kernel_cx, by);
    }
}

fn fetch_batch(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, by: FetchedBy) {
    let process = owned.header();
    let others = owned.fetch(|state, fetching| {
        if state.dying.is_some() || !state.fetches() {
            return None;
        }
        let piece = fetching.take().into_piece();
        if !piece.is_plain() || process.bound().is_some() {
            return Some(piece.into_fifo());
        }
        state.queue.append(piece);
        state.resume |= by == FetchedBy::Core;
        fetching.end(state.queue.len());
        None
    });
    if let Some(others) = others {
        fetch_others(owned, kernel_cx, by, others);
    }
}

/// Completes a fetch whose batch has more than plain messages.
#[inline(never)]
fn fetch_others(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, by: FetchedBy, fifo: Fifo) {
    let mut refused = Queue::new();
    handle_all(owned, kernel_cx, by, fifo, &mut refused);
    owned.record_backlog();
    while let Some(node) = refused.pop_front() {
        // Foreign: nothing is borrowed here.
        kernel_cx.release(node);
    }
}

fn handle_all(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, by: FetchedBy, mut fifo: Fifo, refused: &mut Queue) {
    while let Some(node) = fifo.next() {
        let outcome = match node.kind() {
            SignalKind::Message | SignalKind::Request => come(owned, node),
            _ => handle(owned, kernel_cx, node),
        };
        match outcome {
            SignalOutcome::Consumed => {}
            SignalOutcome::Queue(node) => owned.state(|state| {
                state.queue.push_back(node);
                state.resume |= by == FetchedBy::Core;
            }),
            SignalOutcome::Resume => owned.state(|state| state.resume = true),
            SignalOutcome::Refused(node) => refused.push_back(node),
            SignalOutcome::Die(reason) => {
                return owned.state(|state| {
                    state.dying = Some(reason);
                    state.unhandled = fifo;
                });
            }
        }
    }
    owned.drop_oldest_over_limit(refused);
    owned.end_fetch();
}

/// Accepts a message for the private queue.
#[inline(always)]
fn come(owned: &mut Owned<'_>, message: HeldNode) -> SignalOutcome {
    if let Some(limit) = owned.limit() {
        limit.on_fetched();
    }
    SignalOutcome::Queue(message)
}

// Not inlined: most signals are messages, which do not come here.
#[inline(never)]
fn handle(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, node: HeldNode) -> SignalOutcome {
    match Signal::open(node) {
        Signal::Message(message) => come(owned, message),
        Signal::Request(request) => come(owned, request.into_node()),
        Signal::AliasMessage(message) => handle_alias(owned, kernel_cx, message),
        Signal::Timer(timer) => {
            forget_timer(owned, kernel_cx, &timer);
            SignalOutcome::Queue(timer.into_node())
        }
        Signal::Alarm(alarm) => handle_alarm(owned, kernel_cx, alarm),
        Signal::Exit(signal) => handle_exit(owned, kernel_cx, signal),
        Signal::LinkExit(link) => handle_link_exit(owned, kernel_cx, link),
        Signal::LinkRequest(request) => {
            adopt_link(owned, kernel_cx, PeerEnd::of_request(request));
            SignalOutcome::Consumed
        }
        Signal::MonitorRequest(monitor) => handle_monitor_request(owned, kernel_cx, monitor),
        Signal::Down(monitor) => handle_down(owned, kernel_cx, monitor),
        Signal::Wake => handle_wake(owned, kernel_cx),
        Signal::Query(query) => {
            QueryNode::answer(query.into_box(), owned, kernel_cx);
            SignalOutcome::Consumed
        }
        Signal::OwnerOp(operation) => {
            OwnerOp::handle(operation.into_box(), owned, kernel_cx);
            SignalOutcome::Consumed
        }
    }
}

fn handle_alarm(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, alarm: Held<TimerHead>) -> SignalOutcome {
    owned.state(|state| {
        if let Some(waiters) = &mut state.waiters {
            waiters.ring(alarm.reference);
        }
    });
    forget_timer(owned, kernel_cx, &alarm);
    alarm.release(kernel_cx.pool());
    SignalOutcome::Resume
}

fn handle_monitor_request(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, monitor: Held<Monitor>) -> SignalOutcome {
    if monitor.is_armed() {
        let pushed = owned.watchers.push(Watcher::Monitor(TargetSide::of_request(monitor)));
        debug_assert!(pushed.is_ok(), "only the owner closes the list");
    } else {
        monitor.release(kernel_cx.pool());
    }
    SignalOutcome::Consumed
}

fn handle_down(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, monitor: Held<DownSignal>) -> SignalOutcome {
    if !monitor.accept() {
        monitor.release(kernel_cx.pool());
        return SignalOutcome::Consumed;
    }
    owned.state(|state| state.end_alias_with_monitor(monitor.reference));
    SignalOutcome::Queue(monitor.into_node())
}

fn handle_wake(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) -> SignalOutcome {
    // AcqRel: the node is in no queue now. A waker, `request_wake` or `kill` whose swap found the
    // flag set relied on this wake-up, and we must see what it wrote before.
    let clear =
        mutant!(kernel_cx.kernel.mutations, WakingRelaxed, right => Ordering::AcqRel, wrong => Ordering::Relaxed);
    owned.waking.swap(false, clear);
    if owned.killed.load(Ordering::Relaxed) {
        return SignalOutcome::Die(Reason::KILLED);
    }
    // The wake-up may come from `request_wake`: many links on the list are unlinked.
    adopt_links(owned, kernel_cx);
    // Or a slot is free for a sender that waits for capacity.
    if let Some(limit) = owned.limit() {
        limit.look(kernel_cx);
    }
    SignalOutcome::Resume
}

/// Removes a timer of the process that has fired from its set of timers.
fn forget_timer(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, timer: &TimerHead) {
    let own = owned.state(|state| match timer.target() {
        // A timer that another process started is in the starter's set, and on this process's list
        // of watchers (`ops::timer`).
        Target::Pid(_) if timer.is_watched() => None,
        // SAFETY: this process started the timer, so it is in this set, or in none.
        Target::Pid(_) => unsafe { state.timers.remove(timer) },
        Target::Name(_) => state.timers.find(timer.reference.to_raw()).map(Found::remove),
    });
    if let Some(own) = own {
        own.release(kernel_cx.pool());
    }
}

fn handle_alias(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, message: Held<AliasHead>) -> SignalOutcome {
    let via = message.via;
    let mode = owned.state(|state| {
        let alias = state.aliases.find(via.to_raw())?;
        let mode = alias.mode;
        if mode.ends_with_reply() {
            drop(alias.remove());
        }
        Some(mode)
    });
    let Some(mode) = mode else {
        if let Some(limit) = owned.limit() {
            limit.left(kernel_cx);
        }
        return SignalOutcome::Refused(message.into_node());
    };
    if mode.ends_with_reply() && mode.ends_with_monitor() {
        monitor::demonitor(owned, kernel_cx, via, false);
    }
    come(owned, message.into_node())
}

fn handle_exit(process: &Header, kernel_cx: &KernelCx<'_>, signal: Held<ExitSignal>) -> SignalOutcome {
    let trapping = process.trap_exit.load(Ordering::Relaxed);
    // The kill of a proxy by a process is meant for the process that the proxy stands for.
    let kills = signal.reason == Reason::KILL && !(process.proxy && trapping && signal.from.is_some());
    let reason = if kills {
        Reason::KILLED
    } else if trapping {
        return SignalOutcome::Queue(signal.into_node());
    } else if signal.reason.is_normal() && signal.from != Some(process.pid) {
        // Its reason may be foreign, so it is released after the batch.
        return SignalOutcome::Refused(signal.into_node());
    } else {
        signal.reason.clone()
    };
    // The reason's value, which may be foreign, lives on in `reason`.
    signal.release(kernel_cx.pool());
    SignalOutcome::Die(reason)
}

fn handle_link_exit(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, link: Held<LinkExit>) -> SignalOutcome {
    adopt_links(owned, kernel_cx);
    let end = link.end_of(owned.pid);
    let welcome = mutant!(kernel_cx.kernel.mutations, WithdrawnIsWelcome, right => !end.ignores_exit(), wrong => true);
    let peer = end.peer;
    let is_down = link.down_to(owned.pid).is_some();
    owned.state(|state| {
        // SAFETY: the end is that of this process.
        unsafe { state.release_link_end(end, kernel_cx) };
        if welcome && state.adopted_links && !is_down {
            // K2: the record of the peer's link, if both linked at once.
            state.unlink_all(peer, kernel_cx);
        }
    });
    if !welcome {
        link.release(kernel_cx.pool());
        return SignalOutcome::Consumed;
    }
    if is_down || owned.trap_exit.load(Ordering::Relaxed) {
        return SignalOutcome::Queue(link.into_node());
    }
    let reason = link.reason();
    link.release(kernel_cx.pool());
    let survives = mutant!(kernel_cx.kernel.mutations, NormalKills, right => reason.is_normal(), wrong => false);
    if survives { SignalOutcome::Consumed } else { SignalOutcome::Die(reason) }
}

/// Moves the process's end of a link, which was on the list or in a request, to the set.
fn adopt_link(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>, link: PeerEnd) {
    if link.is_unlinked() {
        return link.release(kernel_cx.pool());
    }
    owned.state(|state| {
        state.adopted_links = true;
        state.insert_link_end(link.into_end(), kernel_cx);
    });
}

/// Adopts the links that other processes made: moves them to the set (`link`, K1).
pub(crate) fn adopt_links(owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
    for link in owned.links.take() {
        adopt_link(owned, kernel_cx, link);
    }
}
