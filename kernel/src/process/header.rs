//! The header of a process, [`Header`]: the part that does not depend on what the process runs.
//!
//! A process is one allocation: `Process<B>`, the header first and the body after it. It is
//! destroyed in two steps. Its *death* drops the body and closes everything (`ops::exit`). Its
//! *reclamation* frees the memory, when the table's reference (released through `reclaim`) and
//! those of its wakers and its context are gone.
//!
//! # Who may touch what
//!
//! - **P1.** The *owner* is the core that holds the process: it popped the process from a run
//!   queue, or it has woken the process (`mailbox`, M1). Run queues and the mailbox's `IDLE` pass
//!   ownership on (Release, Acquire). `private`, and the body, belong to the owner.
//! - **P2.** Everything else in the header is atomic, or constant from before `Table::publish`.
//! - **P3.** `reason` is written once, by the owner, before it closes the mailbox. Only a thread
//!   that found something closed reads it.
//! - **P4.** `kernel` outlives the process's last slice, and its wakers: while there are any
//!   wakers, they hold the kernel together, by one count. So a kernel that its host has dropped,
//!   and whose processes can no longer be woken, is dropped with everything that it has, including
//!   processes that have had wakers before.
//! - **P5.** A process has at most one [`Context`](crate::Context), made when its body first runs,
//!   and the context holds a reference to the memory. So while there is a context, the object at
//!   its process's address is that process. An address is therefore an identity, even when the
//!   process is dead, its pid forgotten and its kernel gone (a context does not hold the kernel).
//!   Nearly every context is dropped in its process's own slice, at the latest with the body. Then
//!   its end is only recorded, and its reference goes with the table's, without an exchange of its
//!   own. A context that is dropped elsewhere releases its reference like a waker.
//! - **P6.** A reason may hold a context or waker of the very process that died of it, or of the
//!   slot's previous process. So the memory keeps no reason longer than the table keeps the memory:
//!   they would otherwise keep each other for ever, or keep all successive processes of the slot.
//!   What remains is a ring: a waker in a reason that its slot remembers holds the kernel (P4),
//!   which remembers the reason until another process has died in that slot.

use core::mem::offset_of;
use core::ptr::NonNull;

use crate::intrusive::sweep_list::SweepList;
use crate::kernel_ptr::KernelPtr;
use crate::mailbox::Mailbox;
use crate::mailbox::limit::{MailboxLimit, OptionalLimit};
use crate::memory::pool::Pool;
use crate::pid::Pid;
use crate::process::name::NameEntry;
use crate::process::owned::OwnerState;
use crate::process::relation::link::Link;
use crate::process::relation::watcher::WatcherEntry;
use crate::process::vtable::BodyVtable;
use crate::reason::Reason;
use crate::reclaim::Retired;
use crate::runq::node::RunNode;
use crate::signal::node::Node;
use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, PlainAtomicBool, UnsafeCell, acquire_by};

/// The table's reference to a process's memory.
pub(crate) const TABLE: usize = 1;
/// The context's reference (P5).
const CONTEXT: usize = 2;
/// One waker's reference.
const WAKER: usize = 4;

/// The part of a process that does not depend on its body (see the module).
///
/// `repr(C)`: what a send reads and writes lies in the first 32 bytes, and the other fields that a
/// wake and a turn touch follow.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// The pending signals, and the scheduling state.
    pub mailbox: Mailbox,
    /// The process's pid.
    pub pid: Pid,
    /// The functions that run, drop and free the body, and its message type.
    pub vtable: &'static BodyVtable,
    /// The process's links in a run queue.
    pub run: RunNode,
    /// The core that the process must run on, or `u32::MAX`.
    pub core: u32,
    /// `true` while `wake` is claimed by the waker that sends it.
    pub waking: AtomicBool,
    /// `true` if the process was killed without memory for a signal: it dies when it handles
    /// `wake`.
    pub killed: AtomicBool,
    /// `true` if EXITs arrive as messages. Relaxed wherever it is used: a thread that sets it and
    /// then sends a signal is sure that the receiver sees it set, since the signal's push and take
    /// order the two. Other threads need no order.
    pub trap_exit: AtomicBool,
    /// `true` if the context was dropped in the process's own slice (P5). Only the owner touches
    /// it. It is atomic only because a destructor of the body writes it, which has only a
    /// `&Header`.
    pub context_gone: PlainAtomicBool,
    /// The state that only the owner touches.
    pub private: UnsafeCell<OwnerState>,
    /// The mailbox limit, if there is one ([`Header::limit`]).
    pub limit: OptionalLimit,
    /// Monitors and timers that wait for the process's death.
    pub watchers: SweepList<WatcherEntry>,
    /// Links that other processes made and this one has not yet adopted.
    pub links: SweepList<Link>,
    /// The registered name; see `name`.
    pub name: AtomicPtr<NameEntry>,
    /// The exit reason (P3).
    pub reason: UnsafeCell<Reason>,
    /// The signal that a waker sends, and its state.
    pub wake: Node,
    /// References to the memory: `TABLE`, `CONTEXT`, and `WAKER` for each waker.
    pub shares: AtomicUsize,
    /// The kernel of the process (P4).
    pub kernel: KernelPtr,
    /// The record for `reclaim`.
    pub retired: Retired,
    /// The slot's previous tombstone (`table`, T3). Belongs to the table's reference.
    pub predecessor: UnsafeCell<*mut ()>,
}

#[cfg(all(not(any(loom, shuttle)), target_pointer_width = "64"))]
const _: () =
    assert!(offset_of!(Header, run) == 32 && offset_of!(Header, private) == 64, "layout of a send; layout of a wake");

// SAFETY: P1 to P4: every field is atomic, constant, or used by one owner at a time, and what they
// hold is Send.
unsafe impl Send for Header {}
// SAFETY: P1 to P4: through `&` every field is atomic, constant, or the owner's alone.
unsafe impl Sync for Header {}

impl Header {
    /// Returns the state that only the owner touches.
    ///
    /// # Safety
    /// The caller is the owner (P1) and keeps no other reference to it while it uses this one.
    #[allow(clippy::mut_from_ref, reason = "rule P1 makes the reference unique")]
    pub unsafe fn private(&self) -> &mut OwnerState {
        // SAFETY: P1: the caller is the owner and keeps no other reference (this function's
        // contract).
        self.private.with_mut(|private| unsafe { &mut *private })
    }

    /// Returns a pointer to the whole process, of which a `&Header` is only the first part.
    pub fn whole(&self) -> NonNull<Self> {
        // `spawn` exposed the allocation.
        let whole = core::ptr::with_exposed_provenance_mut(core::ptr::from_ref(self).addr());
        NonNull::new(whole).unwrap_or(NonNull::from(self))
    }

    /// Returns the process's run-queue links, with a pointer valid for the whole process.
    #[inline]
    pub fn run_node(&self) -> NonNull<RunNode> {
        // SAFETY: the links lie within the process.
        unsafe { self.whole().byte_add(offset_of!(Self, run)) }.cast()
    }

    /// Returns the process that is queued by this node.
    ///
    /// # Safety
    /// The node came from [`Header::run_node`].
    #[inline]
    pub unsafe fn of_run_node(node: NonNull<RunNode>) -> NonNull<Self> {
        // SAFETY: the node came from `run_node` (this function's contract), so it lies within the
        // process.
        unsafe { node.byte_sub(offset_of!(Self, run)) }.cast()
    }

    /// Returns the mailbox limit, if there is one.
    #[inline(always)]
    pub fn bound(&self) -> Option<&MailboxLimit> {
        if self.mailbox.is_bounded() { self.limit.get() } else { None }
    }

    /// Returns the exit reason, for a caller that found the process closed (P3).
    ///
    /// # Safety
    /// The caller found the mailbox or a list closed, or is the owner and has set it.
    pub unsafe fn reason(&self) -> Reason {
        // SAFETY: P3: written before the close that the caller saw.
        self.reason.with(|reason| unsafe { (*reason).clone() })
    }

    /// Acquires one more waker's reference to the memory. The first of them holds the kernel (P4).
    /// The caller holds such a reference, or runs the process's slice. Wait-free.
    pub fn acquire_waker_ref(&self) {
        // Relaxed: only a holder acquires another reference.
        if self.shares.fetch_add(WAKER, Ordering::Relaxed) < WAKER {
            // SAFETY: P4: the kernel is alive: a slice runs, whose core holds the kernel. The count
            // is taken before another thread has this waker, so before the last of them releases
            // it.
            unsafe { self.kernel.hold() };
        }
    }

    /// Releases a waker's reference. Releasing the last waker's also releases the kernel, and, if
    /// the table's is gone too, frees the memory.
    ///
    /// # Safety
    /// The caller holds the reference and does not use `process` again.
    pub unsafe fn release_waker_ref(process: NonNull<Self>) {
        // SAFETY: the caller's reference keeps the process's memory live.
        let kernel = unsafe { process.as_ref() }.kernel;
        // SAFETY: the caller's reference; not used again.
        let before = unsafe { Self::release(process, WAKER, None) };
        if before < 2 * WAKER {
            // The process may be freed by now; the kernel count that its wakers held is ours.
            // SAFETY: P4: the first waker, since the number of wakers was last 0, took this count.
            unsafe { kernel.release() };
        }
    }

    /// Releases the table's reference.
    ///
    /// # Safety
    /// The caller holds it and does not use `process` again.
    pub unsafe fn release_table_ref(process: NonNull<Self>, pool: Option<&Pool>) {
        // SAFETY: the caller's reference keeps the process's memory live.
        let header = unsafe { process.as_ref() };
        // Relaxed: written in a slice of the process, which is over; the retirement publishes it.
        let gone = header.context_gone.load(Ordering::Relaxed);
        let ours = if gone { TABLE | CONTEXT } else { TABLE };
        // Acquire: pairs with the Release of the last waker, or of the context. If there is no
        // other reference now, there will be none: only a holder of a waker's reference, or a
        // running slice, acquires one, and no thread can find the process. So the last holder needs
        // no exchange.
        if header.shares.load(Ordering::Acquire) == ours {
            // SAFETY: this is the last reference, and the vtable is this process's.
            return unsafe { (header.vtable.free)(process, pool) };
        }
        // SAFETY: the caller holds `ours`, and does not use the process again (this function's
        // contract).
        unsafe { Self::release_table_ref_shared(process, ours, pool) };
    }

    /// Does the same as [`Header::release_table_ref`] where wakers or a context hold references. It
    /// is a function of its own, so that the common path needs no registers for it.
    ///
    /// # Safety
    /// The caller holds `ours`, the table's reference among them, and does not use `process` again.
    #[cold]
    #[inline(never)]
    unsafe fn release_table_ref_shared(process: NonNull<Self>, ours: usize, pool: Option<&Pool>) {
        // SAFETY: the caller holds the table's reference, so the process is live.
        let header = unsafe { process.as_ref() };
        // SAFETY: the caller holds the table's reference and releases it below.
        unsafe { header.forgets() };
        // SAFETY: the caller holds `ours` (this function's contract).
        unsafe { Self::release(process, ours, pool) };
    }

    /// Drops the foreign values in a process that no thread can find and whose memory stays only
    /// for wakers and a context, which never read a reason (P6).
    ///
    /// # Safety
    /// The caller holds the table's reference, and is about to release it.
    unsafe fn forgets(&self) {
        // SAFETY: P1: the owner, and every thread that found the process, is done with it: it was
        // retired.
        let dying = unsafe { self.private() }.dying.take();
        // SAFETY: P3: no thread can find the process, so none reads the reason.
        let reason = self.reason.with_mut(|reason| unsafe { core::mem::replace(&mut *reason, Reason::NOPROC) });
        // SAFETY: `predecessor` belongs to the table's reference, which the caller holds.
        let word = self.predecessor.with_mut(|word| unsafe { core::mem::replace(&mut *word, core::ptr::null_mut()) });
        // SAFETY: T3: this process's claim took it out of the slot; returned once.
        let predecessor = unsafe { Reason::from_raw(word) };
        // All three may be foreign.
        drop((dying, reason, predecessor));
    }

    /// Acquires the context's reference to the memory (P5), and returns the process.
    ///
    /// # Safety
    /// The caller runs the process's first slice, and there is no context yet.
    pub unsafe fn share_with_context(&self) -> NonNull<Self> {
        // Relaxed, and no exchange: before its first slice only the table holds a reference, and
        // only a slice of the process, or a holder, acquires another.
        let shares = self.shares.load(Ordering::Relaxed);
        self.shares.store(shares | CONTEXT, Ordering::Relaxed);
        self.whole()
    }

    /// Records that the context is dropped in the process's own slice: its reference goes with the
    /// table's.
    ///
    /// # Safety
    /// The caller holds that reference, which ends here, and runs a slice of the process.
    pub unsafe fn context_is_gone(&self) {
        // Relaxed: the handover of the process publishes it.
        self.context_gone.store(true, Ordering::Relaxed);
    }

    /// Releases the context's reference outside the process's own slice. Wait-free.
    ///
    /// # Safety
    /// The caller holds it and does not use `process` again.
    #[cold]
    pub unsafe fn give_up_context(process: NonNull<Self>) {
        // SAFETY: the caller's reference; not used again.
        unsafe { Self::release(process, CONTEXT, None) };
    }

    /// Releases a reference, and frees the memory with the last one. Returns the count before.
    unsafe fn release(process: NonNull<Self>, share: usize, pool: Option<&Pool>) -> usize {
        // Release, and the Acquire fence below: the free comes after every use.
        // SAFETY: the caller's reference keeps the memory live.
        let shares = unsafe { &process.as_ref().shares };
        let before = shares.fetch_sub(share, Ordering::Release);
        if before == share {
            acquire_by(|order| shares.load(order));
            // SAFETY: this was the last reference, so the memory is ours and still there.
            let vtable = unsafe { process.as_ref() }.vtable;
            // SAFETY: this was the last reference, and the vtable is this process's.
            unsafe { (vtable.free)(process, pool) };
        }
        before
    }
}
