//! Cost of finding the process of a pid. `operations` describes the method.

use atropos_benches::measure;
use atropos_benches::operations::LOOKUPS;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, LOOKUPS);
}

criterion_group!(benches, all);
criterion_main!(benches);
