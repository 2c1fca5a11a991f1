//! An owner operation, [`OwnerOp`]: a change to a process's own records that other code requests.
//!
//! A process's links and monitors belong to its owner (`header`, P1). A process may sleep, wait for
//! its turn or run elsewhere. Code that acts for it then ([`crate::Caller`]) leaves a signal in its
//! mailbox, and the owner performs the operation when it handles the signal. No thread waits for
//! another, and the operation has its place among the process's signals.
//!
//! - **X1, the order of the two steps.** The thread that requests a monitor or link creates the
//!   record, with both references. First it pushes the operation to the process, with the reference
//!   of the process's set. Only then does it place the record at the other side, or fire it. So a
//!   DOWN or EXIT of the record is behind the operation in the same mailbox, and finds the record
//!   in the set.
//! - **X2, refused.** A dead process refuses the operation. Both references still belong to the
//!   requesting thread: nothing has happened, and no process is notified.
//! - **X3, unhandled.** A process may die before it handles an operation. Its death then handles
//!   it, before anything is fired: a link made this way gives its EXIT, one removed this way gives
//!   none, a monitor made this way is cancelled, and a timer made this way for another process is
//!   started. Handling an operation at a death allocates nothing.
//! - **X4, one link.** An owner that handles a second link with the same peer unlinks the newer
//!   record, or withdraws its end if that record has fired: the older record counts.

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::ops::drain::adopt_links;
use crate::ops::relations::{link, monitor};
use crate::ops::timer;
use crate::pid::{Pid, Reference};
use crate::process::alias::AliasRecord;
use crate::process::header::Header;
use crate::process::relation::link::{Link, LinkEnd};
use crate::process::relation::monitor::Monitor;
use crate::process::timer_record::TimerHead;
use crate::signal::node::{Budget, Node, SignalKind};

/// The operation to perform.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OpKind {
    /// Take a monitor that was made for the process into its set; the set's reference comes with
    /// it.
    Monitor(NonNull<Monitor>),
    /// Take a link that was made for the process, as its initiator, into its set; the reference of
    /// its end comes with it.
    Link(NonNull<Link>),
    /// End a monitor.
    Demonitor {
        /// The monitor's reference.
        reference: Reference,
        /// `true` to remove its DOWN as well.
        flush: bool,
    },
    /// End the link with a process.
    Unlink(Pid),
    /// Take an alias that was made for the process into its set.
    Alias(NonNull<AliasRecord>),
    /// End an alias.
    Unalias(Reference),
    /// Start a timer that was made for the process; both references come with it.
    Start(NonNull<TimerHead>),
}

/// An operation in transit to its process (see the module). `repr(C)`: the node comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct OwnerOp {
    node: Node,
    order: OpKind,
}

impl OwnerOp {
    /// Allocates the operation's node, ready to push.
    pub(crate) fn try_new(budget: &Budget, order: OpKind) -> Result<NonNull<Node>, NoMemory> {
        unsafe fn release(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: a `OwnerOp`'s node, released together with the reference in it.
            match unsafe { OwnerOp::open(node) } {
                // SAFETY: the reference was in the operation; not used again.
                OpKind::Monitor(monitor) => unsafe { Monitor::release(monitor, pool) },
                // SAFETY: the reference was in the operation; not used again.
                OpKind::Link(link) => unsafe { Link::release(link, pool) },
                // SAFETY: the operation owned the record.
                OpKind::Alias(alias) => unsafe { memory::drop_and_free(alias) },
                // SAFETY: both references were in the operation; not used again.
                OpKind::Start(timer) => unsafe { TimerHead::abandon(timer, pool) },
                OpKind::Demonitor { .. } | OpKind::Unlink(_) | OpKind::Unalias(_) => {}
            }
        }
        let node = budget.node(SignalKind::Proxy, release).ok_or(NoMemory)?;
        memory::try_new(Self { node, order }).map(NonNull::cast).map_err(|_| NoMemory)
    }

    /// Takes the operation out of its node; a reference in it belongs to the caller.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `OwnerOp`, and does not use it again.
    pub(crate) unsafe fn open(node: NonNull<Node>) -> OpKind {
        // SAFETY: N1: the caller holds the node, which heads a `OwnerOp` (this function's
        // contract).
        let order = unsafe { node.cast::<Self>().as_ref() }.order;
        // SAFETY: N1: the caller holds the node; its contents are copied out.
        unsafe { memory::drop_and_free(node.cast::<Self>()) };
        order
    }

    /// Applies the operation to the process; at its death as well (X3), when its sets are frozen.
    ///
    /// # Safety
    /// The caller owns `process`, holds `node` of kind `OwnerOp`, and does not use it again.
    pub(crate) unsafe fn handle(node: NonNull<Node>, process: &Header, kernel_cx: &KernelCx<'_>) {
        // SAFETY: N1: the caller holds the node, of kind `OwnerOp` (this function's contract).
        match unsafe { Self::open(node) } {
            OpKind::Monitor(monitor) => {
                // SAFETY: P1: the caller owns the process.
                let private = unsafe { process.private() };
                // SAFETY: the record is in no set; the set's reference came with the operation.
                unsafe { private.monitors.insert(monitor) };
            }
            // SAFETY: P1: the caller owns the process; the end's reference came with the operation.
            OpKind::Link(link) => unsafe { adopt(link, process, kernel_cx) },
            OpKind::Demonitor { reference, flush } => {
                monitor::demonitor(process, kernel_cx, reference, flush);
            }
            OpKind::Unlink(peer) => link::unlink(process, kernel_cx, peer),
            OpKind::Alias(alias) => {
                // SAFETY: P1: the caller owns the process.
                let private = unsafe { process.private() };
                // SAFETY: the record is new, in no set; the set owns it from now on.
                unsafe { private.aliases.insert(alias) };
            }
            OpKind::Unalias(reference) => {
                // SAFETY: P1: the caller owns the process.
                unsafe { process.private() }.end_alias(reference);
            }
            OpKind::Start(timer) => match kernel_cx.core {
                // SAFETY: P1: the caller owns the process, on its core; the timer is new, with both
                // references.
                Some(core) => unsafe { timer::start(timer, process, kernel_cx, core) },
                // The last core has ended: the timer will never fire.
                // SAFETY: both references came with the operation.
                None => kernel_cx.catch_panic(|| unsafe { TimerHead::abandon(timer, kernel_cx.pool()) }),
            },
        }
    }
}

/// Adopts a link into its initiator's set, unless there is one with the same peer (X4).
///
/// # Safety
/// The caller owns the process, whose end is the initiator's, and holds that end's reference.
unsafe fn adopt(link: NonNull<Link>, process: &Header, kernel_cx: &KernelCx<'_>) {
    adopt_links(process, kernel_cx);
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { process.private() };
    let half = Link::half(link, 0);
    // SAFETY: the end's reference keeps the record live.
    let record = unsafe { link.as_ref() };
    // SAFETY: the end's reference keeps the record live.
    let fields = unsafe { half.as_ref() };
    let peer = fields.peer;
    if record.is_unlinked() {
        // The peer was found dead when the record was placed there, or has unlinked already.
        // SAFETY: the end's reference; not used again.
        return unsafe { Link::release(link, kernel_cx.pool()) };
    }
    if let Some(older) = private.links.find(peer.to_raw()) {
        // SAFETY: the set's reference keeps the record live.
        if !unsafe { LinkEnd::link(older).as_ref() }.is_unlinked() {
            let cut = record.unlink();
            if !cut {
                fields.ignore_exit();
            }
            // SAFETY: the end's reference; not used again.
            unsafe { Link::release(link, kernel_cx.pool()) };
            if cut && let Some(other) = kernel_cx.find(peer) {
                link::link_was_cut(other, kernel_cx);
            }
            return;
        }
        // As in `link::link`: the peer has ended the older link, and this one is new.
        private.unlink_all(peer, kernel_cx);
    }
    // SAFETY: the end is in no set; its reference goes with it.
    unsafe { private.insert_link_end(half, kernel_cx) };
}
