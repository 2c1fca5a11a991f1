//! [`SpawnRelations`]: the link and the monitor between parent and child, from before the child is born.

use core::ptr::NonNull;

use super::{Parent, SpawnOptions};
use crate::hand::KernelCx;
use crate::link::Link;
use crate::memory::NoMemory;
use crate::monitor::Monitor;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::proxy::{OpKind, OwnerOp};
use crate::signal::node::Node;

/// See the module.
pub(super) struct SpawnRelations {
    link: Option<NonNull<Link>>,
    monitor: Option<NonNull<Monitor>>,
    /// What brings the parent its sides, if the caller does not own it.
    proxies: [Option<NonNull<Node>>; 2],
}

impl SpawnRelations {
    pub(super) const NONE: Self = Self { link: None, monitor: None, proxies: [None; 2] };

    /// Makes them, in their place.
    pub(super) fn make(
        &mut self,
        hand: &KernelCx<'_>,
        options: &SpawnOptions<'_>,
        parent: &Parent<'_>,
        child: Pid,
    ) -> Result<(), NoMemory> {
        let ties = self;
        // Whose sides go by proxy gets two records: a proxy may find an older link, and give this one up for it.
        let in_one = if options.supervised && !parent.by_proxy { parent.reference } else { None };
        if options.link || options.supervised {
            ties.link = Some(Link::try_new(hand, parent.process.pid, child, in_one)?);
        }
        if let Some(reference) = parent.reference
            && in_one.is_none()
        {
            match Monitor::try_new(hand, reference, parent.process.pid, Some(child), None) {
                Ok(monitor) => ties.monitor = Some(monitor),
                Err(NoMemory) => {
                    core::mem::replace(ties, Self::NONE).give_up(hand);
                    return Err(NoMemory);
                }
            }
        }
        if parent.by_proxy {
            let orders = [ties.link.map(OpKind::Link), ties.monitor.map(OpKind::Monitor)];
            for (proxy, order) in ties.proxies.iter_mut().zip(orders) {
                match order.map(|order| OwnerOp::try_new(&hand.kernel.nodes, order)).transpose() {
                    Ok(node) => *proxy = node,
                    Err(NoMemory) => {
                        core::mem::replace(ties, Self::NONE).give_up(hand);
                        return Err(NoMemory);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn give_up(self, hand: &KernelCx<'_>) {
        for proxy in self.proxies.into_iter().flatten() {
            // SAFETY: never pushed; its share is given up below.
            unsafe { OwnerOp::open(proxy) };
        }
        for _share in 0..2 {
            if let Some(link) = self.link {
                // SAFETY: both shares are ours still.
                unsafe { Link::give_up(link, hand.pool()) };
            }
            if let Some(monitor) = self.monitor {
                // SAFETY: likewise.
                unsafe { Monitor::give_up(monitor, hand.pool()) };
            }
        }
    }

    /// Puts both sides where they belong, but for those that go by proxy. Can't fail.
    pub(super) fn tie(&self, parent: Option<&Parent<'_>>, child: &Header, hand: &KernelCx<'_>) {
        let Some(parent) = parent else { return };
        if let Some(link) = self.link {
            // SAFETY: nobody knows the child yet.
            let child = unsafe { child.private() };
            // SAFETY: new, in no set.
            unsafe { child.hold_half(Link::half(link, 1), hand) };
            if !parent.by_proxy {
                // SAFETY: the caller owns the parent.
                let parent = unsafe { parent.process.private() };
                // SAFETY: new, in no set.
                unsafe { parent.hold_half(Link::half(link, 0), hand) };
            }
        }
        if let Some(monitor) = self.monitor {
            if !parent.by_proxy {
                // SAFETY: the caller owns the parent.
                let parent = unsafe { parent.process.private() };
                // SAFETY: new, in no set.
                unsafe { parent.monitors.insert(monitor) };
            }
            // SAFETY: on no list; the share of the target's side goes with it.
            let pushed = unsafe { child.watchers.push(Monitor::watch(monitor)) };
            // Otherwise its share leaks, and nothing else.
            debug_assert!(pushed.is_ok(), "a new list is open");
        }
    }

    /// Sends the parent its sides, by their proxies. The child is published, and not yet queued: whatever comes of it
    /// finds the child before its first instruction. A parent that has died meanwhile has died after the spawn.
    pub(super) fn hand_over(self, parent: &Parent<'_>, hand: &KernelCx<'_>) {
        for proxy in self.proxies.into_iter().flatten() {
            // SAFETY: new, so ours.
            if unsafe { hand.push(parent.process, proxy) } {
                continue;
            }
            // SAFETY: refused, so still ours.
            match unsafe { OwnerOp::open(proxy) } {
                OpKind::Link(link) => {
                    // SAFETY: found closed (P3).
                    let reason = unsafe { parent.process.reason() };
                    // SAFETY: the parent's share, and the only EXIT in its name.
                    unsafe { Link::fire(link, parent.process.pid, hand, &reason) };
                }
                // SAFETY: the watcher's share. Nobody counts it as cancelled: the child fires it, and it reaches nobody.
                OpKind::Monitor(monitor) => unsafe { Monitor::give_up(monitor, hand.pool()) },
                _ => unreachable!("a spawn makes ties"),
            }
        }
    }
}
