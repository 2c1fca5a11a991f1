//! A node that passes through a mailbox, alone on a core. Not for: contention, allocation (the
//! nodes exist already), waking.

use std::hint::black_box;
use std::ptr::NonNull;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::mailbox::{Mailbox, Pushed};
use atropos_kernel::internals::memory::pool::Pool;
use atropos_kernel::internals::signal::held::HeldNode;
use atropos_kernel::internals::signal::node::{Node, SignalKind};

use super::{Operation, Run};

/// One node at a time, and many at a time.
pub const MAILBOXES: &[Operation] = &[
    Operation { name: "mailbox: push, take", make: || through(1) },
    Operation { name: "mailbox: push, take with 99 others", make: || through(100) },
];

/// Releases nothing: the benchmark owns the nodes.
unsafe fn nothing(_: NonNull<Node>, _: Option<&Pool>) {}

fn through(batch: u64) -> Run {
    let mailbox = Mailbox::<Shipped>::new();
    let nodes: Vec<Node> = (0..batch).map(|_| Node::new(SignalKind::Message, nothing)).collect();
    Box::new(move |count| {
        let mut left = count;
        while left > 0 {
            let now = left.min(batch);
            left -= now;
            for node in &nodes[..now as usize] {
                // SAFETY: the node is in no mailbox, and outlives its stay in this one. Nothing
                // comes with it, since its release does nothing.
                let node = unsafe { HeldNode::from_raw(NonNull::from(node)) };
                assert!(mailbox.push(node).is_ok_and(|pushed| pushed == Pushed::Quiet));
            }
            for node in mailbox.take().into_fifo() {
                black_box(node.into_raw());
            }
            mailbox.end_fetch();
        }
    })
}
