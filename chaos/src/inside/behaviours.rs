//! What a process does with services: servers, machines, event managers, groups, registries, tasks.

use atropos::otp::event::EventManagerRef;
use atropos::otp::{DynamicRef, Task};
use atropos::prelude::*;

use crate::actor::{Me, Told, What};
use crate::classes::Class;
use crate::inside::{PATIENCE, send};
use crate::ledger::{Kind, PLANNED, Token, Tracked, count};
use crate::random::Random;
use crate::services::{
    self, Argument, Ask, Hears, Service, TheEvents, TheGroups, TheMachine, TheRegistry, Tick, tally,
};
use crate::world::ChaosWorld;

/// Returns a request to a server, now and then to crash.
pub(crate) fn ask_of_server(world: &ChaosWorld, random: &mut Random) -> Ask {
    match random.below(12) {
        0 => Ask::Crash,
        1 => Ask::Stop,
        2 => Ask::Continue(random.below(20) as u8),
        _ => Ask::Cast(Token::new(&world.ledger)),
    }
}

pub(super) async fn servers(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let server = ServerName::<Service>::new(random.one_of(&services::SERVERS));
    let (seed, world) = (random.next(), &me.world);
    match random.below(8) {
        0..4 => tally(world, server.call_within(cx, PATIENCE, |reply| Ask::Ping(reply, seed)).await),
        4 => {
            let asked = [(); 3].map(|()| server.request(cx, |reply| Ask::Ping(reply, seed)));
            for pending in asked.into_iter().flatten() {
                if random.once_in(3) {
                    pending.abandon(cx);
                } else {
                    tally(world, pending.answer(cx, random.time(5_000)).await);
                }
            }
        }
        5 if random.once_in(4) => {
            if let Ok(server) = server.find(cx) {
                let _ = server.stop(cx, Reason::value("stopped"), Some(PATIENCE)).await;
            }
        }
        6 => {
            if let Ok(server) = server.find(cx) {
                let _ = server.call_wait(cx, PATIENCE, |reply| Ask::Ping(reply, seed)).await;
            }
        }
        _ => returned(server.cast(cx, ask_of_server(world, random))),
    }
}

/// Records a message that a server did not accept as returned.
pub(crate) fn returned(sent: Result<(), SendError<Ask>>) {
    if let Err(error) = sent
        && let Ask::Cast(token) = error.into_message()
    {
        token.returned();
    }
}

pub(super) async fn retry(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let server = ServerName::<Service>::new(random.one_of(&services::SERVERS));
    returned(server.cast(cx, Ask::Crash));
    // An even seed is answered, at least usually.
    while !me.world.is_over() {
        let seed = random.next();
        match server.call(cx, |reply| Ask::Ping(reply, seed)).await {
            Ok(answer) => return tally(&me.world, Ok::<_, ()>(answer)),
            Err(_) => count(&me.world.ledger.unanswered),
        }
    }
}

pub(super) async fn dynamic(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Some(supervisor) = SupervisorRef::find(cx, services::DYNAMIC) else { return };
    match random.below(8) {
        0..4 => {
            let started = DynamicRef::new(supervisor).start(cx, Argument::new(&me.world, random)).await;
            if let Ok(Some(pid)) = started {
                me.world.know(pid, random);
            }
        }
        4..7 => {
            if let Some(pid) = me.world.any(random) {
                let _ = supervisor.terminate_process(cx, pid).await;
            }
        }
        _ => drop(supervisor.count_children(cx).await),
    }
}

pub(super) async fn machines(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Ok(machine) = ServerName::<TheMachine>::new(services::MACHINE).find(cx) else { return };
    match random.below(4) {
        0 => tally(&me.world, machine.ask_within(cx, PATIENCE, Tick::Ask).await),
        // Sent without a return path: a message that does not arrive is dropped.
        1 => drop(machine.send(cx, Tick::Token(Token::new(&me.world.ledger)))),
        _ => drop(machine.send(cx, Tick::Do(random.next()))),
    }
}

pub(super) async fn events(cx: &Context<Told>, me: &mut Me, random: &mut Random) {
    let Ok(manager) = ServerName::<TheEvents>::new(services::EVENTS).find(cx) else { return };
    let manager: EventManagerRef<u64> = manager;
    match random.below(6) {
        0 => {
            me.handlers += 1;
            let id = format!("{}-{}", cx.pid(), me.handlers);
            let hears = Hears::new(&me.world, random);
            if random.once_in(2) {
                let _ = manager.add(cx, id, hears).await;
            } else {
                drop(manager.add_supervised(cx, id, hears).await);
            }
        }
        1 => drop(manager.delete(cx, format!("{}-{}", cx.pid(), me.handlers)).await),
        2 => drop(manager.sync_notify(cx, random.next()).await),
        3 => drop(manager.which(cx).await),
        _ => drop(manager.notify(cx, random.next())),
    }
}

pub(super) async fn groups(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Ok(groups) = ServerName::<TheGroups>::new(services::GROUPS).find(cx) else { return };
    let group = random.below(4) as u32;
    match random.below(5) {
        0..2 => drop(groups.join(cx, group, [cx.pid()]).await),
        2 => drop(groups.leave(cx, group, [cx.pid()]).await),
        3 => {
            for pid in groups.members(cx, group).await.unwrap_or_default().into_iter().take(3) {
                send(cx, pid, Told::new(&me.world, What::Nothing));
            }
        }
        _ => drop(groups.which_groups(cx).await),
    }
}

pub(super) async fn registries(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Ok(registry) = ServerName::<TheRegistry>::new(services::REGISTRY).find(cx) else { return };
    let key = random.below(16) as u32;
    match random.below(5) {
        0..2 => drop(registry.register(cx, key, 1).await),
        2 => drop(registry.unregister(cx, cx.pid(), key).await),
        3 => {
            if let Ok(Some(pid)) = registry.whereis(cx, key).await {
                me.world.know(pid, random);
            }
        }
        _ => drop(registry.count(cx).await),
    }
}

pub(super) async fn tasks(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let (held, seed) = (Tracked::new(&me.world.ledger, Kind::Job), random.next());
    let panics = me.world.has(Class::Panics);
    let work = async move |cx: Context<()>| {
        let mut random = Random::new(seed);
        cx.sleep(random.time(2_000)).await;
        assert!(!panics || !random.once_in(5), "{PLANNED}a task");
        held
    };
    let task = if random.once_in(3) { Task::start_link(cx, work) } else { Task::start(cx, work) };
    let Ok(task) = task else { return };
    match random.below(5) {
        0 => drop(task.shutdown(cx, random.time(2_000)).await),
        1 => task.detach(cx),
        2 => match task.try_join(cx, random.time(2_000)).await {
            Ok(answer) => tally(&me.world, answer),
            Err(task) => task.detach(cx),
        },
        _ => tally(&me.world, task.join(cx, Some(random.time(6_000))).await),
    }
}
