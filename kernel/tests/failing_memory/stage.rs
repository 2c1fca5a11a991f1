//! The environment of a scenario: a kernel of one hart with a virtual clock, and the scenario's
//! counters.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atropos_kernel::{Body, BodyPoll, Cx, Limits, Options, Pid, Reason, RunOutcome, SpawnOptions};

use crate::allocator::{self, Refuse};
use crate::common::{self, does};

/// Counters of the promised and the received signals.
#[derive(Default, Debug)]
pub(crate) struct Books {
    /// Number of messages created, and number dropped, wherever they went.
    pub(crate) made: AtomicUsize,
    pub(crate) dropped: AtomicUsize,
    /// Number of signals that successful calls have promised, and number that arrived.
    pub(crate) promised: AtomicUsize,
    pub(crate) came: AtomicUsize,
    /// A number that a scenario needs at its end.
    pub(crate) noted: AtomicUsize,
    /// Number of calls that were refused.
    pub(crate) refused: AtomicUsize,
}

impl Books {
    pub(crate) fn promise(&self, count: usize) {
        self.promised.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn comes(&self) {
        self.came.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call, which promises `count` signals if it succeeded. Returns its result.
    pub(crate) fn promises<T, E>(&self, result: Result<T, E>, count: usize) -> Option<T> {
        match result {
            Ok(value) => {
                self.promise(count);
                Some(value)
            }
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

pub(crate) fn get(count: &AtomicUsize) -> usize {
    count.load(Ordering::Relaxed)
}

/// A message whose creation and drop are counted.
#[derive(Debug)]
pub(crate) struct Letter(&'static Books);

impl Letter {
    pub(crate) fn new(books: &'static Books) -> Self {
        books.made.fetch_add(1, Ordering::Relaxed);
        Self(books)
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Creates a body that only waits.
pub(crate) fn waits() -> impl Body<Message = Letter> {
    does(|cx: &Cx<'_, Letter>| {
        while cx.receive().is_some() {}
        BodyPoll::Wait
    })
}

/// The environment of a scenario. A panic in a body fails the scenario and propagates through the
/// kernel.
pub(crate) struct Stage {
    pub(crate) books: &'static Books,
    stepped: common::Stage,
}

impl Deref for Stage {
    type Target = common::Stage;

    fn deref(&self) -> &common::Stage {
        &self.stepped
    }
}

impl Stage {
    pub(crate) fn new(books: &'static Books) -> Self {
        let limits = Limits { names: 64, ..Limits::default() };
        let world = common::propagates_panics();
        Self { books, stepped: common::Stage::in_world(Options { limits, ..Options::default() }, world) }
    }

    fn run(&mut self) -> RunOutcome {
        self.stepped.cores[0].run(64)
    }

    /// Starts a process that the scenario needs: retries until there is memory, at most a few
    /// times.
    pub(crate) fn start<B: Body>(&self, options: &SpawnOptions<'_>, mut body: impl FnMut() -> B) -> Option<Pid> {
        (0..8).find_map(|_| self.host().spawn(options, body()).ok()).map(|spawned| spawned.pid)
    }

    /// Runs until no work is left at this time, or for so long that a process must be waiting for
    /// memory.
    pub(crate) fn settle(&mut self) {
        for _ in 0..200 {
            if self.run() != RunOutcome::Worked {
                break;
            }
        }
    }

    /// Advances the clock, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.world.now() + time.as_nanos() as u64;
        for _ in 0..200 {
            match self.run() {
                RunOutcome::Idle { until: Some(until) } if until <= end => {
                    self.world.advance_to(until);
                }
                RunOutcome::Idle { .. } => break,
                RunOutcome::Worked => {}
            }
        }
        self.world.advance_to(end);
        self.settle();
    }

    /// Kills all processes. This needs no memory, and so cannot fail.
    fn kill_all(&mut self) {
        let host = self.host();
        for pid in host.processes() {
            assert_eq!(host.exit(pid, Reason::KILL), Ok(true), "a kill failed for lack of memory");
        }
        drop(host);
        self.settle();
    }
}

/// A scenario: its actions while memory fails, and the conditions that hold when memory no longer
/// fails.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The actions, which run under failing memory.
    pub(crate) play: fn(&mut Stage),
    /// The checks, which run with memory available; afterwards all processes are killed.
    pub(crate) check: fn(&mut Stage),
}

/// Number of allocations that fail, at each point.
const COUNTS: [(&str, usize); 3] = [("one", 1), ("three", 3), ("all", usize::MAX)];

/// Runs a scenario with the first allocation refused, then the second, and so on to the last that
/// it makes.
pub(crate) fn sweep(scenario: &Scenario) {
    for (shown, count) in COUNTS {
        let (mut point, mut refused) = (0, 0);
        loop {
            point += 1;
            let (reached, errors) = attempt(scenario, Refuse::From(point, count));
            refused += errors;
            if !reached {
                break;
            }
            assert!(point < 100_000, "{} has no end", scenario.name);
        }
        println!(
            "failing memory: {:<12} {shown:>5} from each of {:>5} points, {refused:>6} calls refused",
            scenario.name,
            point - 1
        );
        assert!(point > 1, "{} allocates nothing", scenario.name);
    }
}

/// Runs a scenario once. Returns whether the refusal was reached, and how many calls were refused.
fn attempt(scenario: &Scenario, refuse: Refuse) -> (bool, usize) {
    // Leaked, except for this pointer: the bodies then need no reference count, whose allocation
    // would be one more point.
    let books = Box::into_raw(Box::<Books>::default());
    // SAFETY: freed below, when all users of the reference are gone.
    let shared: &'static Books = unsafe { &*books };
    let before = allocator::live();
    let mut stage = Stage::new(shared);

    allocator::refuse(refuse);
    (scenario.play)(&mut stage);
    let Refuse::From(first, count) = refuse else { unreachable!() };
    let reached = if count == usize::MAX {
        // The cleanup works without memory as well: an exit must not need any.
        let asked = allocator::refuse(Refuse::From(1, usize::MAX));
        let kept = stage.host().processes().next();
        if first.is_multiple_of(2) {
            stage.kill_all();
            assert_eq!(stage.kernel.process_count(), 0, "{}: {kept:?} outlived its kill", scenario.name);
        }
        asked >= first
    } else {
        allocator::refuse(Refuse::Nothing) >= first
    };
    allocator::refuse(Refuse::Nothing);
    if stage.kernel.process_count() > 0 {
        (scenario.check)(&mut stage);
        stage.kill_all();
    }
    assert_eq!(stage.kernel.process_count(), 0, "{}, {refuse:?}: processes are left", scenario.name);
    assert_eq!(stage.kernel.nodes_used(), 0, "{}, {refuse:?}: nodes are left", scenario.name);
    drop(stage);
    assert_eq!(get(&shared.made), get(&shared.dropped), "{}, {refuse:?}: messages lost or duplicated", scenario.name);
    assert_eq!(allocator::live() - before, 0, "{}, {refuse:?}: bytes are left", scenario.name);
    let refused = get(&shared.refused);
    // SAFETY: `Box::into_raw` above created the pointer, and all users of the reference are gone.
    drop(unsafe { Box::from_raw(books) });
    (reached, refused)
}
