//! The actions of host threads, and the thread that reads the stream of exits.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use atropos::kernel::{RequestError, RequestFuture};
use atropos::otp::ServerRef;
use atropos::{ExitEvent, ExitStream, Pid, Reason, SpawnOptions, WaitError, block_on};

use crate::actor::{self, Me, Told, What};
use crate::classes::Class;
use crate::inside::{ask_of_server, options, returned};
use crate::ledger::{Kind, PLANNED, Tracked, count};
use crate::random::Random;
use crate::services::{self, Ask, Service, tally};
use crate::watchdog::Pulse;
use crate::world::ChaosWorld;

/// Acts from outside, `acts` times or until the round is over.
pub(crate) fn act(world: &Arc<ChaosWorld>, others: &[Arc<ChaosWorld>], mut random: Random, acts: usize, pulse: &Pulse) {
    for _ in 0..acts {
        if world.is_over() {
            return;
        }
        pulse.beat();
        count(&world.ledger.acts);
        catch_panic(world, || one(world, others, &mut random));
    }
}

/// Runs code on a host thread that drops values whose destructors may panic as planned.
pub(crate) fn catch_panic(world: &ChaosWorld, code: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(code)) {
        planned(world, &*panic);
    }
}

/// Records a panic that is not planned.
pub(crate) fn planned(world: &ChaosWorld, panic: &(dyn std::any::Any + Send)) {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    if !text.is_some_and(|text| text.starts_with(PLANNED)) {
        world.ledger.fault(format!("a thread's panic: {text:?}"));
    }
}

fn one(world: &Arc<ChaosWorld>, others: &[Arc<ChaosWorld>], random: &mut Random) {
    let dice = random.below(100);
    let Some(pid) = world.any(random).filter(|_| dice >= 8) else { return spawn(world, random) };
    match dice {
        8..70 => world.tell(pid, Told::random(world, random)),
        70..74 => {
            let reason = [Reason::NORMAL, Reason::KILL, Reason::SHUTDOWN, Reason::value("a host's reason")];
            let _ = world.handle.exit(pid, random.one_of(&reason));
        }
        74..79 if world.has(Class::Exits) => watch(world, pid, random),
        79..82 if world.has(Class::Monitors) => wait(world, pid, random),
        82..84 if world.has(Class::Suspend) => {
            // Resumed before the suspension is known to be in force. A surplus resume does nothing.
            let _ = block_on::wait_until(world.handle.suspend(pid), soon(random));
            for _ in 0..2 {
                let _ = block_on::wait_until(world.handle.resume(pid), soon(random));
            }
        }
        84 if world.has(Class::Infos) => {
            drop(block_on::wait_until(world.handle.process_info(pid), soon(random)));
            let _ = world.handle.processes().len() + world.handle.process_count();
        }
        85..88 if world.has(Class::Names) => {
            let name = ChaosWorld::name(random);
            if let Err(error) = world.handle.send_name(&name, Told::random(world, random)) {
                error.into_message().token.returned();
            }
        }
        88 if world.has(Class::Aliases) => {
            let Some(alias) = world.aliases.take(random) else { return };
            if let Err(error) = world.handle.send_alias(alias, Told::random(world, random)) {
                error.into_message().token.returned();
            }
        }
        89..93 if world.has(Class::Servers) => server(world, random),
        93 if world.has(Class::Blocking) => blocking(world, random),
        94..97 if world.has(Class::Elsewhere) => {
            if let Some(requested) = world.requests.take(random) {
                elsewhere(world, requested, random);
            }
        }
        97 if world.has(Class::Twin) && !others.is_empty() => {
            // Uses a pid of another runtime here, and one of this runtime there.
            let other = random.one_of(others);
            if let Some(theirs) = other.any(random) {
                let _ = world.handle.exit(theirs, Reason::value("a stranger's reason"));
                world.tell(theirs, Told::new(world, What::Nothing));
            }
            other.tell(pid, Told::new(&other, What::Nothing));
        }
        98 if world.has(Class::Dynamic) => {
            // Kills the supervisor itself; the one above restarts it.
            if let Some(pid) = world.handle.whereis(random.one_of(&[services::DYNAMIC, services::EVENTS]))
                && random.once_in(4)
            {
                let _ = world.handle.exit(pid, Reason::KILL);
            }
        }
        _ => {}
    }
}

fn soon(random: &mut Random) -> Option<Instant> {
    Some(Instant::now() + random.time(2_000))
}

fn spawn(world: &Arc<ChaosWorld>, random: &mut Random) {
    let name = ChaosWorld::name(random);
    let me = Me::new(world, random.next());
    match world.handle.spawn_with(&options(world, random, &name), move |cx| actor::run(cx, me)) {
        Ok(actor) => world.know(actor.pid(), random),
        Err(_) => count(&world.ledger.not_spawned),
    }
}

fn watch(world: &Arc<ChaosWorld>, pid: Pid, random: &mut Random) {
    // A cancelled watch is dropped here, before the result of its cancellation is known.
    let withdraws = random.once_in(3);
    let bomb = world.bomb(random) && !withdraws;
    let (held, ledger) = (Tracked::new(&world.ledger, Kind::Callback).bomb(bomb), world.ledger.clone());
    let panics = world.has(Class::Panics) && random.once_in(8);
    let watch = world.handle.on_exit(pid, move |_| {
        held.check();
        count(&ledger.watches_fired);
        assert!(!panics, "{PLANNED}a callback");
    });
    let Ok(watch) = watch else { return };
    count(&world.ledger.watches_made);
    if withdraws && watch.cancel() {
        count(&world.ledger.watches_withdrawn);
    }
}

fn wait(world: &ChaosWorld, pid: Pid, random: &mut Random) {
    match random.below(8) {
        0 => drop(world.handle.terminate(pid, Duration::from_secs(60)).inspect_err(|error| {
            if let WaitError::TimedOut(pid) = error {
                world.ledger.fault(format!("{pid} was killed, but has not ended within a minute"));
            }
        })),
        1 => drop(world.handle.wait(pid)),
        _ => match world.handle.wait_blocking(pid, random.time(1_000)) {
            Ok(_) => count(&world.ledger.waits_over),
            Err(_) => count(&world.ledger.given_up),
        },
    }
}

fn server(world: &ChaosWorld, random: &mut Random) {
    let Some(pid) = world.handle.whereis(random.one_of(&services::SERVERS)) else { return };
    let server = ServerRef::<Service>::new(pid);
    let seed = random.next();
    if random.once_in(2) {
        tally(world, world.handle.call(server, random.time(10_000), |reply| Ask::Ping(reply, seed)));
    } else {
        returned(world.handle.cast(server, ask_of_server(world, random)));
    }
}

fn blocking(world: &ChaosWorld, random: &mut Random) {
    let (held, time) = (Tracked::new(&world.ledger, Kind::Job), random.time(500));
    let job = world.handle.blocking(move || {
        std::thread::sleep(time);
        held
    });
    if random.once_in(2) {
        drop(block_on::wait_until(job, soon(random)));
    }
}

/// Takes the requests of processes, while their callers sleep and their receivers answer, until
/// nothing acts.
pub(crate) fn steal(world: &ChaosWorld, mut random: Random, goes_on: impl Fn() -> bool) {
    let _ = world.thief.set(std::thread::current());
    while goes_on() && !world.is_over() {
        match world.requests.take(&mut random) {
            Some(requested) => catch_panic(world, || elsewhere(world, requested, &mut random)),
            None => std::thread::park_timeout(Duration::from_millis(1)),
        }
    }
}

/// Uses a process's request on this thread.
fn elsewhere(world: &ChaosWorld, mut requested: RequestFuture<Tracked>, random: &mut Random) {
    // The delay varies the moment of the poll: the answer may be in transit.
    (0..random.below(600)).for_each(|_| std::hint::spin_loop());
    let mut noop = Task::from_waker(Waker::noop());
    match random.below(5) {
        0 | 1 => drop(requested),
        // Polled a few times with a waker that does nothing, and dropped.
        2 => {
            for _ in 0..1 + random.below(200) {
                if let Poll::Ready(answer) = requested.poll(&mut noop) {
                    let again = matches!(answer, Err(RequestError::ReplyDropped));
                    tally(world, answer);
                    if !again {
                        return;
                    }
                }
            }
        }
        _ => {
            let asked = std::future::poll_fn(|task| requested.poll(task));
            match block_on::wait_until(asked, Some(Instant::now() + random.time(5_000))) {
                Some(answer) => tally(world, answer),
                None => count(&world.ledger.given_up),
            }
        }
    }
}

/// Reads the stream of exits to its end, and checks that no process ends twice.
pub(crate) fn read(world: &ChaosWorld, mut exits: ExitStream) {
    let mut seen = HashSet::new();
    loop {
        match exits.next_blocking(Duration::from_millis(50)) {
            Some(ExitEvent::Exited { pid, .. }) => {
                count(&world.ledger.exits_seen);
                if !seen.insert(pid) {
                    world.ledger.fault(format!("{pid} has ended twice"));
                }
            }
            Some(ExitEvent::Missed(missed)) => {
                let missed = usize::try_from(missed).unwrap_or(usize::MAX);
                world.ledger.exits_missed.fetch_add(missed, std::sync::atomic::Ordering::SeqCst);
            }
            None if world.is_over() && world.handle.kernel().is_empty() && world.handle.kernel().is_closing() => break,
            None => {}
        }
    }
    while exits.next_blocking(Duration::from_millis(5)).is_some() {
        count(&world.ledger.exits_seen);
    }
}

/// Starts a process that only shows that its runtime makes progress.
pub(crate) fn heart(world: &Arc<ChaosWorld>, pulse: Arc<Pulse>) {
    let (handle, world) = (world.handle.clone(), world.clone());
    let beat = async move |cx: atropos::Context<()>| {
        while !world.is_over() {
            pulse.beat();
            cx.sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = handle.spawn_with(&SpawnOptions::new(), beat);
}
