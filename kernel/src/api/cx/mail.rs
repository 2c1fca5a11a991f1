//! Mail operations of a body: receiving, inspecting the mailbox, sending, and exit signals.

use core::ptr::NonNull;

use crate::api::cx::Cx;
use crate::api::send_reservation::SendReservation;
use crate::kernel::slice::set;
use crate::mailbox::queue::{Cursor, Mark};
use crate::memory::NoMemory;
use crate::ops::drain::{FetchedBy, fetch};
use crate::ops::exit_inline;
use crate::ops::exit_signal;
use crate::ops::received::{self, Peek, Received};
use crate::ops::send::{self, SendError};
use crate::pid::{Alias, Pid};
use crate::process::process_ref::ProcessRef;
use crate::reason::Reason;
use crate::signal::held::{HeldNode, NodeRef};
use crate::signal::message::{Mail, MailRef};
use crate::signal::node::{Node, SignalKind};

/// The number of signals that a selective receive inspects before it checks for new signals again.
const LOOKS_A_FETCH: u32 = 256;

/// The number of signals that a selective receive skips, without inspecting them, for one
/// reduction.
const PASSED_A_REDUCTION: u32 = 8;

/// The result of a search of the mailbox; see [`Cx::search`].
#[derive(Debug)]
pub enum SearchResult<M> {
    /// The oldest wanted signal, which is received by this.
    Found(Received<M>),
    /// No wanted signal: all that wait have been inspected, or the process is dying.
    Nothing,
    /// The slice's reductions are used up, and more signals are left to inspect.
    Unfinished,
}

impl<M: Send + 'static> Cx<'_, M> {
    /// Panics if a closure is inspecting the mailbox: the queue must not change under it.
    pub(crate) fn assert_not_scanning(&self) {
        assert!(!self.slice.looking.get(), "called from inside a closure that inspects the mailbox");
    }

    fn look<R>(&self, look: impl FnOnce() -> R) -> R {
        let _looking = set(&self.slice.looking, true);
        look()
    }

    /// Drains the mailbox into the private queue: as `FetchedBy::Body` if the body itself inspects
    /// the queue, otherwise as the core would.
    pub(crate) fn fetch(&self, by: FetchedBy) {
        self.assert_not_scanning();
        self.slice.with_owned(|owned| {
            let newest = owned.peek(|state| state.queue.last());
            fetch(owned, &self.slice.kernel_cx, by);
            if self.slice.hungry.get() {
                // A receive that found nothing earlier has not seen the signals that this fetch
                // brought.
                owned.state(|state| state.resume |= state.queue.last() != newest);
            }
        });
    }

    /// Returns how far the queue's numbering has got.
    pub(crate) fn mark(&self) -> Mark {
        self.private(|private| private.queue.mark(private.era))
    }

    /// Releases requests that another process has answered by now (`open_request`, Q2).
    #[inline]
    fn settle_requests(&self) {
        self.private(|private| private.settle_requests(self.slice.kernel_cx.pool()));
    }

    /// Receives the oldest waiting message, EXIT, DOWN or timer. Returns `None` if none is waiting,
    /// or the process is dying.
    #[inline(always)]
    pub fn receive(&self) -> Option<Received<M>> {
        self.receive_as(Some, || None)
    }

    /// Does the same as [`Cx::receive`], and converts the result with `some` or `none`. It is
    /// inlined into its caller, with a separate path for messages, so that a caller that takes the
    /// signal apart has it in registers. (Moving a struct as a whole right after writing it part by
    /// part stalls on store forwarding.)
    #[inline(always)]
    pub(crate) fn receive_as<R>(&self, some: impl FnOnce(Received<M>) -> R, none: impl FnOnce() -> R) -> R {
        self.assert_not_scanning();
        // While the private queue has signals, the mailbox is checked only now and then, because
        // other cores write its word too.
        if (self.slice.has_received_all() || self.slice.is_due_to_look()) && self.slice.process().mailbox.has_pending()
        {
            self.slice.looks();
            self.fetch(FetchedBy::Body);
        }
        let next = self.private(|private| {
            // The fetch may have decided this, and a dying process receives no further signals.
            if private.dying.is_some() {
                return None;
            }
            private.settle_requests(self.slice.kernel_cx.pool());
            Some(private.queue.pop_front())
        });
        let Some(next) = next else { return none() };
        self.pay(1);
        let Some(node) = next else {
            self.slice.hungry.set(true);
            return none();
        };
        let kernel_cx = &self.slice.kernel_cx;
        let mail = self.typed(node);
        if matches!(mail.kind(), SignalKind::Message | SignalKind::Request) {
            return some(Received::Message(received::open_message(mail, &self.slice)));
        }
        some(self.slice.with_owned(|owned| Received::open_other(mail, owned, kernel_cx)))
    }

    /// Gives a node that was taken out of this process's queue the type of its message.
    #[inline(always)]
    fn typed(&self, node: HeldNode) -> Mail<M> {
        // SAFETY: the process takes `M` (`Cx::of`), and senders check that.
        unsafe { Mail::of(node) }
    }

    /// Receives the oldest signal that `wanted` accepts. A receive with the same cursor inspects no
    /// signal twice.
    ///
    /// Each inspected signal costs a reduction, and this call inspects them all. A body that can go
    /// on in its next slice should use [`Cx::search`]. Signals that arrive in between are handled,
    /// so a process that is killed goes no further.
    pub fn receive_match(&self, cursor: &mut Cursor, wanted: impl FnMut(Peek<'_, M>) -> bool) -> Option<Received<M>> {
        match self.look_for(cursor, wanted, false) {
            SearchResult::Found(received) => Some(received),
            SearchResult::Nothing | SearchResult::Unfinished => None,
        }
    }

    /// Does the same as [`Cx::receive_match`], but stops when the slice's reductions are used up.
    /// After [`SearchResult::Unfinished`] the body should yield, and search on with the same cursor
    /// in its next slice.
    pub fn search(&self, cursor: &mut Cursor, wanted: impl FnMut(Peek<'_, M>) -> bool) -> SearchResult<M> {
        self.look_for(cursor, wanted, true)
    }

    fn look_for(
        &self,
        cursor: &mut Cursor,
        mut wanted: impl FnMut(Peek<'_, M>) -> bool,
        in_slices: bool,
    ) -> SearchResult<M> {
        if self.is_dying() {
            return SearchResult::Nothing;
        }
        self.settle_requests();
        let Some(mut any) = self.fetch_and_seek(cursor) else { return SearchResult::Nothing };
        // The first inspection, or an empty result, costs a reduction in any case.
        self.pay(1);
        let mut looked = 0_u32;
        loop {
            let next = self.private(|private| private.queue.candidate().filter(|_| any).map(NodeRef::as_non_null));
            let Some(node) = next else {
                self.slice.hungry.set(true);
                return SearchResult::Nothing;
            };
            if looked > 0 {
                if in_slices && self.is_exhausted() {
                    return SearchResult::Unfinished;
                }
                self.pay(1);
                if looked.is_multiple_of(LOOKS_A_FETCH) && self.slice.process().mailbox.has_pending() {
                    // Fetches signals such as a kill. The rest of the queue changes only at its
                    // end, or by a mailbox limit.
                    let Some(again) = self.fetch_and_seek(cursor) else { return SearchResult::Nothing };
                    (any, looked) = (again, looked + 1);
                    continue;
                }
            }
            looked = looked.wrapping_add(1);
            if self.look_at(node, &mut wanted).0 {
                let Some(node) = self.private(|private| private.queue.take_candidate()) else {
                    unreachable!("the closure takes no signal (`assert_not_scanning`)")
                };
                let mail = self.typed(node);
                return SearchResult::Found(Received::open(mail, &self.slice));
            }
            self.private(|private| private.queue.pass(cursor));
        }
    }

    /// Runs a closure on a signal in this process's queue. Returns the next signal as well.
    #[inline(always)]
    fn look_at<R>(&self, node: NonNull<Node>, look: impl FnOnce(Peek<'_, M>) -> R) -> (R, *mut Node) {
        // SAFETY: N1: the node is in the queue of this process, which the slice owns (P1), and no
        // node is taken out while the closure runs (`assert_not_scanning`).
        let node = unsafe { NodeRef::of(node) };
        // SAFETY: the process takes `M` (`Cx::of`), and senders check that.
        let mail = unsafe { MailRef::of(node) };
        let peek = Peek::of(&mail, &self.slice.process());
        (self.look(|| look(peek)), node.next())
    }

    /// Fetches, and finds where the cursor's receive continues. Returns `true` if there is a signal
    /// that it has not looked at, and `None` if the process is dying.
    fn fetch_and_seek(&self, cursor: &mut Cursor) -> Option<bool> {
        self.fetch(FetchedBy::Body);
        if self.is_dying() {
            return None;
        }
        let pid = self.pid();
        let (any, passed) = self.private(|private| {
            private.queue.number(&mut private.era);
            private.queue.seek(cursor, pid, private.era)
        });
        self.pay(passed / PASSED_A_REDUCTION);
        Some(any)
    }

    /// Returns a cursor behind all waiting signals, to receive the reply to a message that is sent
    /// next.
    pub fn cursor_at_end(&self) -> Cursor {
        let pid = self.pid();
        self.private(|private| private.queue.cursor_at_end(pid, &mut private.era))
    }

    /// Inspects all waiting signals, oldest first, and takes none.
    pub fn for_each_waiting(&self, mut look: impl FnMut(Peek<'_, M>)) {
        if self.is_dying() {
            return;
        }
        self.fetch(FetchedBy::Body);
        self.pay(self.private(|private| u32::try_from(private.queue.len()).unwrap_or(u32::MAX)));
        let mut place = self.private(|private| private.queue.first());
        while let Some(node) = NonNull::new(place) {
            (_, place) = self.look_at(node, &mut look);
        }
    }

    /// Sends a message. Lock-free.
    ///
    /// # Errors
    /// A [`SendError`] with the message, if it was not sent.
    pub fn send<N: Send + 'static>(&self, to: Pid, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        let kernel_cx = &self.slice.kernel_cx;
        match kernel_cx.find(to) {
            Some(process) => self.send_to(process, message),
            None => {
                self.pay(1);
                Err(SendError::NoProc(message))
            }
        }
    }

    /// Sends to a process that was found. The sender also pays for the receiver's backlog
    /// (`mailbox`).
    #[inline(always)]
    fn send_to<N: Send + 'static>(&self, process: ProcessRef<'_>, message: N) -> Result<(), SendError<N>> {
        self.pay_for_signal_to(process);
        if process == self.slice.process() {
            self.slice.has_sent_itself();
        }
        send::send_to(&self.slice.kernel_cx, process, message)
    }

    /// Sends a message like [`Cx::send`]. If the mailbox is full, it queues a send reservation,
    /// `line`, and returns the message ([`SendError::Full`]).
    ///
    /// The process is resumed when the receiver has a free slot, or is dead. It should then try
    /// again with the same `line`. Another sender may have taken the slot; the process is then
    /// queued again at the back. To cancel the reservation, drop `line`. Lock-free.
    ///
    /// ```
    /// use atropos_kernel::{Body, Cx, SendReservation, Pid, Reason, BodyPoll, SendError};
    ///
    /// /// Sends numbers as fast as the receiver takes them.
    /// struct Pump(Pid, u64, SendReservation);
    ///
    /// impl Body for Pump {
    ///     type Message = ();
    ///
    ///     fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
    ///         loop {
    ///             match cx.send_or_enqueue(&mut self.2, self.0, self.1) {
    ///                 Ok(()) => self.1 += 1,
    ///                 Err(SendError::Full(_)) => return BodyPoll::Wait,
    ///                 Err(_) => return BodyPoll::Exit(Reason::NORMAL),
    ///             }
    ///             if cx.is_exhausted() {
    ///                 return BodyPoll::Yield;
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn send_or_enqueue<N: Send + 'static>(
        &self,
        line: &mut SendReservation,
        to: Pid,
        message: N,
    ) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        self.pay(1);
        self.slice.has_sent_itself();
        line.send(&self.slice.kernel_cx, self.pid(), to, message)
    }

    /// Sends a message to the process that has the name. Lock-free.
    ///
    /// # Errors
    /// A [`SendError`] with the message, if it was not sent.
    pub fn send_name<N: Send + 'static>(&self, to: &str, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        let kernel_cx = &self.slice.kernel_cx;
        match kernel_cx.kernel.names.find(to).and_then(|entry| entry.holder(kernel_cx.guard)) {
            Some(process) => self.send_to(process, message),
            None => {
                self.pay(1);
                Err(SendError::NoName(message))
            }
        }
    }

    /// Sends a message through an alias. A message through an inactive alias is dropped silently.
    /// Lock-free.
    pub fn send_alias<N: Send + 'static>(&self, to: Alias, message: N) -> Result<(), SendError<N>> {
        if self.is_dying() {
            return Err(SendError::Dying(message));
        }
        self.pay(1);
        self.slice.has_sent_itself();
        send::send_alias(&self.slice.kernel_cx, to, message)
    }

    /// Sends an exit signal. Nothing happens if the target is dead. A kill needs no memory.
    /// Lock-free.
    ///
    /// An exit signal to the process itself is queued behind the signals that have arrived, and is
    /// handled before this call returns: check [`Cx::is_dying`].
    ///
    /// # Errors
    /// [`NoMemory`] if no memory is left for the signal.
    pub fn exit(&self, to: Pid, reason: Reason) -> Result<(), NoMemory> {
        if self.is_dying() {
            return Ok(());
        }
        self.pay(1);
        self.slice.with_owned(|owned| exit_signal::send(&self.slice.kernel_cx, Some(owned.pid), to, reason))?;
        if to == self.pid() {
            self.fetch(FetchedBy::Core);
        }
        Ok(())
    }

    /// Sends an exit signal like [`Cx::exit`], and needs no memory if the target is another process
    /// that sleeps and does not survive the exit.
    ///
    /// If that death drops nothing foreign (the body has no destructor, the mailbox is empty, no
    /// host watches the process), the target dies before this call returns. Its DOWN and EXIT have
    /// arrived by then. Otherwise the target dies in the next slice that it gets, and its name is
    /// already free: no destructor runs in the caller's slice. A target that is awake or traps
    /// exits gets the signal. Lock-free.
    ///
    /// # Errors
    /// [`NoMemory`] if a signal is needed and no memory is left for it.
    pub fn exit_inline(&self, to: Pid, reason: Reason) -> Result<(), NoMemory> {
        if self.is_dying() {
            return Ok(());
        }
        if to == self.pid() {
            return self.exit(to, reason);
        }
        self.assert_not_scanning();
        self.pay(10);
        self.slice.has_sent_itself();
        self.slice.with_owned(|_| exit_inline::exit(&self.slice, to, reason))
    }
}
