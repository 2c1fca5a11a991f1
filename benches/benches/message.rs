//! Cost of a message, to itself and as a round trip. `operations` describes the method.

use atropos_benches::measure;
use atropos_benches::operations::MESSAGES;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, MESSAGES);
}

criterion_group!(benches, all);
criterion_main!(benches);
