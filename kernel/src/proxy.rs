//! [`OwnerOp`]: what a process is to do, asked for by somebody who does not run it.
//!
//! A process's links and monitors are its owner's (`header`, P1). So who acts for a process that sleeps, waits for
//! its turn or runs elsewhere ([`crate::Caller`]) leaves a signal in its mailbox, and the owner does it when it meets the
//! signal: nobody waits for anybody, and the act has its place among the process's signals.
//!
//! - **X1, the record's way.** A monitor or link is made by whoever asks, with both shares. First its proxy is pushed to the
//!   process, with the share of the process's set; only then is the record placed at the other side, or fired. So a
//!   DOWN or EXIT of it is behind the proxy in the same mailbox, and finds the record in the set.
//! - **X2, refused.** A process that is dead refuses the proxy. Both shares are the asker's still: nothing has happened,
//!   and nobody is told.
//! - **X3, unmet.** A process may die before it meets a proxy. Its death meets it then, ahead of firing anything:
//!   a link made so gives its EXIT, one removed so gives none, a monitor made so is taken back, and a timer made so for
//!   another is started. What is met at a death allocates nothing.
//! - **X4, one link.** The owner that meets a second link with the same peer cuts the newer record, or withdraws its half when
//!   that has been fired: the older one answers.

use core::ptr::NonNull;

use crate::alias::AliasRecord;
use crate::hand::KernelCx;
use crate::link::{LinkEnd, Link};
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::monitor::Monitor;
use crate::pid::{Pid, Reference};
use crate::process::fetch::take_up;
use crate::process::header::Header;
use crate::process::ties;
use crate::signal::node::{Budget, SignalKind, Node};
use crate::timer::record::TimerHead;
use crate::timer::start;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OpKind {
    /// Take a monitor that was made for it into its set; the set's share comes with it.
    Monitor(NonNull<Monitor>),
    /// Take a link that was made for it, as its maker, into its set; the share of its half comes with it.
    Link(NonNull<Link>),
    /// End a monitor.
    Demonitor {
        /// Which.
        reference: Reference,
        /// Remove its DOWN as well.
        flush: bool,
    },
    /// End the link with a process.
    Unlink(Pid),
    /// Take an alias that was made for it into its set.
    Alias(NonNull<AliasRecord>),
    /// End an alias.
    Unalias(Reference),
    /// Start a timer that was made for it; both shares come with it.
    Start(NonNull<TimerHead>),
}

/// See the module. `repr(C)`: the node comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct OwnerOp {
    node: Node,
    order: OpKind,
}

impl OwnerOp {
    /// The order's node, ready to be pushed.
    pub(crate) fn try_new(budget: &Budget, order: OpKind) -> Result<NonNull<Node>, NoMemory> {
        unsafe fn release(node: NonNull<Node>, pool: Option<&Pool>) {
            // SAFETY: a `OwnerOp`'s node, given up with the share that is in it.
            match unsafe { OwnerOp::open(node) } {
                // SAFETY: likewise.
                OpKind::Monitor(monitor) => unsafe { Monitor::give_up(monitor, pool) },
                // SAFETY: likewise.
                OpKind::Link(link) => unsafe { Link::give_up(link, pool) },
                // SAFETY: the order's own.
                OpKind::Alias(alias) => unsafe { memory::drop_and_free(alias) },
                // SAFETY: likewise.
                OpKind::Start(timer) => unsafe { TimerHead::abandon(timer, pool) },
                OpKind::Demonitor { .. } | OpKind::Unlink(_) | OpKind::Unalias(_) => {}
            }
        }
        let node = budget.node(SignalKind::Proxy, release).ok_or(NoMemory)?;
        memory::try_new(Self { node, order }).map(NonNull::cast).map_err(|_| NoMemory)
    }

    /// Takes it apart; a share in it is the caller's.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `OwnerOp`, and does not use it again.
    pub(crate) unsafe fn open(node: NonNull<Node>) -> OpKind {
        // SAFETY: by contract a `OwnerOp` that nobody else has.
        let order = unsafe { node.cast::<Self>().as_ref() }.order;
        // SAFETY: as above; what it holds is copied out.
        unsafe { memory::drop_and_free(node.cast::<Self>()) };
        order
    }

    /// The process does it; at its death as well (X3), when its sets are frozen.
    ///
    /// # Safety
    /// The caller owns `process`, holds `node` of kind `OwnerOp`, and does not use it again.
    pub(crate) unsafe fn meet(node: NonNull<Node>, process: &Header, hand: &KernelCx<'_>) {
        // SAFETY: by contract.
        match unsafe { Self::open(node) } {
            OpKind::Monitor(monitor) => {
                // SAFETY: the owner.
                let private = unsafe { process.private() };
                // SAFETY: in no set; the set's share is the order's.
                unsafe { private.monitors.insert(monitor) };
            }
            // SAFETY: the owner's, with the share of the half.
            OpKind::Link(link) => unsafe { adopt(link, process, hand) },
            OpKind::Demonitor { reference, flush } => {
                ties::demonitor(process, hand, reference, flush);
            }
            OpKind::Unlink(peer) => ties::unlink(process, hand, peer),
            OpKind::Alias(alias) => {
                // SAFETY: the owner.
                let private = unsafe { process.private() };
                // SAFETY: new, in no set.
                unsafe { private.aliases.insert(alias) };
            }
            OpKind::Unalias(reference) => {
                // SAFETY: the owner.
                unsafe { process.private() }.end_alias(reference);
            }
            OpKind::Start(timer) => match hand.core {
                // SAFETY: the owner, on its core; the timer is new, with both shares.
                Some(core) => unsafe { start::start(timer, process, hand, core) },
                // The last core has ended: nothing comes any more.
                // SAFETY: both shares came with the order.
                None => hand.catch_panic(|| unsafe { TimerHead::abandon(timer, hand.pool()) }),
            },
        }
    }
}

/// Takes a link into its maker's set, unless there is one (X4).
///
/// # Safety
/// The caller owns the process, whose half is the maker's, and has that half's share.
unsafe fn adopt(link: NonNull<Link>, process: &Header, hand: &KernelCx<'_>) {
    take_up(process, hand);
    // SAFETY: the owner.
    let private = unsafe { process.private() };
    let half = Link::half(link, 0);
    // SAFETY: shared, so live.
    let record = unsafe { link.as_ref() };
    // SAFETY: likewise.
    let fields = unsafe { half.as_ref() };
    let peer = fields.peer;
    if record.is_cut() {
        // The other side was found dead when it was to be placed there, or has unlinked already.
        // SAFETY: the half's share.
        return unsafe { Link::give_up(link, hand.pool()) };
    }
    if let Some(older) = private.links.find(peer.to_raw()) {
        // SAFETY: in the set, so shared.
        if !unsafe { LinkEnd::link(older).as_ref() }.is_cut() {
            let cut = record.cut();
            if !cut {
                fields.withdraw();
            }
            // SAFETY: the half's share.
            unsafe { Link::give_up(link, hand.pool()) };
            if cut && let Some(other) = hand.find(peer) {
                ties::link_was_cut(other, hand);
            }
            return;
        }
        // As in `ties::link`: the other side has ended that one, and this is new.
        private.cut_all(peer, hand);
    }
    // SAFETY: in no set; the half's share goes with it.
    unsafe { private.hold_half(half, hand) };
}
