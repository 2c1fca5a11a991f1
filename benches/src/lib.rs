//! Microbenchmarks of single mechanisms of the kernel.
//!
//! Each is an [`operations::Operation`], which runs any number of times on one core. The measuring
//! thread steps that core, so the figures contain the kernel's cost and not the operating system's
//! thread scheduling. Criterion times the operations (one file in `benches` per question), and
//! `cargo xtask instructions` lets valgrind count their instructions, which repeats exactly. The
//! figures are for comparing two builds on one machine; `atropos-bench` measures workloads, and
//! other systems.

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
            // Lazily allocated memory exists when the clock starts.
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
