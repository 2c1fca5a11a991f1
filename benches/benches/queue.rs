//! What does a run queue cost for each process that goes through it, also when it is stolen? See `operations` for how.

use atropos_benches::measure;
use atropos_benches::operations::QUEUES;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, QUEUES);
}

criterion_group!(benches, all);
criterion_main!(benches);
