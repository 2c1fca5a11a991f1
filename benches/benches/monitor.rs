//! What do a monitor and a demonitor of a live process cost? See `operations` for how.

use atropos_benches::measure;
use atropos_benches::operations::MONITORS;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, MONITORS);
}

criterion_group!(benches, all);
criterion_main!(benches);
