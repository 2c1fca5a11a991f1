//! The dead take no memory: as many die as there are processes in a long day, and bytes stay where they were.

mod common;

use atropos::facility::{LinkFacility as _, Native, SupervisionFacility as _};
use atropos::kernel::Dead;
use atropos::prelude::*;
use atropos::{Body, Cx, Resumed};

/// So many at a time, so that the table stays as it is.
const AT_A_TIME: usize = 1_000;
const ROUNDS: usize = 300;
/// What the runtime's own comings and goings take. Forty bytes for each of the dead would be 12 MB.
const BOUND: isize = 512 * 1024;

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
    let native = Native::new(runtime.handle());
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
    for _ in 0..ROUNDS / 10 {
        round();
    }
    let before = common::bytes();
    let mut most = 0;
    for _ in 0..ROUNDS {
        round();
        most = most.max(common::bytes() - before);
    }
    println!("{} have died; bytes grew by {most} at most", AT_A_TIME * ROUNDS);
    assert!(most < BOUND, "memory grew by {most} bytes");
    // They are long forgotten, and it is known still that they were: another can be told so, and a pid of the future not.
    for pid in [first[0], first[AT_A_TIME - 1]] {
        assert_eq!(runtime.tombstone(pid), Dead::Forgotten);
        assert!(native.monitor(watcher.to_raw(), pid.to_raw()).expect("it was").immediate_down);
    }
}
