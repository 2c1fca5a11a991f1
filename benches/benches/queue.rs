//! Cost of a run queue for each process that passes through it, also when it is stolen.
//! `operations` describes the method.

use atropos_benches::measure;
use atropos_benches::operations::QUEUES;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, QUEUES);
}

criterion_group!(benches, all);
criterion_main!(benches);
