//! Cost of waking a waiting process. `operations` describes the method.

use atropos_benches::measure;
use atropos_benches::operations::WAKES;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, WAKES);
}

criterion_group!(benches, all);
criterion_main!(benches);
