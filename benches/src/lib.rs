//! What single mechanisms of the kernel cost.
//!
//! Each is an [`operations::Operation`], which can be done any number of times on one core that is stepped by the thread that
//! measures, so that what is measured is the kernel and not the operating system's way with threads. Criterion times them (one
//! file in `benches` for one question), and `cargo xtask instructions` has valgrind count their instructions, which repeats
//! exactly. The figures are for comparing two builds on one machine; workloads, and other systems, are measured by `atropos-bench`.

mod core;
pub mod operations;

use criterion::{Criterion, Throughput};
use operations::Operation;

/// Times operations, each by itself.
pub fn measure(criterion: &mut Criterion, operations: &[Operation]) {
    for operation in operations {
        let mut group = criterion.benchmark_group(operation.name);
        group.throughput(Throughput::Elements(1));
        group.bench_function("1", |bencher| {
            let mut run = (operation.make)();
            // What is allocated lazily is there when the clock starts.
            run(1000);
            bencher.iter_custom(|times| {
                let begun = std::time::Instant::now();
                run(times);
                begun.elapsed()
            });
        });
        group.finish();
    }
}
