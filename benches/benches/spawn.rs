//! Cost of a process from its spawn to its end. `operations` describes the method.

use atropos_benches::measure;
use atropos_benches::operations::BIRTHS;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, BIRTHS);
}

criterion_group!(benches, all);
criterion_main!(benches);
