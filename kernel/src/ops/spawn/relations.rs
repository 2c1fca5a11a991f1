//! The relations of a newborn, [`SpawnRelations`]: its link and monitor with its parent, made
//! before it is published.

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::memory::pool_box::PoolBox;
use crate::ops::owner_op::{OpKind, OwnerOp};
use crate::ops::relations::{link, monitor};
use crate::ops::spawn::{Parent, ParentProcess, SpawnOptions};
use crate::pid::Pid;
use crate::process::owned::Owned;
use crate::process::process_ref::ProcessRef;
use crate::process::relation::link::{EndRef, PeerEnd};
use crate::process::relation::monitor::{TargetSide, WatcherSide};
use crate::process::relation::watcher::Watcher;
use crate::reason::Reason;

/// The link and the monitor between parent and child (see the module).
pub(crate) struct SpawnRelations {
    /// The child's end of the link.
    child_end: Option<PeerEnd>,
    /// The child's side of the monitor.
    child_side: Option<TargetSide>,
    /// The parent's end and side, if the caller owns the parent.
    parent_end: Option<EndRef>,
    parent_side: Option<WatcherSide>,
    /// The operations that give the parent its end and side, if the caller does not own the parent.
    proxies: [Option<PoolBox<OwnerOp>>; 2],
}

impl SpawnRelations {
    /// Creates them in `place`, which is empty. If memory is missing, nothing is left of them.
    pub(crate) fn make(
        place: &mut Option<Self>,
        kernel_cx: &KernelCx<'_>,
        options: &SpawnOptions<'_>,
        parent: &Parent<'_, '_>,
        child: Pid,
    ) -> Result<(), NoMemory> {
        // A parent that gets its sides as queued operations needs two records: such an operation
        // may find an older link, and then releases this one.
        let in_one = if options.supervised && !parent.is_by_proxy() { parent.reference } else { None };
        let nodes = &kernel_cx.kernel.nodes;
        let (mut child_end, mut parent_end, mut link_proxy) = (None, None, None);
        if options.link || options.supervised {
            let (end, peer) = link::try_new(kernel_cx, parent.process().pid, child, in_one)?;
            child_end = Some(peer);
            if parent.is_by_proxy() {
                link_proxy = Some(OwnerOp::try_new(nodes, OpKind::Link(end))?);
            } else {
                parent_end = Some(end);
            }
        }
        let (mut child_side, mut parent_side, mut monitor_proxy) = (None, None, None);
        if let Some(reference) = parent.reference
            && in_one.is_none()
        {
            let (watcher, target) = monitor::try_new(kernel_cx, reference, parent.process().pid, Some(child), None)?;
            child_side = Some(target);
            if parent.is_by_proxy() {
                monitor_proxy = Some(OwnerOp::try_new(nodes, OpKind::Monitor(watcher))?);
            } else {
                parent_side = Some(watcher);
            }
        }
        let made = Self { child_end, child_side, parent_end, parent_side, proxies: [link_proxy, monitor_proxy] };
        // It was empty: an assignment would look at each part of what it had.
        core::mem::forget(place.replace(made));
        Ok(())
    }

    pub(crate) fn release(self, kernel_cx: &KernelCx<'_>) {
        let pool = kernel_cx.pool();
        for proxy in self.proxies.into_iter().flatten() {
            OwnerOp::open(proxy).release(pool);
        }
        self.child_end.into_iter().for_each(|end| end.release(pool));
        self.parent_end.into_iter().for_each(|end| end.release(pool));
        self.child_side.into_iter().for_each(|side| side.release(pool));
        self.parent_side.into_iter().for_each(|side| side.release(pool));
    }

    /// Attaches both sides where they belong, except those that go as queued operations
    /// ([`SpawnRelations::send_to_parent`]). Cannot fail.
    pub(crate) fn tie(&mut self, parent: &Parent<'_, '_>, child: &mut Owned<'_>, kernel_cx: &KernelCx<'_>) {
        if let Some(end) = self.child_end.take() {
            child.state(|child| child.insert_link_end(end.into_end(), kernel_cx));
        }
        if let ParentProcess::Running(parent) = &parent.process {
            if let Some(end) = self.parent_end.take() {
                parent.state(|parent| parent.insert_link_end(end, kernel_cx));
            }
            if let Some(side) = self.parent_side.take() {
                parent.state(|parent| parent.monitors.insert(side));
            }
        }
        if let Some(side) = self.child_side.take() {
            let pushed = child.watchers.push(Watcher::Monitor(side));
            debug_assert!(pushed.is_ok(), "a new list is open");
        }
    }

    /// Sends the parent its sides, as queued operations. The child is published and not yet queued,
    /// so the operations are in the parent's mailbox before the child's first instruction. A parent
    /// that dies during this dies after the spawn.
    pub(crate) fn send_to_parent(&mut self, parent: ProcessRef<'_>, kernel_cx: &KernelCx<'_>) {
        for proxy in self.proxies.iter_mut().filter_map(Option::take) {
            let Err(refused) = kernel_cx.push_box(parent, proxy) else { continue };
            match OwnerOp::open(refused) {
                OpKind::Link(end) => {
                    // The push found the mailbox closed, so there is a reason.
                    let reason = parent.exit_reason().unwrap_or(Reason::NOPROC);
                    link::fire(end, kernel_cx, &reason);
                }
                // It is not counted as cancelled: the child fires the monitor, and the DOWN reaches
                // no process.
                OpKind::Monitor(watcher) => watcher.release(kernel_cx.pool()),
                _ => unreachable!("a spawn queues only a link and a monitor"),
            }
        }
    }
}
