//! The actions of an actor from inside its process, one for each class.

mod behaviours;
mod combine;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use atropos::prelude::*;
use atropos::{AliasMode, Overflow, Priority};

use crate::actor::{self, Flow, Me, Told, What};
use crate::classes::{ALL, Class};
use crate::ledger::{Kind, PLANNED, Tracked, count, n};
use crate::random::Random;
use crate::services::{self, tally};
use crate::strangers;
use crate::world::ChaosWorld;

use behaviours::{dynamic, events, groups, machines, registries, retry, servers, tasks};
use combine::{blocking, cancel, cancel_otp, combine};

pub(crate) use behaviours::{ask_of_server, returned};

/// Largest number of bodies at a time.
const MOST: usize = 600;
/// Timeout of calls.
const PATIENCE: Duration = Duration::from_millis(40);

/// Polls a future until another one is ready, and drops it then.
pub(crate) async fn race<F: Future>(future: F, until: impl Future) -> Option<F::Output> {
    let (mut future, mut until) = (pin!(future), pin!(until));
    poll_fn(|task| match future.as_mut().poll(task) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => until.as_mut().poll(task).map(|_| None),
    })
    .await
}

/// Acts by the seed.
pub(crate) async fn act(cx: &mut Context<Told>, me: &mut Me, seed: u64) -> Flow {
    let mut random = Random::new(seed);
    let world = me.world.clone();
    // One third of the actions are those of every program; the others belong to a class that is on.
    if random.once_in(3) {
        return plain(cx, me, &mut random).await;
    }
    // Classes that concern one process alone come up more often.
    let class = match random.below(3) {
        0 => random.one_of(&[
            Class::Links,
            Class::Monitors,
            Class::Monitors,
            Class::Names,
            Class::Aliases,
            Class::Timers,
        ]),
        _ => random.one_of(ALL).0,
    };
    if !world.has(class) {
        return Flow::On;
    }
    me.note(ALL[class as usize].1);
    match class {
        Class::Links => links(cx, me, &mut random),
        Class::Monitors => monitors(cx, me, &mut random),
        Class::Names => names(cx, me, &mut random),
        Class::Aliases => aliases(cx, me, &mut random),
        Class::Timers => timers(cx, me, &mut random),
        Class::Bounded => bounded(cx, me, &mut random).await,
        Class::Infos => infos(cx, me, &mut random).await,
        Class::Requests => requests(cx, me, &mut random).await,
        Class::Elsewhere => elsewhere(cx, me, &mut random).await,
        Class::Servers => servers(cx, me, &mut random).await,
        Class::Retry if random.once_in(4) => retry(cx, me, &mut random).await,
        Class::Dynamic => dynamic(cx, me, &mut random).await,
        Class::Machines => machines(cx, me, &mut random).await,
        Class::Events => events(cx, me, &mut random).await,
        Class::Groups => groups(cx, me, &mut random).await,
        Class::Registries => registries(cx, me, &mut random).await,
        Class::Tasks => tasks(cx, me, &mut random).await,
        Class::Cancel => cancel(cx, me, &mut random).await,
        Class::CancelOtp => cancel_otp(cx, me, &mut random).await,
        Class::Combine => combine(cx, me, &mut random).await,
        Class::Panics if random.once_in(8) => panic!("{PLANNED}a body"),
        Class::Blocking => blocking(cx, me, &mut random).await,
        Class::Tokio if world.in_tokio => tokio::time::sleep(random.time(2_000)).await,
        Class::Foreign => strangers::meet(cx, me, &mut random),
        // Done from outside.
        _ => {}
    }
    Flow::On
}

async fn plain(cx: &mut Context<Told>, me: &mut Me, random: &mut Random) -> Flow {
    let world = me.world.clone();
    match random.below(12) {
        0..3 => spawn(cx, me, random),
        3..7 => {
            if let Some(pid) = world.any(random) {
                send(cx, pid, Told::random(&world, random));
            }
        }
        7 => cx.yield_now().await,
        8 => cx.sleep(random.time(3_000)).await,
        9 if random.once_in(8) => {
            let end = [
                Reason::NORMAL,
                Reason::SHUTDOWN,
                Reason::value("an actor's reason"),
                Reason::crash("an actor's reason"),
            ];
            return Flow::End(random.one_of(&end));
        }
        10 if random.once_in(12) => match cx.stop(Reason::value("stopped")).await {},
        11 => {
            if random.once_in(3)
                && let Some(pid) = world.any(random)
            {
                let reason = [Reason::NORMAL, Reason::KILL, Reason::SHUTDOWN, Reason::value("an actor's reason")];
                let _ = cx.exit(pid, random.one_of(&reason));
            }
        }
        _ => {}
    }
    Flow::On
}

fn send(cx: &Context<Told>, to: Pid, told: Told) {
    if let Err(error) = cx.send(to, told) {
        error.into_message().token.returned();
    }
}

/// Starts an actor with random options.
fn spawn(cx: &Context<Told>, me: &mut Me, random: &mut Random) {
    let world = me.world.clone();
    if n(&world.ledger.tracked[Kind::Body as usize]) - n(&world.ledger.destroyed[Kind::Body as usize]) > MOST {
        return;
    }
    let name = ChaosWorld::name(random);
    let options = options(&world, random, &name);
    let options = if world.has(Class::Links) && random.once_in(3) { options.link() } else { options };
    let monitor = world.has(Class::Monitors) && random.once_in(3);
    let options = if monitor { options.monitor() } else { options };
    let child = Me::new(&world, random.next());
    match cx.spawn_with(&options, move |cx| actor::run(cx, child)) {
        Ok((address, monitor)) => {
            world.know(address.pid(), random);
            if let Some(monitor) = monitor {
                me.monitored(monitor);
            }
        }
        Err(_) => count(&world.ledger.not_spawned),
    }
}

/// Returns random options of a newborn that need no parent.
pub(crate) fn options<'n>(world: &ChaosWorld, random: &mut Random, name: &'n str) -> SpawnOptions<'n> {
    let mut options = SpawnOptions::new().trap_exit(random.once_in(3));
    if random.once_in(4) {
        options = options.priority(random.one_of(&[Priority::Low, Priority::Normal, Priority::High]));
    }
    if random.once_in(5) {
        options = options.core(random.below(world.handle.kernel().cores()));
    }
    if world.has(Class::Bounded) && random.once_in(4) {
        let overflow = random.one_of(&[Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest]);
        options = options.mailbox_limit(1 + random.below(4) as u32).overflow(overflow);
    }
    if world.has(Class::Names) && random.once_in(8) { options.name(name) } else { options }
}

fn links(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Some(pid) = me.world.any(random) else { return };
    match random.below(5) {
        0..2 => drop(cx.link(pid)),
        2 => cx.unlink(pid),
        3 => _ = cx.trap_exit(random.once_in(2)),
        _ => drop(cx.exit_inline(pid, Reason::value("exit inline"))),
    }
}

fn monitors(cx: &Context<Told>, me: &mut Me, random: &mut Random) {
    match random.below(6) {
        0..3 => {
            // As in OTP, a process cannot monitor itself.
            if let Some(pid) = me.world.any(random)
                && pid != cx.pid()
                && let Ok(reference) = cx.monitor(pid)
            {
                me.monitored(reference);
            }
        }
        3 => {
            // Excludes names that may be the actor's own at this moment.
            let names: Vec<_> = services::names().chain(["nobody"]).collect();
            if let Ok(reference) = cx.monitor_name(random.one_of(&names)) {
                me.monitored(reference);
            }
        }
        _ => {
            let flush = random.once_in(2);
            let Some(reference) = me.monitors.pop_first() else { return };
            if cx.demonitor(reference, flush) || flush {
                count(&me.world.ledger.monitors_withdrawn);
            } else {
                // The DOWN waits in the mailbox, and will be received.
                me.monitors.insert(reference);
            }
        }
    }
}

fn names(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let name = ChaosWorld::name(random);
    match random.below(6) {
        0 => drop(cx.register(&name, cx.pid())),
        1 => {
            if let Some(pid) = me.world.any(random) {
                let _ = cx.register(&name, pid);
            }
        }
        2 => _ = cx.unregister(&name),
        3 => {
            if let Some(pid) = cx.whereis(&name) {
                me.world.know(pid, random);
            }
        }
        _ => {
            if let Err(error) = cx.send_name(&name, Told::random(&me.world, random)) {
                error.into_message().token.returned();
            }
        }
    }
}

fn aliases(cx: &Context<Told>, me: &mut Me, random: &mut Random) {
    match random.below(6) {
        0 => {
            if let Ok(alias) = cx.alias(random.once_in(2)) {
                me.aliases.push(alias);
                let _ = me.world.aliases.put(alias, random);
            }
        }
        1 => {
            if let Some(alias) = me.aliases.pop() {
                cx.unalias(alias);
            }
        }
        2 if me.world.has(Class::Monitors) => {
            // Excludes the mode that ends with a message: the monitor would end without a signal.
            let mode = random.one_of(&[AliasMode::ExplicitUnalias, AliasMode::Demonitor]);
            if let Some(pid) = me.world.any(random)
                && pid != cx.pid()
                && let Ok(alias) = cx.monitor_alias(pid, mode)
            {
                me.monitored(alias.reference());
                let _ = me.world.aliases.put(alias, random);
            }
        }
        _ => {
            let Some(alias) = me.world.aliases.look(random, |alias| *alias) else { return };
            if let Err(error) = cx.send_alias(alias, Told::random(&me.world, random)) {
                error.into_message().token.returned();
            }
        }
    }
}

fn timers(cx: &Context<Told>, me: &mut Me, random: &mut Random) {
    let (world, after) = (me.world.clone(), random.time(8_000));
    let told = |random: &mut Random| Told::random(&world, random);
    match random.below(6) {
        0..2 => {
            if let Ok(timer) = cx.send_after(cx.pid(), after, told(random)) {
                me.timers.push(timer);
            }
        }
        2 => {
            let Some(pid) = world.any(random) else { return };
            if let Ok(timer) = cx.send_after(pid, after, told(random)) {
                me.timers.push(timer);
            }
        }
        3 => {
            let name = ChaosWorld::name(random);
            // The timer is due in the far future, so it ends with this process.
            if let Ok(timer) = cx.send_after(name.as_str(), after + Duration::from_secs(60), told(random)) {
                me.timers.push(timer);
            }
        }
        4 => {
            if let Some(timer) = me.timers.pop() {
                cx.cancel_timer(timer);
            }
        }
        _ => {
            for timer in &me.timers {
                let _ = cx.read_timer(*timer);
            }
        }
    }
    if me.timers.len() > 16 {
        me.timers.clear();
    }
}

async fn bounded(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Some(pid) = me.world.any(random) else { return };
    let told = Told::random(&me.world, random);
    if pid == cx.pid() {
        return send(cx, pid, told);
    }
    // The wait ends by its timeout, whatever the receiver does.
    match cx.send_wait(pid, told, Some(random.time(5_000))).await {
        Ok(()) => {}
        Err(error) => error.into_message().token.returned(),
    }
}

async fn infos(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Some(pid) = me.world.any(random) else { return };
    match random.below(3) {
        // A process that is suspended, or in a long slice, answers later.
        0 => _ = race(cx.is_alive(pid), cx.sleep(PATIENCE)).await,
        1 => _ = race(cx.info(pid), cx.sleep(PATIENCE)).await,
        _ => drop(cx.own_info()),
    }
}

/// Checks the monitors of an actor. When everything is idle no signal is in transit, so every
/// monitor that the actor waits for is in force.
pub(crate) fn check(cx: &Context<Told>, me: &Me) {
    if let Ok(Some(info)) = cx.own_info()
        && info.monitors.len() + info.message_queue_len < me.monitors.len()
    {
        let (has, keeps, waits) = (info.monitors.len(), me.monitors.len(), info.message_queue_len);
        let pid = cx.pid();
        me.world.ledger.fault(format!("{pid} expects {keeps} DOWNs, has {has} monitors and {waits} waiting signals"));
    }
}

fn ask(cx: &Context<Told>, me: &Me, pid: Pid) -> Option<atropos::kernel::RequestFuture<Tracked>> {
    let world = &me.world;
    cx.with(|cx| cx.request(pid, |reply| Told::new(world, What::Ask(reply)))).ok()
}

async fn requests(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Some(pid) = me.world.any(random) else { return };
    let Some(mut requested) = ask(cx, me, pid) else { return };
    if random.once_in(6) {
        return drop(requested);
    }
    let answer = race(poll_fn(|task| requested.poll(task)), cx.sleep(random.time(8_000))).await;
    match answer {
        Some(answer) => tally(&me.world, answer),
        None => count(&me.world.ledger.given_up),
    }
}

/// Sends a request, leaves the answer to other threads, and usually sleeps in between.
async fn elsewhere(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let Some(pid) = me.world.any(random) else { return };
    let Some(requested) = ask(cx, me, pid) else { return };
    drop(me.world.requests.put(requested, random));
    if let Some(thief) = me.world.thief.get() {
        thief.unpark();
    }
    if !random.once_in(4) {
        cx.sleep(random.time(400)).await;
    }
}
