//! A process that is started, runs once and ends. Not for: bodies of any size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atropos_kernel::{BodyPoll, Cx, Pid, Reason, SpawnOptions};

use super::{Operation, Run};
use crate::core::{Bench, does};

/// Spawns alone, and linked.
pub const BIRTHS: &[Operation] = &[
    Operation { name: "spawn, exit", make: || births(SpawnOptions::new()) },
    Operation { name: "spawn linked, exit", make: || births(SpawnOptions::new().link()) },
];

/// Children that are started before they run.
const AT_A_TIME: u64 = 64;

fn births(options: SpawnOptions<'static>) -> Run {
    let mut bench = Bench::default();
    let left = Arc::new(AtomicU64::new(0));
    let todo = left.clone();
    let parent = bench.spawn(does(move |cx: &Cx<'_, Pid>| {
        while cx.receive().is_some() {}
        // Relaxed: one thread does everything.
        let all = todo.load(Ordering::Relaxed);
        let now = all.min(AT_A_TIME);
        todo.store(all - now, Ordering::Relaxed);
        for _ in 0..now {
            cx.spawn(&options, does(|_| BodyPoll::Exit(Reason::NORMAL))).expect("a free slot");
        }
        if all > now { BodyPoll::Yield } else { BodyPoll::Wait }
    }));
    bench.run();
    Box::new(move |count| {
        left.store(count, Ordering::Relaxed);
        bench.host(|host| host.send(parent, parent)).expect("alive");
        bench.run();
    })
}
