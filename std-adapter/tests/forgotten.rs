//! The dead take no memory: as many die as there are processes in a long day, and bytes stay where they were.

mod common;

use atropos::facility::{LinkFacility as _, KernelFacilities, SupervisionFacility as _};
use atropos::kernel::Tombstone;
use atropos::prelude::*;
use atropos::{Body, Cx, Resumed};

/// So many at a time, so that the table stays as it is.
const AT_A_TIME: usize = 1_000;
/// In each of the three parts: to warm up, the one that is compared with, the one that is compared.
const ROUNDS: usize = 100;
/// What may be left more by a part than by the one before: a byte for each of its dead. What waits for an epoch comes and
/// goes (half a megabyte here, when a core was preempted), so the least of a part is what is kept.
const BOUND: isize = (ROUNDS * AT_A_TIME) as isize;

struct Waits;

impl Body for Waits {
    type Message = ();
    fn resume(&mut self, cx: &Cx<'_, ()>) -> Resumed {
        while cx.receive().is_some() {}
        Resumed::Wait
    }
}

/// Elsewhere tokens were kept for each pid for the scheduler's life, link and monitor sets kept every dead pid, and a tombstone
/// that was evicted made a monitor say that the process never was.
#[test]
fn fault_2_3_e_nothing_is_kept_for_a_pid() {
    let runtime = Runtime::builder().cores(2).tombstones(true).build().expect("threads");
    let watcher = runtime.spawn_body(&SpawnOptions::new().trap_exit(true), Waits).expect("room").pid;
    let native = KernelFacilities::new(runtime.handle());
    let round = || {
        let pids: Vec<Pid> =
            (0..AT_A_TIME).map(|_| runtime.spawn_body(&SpawnOptions::new(), Waits).expect("room").pid).collect();
        for pid in &pids {
            native.link(watcher.to_raw(), pid.to_raw()).expect("both live");
            native.monitor(watcher.to_raw(), pid.to_raw()).expect("both live");
            runtime.on_exit(*pid, |_| ()).expect("a watch");
        }
        for pid in &pids {
            runtime.exit(*pid, Reason::KILL).expect("a kill");
        }
        while runtime.processes().len() > 1 || !runtime.is_quiescent() {
            std::thread::yield_now();
        }
        pids
    };
    let first = round();
    let least_of_a_part = || {
        let after_rounds = (0..ROUNDS).map(|_| {
            round();
            common::bytes()
        });
        after_rounds.min().expect("rounds")
    };
    least_of_a_part();
    let before = least_of_a_part();
    let grown = least_of_a_part() - before;
    println!("{} more have died; bytes grew by {grown}", AT_A_TIME * ROUNDS);
    assert!(grown < BOUND, "memory grew by {grown} bytes");
    // They are long forgotten, and it is known still that they were: another can be told so, and a pid of the future not.
    for pid in [first[0], first[AT_A_TIME - 1]] {
        assert_eq!(runtime.tombstone(pid), Tombstone::Recycled);
        assert!(native.monitor(watcher.to_raw(), pid.to_raw()).expect("it was").immediate_down);
    }
}
