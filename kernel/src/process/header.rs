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

use core::ptr::NonNull;

use crate::intrusive::sweep_list::SweepList;
use crate::kernel_ptr::KernelPtr;
use crate::mailbox::limit::{MailboxLimit, OptionalLimit};
use crate::memory::pool::Pool;
use crate::pid::Pid;
use crate::process::counted_ref::{ReferenceCount, TableRef};
use crate::process::name::NameEntry;
use crate::process::owned::OwnerState;
use crate::process::relation::link::PeerEnd;
use crate::process::relation::watcher::Watcher;
use crate::process::shared_mailbox::SharedMailbox;
use crate::process::vtable::BodyVtable;
use crate::reason::Reason;
use crate::reclaim::Retired;
use crate::runq::node::RunNode;
use crate::signal::node::{Node, SignalKind};
use crate::sync::{AtomicBool, AtomicPtr, Ordering, PlainAtomicBool, UnsafeCell};

/// The value of [`Header::core`] for a process that may run on all cores.
pub(crate) const ANY_CORE: u16 = u16::MAX;
const _: () = assert!(crate::config::MAX_CORES < ANY_CORE as usize, "a core's number fits");

/// The part of a process that does not depend on its body (see the module).
///
/// `repr(C)`: what a send reads and writes lies in the first 32 bytes, and the other fields that a
/// wake and a turn touch follow.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// The pending signals, and the scheduling state.
    pub mailbox: SharedMailbox,
    /// The process's pid.
    pub pid: Pid,
    /// The functions that run, drop and free the body, and its message type.
    pub vtable: &'static BodyVtable,
    /// The process's links in a run queue.
    pub run: RunNode,
    /// The core that the process must run on, or [`ANY_CORE`].
    pub core: u16,
    /// `true` if the process stands for one elsewhere ([`crate::SpawnOptions::proxy`]).
    pub proxy: bool,
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
    /// The state that only the owner touches, through [`Owned`](crate::process::owned::Owned).
    pub(super) private: UnsafeCell<OwnerState>,
    /// The mailbox limit, if there is one ([`Header::limit`]).
    pub limit: OptionalLimit,
    /// Monitors and timers that wait for the process's death.
    pub watchers: SweepList<Watcher>,
    /// Links that other processes made and this one has not yet adopted.
    pub links: SweepList<PeerEnd>,
    /// The registered name; see `name`.
    pub name: AtomicPtr<NameEntry>,
    /// The exit reason (P3).
    pub(super) reason: UnsafeCell<Reason>,
    /// The signal that a waker sends, and its state.
    pub wake: Node,
    /// The references to the memory (`counted_ref`).
    pub shares: ReferenceCount,
    /// The kernel of the process (P4).
    pub kernel: KernelPtr,
    /// The record for `reclaim`.
    pub retired: Retired,
    /// The slot's previous tombstone (`table`, T3). Belongs to the table's reference.
    pub(super) predecessor: UnsafeCell<Option<Reason>>,
}

#[cfg(all(not(any(loom, shuttle)), target_pointer_width = "64"))]
const _: () = assert!(
    core::mem::offset_of!(Header, run) == 32 && core::mem::offset_of!(Header, private) == 64,
    "layout of a send; layout of a wake"
);

// SAFETY: P1 to P4: every field is atomic, constant, or used by one owner at a time, and what they
// hold is Send.
unsafe impl Send for Header {}
// SAFETY: P1 to P4: through `&` every field is atomic, constant, or the owner's alone.
unsafe impl Sync for Header {}

/// What a new process's header is made of.
#[derive(Debug)]
pub(crate) struct NewHeader {
    /// The kernel of the process.
    pub kernel: KernelPtr,
    /// The pid of the process.
    pub pid: Pid,
    /// The slot's previous tombstone, which the process keeps (`table`, T3).
    pub tombstone: Option<Reason>,
    /// The functions of its body.
    pub vtable: &'static BodyVtable,
    /// Its mailbox limit.
    pub limit: OptionalLimit,
    /// Its priority.
    pub priority: u8,
    /// The core that it must run on, or [`ANY_CORE`].
    pub core: u16,
    /// `true` if it traps exits.
    pub trap_exit: bool,
    /// `true` if it is a proxy.
    pub proxy: bool,
}

impl NewHeader {
    /// Writes the header field by field, in its final place: a whole one would be built elsewhere
    /// and copied. The table has the only reference then.
    ///
    /// # Safety
    /// `place` is fresh memory of a header's layout.
    #[inline(always)]
    pub(super) unsafe fn write(self, place: NonNull<Header>) {
        /// A no-op: the node of a wake is a part of its process.
        unsafe fn embedded_node(_: NonNull<Node>, _: Option<&Pool>) {}
        macro_rules! write {
            ($($field:ident: $value:expr),* $(,)?) => {
                // This pattern proves that no field is left out.
                let _ = |header: Header| {
                    let Header { $($field: _),* } = header;
                };
                $(
                    // SAFETY: `place` has a header's layout (this function's contract).
                    let field = unsafe { &raw mut (*place.as_ptr()).$field };
                    // SAFETY: `place` is fresh memory of a header's layout (this function's
                    // contract).
                    unsafe { field.write($value) };
                )*
            };
        }
        write! {
            run: RunNode::new(self.priority),
            mailbox: SharedMailbox::new(self.limit.get().is_some()),
            pid: self.pid,
            limit: self.limit,
            vtable: self.vtable,
            private: UnsafeCell::new(OwnerState::new()),
            core: self.core,
            watchers: SweepList::new(),
            links: SweepList::new(),
            proxy: self.proxy,
            name: AtomicPtr::new(core::ptr::null_mut()),
            reason: UnsafeCell::new(Reason::NOPROC),
            wake: Node::new(SignalKind::Wake, embedded_node),
            waking: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            trap_exit: AtomicBool::new(self.trap_exit),
            context_gone: PlainAtomicBool::new(false),
            shares: ReferenceCount::new(),
            kernel: self.kernel,
            retired: Retired::new(reclaim),
            predecessor: UnsafeCell::new(self.tombstone),
        }
    }
}

/// Frees a retired process, or leaves its memory to the wakers and the context that it still has.
unsafe fn reclaim(retired: NonNull<Retired>, pool: Option<&Pool>) {
    // SAFETY: `Vacated::into_retired` has given the table's reference to this pointer.
    unsafe { TableRef::from_retired(retired) }.release(pool);
}

impl Header {
    /// Returns the mailbox limit, if there is one.
    #[inline(always)]
    pub fn bound(&self) -> Option<&MailboxLimit> {
        if self.mailbox.is_bounded() { self.limit.get() } else { None }
    }

    /// Returns the exit reason if the process is dead or dying (P3).
    pub fn exit_reason(&self) -> Option<Reason> {
        // SAFETY: P3: the reason was written before the mailbox was closed, and is not written
        // again.
        self.mailbox.is_closed().then(|| self.reason.with(|reason| unsafe { (*reason).clone() }))
    }

    /// Records that the context is dropped in the process's own slice: its reference goes with the
    /// table's.
    ///
    /// # Safety
    /// The context's reference ends here.
    pub unsafe fn record_context_gone(&self) {
        // Relaxed: the handover of the process publishes it.
        self.context_gone.store(true, Ordering::Relaxed);
    }
}
