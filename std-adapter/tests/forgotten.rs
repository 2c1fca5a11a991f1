//! Dead processes take no memory: as many die as live in a long day, and the allocated bytes stay
//! constant.

mod common;

use atropos::facility::{KernelFacilities, LinkFacility as _, SupervisionFacility as _};
use atropos::kernel::Tombstone;
use atropos::prelude::*;
use atropos::{Body, BodyPoll, Cx};

/// The number of processes alive at a time, constant so that the table does not grow.
const AT_A_TIME: usize = 1_000;
/// The number of rounds in each of the three parts: the warm-up, the reference, and the part that
/// is compared with it.
const ROUNDS: usize = 100;
/// How many more bytes a part may leave than the one before: one for each of its dead processes.
/// Memory that waits for an epoch varies (by half a megabyte on the development machine, when a
/// core was preempted), so the least value of a part counts.
const BOUND: isize = (ROUNDS * AT_A_TIME) as isize;

struct Waits;

impl Body for Waits {
    type Message = ();
    fn resume(&mut self, cx: &Cx<'_, ()>) -> BodyPoll {
        while cx.receive().is_some() {}
        BodyPoll::Wait
    }
}

/// Elsewhere tokens were kept for each pid for the scheduler's life, link and monitor sets kept
/// every dead pid, and an evicted tombstone made a monitor report that the process had never
/// existed.
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
    // Their slots were reused long ago, and the runtime still knows that these pids existed: a
    // monitor gets an immediate DOWN.
    for pid in [first[0], first[AT_A_TIME - 1]] {
        assert_eq!(runtime.tombstone(pid), Tombstone::Recycled);
        assert!(native.monitor(watcher.to_raw(), pid.to_raw()).expect("it was").immediate_down);
    }
}
