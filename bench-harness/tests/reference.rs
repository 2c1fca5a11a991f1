//! The kernel and the sequential model agree on random programs; a program on which they do not is shrunk and printed,
//! with its history. `PROPTEST_CASES` says how many (`cargo xtask model` asks for many).

use std::cell::Cell;
use std::time::Instant;

use atropos_bench::reference::program::Op;
use atropos_bench::reference::{self, Program};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

/// Operations of the longest program.
const LONGEST: usize = 120;

/// A program as its bytes: what shrinks is the number of operations, and each of them to a simpler one.
fn programs() -> impl Strategy<Value = Program> {
    let header = any::<[u8; 4]>();
    let ops = proptest::collection::vec(any::<[u8; 5]>(), 0..=LONGEST);
    (header, ops).prop_map(|(header, ops)| Program::decode(&[&header[..], &ops.concat()].concat()))
}

#[test]
fn a_kernel_takes_all_with_it_that_has_been_waked() {
    let mut program = Program::decode(&[]);
    program.abrupt = true;
    program.ops.push(Op::Settle);
    program.ops.push(Op::Wake(0));
    assert_eq!(reference::run(&program), Ok(()));
}

#[test]
fn the_kernel_agrees_with_the_rules() {
    // Shrinking is cheap here, and a short program is worth much.
    let config = ProptestConfig { failure_persistence: None, max_shrink_iters: 100_000, ..ProptestConfig::default() };
    let (start, count) = (Instant::now(), Cell::new(0_u64));
    let result = TestRunner::new(config).run(&programs(), |program| {
        count.set(count.get() + 1);
        reference::run(&program).map_err(TestCaseError::fail)
    });
    let seconds = start.elapsed().as_secs_f64();
    let count = count.get();
    println!(
        "\nmodel: kernel and rules, 1 to 3 cores: {count} programs of up to {LONGEST} operations in {seconds:.2} s"
    );
    match result {
        Ok(()) => {}
        Err(TestError::Fail(_, program)) => {
            let why = reference::run(&program).err().unwrap_or_else(|| "it did not fail again".into());
            panic!("after {count} programs, shrinking included: {why}");
        }
        Err(error) => panic!("{error}"),
    }
}
