//! What a body receives, looks at and sends.

use core::ptr::NonNull;

use super::Cx;
use super::slice::set;
use crate::in_line::SendReservation;
use crate::memory::NoMemory;
use crate::pid::{Alias, Pid};
use crate::process::at_once;
use crate::process::fetch::{FetchedBy, fetch};
use crate::process::header::Header;
use crate::reason::Reason;
use crate::received::{self, Peek, Received};
use crate::send::{self, SendError};
use crate::signal::exit_signal;
use crate::signal::node::{SignalKind, Node};
use crate::signal::queue::{Cursor, Mark};

/// Signals that a selective receive looks at between two looks at what has come meanwhile.
const LOOKS_A_FETCH: u32 = 256;

/// Signals that are passed, without a look, for a reduction.
const PASSED_A_REDUCTION: u32 = 8;

/// What a search of the mailbox has brought; see [`Cx::search`].
#[derive(Debug)]
pub enum Search<M> {
    /// The oldest that was wanted. It is received.
    Found(Received<M>),
    /// There is none: all that waits has been looked at, or the process dies.
    Nothing,
    /// The slice's reductions are used up, and there is more to look at.
    Unfinished,
}

impl<M: Send + 'static> Cx<'_, M> {
    /// The queue must not change under a closure that looks at it.
    pub(super) fn must_not_look(&self) {
        assert!(!self.slice.looking.get(), "called from inside a closure that looks at the mailbox");
    }

    fn look<R>(&self, look: impl FnOnce() -> R) -> R {
        let _looking = set(&self.slice.looking, true);
        look()
    }

    /// By the body, if it looks at the queue itself; else as the core would.
    pub(super) fn fetch(&self, by: FetchedBy) {
        self.must_not_look();
        let newest = self.private(|private| private.queue.last());
        let inside = self.slice.enter();
        fetch(self.slice.process(), &self.slice.hand, by);
        drop(inside);
        if self.slice.hungry.get() {
            // A receive that has found nothing before has not seen what has come with this.
            self.private(|private| private.resume |= private.queue.last() != newest);
        }
    }

    /// How far the numbers of the queue are.
    pub(crate) fn mark(&self) -> Mark {
        self.private(|private| private.queue.mark(private.era))
    }

    /// What was received last may be answered by now (`reply::request`, Q2).
    #[inline]
    fn settle_requests(&self) {
        self.private(|private| {
            if !private.open.is_empty() {
                private.open.settle(self.slice.hand.pool());
            }
        });
    }

    /// The oldest message, EXIT, DOWN or timer that waits.
    #[inline(always)]
    pub fn receive(&self) -> Option<Received<M>> {
        self.receive_as(Some, || None)
    }

    /// As [`Cx::receive`], in its caller's own terms. In the code of its caller, and a message with ways of its own all through:
    /// who takes it apart has it in registers. (What is written part by part and then moved as a whole waits until it is written.)
    #[inline(always)]
    pub(crate) fn receive_as<R>(&self, some: impl FnOnce(Received<M>) -> R, none: impl FnOnce() -> R) -> R {
        self.must_not_look();
        // What comes from other cores while there is enough to do is looked for now and then: the word is theirs as well.
        if (self.private(|private| private.queue.first().is_null()) || self.slice.is_due_to_look())
            && self.slice.process().mailbox.has_pending()
        {
            self.slice.looks();
            self.fetch(FetchedBy::Body);
        }
        // Also nothing is fetched any more then.
        if self.is_dying() {
            return none();
        }
        self.settle_requests();
        self.pay(1);
        let Some(node) = self.private(|private| private.queue.pop_front()) else {
            self.slice.hungry.set(true);
            return none();
        };
        let (process, hand) = (self.slice.process(), &self.slice.hand);
        // SAFETY: taken out, so the owner's.
        let kind = unsafe { Node::kind(node) };
        if matches!(kind, SignalKind::Message | SignalKind::Request) {
            // SAFETY: of this kind, taken from the queue of this process, which takes `M` (`Cx::of`).
            return some(Received::Message(unsafe { received::open_message(node, process, hand, kind) }));
        }
        // SAFETY: likewise.
        some(unsafe { Received::open_other(node, process, hand, kind) })
    }

    /// The oldest that `wanted` accepts. What a cursor's receive has looked at it does not look at again.
    /// Each signal that it looks at costs a reduction, and it looks at all of them: a body that can go on in its next
    /// slice uses [`Cx::search`]. Signals that come meanwhile are met, so a process that is killed goes no further.
    pub fn receive_match(&self, cursor: &mut Cursor, wanted: impl FnMut(Peek<'_, M>) -> bool) -> Option<Received<M>> {
        match self.look_for(cursor, wanted, false) {
            Search::Found(received) => Some(received),
            Search::Nothing | Search::Unfinished => None,
        }
    }

    /// As [`Cx::receive_match`], but no further than the slice's reductions go: with [`Search::Unfinished`] the body
    /// should yield, and search on with the same cursor in its next slice.
    pub fn search(&self, cursor: &mut Cursor, wanted: impl FnMut(Peek<'_, M>) -> bool) -> Search<M> {
        self.look_for(cursor, wanted, true)
    }

    fn look_for(&self, cursor: &mut Cursor, mut wanted: impl FnMut(Peek<'_, M>) -> bool, in_slices: bool) -> Search<M> {
        if self.is_dying() {
            return Search::Nothing;
        }
        self.settle_requests();
        let Some(mut seen) = self.fetch_and_seek(cursor) else { return Search::Nothing };
        // What it looks at first, or that there is nothing, is paid for in any case.
        self.pay(1);
        let mut looked = 0_u32;
        loop {
            // SAFETY: `seen` is null or in the queue: nothing is taken out but by a fetch, which is followed by a `seek`.
            let next = NonNull::new(self.private(|private| unsafe { private.queue.after(seen) }));
            let Some(node) = next else {
                self.slice.hungry.set(true);
                return Search::Nothing;
            };
            if looked > 0 {
                if in_slices && self.is_exhausted() {
                    return Search::Unfinished;
                }
                self.pay(1);
                if looked.is_multiple_of(LOOKS_A_FETCH) && self.slice.process().mailbox.has_pending() {
                    // A kill, among others. The rest of the queue has not changed but at its end, or by a bound.
                    let Some(again) = self.fetch_and_seek(cursor) else { return Search::Nothing };
                    (seen, looked) = (again, looked + 1);
                    continue;
                }
            }
            looked = looked.wrapping_add(1);
            // SAFETY: in the queue of this process, which takes `M`, and nothing is taken out
            // while the closure looks (`must_not_look`).
            let peek = unsafe { Peek::of(node, self.slice.process()) };
            if self.look(|| wanted(peek)) {
                // SAFETY: in the queue.
                self.private(|private| unsafe { private.queue.remove(node) });
                // SAFETY: taken out just now.
                return Search::Found(unsafe { Received::open(node, self.slice.process(), &self.slice.hand) });
            }
            seen = node.as_ptr();
            // SAFETY: in the queue, and numbered by the `seek`.
            self.private(|private| unsafe { private.queue.pass(cursor, node) });
        }
    }

    /// Fetches, and finds where the cursor's receive goes on; `None` when the process dies of what has come.
    fn fetch_and_seek(&self, cursor: &mut Cursor) -> Option<*mut Node> {
        self.fetch(FetchedBy::Body);
        if self.is_dying() {
            return None;
        }
        let pid = self.pid();
        let (seen, passed) = self.private(|private| {
            private.queue.number(&mut private.era);
            private.queue.seek(cursor, pid, private.era)
        });
        self.pay(passed / PASSED_A_REDUCTION);
        Some(seen)
    }

    /// A cursor behind all that waits now: for a reply to what is sent next.
    pub fn cursor_at_end(&self) -> Cursor {
        let pid = self.pid();
        self.private(|private| private.queue.cursor_at_end(pid, &mut private.era))
    }

    /// Looks at all that waits, oldest first, and takes nothing.
    pub fn for_each_waiting(&self, mut look: impl FnMut(Peek<'_, M>)) {
        if self.is_dying() {
            return;
        }
        self.fetch(FetchedBy::Body);
        self.pay(self.private(|private| u32::try_from(private.queue.len()).unwrap_or(u32::MAX)));
        let mut node = self.private(|private| private.queue.first());
        while let Some(at) = NonNull::new(node) {
            // SAFETY: in the queue of this process, which takes `M`; as in `receive_match`.
            let peek = unsafe { Peek::of(at, self.slice.process()) };
            self.look(|| look(peek));
            // SAFETY: in the queue.
            node = self.private(|private| unsafe { private.queue.after(node) });
        }
    }

    /// Sends a message. Lock-free.
    pub fn send<N: Send + 'static>(&self, to: Pid, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        let hand = &self.slice.hand;
        match hand.find(to) {
            Some(process) => self.send_to(process, message),
            None => {
                self.pay(1);
                Err(SendError::NoProc(message))
            }
        }
    }

    /// Sends to a process that was found. What waits there already is paid for (`mailbox`).
    #[inline(always)]
    fn send_to<N: Send + 'static>(&self, process: &Header, message: N) -> Result<(), SendError<N>> {
        self.pay(1 + process.mailbox.charge());
        if core::ptr::eq(process, self.slice.process()) {
            self.slice.has_sent_itself();
        }
        send::send_to(&self.slice.hand, process, message)
    }

    /// As [`Cx::send`]; but at a full mailbox the process gets in line, by `line`, and the message comes back
    /// ([`SendError::Full`]). It is resumed when there is room for it, or the receiver is dead, and should try again, with the
    /// same `line`: somebody else may have been quicker, and then it waits at the line's end. To give up, it drops `line`.
    /// Lock-free.
    ///
    /// ```
    /// use atropos_kernel::{Body, Cx, SendReservation, Pid, Reason, Resumed, SendError};
    ///
    /// /// Sends numbers, as fast as they are taken.
    /// struct Pump(Pid, u64, SendReservation);
    ///
    /// impl Body for Pump {
    ///     type Message = ();
    ///
    ///     fn resume(&mut self, cx: &Cx<'_, ()>) -> Resumed {
    ///         loop {
    ///             match cx.send_or_enqueue(&mut self.2, self.0, self.1) {
    ///                 Ok(()) => self.1 += 1,
    ///                 Err(SendError::Full(_)) => return Resumed::Wait,
    ///                 Err(_) => return Resumed::Exit(Reason::NORMAL),
    ///             }
    ///             if cx.is_exhausted() {
    ///                 return Resumed::Yield;
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn send_or_enqueue<N: Send + 'static>(&self, line: &mut SendReservation, to: Pid, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        self.pay(1);
        self.slice.has_sent_itself();
        line.send(&self.slice.hand, self.pid(), to, message)
    }

    /// Sends to whoever has the name. Lock-free.
    pub fn send_name<N: Send + 'static>(&self, to: &str, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        let hand = &self.slice.hand;
        match hand.kernel.names.find(to).and_then(|entry| entry.holder(hand.guard)) {
            Some(process) => self.send_to(process, message),
            None => {
                self.pay(1);
                Err(SendError::NoName(message))
            }
        }
    }

    /// Sends through an alias. A spent alias swallows the message. Lock-free.
    pub fn send_alias<N: Send + 'static>(&self, to: Alias, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        self.pay(1);
        self.slice.has_sent_itself();
        send::send_alias(&self.slice.hand, to, message)
    }

    /// Sends an exit signal. To itself it takes its place behind what has come, and is acted on
    /// before this returns: look at [`Cx::is_dying`]. To the dead nothing happens. A kill needs no
    /// memory. Lock-free.
    pub fn exit(&self, to: Pid, reason: Reason) -> Result<(), NoMemory> {
        if self.is_dying() {
            return Ok(());
        }
        self.pay(1);
        let inside = self.slice.enter();
        exit_signal::send(&self.slice.hand, Some(self.pid()), to, reason)?;
        drop(inside);
        if to == self.pid() {
            self.fetch(FetchedBy::Core);
        }
        Ok(())
    }

    /// As [`Cx::exit`] to another process, and needs no memory where that one sleeps and does not survive it. If nothing foreign
    /// is dropped by its death (its body has no destructor, nothing waits in its mailbox, nobody watches it from outside), it dies before this
    /// returns: its DOWN and EXIT have come then. If there is something, it dies in the next slice that it gets, and its
    /// name is free already: no destructor runs in the caller's slice. A process that is awake, or traps exits, is sent the
    /// signal. Lock-free.
    pub fn exit_inline(&self, to: Pid, reason: Reason) -> Result<(), NoMemory> {
        if self.is_dying() {
            return Ok(());
        }
        if to == self.pid() {
            return self.exit(to, reason);
        }
        self.must_not_look();
        self.pay(10);
        let _inside = self.slice.enter();
        self.slice.has_sent_itself();
        at_once::exit(&self.slice, to, reason)
    }
}
