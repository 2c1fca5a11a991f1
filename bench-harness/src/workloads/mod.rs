//! The 21 workloads that compare this runtime with others.
//!
//! Each is written for speed with only the public interface. A process that only handles messages
//! is a body; a process that calls and waits is an async body or a server. Each workload counts its
//! operations and returns an error if the count is wrong: a fast wrong answer is no result. The
//! timed part is measured inside, by a monotonic clock, around the part that the table names. It
//! never includes the start of the runtime.
//!
//! | part | file |
//! | --- | --- |
//! | the parameters, the result, and its line of JSON | `ask`, `times`, `outcome` |
//! | the runtime, bodies, waiting for the end | `stage` |
//! | counters, repeatable random numbers, resident memory | `tools` |
//! | short-lived processes: `spawn`, `skynet`, `idle_memory` | `births` |
//! | processes that take turns: `ping_pong`, `ring`, `big` | `talks` |
//! | one and many: `fan_in`, `fan_out` | `fans` |
//! | requests and replies: `call`, `selective_receive` | `calls` |
//! | `monitor_churn`, `link_churn` | `ties` |
//! | DOWN messages: `down_fanout`, `down_collect` | `downs` |
//! | exit propagation: `cascade_chain`, `cascade_star` | `cascades` |
//! | `restart_one`, `restart_all` | `restarts` |
//! | `timer_churn`, `timer_fire` | `timers` |
//! | `hog_latency` | `hogs` |

mod ask;
mod births;
mod calls;
mod cascades;
mod downs;
mod fans;
mod hogs;
mod outcome;
mod restarts;
mod stage;
mod talks;
mod ties;
mod timers;
mod times;
pub mod tools;

use anyhow::{Result, ensure};

use Crowd::{Done, Few, Group, Members};
pub use ask::Ask;
pub use outcome::{Line, Outcome};
pub use times::{Latencies, Times};

/// The processes of a workload, and so the parameter that increases their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crowd {
    /// Always the same few. Additional processes wait beside them (`--beside`).
    Few(u64),
    /// A given number (`--p`).
    Members,
    /// A given number (`--p`), and one operation involves all of them.
    Group,
    /// As many as operations (`--n`).
    Done,
}

/// A workload, its sizes, and its description.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The name, in results and on the command line.
    pub name: &'static str,
    /// The default number of operations.
    pub n: u64,
    /// The number of operations in a quick run.
    pub quick: u64,
    /// The default of `--p`, if the workload has that parameter.
    pub p: Option<u64>,
    /// The workload's processes.
    pub crowd: Crowd,
    /// A description in a few words.
    pub what: &'static str,
    run: fn(&Ask) -> Result<Outcome>,
}

macro_rules! workloads {
    ($($name:ident: $run:path, $n:literal, $quick:literal, $p:expr, $crowd:expr, $what:literal;)*) => {
        /// All workloads, in the order of their table.
        pub const ALL: &[Workload] = &[$(
            Workload {
                name: stringify!($name), n: $n, quick: $quick, p: $p, crowd: $crowd, what: $what, run: $run,
            },
        )*];
    };
}

workloads! {
    spawn: births::spawn, 1_000_000, 20_000, None, Few(1), "a process starts, counts and ends";
    idle_memory: births::idle_memory, 100_000, 10_000, None, Done, "resident bytes of a process that waits";
    ping_pong: talks::ping_pong, 1_000_000, 20_000, None, Few(2), "a round trip of two processes";
    ring: talks::ring, 1_000_000, 20_000, Some(1000), Members, "a hop of a token in a ring";
    fan_in: fans::fan_in, 2_000_000, 40_000, Some(64), Members, "a message, many senders to one receiver";
    fan_out: fans::fan_out, 2_000_000, 40_000, Some(1000), Members, "a message, one sender to many receivers";
    big: talks::big, 2_000_000, 40_000, Some(1000), Members, "a ping and its pong, all to all";
    call: calls::call, 1_000_000, 20_000, Some(64), Members, "a request and its reply, one server";
    skynet: births::skynet, 1_000_000, 10_000, None, Done, "a leaf of a tree of processes";
    monitor_churn: ties::monitor_churn, 1_000_000, 20_000, None, Few(2), "monitor, demonitor";
    link_churn: ties::link_churn, 1_000_000, 20_000, None, Few(2), "link, unlink";
    down_fanout: downs::down_fanout, 100_000, 5_000, None, Done, "a DOWN, one death with many watchers";
    down_collect: downs::down_collect, 100_000, 5_000, None, Done, "a kill and its DOWN, many deaths with one watcher";
    cascade_chain: cascades::cascade_chain, 100_000, 5_000, None, Done, "a death in a chain of links";
    cascade_star: cascades::cascade_star, 100_000, 5_000, None, Done, "a death by the exit of a common link";
    restart_one: restarts::restart_one, 100_000, 2_000, None, Few(2), "a child killed and restarted";
    restart_all: restarts::restart_all, 1_000, 50, Some(100), Group, "a group of children restarted";
    timer_churn: timers::timer_churn, 1_000_000, 20_000, None, Few(1), "a timer started and cancelled";
    timer_fire: timers::timer_fire, 100_000, 5_000, None, Few(1), "how late timers fire";
    selective_receive: calls::selective_receive, 100_000, 5_000, Some(10_000), Few(2), "a call over a full mailbox";
    hog_latency: hogs::hog_latency, 10_000, 1_000, None, Few(4), "a round trip beside processes that never wait";
}

impl Workload {
    /// Returns the number of the workload's processes that are alive at one time.
    pub fn processes(&self, n: u64, p: Option<u64>) -> u64 {
        match self.crowd {
            Few(few) => few,
            Members | Group => p.or(self.p).unwrap_or(1),
            Done => n,
        }
    }

    /// Returns the workload with this name.
    pub fn of(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.name == name)
    }

    /// Runs the workload, and checks its result.
    pub fn run(&self, ask: &Ask) -> Result<Outcome> {
        ensure!(ask.n > 0 && ask.p != Some(0), "n and p must be positive");
        (self.run)(ask)
    }
}
