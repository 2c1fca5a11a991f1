//! Cost of pushing a node to a mailbox and taking it off, alone on a core. `operations` describes
//! the method.

use atropos_benches::measure;
use atropos_benches::operations::MAILBOXES;
use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    measure(criterion, MAILBOXES);
}

criterion_group!(benches, all);
criterion_main!(benches);
