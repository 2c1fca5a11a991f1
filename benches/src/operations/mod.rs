//! The measured operations.
//!
//! | operations | file |
//! | --- | --- |
//! | a node through a mailbox | `mailboxes` |
//! | a pid to its process | `lookups` |
//! | monitor and demonitor, link and unlink | `ties` |
//! | spawn and exit | `births` |
//! | a process through a run queue | `queues` |
//! | a timer started and cancelled | `timers` |
//! | a waker, and messages that wake | `wakes` |

mod births;
mod lookups;
mod mailboxes;
mod queues;
mod ties;
mod timers;
mod wakes;

pub use births::BIRTHS;
pub use lookups::LOOKUPS;
pub use mailboxes::MAILBOXES;
pub use queues::QUEUES;
pub use ties::{LINKS, MONITORS};
pub use timers::TIMERS;
pub use wakes::{MESSAGES, WAKES};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atropos_kernel::{BodyPoll, Cx, Pid};

use crate::core::{Bench, does};

/// A closure that runs the operation the given number of times.
pub type Run = Box<dyn FnMut(u64)>;

/// An operation of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name, in words.
    pub name: &'static str,
    /// Makes everything that the operation needs.
    pub make: fn() -> Run,
}

/// Returns all operations.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    [MAILBOXES, LOOKUPS, MONITORS, LINKS, BIRTHS, QUEUES, TIMERS, WAKES, MESSAGES].into_iter().flatten()
}

/// Starts a process that waits.
fn sleeper(bench: &mut Bench) -> Pid {
    let pid = bench.spawn(does(|_| BodyPoll::Wait));
    bench.run();
    pid
}

/// Returns an operation of a process on another, waiting process, all in one slice. The process
/// runs `before` before the first operation.
fn of_process(
    before: impl Fn(&Cx<'_, Pid>) + Send + 'static,
    operation: impl Fn(&Cx<'_, Pid>, Pid) + Send + 'static,
) -> Run {
    let mut bench = Bench::default();
    let target = sleeper(&mut bench);
    let times = Arc::new(AtomicU64::new(0));
    let (todo, mut begun) = (times.clone(), false);
    let actor = bench.spawn(does(move |cx| {
        if !std::mem::replace(&mut begun, true) {
            before(cx);
        }
        while cx.receive().is_some() {
            // Relaxed: one thread does everything.
            for _ in 0..todo.load(Ordering::Relaxed) {
                operation(cx, target);
            }
        }
        BodyPoll::Wait
    }));
    bench.run();
    Box::new(move |count| {
        times.store(count, Ordering::Relaxed);
        bench.host(|host| host.send(actor, target)).expect("alive");
        bench.run();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_runs_repeatedly() {
        for operation in all() {
            let mut run = (operation.make)();
            for times in [1, 0, 300] {
                run(times);
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|operation| operation.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
