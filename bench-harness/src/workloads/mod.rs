//! The 21 workloads by which this runtime and others are compared.
//!
//! Each is written as somebody would write it who wants it fast and has only the public interface: bodies where all that
//! a process does is to handle what comes, async bodies and servers where it asks and waits. Each counts what it has done
//! and is an error when that is not what was asked for: a fast wrong answer is no result. What is timed is timed inside,
//! by a monotonic clock, around the part that the table names; starting the runtime is never in it.
//!
//! | part | file |
//! | --- | --- |
//! | what is asked, what comes out, and its line of JSON | `ask`, `times`, `outcome` |
//! | the runtime, bodies, waiting for the end | `stage` |
//! | counters, numbers that repeat, resident memory | `tools` |
//! | processes that come and go: `spawn`, `skynet`, `idle_memory` | `births` |
//! | processes that talk in turn: `ping_pong`, `ring`, `big` | `talks` |
//! | one and many: `fan_in`, `fan_out` | `fans` |
//! | requests and replies: `call`, `selective_receive` | `calls` |
//! | `monitor_churn`, `link_churn` | `ties` |
//! | deaths that are told: `down_fanout`, `down_collect` | `downs` |
//! | deaths that are shared: `cascade_chain`, `cascade_star` | `cascades` |
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

/// Which processes a workload has, and so what makes them more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crowd {
    /// Always the same few: others that wait beside them (`--beside`).
    Few(u64),
    /// As many as is said (`--p`).
    Members,
    /// As many as is said, and one operation is about all of them.
    Group,
    /// As many as is done (`--n`).
    Done,
}

/// A workload, its sizes, and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// As it is called everywhere.
    pub name: &'static str,
    /// How much is done when nothing else is said.
    pub n: u64,
    /// How much is done when it has to be quick.
    pub quick: u64,
    /// The number that `--p` says, when nothing else is said, if there is one.
    pub p: Option<u64>,
    /// Its processes.
    pub crowd: Crowd,
    /// In a few words.
    pub what: &'static str,
    run: fn(&Ask) -> Result<Outcome>,
}

macro_rules! workloads {
    ($($name:ident: $run:path, $n:literal, $quick:literal, $p:expr, $crowd:expr, $what:literal;)*) => {
        /// All of them, in the order of their table.
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
    fan_in: fans::fan_in, 2_000_000, 40_000, Some(64), Members, "a message of many to one";
    fan_out: fans::fan_out, 2_000_000, 40_000, Some(1000), Members, "a message of one to many";
    big: talks::big, 2_000_000, 40_000, Some(1000), Members, "a ping and its pong, all to all";
    call: calls::call, 1_000_000, 20_000, Some(64), Members, "a request and its reply, one server";
    skynet: births::skynet, 1_000_000, 10_000, None, Done, "a leaf of a tree of processes";
    monitor_churn: ties::monitor_churn, 1_000_000, 20_000, None, Few(2), "monitor, demonitor";
    link_churn: ties::link_churn, 1_000_000, 20_000, None, Few(2), "link, unlink";
    down_fanout: downs::down_fanout, 100_000, 5_000, None, Done, "a DOWN, one death told to many";
    down_collect: downs::down_collect, 100_000, 5_000, None, Done, "a kill and its DOWN, many deaths told to one";
    cascade_chain: cascades::cascade_chain, 100_000, 5_000, None, Done, "a death that passes on";
    cascade_star: cascades::cascade_star, 100_000, 5_000, None, Done, "a death of many at once";
    restart_one: restarts::restart_one, 100_000, 2_000, None, Few(2), "a child killed and restarted";
    restart_all: restarts::restart_all, 1_000, 50, Some(100), Group, "a group of children restarted";
    timer_churn: timers::timer_churn, 1_000_000, 20_000, None, Few(1), "a timer started and cancelled";
    timer_fire: timers::timer_fire, 100_000, 5_000, None, Few(1), "how late timers come";
    selective_receive: calls::selective_receive, 100_000, 5_000, Some(10_000), Few(2), "a call over a full mailbox";
    hog_latency: hogs::hog_latency, 10_000, 1_000, None, Few(4), "a round trip beside processes that never wait";
}

impl Workload {
    /// How many processes take part that are alive at one time.
    pub fn processes(&self, n: u64, p: Option<u64>) -> u64 {
        match self.crowd {
            Few(few) => few,
            Members | Group => p.or(self.p).unwrap_or(1),
            Done => n,
        }
    }

    /// The one of this name.
    pub fn of(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.name == name)
    }

    /// Runs it, and checks what it has done.
    pub fn run(&self, ask: &Ask) -> Result<Outcome> {
        ensure!(ask.n > 0 && ask.p != Some(0), "there must be something to do");
        (self.run)(ask)
    }
}
