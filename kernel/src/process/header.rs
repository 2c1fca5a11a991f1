//! [`Header`], the part of a process that does not depend on what it runs.
//!
//! A process is one allocation: `Process<B>`, header first, body behind. It is destroyed
//! in two steps: its *death* drops the body and closes everything (`exit`), and its
//! *reclamation* frees the memory, when the table's share (given up through `reclaim`)
//! and those of its wakers and its context are gone.
//!
//! # Who may touch what
//!
//! - **P1.** The *owner* is the core that has the process in its hands: it popped it from a run
//!   queue, or it has woken it (`mailbox`, M1). Run queues and the mailbox's `IDLE` hand
//!   ownership on (Release, Acquire). `private`, and the body, are the owner's.
//! - **P2.** Everything else in here is atomic, or constant from before `Table::publish`.
//! - **P3.** `reason` is written once by the owner before it closes the mailbox, and read only by
//!   those who found something closed.
//! - **P4.** `kernel` outlives the process's last slice, and its wakers: as long as there are any, they hold it
//!   together, by one count. So a kernel that is let go of, and whose processes nobody can wake, is dropped
//!   with all that it has, also with what has been waked before.
//! - **P5.** A process has at most one [`Context`](crate::Context), made when its body first runs, and that has a share of the memory.
//!   So while there is a context, what lies at its process's address is that process: an address is an identity, also when the
//!   process is dead, its pid forgotten and its kernel gone, for which a context does not hold it. Nearly every context is dropped in
//!   its process's own slice, at the latest with the body: then its end is only noted, and its share goes with the table's,
//!   without an exchange of its own. Elsewhere it is given up like a waker's.
//! - **P6.** A reason may hold a context or waker of the very process that died of it, or of its slot's last one. So the memory keeps no
//!   reason longer than the table keeps the memory: they would keep each other for ever, or all processes of the slot in a row.

use alloc::sync::Arc;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::bound::{MailboxLimit, OptionalLimit};
use crate::kernel::Kernel;
use crate::link::Link;
use crate::mailbox::Mailbox;
use crate::memory::pool::Pool;
use crate::name::NameEntry;
use crate::pid::Pid;
use crate::process::body::BodyVtable;
use crate::process::private::OwnerState;
use crate::reason::Reason;
use crate::reclaim::Retired;
use crate::roll::SweepList;
use crate::runq::node::RunNode;
use crate::signal::node::Node;
use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, PlainAtomicBool, UnsafeCell, acquire_by};
use crate::watch::WatcherEntry;

/// The table's share of a process's memory.
pub(super) const TABLE: usize = 1;
/// That of its context (P5).
const CONTEXT: usize = 2;
/// A waker's.
const WAKER: usize = 4;

/// See the module. `repr(C)`: what a send reads and writes lies in the first 32 bytes, and what else a wake and a turn touch follows.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// Signals that have come, and whether it is queued.
    pub mailbox: Mailbox,
    /// Who it is.
    pub pid: Pid,
    /// How to run, drop and free the body, and what it takes.
    pub vtable: &'static BodyVtable,
    /// Its place in a run queue.
    pub run: RunNode,
    /// The core it must run on, or `u32::MAX`.
    pub core: u32,
    /// Claimed by the waker that sends `wake`.
    pub waking: AtomicBool,
    /// Somebody has killed it without memory for a signal: it dies when it meets `wake`.
    pub killed: AtomicBool,
    /// EXITs come as messages. Relaxed wherever it is used: who sets it and then sends finds it set, since
    /// the signal's push and take order the two; between others there is no order to keep.
    pub trap_exit: AtomicBool,
    /// Its context was dropped in its own slice (P5). The owner's: an atomic only because a destructor of the body's writes it,
    /// which has nothing but a `&Header`.
    pub context_gone: PlainAtomicBool,
    /// The owner's.
    pub private: UnsafeCell<OwnerState>,
    /// How many messages may wait at a time, if that is bounded ([`Header::bound`]).
    pub limit: OptionalLimit,
    /// Monitors and timers that wait for its death.
    pub watchers: SweepList<WatcherEntry>,
    /// Links that others made and it has not yet taken up.
    pub links: SweepList<Link>,
    /// Its registered name; see `name`.
    pub name: AtomicPtr<NameEntry>,
    /// Why it died (P3).
    pub reason: UnsafeCell<Reason>,
    /// The signal that a waker sends, and whether it is on its way.
    pub wake: Node,
    /// Shares of the memory: `TABLE`, `CONTEXT`, and `WAKER` for each waker.
    pub shares: AtomicUsize,
    /// See P4.
    pub kernel: NonNull<Kernel>,
    /// For `reclaim`.
    pub retired: Retired,
    /// The slot's last tombstone (`table`, T3). With the table's share.
    pub predecessor: UnsafeCell<*mut ()>,
}

#[cfg(all(not(any(loom, shuttle)), target_pointer_width = "64"))]
const _: () =
    assert!(offset_of!(Header, run) == 32 && offset_of!(Header, private) == 64, "what a send touches; a wake");

// SAFETY: P1 to P4: every field is atomic, constant, or used by one owner at a time, and
// what they hold is Send.
unsafe impl Send for Header {}
// SAFETY: as above.
unsafe impl Sync for Header {}

impl Header {
    /// The owner's part.
    ///
    /// # Safety
    /// The caller is the owner (P1) and keeps no other reference to it meanwhile.
    #[allow(clippy::mut_from_ref, reason = "rule P1 makes the reference unique")]
    pub unsafe fn private(&self) -> &mut OwnerState {
        // SAFETY: by contract.
        self.private.with_mut(|private| unsafe { &mut *private })
    }

    /// The whole process, of which a `&Header` is only the first part.
    pub fn whole(&self) -> NonNull<Self> {
        // `spawn` exposed the allocation.
        let whole = core::ptr::with_exposed_provenance_mut(core::ptr::from_ref(self).addr());
        NonNull::new(whole).unwrap_or(NonNull::from(self))
    }

    /// Its place in a run queue, as part of the whole.
    #[inline]
    pub fn run_node(&self) -> NonNull<RunNode> {
        // SAFETY: within the process.
        unsafe { self.whole().byte_add(offset_of!(Self, run)) }.cast()
    }

    /// The process that is queued by this node.
    ///
    /// # Safety
    /// The node came from [`Header::run_node`].
    #[inline]
    pub unsafe fn of_run_node(node: NonNull<RunNode>) -> NonNull<Self> {
        // SAFETY: by contract within the process.
        unsafe { node.byte_sub(offset_of!(Self, run)) }.cast()
    }

    /// How many messages may wait at a time, if that is bounded.
    #[inline(always)]
    pub fn bound(&self) -> Option<&MailboxLimit> {
        if self.mailbox.is_bounded() { self.limit.get() } else { None }
    }

    /// Why it died; for those who found it closed (P3).
    ///
    /// # Safety
    /// The caller found the mailbox or a list closed, or is the owner and has set it.
    pub unsafe fn reason(&self) -> Reason {
        // SAFETY: written before the close that the caller saw.
        self.reason.with(|reason| unsafe { (*reason).clone() })
    }

    /// One more waker's share of the memory; the first of them holds the kernel (P4). The caller has such a share, or
    /// runs the process's slice. Wait-free.
    pub fn share_with_waker(&self) {
        // Relaxed: who shares has a share.
        if self.shares.fetch_add(WAKER, Ordering::Relaxed) < WAKER {
            // SAFETY: the kernel is in an `Arc`, which nobody can take it out of (`handle`), and alive: a slice runs, whose core holds it. It
            // is counted before anybody else has this waker, so before the last of them uncounts it.
            unsafe { Arc::increment_strong_count(self.kernel.as_ptr().cast_const()) };
        }
    }

    /// Gives up a waker's share: with the last of them the hold on the kernel, and if the table has none, the memory.
    ///
    /// # Safety
    /// The caller has the share and does not use `process` again.
    pub unsafe fn give_up_waker(process: NonNull<Self>) {
        // SAFETY: shared, so live.
        let kernel = unsafe { process.as_ref() }.kernel;
        // SAFETY: the caller's share.
        let before = unsafe { Self::give_up(process, WAKER, None) };
        if before < 2 * WAKER {
            // The process may be gone; what was counted for its wakers is ours to uncount.
            // SAFETY: counted by the first waker since there was none.
            unsafe { Arc::decrement_strong_count(kernel.as_ptr().cast_const()) };
        }
    }

    /// Gives up the table's share.
    ///
    /// # Safety
    /// The caller has it and does not use `process` again.
    pub unsafe fn give_up_table(process: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: shared, so live.
        let header = unsafe { process.as_ref() };
        // Relaxed: written in a slice of the process, which is over, and handed on with what was retired.
        let gone = header.context_gone.load(Ordering::Relaxed);
        let ours = if gone { TABLE | CONTEXT } else { TABLE };
        // Acquire: pairs with the Release of the last waker, or of the context. Where there is none there will be none: only who
        // has a waker's share, or runs a slice, shares, and nobody finds the process any more. So no exchange is needed to be the last.
        if header.shares.load(Ordering::Acquire) == ours {
            // SAFETY: the last share; the vtable is this process's.
            return unsafe { (header.vtable.free)(process, pool) };
        }
        // SAFETY: the table's share.
        unsafe { header.forgets() };
        // SAFETY: the caller's share, and that of a context that is gone.
        unsafe { Self::give_up(process, ours, pool) };
    }

    /// Nobody finds the process any more, and its memory stays for wakers and a context only, which ask for no reason. What is
    /// foreign in there goes now (P6).
    ///
    /// # Safety
    /// The caller has the table's share, and gives it up.
    #[cold]
    unsafe fn forgets(&self) {
        // SAFETY: who owned the process, and who found it, is done with it: it was retired.
        let dying = unsafe { self.private() }.dying.take();
        // SAFETY: likewise.
        let reason = self.reason.with_mut(|reason| unsafe { core::mem::replace(&mut *reason, Reason::NOPROC) });
        // SAFETY: with the table's share.
        let word = self.predecessor.with_mut(|word| unsafe { core::mem::replace(&mut *word, core::ptr::null_mut()) });
        // SAFETY: taken out of the slot by this process's claim (T3), given back once.
        let predecessor = unsafe { Reason::from_word(word) };
        // Foreign, all of it.
        drop((dying, reason, predecessor));
    }

    /// The context's share of the memory (P5), and the process with it.
    ///
    /// # Safety
    /// The caller runs the process's first slice, and there is no context yet.
    pub unsafe fn share_with_context(&self) -> NonNull<Self> {
        // Relaxed, and no exchange: before its first slice nobody has a share but the table, and only a slice of the process, or who
        // has a share, makes another.
        let shares = self.shares.load(Ordering::Relaxed);
        self.shares.store(shares | CONTEXT, Ordering::Relaxed);
        self.whole()
    }

    /// The context is dropped in the process's own slice: its share goes with the table's.
    ///
    /// # Safety
    /// The caller has that share, which ends here, and runs a slice of the process.
    pub unsafe fn context_is_gone(&self) {
        // Relaxed: handed on with the process.
        self.context_gone.store(true, Ordering::Relaxed);
    }

    /// Gives up the context's share, elsewhere than in the process's own slice. Wait-free.
    ///
    /// # Safety
    /// The caller has it and does not use `process` again.
    #[cold]
    pub unsafe fn give_up_context(process: NonNull<Self>) {
        // SAFETY: the caller's share.
        unsafe { Self::give_up(process, CONTEXT, None) };
    }

    /// Gives up a share; the last one frees the memory. What the shares were.
    unsafe fn give_up(process: NonNull<Self>, share: usize, pool: Option<&Pool>) -> usize {
        // Release, and the fence below: the free comes after every use.
        // SAFETY: shared, so live.
        let shares = unsafe { &process.as_ref().shares };
        let before = shares.fetch_sub(share, Ordering::Release);
        if before == share {
            acquire_by(|order| shares.load(order));
            // SAFETY: the last share.
            let vtable = unsafe { process.as_ref() }.vtable;
            // SAFETY: the last share; the vtable is this process's.
            unsafe { (vtable.free)(process, pool) };
        }
        before
    }
}
