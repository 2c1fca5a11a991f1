//! What does it cost to push a node on a mailbox and to take it off, alone on a core? Not for: contention, memory (the
//! nodes are there already), waking.

use std::hint::black_box;
use std::ptr::NonNull;

use atropos_kernel::internals::mailbox::{Mailbox, Pushed, Real};
use atropos_kernel::internals::signal::node::{Kind, Node};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// The nodes are the bench's own.
unsafe fn nothing(_: NonNull<Node>) {}

fn push_and_take(criterion: &mut Criterion) {
    for count in [1_usize, 100] {
        criterion.bench_function(&format!("mailbox/push {count}, take"), |bencher| {
            let mailbox = Mailbox::<Real>::new();
            bencher.iter_batched_ref(
                || (0..count).map(|_| Node::new(Kind::Message, nothing)).collect::<Vec<_>>(),
                |nodes| {
                    for node in nodes.iter() {
                        // SAFETY: new, and outlives its time in the mailbox.
                        let pushed = unsafe { mailbox.push(NonNull::from(node)) };
                        assert!(pushed == Pushed::Quiet);
                    }
                    for node in mailbox.take().into_fifo() {
                        black_box(node);
                    }
                    mailbox.settle();
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, push_and_take);
criterion_main!(benches);
