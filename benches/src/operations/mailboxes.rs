//! A node through a mailbox, alone on a core. Not for: contention, memory (the nodes are there already), waking.

use std::hint::black_box;
use std::ptr::NonNull;

use atropos_kernel::internals::mailbox::{Mailbox, Pushed, Shipped};
use atropos_kernel::internals::memory::pool::Pool;
use atropos_kernel::internals::signal::node::{SignalKind, Node};

use super::{Operation, Run};

/// One at a time, and many at a time.
pub const MAILBOXES: &[Operation] = &[
    Operation { name: "mailbox: push, take", make: || through(1) },
    Operation { name: "mailbox: push, take with 99 others", make: || through(100) },
];

/// The nodes are the bench's own.
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
                // SAFETY: in no mailbox, and it outlives its time in this one.
                let pushed = unsafe { mailbox.push(NonNull::from(node)) };
                assert!(pushed == Pushed::Quiet);
            }
            for node in mailbox.take().into_fifo() {
                black_box(node);
            }
            mailbox.settle();
        }
    })
}
