//! Eight threads do 100,000 random operations each on processes of four cores. At the end every
//! monitor was answered once or cancelled, every message received, returned or dropped once, and
//! the memory is freed.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atropos::kernel::MaybeReady;
use atropos::{Body, BodyPoll, Cx, Handle, Pid, Reason, Received, Reference, Runtime, SpawnOptions};

#[derive(Debug, Default)]
struct Counts {
    tokens_made: AtomicUsize,
    tokens_received: AtomicUsize,
    tokens_returned: AtomicUsize,
    tokens_dropped_unread: AtomicUsize,
    monitors_made: AtomicUsize,
    monitors_answered: AtomicUsize,
    monitors_withdrawn: AtomicUsize,
    monitors_ended_with_watcher: AtomicUsize,
    downs_unasked: AtomicUsize,
    monitors_of_the_dead: AtomicUsize,
    bodies_started: AtomicUsize,
    bodies_dropped: AtomicUsize,
    checked: AtomicUsize,
}

impl Counts {
    fn add(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A message that ends in exactly one of three ways.
struct Token {
    counts: Arc<Counts>,
    accounted: bool,
}

impl Token {
    fn new(counts: &Arc<Counts>) -> Self {
        Counts::add(&counts.tokens_made);
        Self { counts: counts.clone(), accounted: false }
    }

    fn end(mut self, counter: impl FnOnce(&Counts) -> &AtomicUsize) {
        self.accounted = true;
        Counts::add(counter(&self.counts));
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.accounted {
            Counts::add(&self.counts.tokens_dropped_unread);
        }
    }
}

enum What {
    Nothing,
    Link(Pid),
    Unlink(Pid),
    Monitor(Pid),
    /// Cancels any of its own monitors, with flush or without.
    Demonitor(bool),
    Trap(bool),
    SpawnLinked,
    Exit(Pid),
    Return,
    Crash,
    /// At the end: checks that all processes that it monitors are alive.
    Check,
}

struct Told {
    token: Token,
    what: What,
}

struct Actor {
    counts: Arc<Counts>,
    monitors: BTreeMap<Reference, Pid>,
}

impl Actor {
    fn new(counts: &Arc<Counts>) -> Self {
        Counts::add(&counts.bodies_started);
        Self { counts: counts.clone(), monitors: BTreeMap::new() }
    }

    fn demonitor(&mut self, cx: &Cx<'_, Told>, flush: bool) {
        let Some((reference, _)) = self.monitors.pop_first() else { return };
        let in_force = cx.demonitor(reference, flush);
        if in_force || flush {
            Counts::add(&self.counts.monitors_withdrawn);
        } else {
            // The DOWN waits in the mailbox, and will be received.
            self.monitors.insert(reference, cx.pid());
        }
    }

    /// Carries out an operation. An error ends the process with that reason.
    fn obey(&mut self, cx: &Cx<'_, Told>, what: What) -> Result<(), Reason> {
        match what {
            What::Nothing => {}
            What::Link(pid) => drop(cx.link(pid)),
            What::Unlink(pid) => cx.unlink(pid),
            What::Monitor(pid) if pid != cx.pid() => {
                if let Ok(reference) = cx.monitor(pid) {
                    Counts::add(&self.counts.monitors_made);
                    self.monitors.insert(reference, pid);
                }
            }
            What::Monitor(_) => {}
            What::Demonitor(flush) => self.demonitor(cx, flush),
            What::Trap(trap) => {
                cx.trap_exit(trap);
            }
            What::SpawnLinked => {
                let spawned = cx.spawn(&SpawnOptions::new().link().monitor(), Self::new(&self.counts));
                if let Ok(spawned) = spawned
                    && let Some(reference) = spawned.monitor
                {
                    Counts::add(&self.counts.monitors_made);
                    self.monitors.insert(reference, spawned.pid);
                }
            }
            What::Exit(pid) => cx.exit(pid, Reason::value("an actor's")).expect("memory"),
            What::Return => return Err(Reason::NORMAL),
            What::Crash => panic!("an actor's bug"),
            What::Check => {
                Counts::add(&self.counts.checked);
                for target in self.monitors.values() {
                    if !matches!(cx.is_alive(*target), Ok(MaybeReady::Ready(true) | MaybeReady::Pending(_))) {
                        Counts::add(&self.counts.monitors_of_the_dead);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Body for Actor {
    type Message = Told;

    fn resume(&mut self, cx: &Cx<'_, Told>) -> BodyPoll {
        while let Some(received) = cx.receive() {
            match received {
                Received::Message(told) => {
                    told.token.end(|counts| &counts.tokens_received);
                    if let Err(reason) = self.obey(cx, told.what) {
                        return BodyPoll::Exit(reason);
                    }
                }
                Received::Down(down) => match self.monitors.remove(&down.reference) {
                    Some(_) => Counts::add(&self.counts.monitors_answered),
                    None => Counts::add(&self.counts.downs_unasked),
                },
                _ => {}
            }
            if cx.is_exhausted() {
                return BodyPoll::Yield;
            }
        }
        BodyPoll::Wait
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        Counts::add(&self.counts.bodies_dropped);
        self.counts.monitors_ended_with_watcher.fetch_add(self.monitors.len(), Ordering::Relaxed);
    }
}

/// A SplitMix64 random number generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % end
    }
}

/// Pids that all threads know.
struct Known([AtomicU64; 256]);

impl Known {
    fn any(&self, random: &mut Random) -> Option<Pid> {
        Pid::from_raw(self.0[random.below(self.0.len())].load(Ordering::Relaxed))
    }
}

fn tell(runtime: &Handle, counts: &Arc<Counts>, to: Pid, what: What) {
    let told = Told { token: Token::new(counts), what };
    if let Err(error) = runtime.send(to, told) {
        error.into_message().token.end(|counts| &counts.tokens_returned);
    }
}

fn host(runtime: &Handle, counts: &Arc<Counts>, known: &Known, seed: u64, operations: usize) {
    let mut random = Random(seed);
    for _ in 0..operations {
        let dice = random.below(100);
        let Some(pid) = known.any(&mut random).filter(|_| dice >= 15) else {
            let actor = runtime.spawn_body(&SpawnOptions::new().trap_exit(random.below(2) == 0), Actor::new(counts));
            let actor = actor.expect("room").pid;
            known.0[random.below(known.0.len())].store(actor.to_raw(), Ordering::Relaxed);
            continue;
        };
        let other = known.any(&mut random).unwrap_or(pid);
        let what = match dice {
            15..30 => What::Nothing,
            30..45 => What::Link(other),
            45..52 => What::Unlink(other),
            52..68 => What::Monitor(other),
            68..78 => What::Demonitor(random.below(2) == 0),
            78..82 => What::Trap(random.below(2) == 0),
            82..86 => What::SpawnLinked,
            86..89 => What::Exit(other),
            89..91 => What::Return,
            91 => What::Crash,
            _ => {
                let reason = [Reason::NORMAL, Reason::KILL, Reason::value("a host's"), Reason::SHUTDOWN];
                runtime.exit(pid, reason[random.below(4)].clone()).expect("memory");
                continue;
            }
        };
        tell(runtime, counts, pid, what);
    }
}

fn come_to_rest(runtime: &Runtime) {
    let end = Instant::now() + Duration::from_secs(120);
    while !runtime.is_quiescent() {
        assert!(Instant::now() < end, "the runtime does not become idle");
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn round(operations: usize, seed: u64) {
    let runtime = Runtime::builder().cores(4).build().expect("threads");
    let counts = Arc::new(Counts::default());
    let known = Known([const { AtomicU64::new(0) }; 256]);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (handle, counts, known) = (runtime.handle(), counts.clone(), &known);
            scope.spawn(move || host(&handle, &counts, known, seed.wrapping_mul(8).wrapping_add(thread), operations));
        }
    });
    come_to_rest(&runtime);
    let survivors = runtime.processes();
    for pid in &survivors {
        tell(&runtime.handle(), &counts, *pid, What::Check);
    }
    come_to_rest(&runtime);
    let n = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!(n(&counts.checked), survivors.len(), "every survivor answers");
    assert_eq!(n(&counts.monitors_of_the_dead), 0, "a live watcher waits for a DOWN that never came");
    assert_eq!(runtime.process_count(), survivors.len());
    assert_eq!(n(&counts.bodies_started) - n(&counts.bodies_dropped), survivors.len());
    // Without a deadline: some processes trap exits, and would have to be killed at one.
    for pid in survivors {
        runtime.exit(pid, Reason::KILL).expect("a kill needs no memory");
    }
    come_to_rest(&runtime);
    runtime.shutdown(Duration::from_secs(600)).expect("all end");

    assert_eq!(n(&counts.bodies_dropped), n(&counts.bodies_started));
    assert_eq!(n(&counts.downs_unasked), 0, "a DOWN after demonitor, or twice");
    assert_eq!(
        n(&counts.monitors_made),
        n(&counts.monitors_answered) + n(&counts.monitors_withdrawn) + n(&counts.monitors_ended_with_watcher),
    );
    assert_eq!(
        n(&counts.tokens_made),
        n(&counts.tokens_received) + n(&counts.tokens_returned) + n(&counts.tokens_dropped_unread),
    );
    println!("{counts:?}");
}

/// Returns `ATROPOS_SEED`, for repeated runs (`cargo xtask sanitize`).
fn seed() -> u64 {
    match std::env::var("ATROPOS_SEED") {
        Ok(seed) => seed.parse().expect("ATROPOS_SEED is a number"),
        Err(_) => 2,
    }
}

#[test]
fn eight_threads_against_four_cores() {
    // The first panic, and the many panics of this test, are not printed.
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"an actor's bug") {
            eprintln!("{panic}");
        }
    }));
    // Allocations that are made once for a program are made before the measurement.
    round(1_000, 1);
    let before = common::bytes();
    let seed = seed();
    println!("ATROPOS_SEED={seed}");
    round(100_000, seed);
    let after = common::bytes();
    println!("allocated before: {before} bytes, after: {after} bytes");
    assert!(after - before < 64 * 1024, "memory grew from {before} to {after} bytes");
}
