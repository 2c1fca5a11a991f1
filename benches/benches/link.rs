//! Cost of link and unlink of a live process. `operations` describes the method.

use atropos_benches::measure;
use atropos_benches::operations::LINKS;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, LINKS);
}

criterion_group!(benches, all);
criterion_main!(benches);
