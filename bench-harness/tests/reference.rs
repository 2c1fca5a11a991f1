//! The kernel and the sequential model agree on random programs; a program on which they do not is shrunk and printed.
//! `PROPTEST_CASES` says how many (`cargo xtask model` asks for many).

use atropos_bench::reference::program::Op;
use atropos_bench::reference::{self, Program};
use proptest::prelude::*;

/// A program as its bytes: what shrinks is the number of operations, and each of them to a simpler one.
fn programs() -> impl Strategy<Value = Program> {
    let header = any::<[u8; 4]>();
    let ops = proptest::collection::vec(any::<[u8; 5]>(), 0..120);
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_agrees_with_the_rules(program in programs()) {
        if let Err(why) = reference::run(&program) {
            return Err(TestCaseError::fail(why));
        }
    }
}
