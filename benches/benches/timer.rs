//! What does it cost to start a timer and to cancel it? See `operations` for how.

use atropos_benches::measure;
use atropos_benches::operations::TIMERS;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, TIMERS);
}

criterion_group!(benches, all);
criterion_main!(benches);
