//! Compares the kernel with the sequential model on random programs. A program on which they
//! disagree is shrunk and printed with its history. `PROPTEST_CASES` sets the number of programs
//! (`cargo xtask model` runs many).

use std::cell::Cell;
use std::time::Instant;

use atropos_reference::program::Op;
use atropos_reference::{Program, run};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

/// The number of operations of the longest program.
const LONGEST: usize = 120;

/// Generates programs from bytes. Shrinking reduces the number of operations, and simplifies each
/// one.
fn programs() -> impl Strategy<Value = Program> {
    let header = any::<[u8; 4]>();
    let ops = proptest::collection::vec(any::<[u8; 5]>(), 0..=LONGEST);
    (header, ops).prop_map(|(header, ops)| Program::decode(&[&header[..], &ops.concat()].concat()))
}

#[test]
fn a_dropped_kernel_drops_a_process_that_was_woken() {
    let mut program = Program::decode(&[]);
    program.abrupt = true;
    program.ops.push(Op::Settle);
    program.ops.push(Op::Wake(0));
    assert_eq!(run(&program), Ok(()));
}

#[test]
fn the_kernel_agrees_with_the_rules() {
    // Shrinking is cheap here, and a short program is valuable.
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 100_000, ..ProptestConfig::default() };
    let (start, count) = (Instant::now(), Cell::new(0_u64));
    let result = TestRunner::new(config).run(&programs(), |program| {
        count.set(count.get() + 1);
        run(&program).map_err(TestCaseError::fail)
    });
    let seconds = start.elapsed().as_secs_f64();
    let count = count.get();
    println!(
        "\nmodel: kernel and rules, 1 to 3 cores: {count} programs of up to {LONGEST} operations in {seconds:.2} s"
    );
    match result {
        Ok(()) => {}
        Err(TestError::Fail(_, program)) => {
            let why = run(&program).err().unwrap_or_else(|| "it did not fail again".into());
            panic!("after {count} programs, shrinking included: {why}");
        }
        Err(error) => panic!("{error}"),
    }
}
