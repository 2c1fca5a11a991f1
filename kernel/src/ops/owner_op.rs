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
//!   requesting thread, which releases them: nothing has happened, and no process is notified.
//! - **X3, unhandled.** A process may die before it handles an operation. Its death then handles
//!   it, before anything is fired: a link made this way gives its EXIT, one removed this way gives
//!   none, a monitor made this way is cancelled, and a timer made this way for another process is
//!   started. Handling an operation at a death allocates nothing.
//! - **X4, one link.** An owner that handles a second link with the same peer unlinks the newer
//!   record, or withdraws its end if that record has fired: the older record counts.

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::ops::drain::adopt_links;
use crate::ops::relations::{link, monitor};
use crate::ops::timer;
use crate::pid::{Pid, Reference};
use crate::process::alias::AliasRecord;
use crate::process::owned::Owned;
use crate::process::relation::link::EndRef;
use crate::process::relation::monitor::WatcherSide;
use crate::process::timer_record::NewTimer;
use crate::signal::held::{BoxedSignal, Headed};
use crate::signal::node::{Budget, Node, SignalKind};

/// The operation to perform.
#[derive(Debug)]
pub(crate) enum OpKind {
    /// Take a monitor that was made for the process into its set.
    Monitor(WatcherSide),
    /// Take a link that was made for the process, as its initiator, into its set.
    Link(EndRef),
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
    Alias(PoolBox<AliasRecord>),
    /// End an alias.
    Unalias(Reference),
    /// Start a timer that was made for the process.
    Start(NewTimer),
}

/// An operation in transit to its process (see the module). `repr(C)`: the node comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct OwnerOp {
    node: Node,
    order: OpKind,
}

// SAFETY: `repr(C)`, and the node is first. `OwnerOp::try_new` makes it for this type. The
// references in an operation are Send.
unsafe impl BoxedSignal for OwnerOp {
    const KIND: SignalKind = SignalKind::Proxy;
}

// SAFETY: `repr(C)`, and the node is first. Only nodes of an `OwnerOp` are of this kind, and their
// holder owns it.
unsafe impl Headed for OwnerOp {
    fn is_headed_by(kind: SignalKind) -> bool {
        kind == SignalKind::Proxy
    }
}

impl OpKind {
    /// Releases what an operation has that will not be performed. A timer's message is foreign, and
    /// its destructor may panic.
    pub(crate) fn release(self, pool: Option<&Pool>) {
        match self {
            Self::Monitor(monitor) => monitor.release(pool),
            Self::Link(end) => end.release(pool),
            Self::Alias(alias) => drop(alias),
            Self::Start(timer) => timer.abandon(pool),
            Self::Demonitor { .. } | Self::Unlink(_) | Self::Unalias(_) => {}
        }
    }
}

impl OwnerOp {
    /// Allocates the operation, ready to push. Without memory, what it has is released.
    pub(crate) fn try_new(budget: &Budget, order: OpKind) -> Result<PoolBox<Self>, NoMemory> {
        let node = budget.node_of::<Self>().ok_or(NoMemory)?;
        PoolBox::try_new(Self { node, order }, None).map_err(|_| NoMemory)
    }

    /// Takes the operation out of its node.
    pub(crate) fn open(this: PoolBox<Self>) -> OpKind {
        this.into_inner(None).order
    }

    /// Applies the operation to the process; at its death as well (X3), when its sets are frozen.
    pub(crate) fn handle(this: PoolBox<Self>, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
        match Self::open(this) {
            OpKind::Monitor(monitor) => owned.state(|state| state.monitors.insert(monitor)),
            OpKind::Link(end) => adopt(end, owned, kernel_cx),
            OpKind::Demonitor { reference, flush } => {
                monitor::demonitor(owned, kernel_cx, reference, flush);
            }
            OpKind::Unlink(peer) => link::unlink(owned, kernel_cx, peer),
            OpKind::Alias(alias) => owned.state(|state| state.aliases.insert(alias)),
            OpKind::Unalias(reference) => {
                owned.state(|state| state.end_alias(reference));
            }
            OpKind::Start(timer) => match kernel_cx.core {
                Some(core) => timer::start(timer, owned, kernel_cx, core),
                // The last core has ended: the timer will never fire.
                None => kernel_cx.catch_panic(|| timer.abandon(kernel_cx.pool())),
            },
        }
    }
}

/// Adopts a link into the set of its initiator, unless there is one with the same peer (X4).
fn adopt(end: EndRef, owned: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
    adopt_links(owned, kernel_cx);
    let peer = end.peer;
    if end.link().is_unlinked() {
        // The peer was found dead when the record was placed there, or has unlinked already.
        return end.release(kernel_cx.pool());
    }
    let older = owned.state(|state| Some(!state.links.find(peer.to_raw())?.get().link().is_unlinked()));
    if let Some(is_linked) = older {
        if is_linked {
            let cut = end.link().unlink();
            if !cut {
                end.ignore_exit();
            }
            end.release(kernel_cx.pool());
            if cut && let Some(other) = kernel_cx.find(peer) {
                link::link_was_cut(other, kernel_cx);
            }
            return;
        }
        // As in `link::link`: the peer has ended the older link, and this one is new.
        owned.state(|state| state.unlink_all(peer, kernel_cx));
    }
    owned.state(|state| state.insert_link_end(end, kernel_cx));
}
