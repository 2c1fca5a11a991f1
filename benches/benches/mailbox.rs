//! What does it cost to push a node on a mailbox and to take it off, alone on a core? See `operations` for how.

use atropos_benches::measure;
use atropos_benches::operations::MAILBOXES;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, MAILBOXES);
}

criterion_group!(benches, all);
criterion_main!(benches);
