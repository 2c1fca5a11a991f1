//! A process that passes through a run queue: popped by its core, or stolen by another. Not for:
//! contention, pinned processes.

use std::hint::black_box;
use std::ptr::NonNull;

use atropos_kernel::internals::runq::node::{HeldRunNode, RunNode};
use atropos_kernel::internals::runq::{Local, Queues, Shared};

use super::{Operation, Run};

/// Passages by its own core, and by a thief.
pub const QUEUES: &[Operation] = &[
    Operation { name: "run queue: push, pop", make: || through(false) },
    Operation { name: "run queue: push, steal, pop", make: || through(true) },
];

/// Processes that wait at a time.
const WAITING: usize = 64;

fn through(stolen: bool) -> Run {
    let nodes: Vec<RunNode> = (0..WAITING).map(|_| RunNode::new(1)).collect();
    let (mut own, own_shared) = (<Local>::default(), Shared::new());
    let (mut other, other_shared) = (<Local>::default(), Shared::new());
    Box::new(move |count| {
        let mut left = count;
        while left > 0 {
            let now = left.min(WAITING as u64);
            left -= now;
            // SAFETY: this thread plays both cores, and the parts belong together.
            let mut own = unsafe { Queues::of(&mut own, &own_shared) };
            // SAFETY: this thread plays both cores, and the parts belong together.
            let mut other = unsafe { Queues::of(&mut other, &other_shared) };
            for node in &nodes[..now as usize] {
                // SAFETY: the node is in no queue.
                own.push(unsafe { HeldRunNode::new(NonNull::from(node)) });
            }
            own.end_slice(0);
            let mut taken = 0;
            while taken < now {
                let next = if stolen { other.pop().or_else(|| other.steal(&own_shared)) } else { own.pop() };
                taken += u64::from(black_box(next).is_some());
            }
        }
    })
}
