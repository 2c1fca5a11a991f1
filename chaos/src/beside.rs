//! The actions of Tokio's tasks.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use atropos::facility::KernelAccess;
use atropos::otp::ServerRef;
use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};

use crate::actor::{self, Me, Told};
use crate::classes::Class;
use crate::host::planned;
use crate::inside::options;
use crate::ledger::count;
use crate::random::Random;
use crate::services::{self, Ask, Service, tally};
use crate::watchdog::Pulse;
use crate::world::ChaosWorld;

/// Runs a task that acts `acts` times, or until the round is over.
pub(crate) async fn act(world: Arc<ChaosWorld>, mut random: Random, acts: usize, pulse: Arc<Pulse>) {
    for _ in 0..acts {
        if world.is_over() {
            return;
        }
        pulse.beat();
        count(&world.ledger.acts);
        let acts = AssertUnwindSafe(one(&world, &mut random)).catch_unwind();
        if let Err(panic) = acts.await {
            planned(&world, &*panic);
        }
    }
}

async fn one(world: &Arc<ChaosWorld>, random: &mut Random) {
    let Some(pid) = world.any(random) else { return sleep(random.time(200)).await };
    let time = random.time(4_000);
    match random.below(10) {
        0..3 => world.tell(pid, Told::random(world, random)),
        3 => match timeout(time, world.handle.wait(pid)).await {
            Ok(_) => count(&world.ledger.waits_over),
            Err(_) => count(&world.ledger.given_up),
        },
        4 if world.has(Class::Infos) => drop(timeout(time, world.handle.process_info(pid)).await),
        5 if world.has(Class::Servers) => {
            let Some(pid) = world.handle.whereis(random.one_of(&services::SERVERS)) else { return };
            let (server, seed, mut asked) = (ServerRef::<Service>::new(pid), random.next(), None);
            world.handle.enter(&mut |host| {
                asked = Some(server.request_from(host, |reply| Ask::Ping(reply, seed)));
            });
            if let Some(Ok(answer)) = asked {
                match timeout(time, answer).await {
                    Ok(answer) => tally(world, answer),
                    Err(_) => count(&world.ledger.given_up),
                }
            }
        }
        6 if world.has(Class::Elsewhere) => {
            let Some(mut requested) = world.requests.take(random) else { return };
            let answer = std::future::poll_fn(|task| requested.poll(task));
            match timeout(time, answer).await {
                Ok(answer) => tally(world, answer),
                Err(_) => count(&world.ledger.given_up),
            }
        }
        7 if world.has(Class::Blocking) => {
            drop(timeout(time, world.handle.blocking(|| std::thread::sleep(Duration::from_micros(200)))).await);
        }
        8 => {
            let name = ChaosWorld::name(random);
            let me = Me::new(world, random.next());
            match world.handle.spawn_with(&options(world, random, &name), move |cx| actor::run(cx, me)) {
                Ok(actor) => world.know(actor.pid(), random),
                Err(_) => count(&world.ledger.not_spawned),
            }
        }
        _ => sleep(random.time(1_000)).await,
    }
}
