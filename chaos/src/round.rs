//! A round: it makes runtimes, lets everything act on them, ends them, and checks that the accounts
//! balance.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use atropos::kernel::Limits;
use atropos::{Reason, Runtime};

use crate::actor::{Checked, Told, What};
use crate::classes::{Class, Classes};
use crate::ledger::{Ledger, count, n};
use crate::random::Random;
use crate::services;
use crate::watchdog::Watchdog;
use crate::world::{Bag, ChaosWorld, Graveyard, NAMES};
use crate::{beside, host, strangers};

/// The parameters of a round.
pub(crate) struct Asked {
    pub(crate) seed: u64,
    pub(crate) cores: Option<usize>,
    pub(crate) classes: Classes,
}

/// The outcome of a round.
pub(crate) struct Outcome {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) cores: Vec<usize>,
    pub(crate) wrong: Vec<String>,
}

/// Longest time that a certain event may take: machines are busy, and sanitizers are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays a round.
pub(crate) fn play(asked: &Asked, watchdog: &Watchdog, yard: &Arc<Graveyard>) -> Outcome {
    let mut random = Random::new(asked.seed);
    let ledger = Arc::<Ledger>::default();
    let cores = (0..1 + usize::from(asked.classes.has(Class::Twin) && random.once_in(2)))
        .map(|_| asked.cores.unwrap_or_else(|| random.one_of(&[1, 2, 4])))
        .collect::<Vec<_>>();
    let tokio = asked.classes.has(Class::Tokio).then(|| {
        let threads = 1 + random.below(2);
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_time().build().expect("threads")
    });
    watchdog.phase("the start");
    let start = watchdog.pulse("the start".into());
    let mut all = Vec::new();
    for cores in &cores {
        all.push(make(asked, &mut random, *cores, &ledger, tokio.as_ref(), yard, watchdog));
    }
    start.end();
    watchdog.phase("everything acts");
    run(asked, &mut random, &all, tokio.as_ref(), watchdog);
    let mut wrong = Vec::new();
    if !random.once_in(3) {
        watchdog.phase("everything becomes idle");
        let pulse = watchdog.pulse("the idle phase".into());
        all.iter().for_each(|(_, world)| rest(world));
        pulse.end();
    }
    for (runtime, world) in all {
        end(runtime, &world, watchdog, &mut wrong);
    }
    watchdog.phase("Tokio's end");
    let last = watchdog.pulse("Tokio's end".into());
    drop(tokio);
    last.end();
    wrong.extend(ledger.faults());
    // A value that another thread is about to destroy is destroyed soon; a lost value never is.
    let until = Instant::now() + Duration::from_secs(5);
    while !ledger.balance().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    wrong.extend(ledger.balance());
    watchdog.forget();
    Outcome { ledger, cores, wrong }
}

fn make(
    asked: &Asked,
    random: &mut Random,
    cores: usize,
    ledger: &Arc<Ledger>,
    tokio: Option<&tokio::runtime::Runtime>,
    yard: &Arc<Graveyard>,
    watchdog: &Watchdog,
) -> (Runtime, Arc<ChaosWorld>) {
    let limits = Limits { processes: 4_096, names: 256, timers: 4_096, nodes: 1 << 20, ..Limits::default() };
    let (lost, callbacks) = (ledger.clone(), ledger.clone());
    let mut builder = Runtime::builder()
        .cores(cores)
        .limits(limits)
        .tombstones(random.once_in(2))
        .spin(random.time(50))
        .blocking_threads(4)
        .on_unhandled_panic(move |_| count(&lost.lost_panics))
        .on_callback_panic(move |_| count(&callbacks.callback_panics));
    let in_tokio = tokio.filter(|_| random.once_in(2));
    if let Some(tokio) = in_tokio {
        builder = builder.tokio(tokio.handle().clone());
    }
    let runtime = builder.build().expect("threads");
    watchdog.runtime(runtime.handle());
    let world = Arc::new(ChaosWorld {
        classes: asked.classes,
        ledger: ledger.clone(),
        handle: runtime.handle(),
        known: [const { AtomicU64::new(0) }; _],
        aliases: Bag::new(),
        requests: Bag::new(),
        thief: OnceLock::new(),
        graveyard: yard.clone(),
        in_tokio: in_tokio.is_some(),
        stop: AtomicBool::new(false),
    });
    if world.has(Class::Foreign) {
        strangers::haunt(&world, random);
    }
    runtime.start_supervisor(services::tree(&world)).expect("the tree must start");
    (runtime, world)
}

/// Lets everything act. In the end nothing acts, or the runtimes are shut down in the middle of it.
fn run(
    asked: &Asked,
    random: &mut Random,
    all: &[(Runtime, Arc<ChaosWorld>)],
    tokio: Option<&tokio::runtime::Runtime>,
    watchdog: &Watchdog,
) {
    let worlds: Vec<_> = all.iter().map(|(_, world)| world.clone()).collect();
    let cut = asked.classes.has(Class::Cut) && random.once_in(3);
    let cut_after = random.time(300_000);
    let acts = 200 + random.below(2_500);
    let threads = 1 + random.below(3);
    let (mut tasks, mut hearts) = (Vec::new(), Vec::new());
    let acting = AtomicUsize::new(threads * worlds.len());
    std::thread::scope(|scope| {
        for (number, world) in worlds.iter().enumerate() {
            let pulse = watchdog.pulse(format!("the heart of runtime {number}"));
            host::heart(world, pulse.clone());
            hearts.push(pulse);
            if asked.classes.has(Class::Elsewhere) {
                let (random, acting) = (Random::new(random.next()), &acting);
                scope.spawn(move || host::steal(world, random, || n(acting) > 0));
            }
            for thread in 0..threads {
                let (random, worlds, acting) = (Random::new(random.next()), &worlds, &acting);
                let pulse = watchdog.pulse(format!("thread {thread} of runtime {number}"));
                scope.spawn(move || {
                    host::act(world, worlds, random, acts, &pulse);
                    pulse.end();
                    acting.fetch_sub(1, Ordering::SeqCst);
                });
            }
            if let Some(tokio) = tokio {
                for task in 0..3 {
                    let (world, random) = (world.clone(), Random::new(random.next()));
                    let watch = watchdog.pulse(format!("task {task} of Tokio for runtime {number}"));
                    tasks.push(tokio.spawn(async move {
                        beside::act(world, random, acts / 8, watch.clone()).await;
                        watch.end();
                    }));
                }
            }
        }
        if cut {
            std::thread::sleep(cut_after);
            hearts.iter().for_each(|heart| heart.end());
            worlds.iter().for_each(|world| world.stop.store(true, Ordering::SeqCst));
        }
    });
    if let Some(tokio) = tokio {
        for task in tasks {
            if let Err(error) = tokio.block_on(task) {
                worlds[0].ledger.fault(format!("a task of Tokio's: {error}"));
            }
        }
    }
    // The heartbeats last until the round is over, and are not watched from now on.
    hearts.iter().for_each(|heart| heart.end());
    worlds.iter().for_each(|world| world.stop.store(true, Ordering::SeqCst));
}

/// Waits until the runtime is idle, and makes every actor check the signals that it waits for.
fn rest(world: &Arc<ChaosWorld>) {
    let (mut quiet, mut last) = (Instant::now(), None);
    while quiet.elapsed() < Duration::from_millis(150) {
        // These counters include every wake-up, death and message of an actor.
        let now = (world.handle.is_quiescent(), n(&world.ledger.acts), n(&world.ledger.tokens_received));
        if last != Some(now) || !now.0 {
            (quiet, last) = (Instant::now(), Some(now));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let pids = world.handle.processes();
    for pid in pids {
        count(&world.ledger.checks_made);
        world.tell(pid, Told::new(world, What::Check(Checked(world.ledger.clone()))));
    }
    // The watchdog ends the program if this never ends.
    while n(&world.ledger.checks_over) < n(&world.ledger.checks_made) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends a runtime, and checks what it leaves.
fn end(runtime: Runtime, world: &Arc<ChaosWorld>, watchdog: &Watchdog, wrong: &mut Vec<String>) {
    let handle = world.handle.clone();
    let mut random = Random::new(n(&world.ledger.acts) as u64);
    watchdog.phase("a runtime's end");
    let pulse = watchdog.pulse("a runtime's end".into());
    let exits = world.has(Class::Exits).then(|| handle.exits(1 << 16));
    let reader = exits.map(|exits| {
        let world = world.clone();
        std::thread::spawn(move || host::read(&world, exits))
    });
    if random.once_in(2) {
        // Kills every process but the tree, which must live on.
        for pid in handle.processes() {
            let _ = handle.exit(pid, Reason::value("the end"));
        }
    }
    if let Err(error) = runtime.shutdown(if random.once_in(2) { random.time(50_000) } else { Duration::from_secs(30) })
    {
        // A process that did not end in time ends soon after.
        let until = Instant::now() + PATIENCE;
        while !handle.kernel().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        if !handle.kernel().is_empty() {
            wrong.push(format!("a shutdown: {error}; {} processes are left", handle.process_count()));
        }
    }
    if let Some(reader) = reader {
        let _ = reader.join();
    }
    for requested in world.requests.empty() {
        host::catch_panic(world, || drop(requested));
    }
    pulse.end();
    let names = (0..NAMES).map(|number| format!("n{number}")).chain(services::names().map(str::to_owned));
    for name in names {
        if let Some(pid) = handle.whereis(&name) {
            wrong.push(format!("the name {name:?} still belongs to {pid} after the end"));
        }
    }
    if !handle.kernel().is_empty() {
        wrong.push(format!("{} processes are counted after the end", handle.process_count()));
    }
    // The epochs return retired memory, and advance only while they are used.
    let until = Instant::now() + Duration::from_secs(10);
    while handle.kernel().nodes_used() > 0 && Instant::now() < until {
        (0..512).for_each(|_| _ = handle.whereis("nothing"));
        std::thread::sleep(Duration::from_millis(1));
    }
    if handle.kernel().nodes_used() > 0 {
        wrong.push(format!("{} nodes are counted after the end", handle.kernel().nodes_used()));
    }
}
