//! Cost of starting and cancelling a timer. `operations` describes the method.

use atropos_benches::measure;
use atropos_benches::operations::TIMERS;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, TIMERS);
}

criterion_group!(benches, all);
criterion_main!(benches);
