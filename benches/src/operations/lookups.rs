//! Finding the process of a pid, under a guard that is already held, as within a slice. Not for: a
//! table that is not in the cache.

use std::hint::black_box;

use atropos_kernel::internals::name::find;
use atropos_kernel::{BodyPoll, Pid, Reason};

use super::{Operation, Run};
use crate::core::{Bench, does};

/// Lookups of a live process, and of a dead one.
pub const LOOKUPS: &[Operation] = &[
    Operation { name: "lookup: a live process", make: || lookup(true) },
    Operation { name: "lookup: a dead process", make: || lookup(false) },
];

const PROCESSES: usize = 1024;

fn lookup(live: bool) -> Run {
    let mut bench = Bench::default();
    let body = move || does(move |_| if live { BodyPoll::Wait } else { BodyPoll::Exit(Reason::NORMAL) });
    let pids: Vec<Pid> = (0..PROCESSES).map(|_| bench.spawn(body())).collect();
    bench.run();
    Box::new(move |count| {
        bench.pinned(|kernel, guard| {
            for turn in 0..count {
                let found = find(kernel, pids[turn as usize % PROCESSES], guard);
                assert!(black_box(found).is_some() == live);
            }
        });
    })
}
