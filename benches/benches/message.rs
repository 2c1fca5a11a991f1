//! What does a message cost, to itself and there and back? See `operations` for how.

use atropos_benches::measure;
use atropos_benches::operations::MESSAGES;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, MESSAGES);
}

criterion_group!(benches, all);
criterion_main!(benches);
