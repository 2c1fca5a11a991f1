//! The relations of a newborn, [`SpawnRelations`]: its link and monitor with its parent, made
//! before it is published.

use core::ptr::NonNull;

use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::ops::owner_op::{OpKind, OwnerOp};
use crate::ops::spawn::{Parent, SpawnOptions};
use crate::pid::Pid;
use crate::process::header::Header;
use crate::process::relation::link::Link;
use crate::process::relation::monitor::Monitor;
use crate::signal::node::Node;

/// The link and the monitor between parent and child (see the module).
pub(crate) struct SpawnRelations {
    link: Option<NonNull<Link>>,
    monitor: Option<NonNull<Monitor>>,
    /// The operations that give the parent its sides, if the caller does not own the parent.
    proxies: [Option<NonNull<Node>>; 2],
}

impl SpawnRelations {
    pub(crate) const NONE: Self = Self { link: None, monitor: None, proxies: [None; 2] };

    /// Creates them in place.
    pub(crate) fn make(
        &mut self,
        kernel_cx: &KernelCx<'_>,
        options: &SpawnOptions<'_>,
        parent: &Parent<'_>,
        child: Pid,
    ) -> Result<(), NoMemory> {
        let ties = self;
        // A parent that gets its sides as queued operations needs two records: such an operation
        // may find an older link, and then releases this one.
        let in_one = if options.supervised && !parent.by_proxy { parent.reference } else { None };
        if options.link || options.supervised {
            ties.link = Some(Link::try_new(kernel_cx, parent.process.pid, child, in_one)?);
        }
        if let Some(reference) = parent.reference
            && in_one.is_none()
        {
            match Monitor::try_new(kernel_cx, reference, parent.process.pid, Some(child), None) {
                Ok(monitor) => ties.monitor = Some(monitor),
                Err(NoMemory) => {
                    core::mem::replace(ties, Self::NONE).release(kernel_cx);
                    return Err(NoMemory);
                }
            }
        }
        if parent.by_proxy {
            let orders = [ties.link.map(OpKind::Link), ties.monitor.map(OpKind::Monitor)];
            for (proxy, order) in ties.proxies.iter_mut().zip(orders) {
                match order.map(|order| OwnerOp::try_new(&kernel_cx.kernel.nodes, order)).transpose() {
                    Ok(node) => *proxy = node,
                    Err(NoMemory) => {
                        core::mem::replace(ties, Self::NONE).release(kernel_cx);
                        return Err(NoMemory);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn release(self, kernel_cx: &KernelCx<'_>) {
        for proxy in self.proxies.into_iter().flatten() {
            // SAFETY: never pushed; the references in it are released below.
            unsafe { OwnerOp::open(proxy) };
        }
        for _share in 0..2 {
            if let Some(link) = self.link {
                // SAFETY: both references are still ours.
                unsafe { Link::release(link, kernel_cx.pool()) };
            }
            if let Some(monitor) = self.monitor {
                // SAFETY: both references are still ours.
                unsafe { Monitor::release(monitor, kernel_cx.pool()) };
            }
        }
    }

    /// Attaches both sides where they belong, except those that go as queued operations. Cannot
    /// fail.
    pub(crate) fn tie(&self, parent: Option<&Parent<'_>>, child: &Header, kernel_cx: &KernelCx<'_>) {
        let Some(parent) = parent else { return };
        if let Some(link) = self.link {
            // SAFETY: P1: the child is not published, so the caller owns it.
            let child = unsafe { child.private() };
            // SAFETY: the end is new, in no set; its reference goes with it.
            unsafe { child.insert_link_end(Link::half(link, 1), kernel_cx) };
            if !parent.by_proxy {
                // SAFETY: P1: the caller owns the parent.
                let parent = unsafe { parent.process.private() };
                // SAFETY: the end is new, in no set; its reference goes with it.
                unsafe { parent.insert_link_end(Link::half(link, 0), kernel_cx) };
            }
        }
        if let Some(monitor) = self.monitor {
            if !parent.by_proxy {
                // SAFETY: P1: the caller owns the parent.
                let parent = unsafe { parent.process.private() };
                // SAFETY: the record is new, in no set; the watcher's reference goes with it.
                unsafe { parent.monitors.insert(monitor) };
            }
            // SAFETY: the record is on no list; the reference of the target's side goes with it.
            let pushed = unsafe { child.watchers.push(Monitor::watch(monitor)) };
            // If it failed, the reference would leak, and nothing else would go wrong.
            debug_assert!(pushed.is_ok(), "a new list is open");
        }
    }

    /// Sends the parent its sides, as queued operations. The child is published and not yet queued,
    /// so the operations are in the parent's mailbox before the child's first instruction. A parent
    /// that dies during this dies after the spawn.
    pub(crate) fn send_to_parent(self, parent: &Parent<'_>, kernel_cx: &KernelCx<'_>) {
        for proxy in self.proxies.into_iter().flatten() {
            // SAFETY: the node is new, so ours.
            if unsafe { kernel_cx.push(parent.process, proxy) } {
                continue;
            }
            // SAFETY: the push was refused, so the node is still ours.
            match unsafe { OwnerOp::open(proxy) } {
                OpKind::Link(link) => {
                    // SAFETY: P3: the push found the mailbox closed.
                    let reason = unsafe { parent.process.reason() };
                    // SAFETY: the parent's reference, and the only EXIT in its name.
                    unsafe { Link::fire(link, parent.process.pid, kernel_cx, &reason) };
                }
                // SAFETY: the watcher's reference. It is not counted as cancelled: the child fires
                // the monitor, and the DOWN reaches no process.
                OpKind::Monitor(monitor) => unsafe { Monitor::release(monitor, kernel_cx.pool()) },
                _ => unreachable!("a spawn queues only a link and a monitor"),
            }
        }
    }
}
