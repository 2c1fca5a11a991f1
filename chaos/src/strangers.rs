//! Leftovers of earlier runtimes, and of this one's dead processes, used in live processes, where
//! they must have no effect.
//!
//! A context's process is identified by more than its pid: the first processes of each runtime have
//! the same pids, and could have the same memory, as those of the runtime before. So these
//! processes ([`haunt`]) are the first to start. Each tries all contexts that earlier processes
//! with its pid have left, and leaves its own.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Waker};

use atropos::{Address, Context, Pid, Received};

use crate::actor::{Me, Told, What};
use crate::random::Random;
use crate::world::ChaosWorld;

/// Number of processes of each runtime that leave their contexts.
const HAUNTED: usize = 32;

thread_local! {
    /// `true` while a context is used outside its process, which panics.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Returns `true` if a panic on this thread is expected.
pub(crate) fn panics_are_expected() -> bool {
    EXPECTED.get()
}

/// The context of a process that has ended, for one of two message types.
pub(crate) enum Left {
    Number(Context<u64>),
    Text(Context<String>),
}

impl From<Context<u64>> for Left {
    fn from(context: Context<u64>) -> Self {
        Self::Number(context)
    }
}

impl From<Context<String>> for Left {
    fn from(context: Context<String>) -> Self {
        Self::Text(context)
    }
}

impl Left {
    fn pid(&self) -> Pid {
        match self {
            Self::Number(context) => context.pid(),
            Self::Text(context) => context.pid(),
        }
    }

    /// Returns what the context let a foreign process do, if anything.
    fn misuse(&self) -> Option<&'static str> {
        match self {
            Self::Number(context) => misuse(context, 7),
            Self::Text(context) => misuse(context, "seven".to_owned()),
        }
    }
}

fn misuse<M: Send + 'static>(context: &Context<M>, message: M) -> Option<&'static str> {
    let panics = |code: &mut dyn FnMut()| {
        EXPECTED.set(true);
        let ended = catch_unwind(AssertUnwindSafe(code));
        EXPECTED.set(false);
        ended.is_err()
    };
    let mut message = Some(message);
    // A received message may be of another type, so it is not dropped.
    if context.try_with(|cx| std::mem::forget(cx.receive())).is_some() {
        return Some("receive");
    }
    if !panics(&mut || std::mem::forget(pin!(context.recv()).poll(&mut Task::from_waker(Waker::noop())))) {
        return Some("wait for a message");
    }
    let mut send = || {
        let sent = message.take().map(|message| context.send(context.address(), message));
        drop(sent);
    };
    (!panics(&mut send)).then_some("send")
}

/// Starts processes that use the leftovers of dead ones, and leave their own.
pub(crate) fn haunt(world: &Arc<ChaosWorld>, random: &mut Random) {
    for _ in 0..HAUNTED {
        let (seed, with) = (random.next(), world.clone());
        // A refused spawn means one process less.
        let _ = if random.once_in(2) {
            world.handle.spawn(async move |cx: Context<u64>| live(&with, cx, 7, seed)).map(Address::pid)
        } else {
            world
                .handle
                .spawn(async move |cx: Context<String>| live(&with, cx, "seven".to_owned(), seed))
                .map(Address::pid)
        };
    }
}

fn live<M: Clone + PartialEq + Send + 'static>(world: &ChaosWorld, cx: Context<M>, message: M, seed: u64)
where
    Left: From<Context<M>>,
{
    let (yard, pid) = (&world.graveyard, cx.pid());
    let sent = cx.send(cx.address(), message.clone()).is_ok();
    yard.contexts.look_at_all(|left| {
        if left.pid() == pid
            && let Some(what) = left.misuse()
        {
            world.ledger.fault(format!("by the context of an earlier {pid}, {pid} could {what}"));
        }
    });
    let is_there = matches!(cx.try_recv(), Some(Received::Message(received)) if received == message);
    if sent && !is_there && !cx.with(|cx| cx.is_dying()) {
        world.ledger.fault(format!("{pid} has not received what it has sent to itself"));
    }
    drop(yard.contexts.put(Left::from(cx), &mut Random::new(seed)));
}

/// Uses the leftovers of other processes from an actor.
pub(crate) fn meet(cx: &Context<Told>, me: &Me, random: &mut Random) {
    let yard = &me.world.graveyard;
    match random.below(6) {
        0 => {
            let used = yard.contexts.look(random, |left| (left.pid(), left.misuse()));
            if let Some((pid, Some(what))) = used {
                me.world.ledger.fault(format!("by the context of another process, {pid}, {} could {what}", cx.pid()));
            }
        }
        1 => {
            let Some(alias) = yard.aliases.look(random, |alias| *alias) else { return };
            if let Err(error) = cx.send_alias(alias, Told::new(&me.world, What::Nothing)) {
                error.into_message().token.returned();
            }
        }
        2 => {
            let Some(reference) = yard.references.look(random, |reference| *reference) else { return };
            if !me.monitors.contains(&reference) {
                cx.demonitor(reference, false);
            }
        }
        3 => {
            let Some(pid) = yard.pids.look(random, |pid| *pid) else { return };
            let _ = cx.link(pid);
            cx.unlink(pid);
        }
        4 => {
            let references = me.monitors.iter().chain(&me.timers).copied();
            references.take(2).for_each(|reference| _ = yard.references.put(reference, random));
            if let Some(alias) = me.aliases.last() {
                let _ = yard.aliases.put(*alias, random);
            }
        }
        _ => {
            // A process whose context outlives it.
            let (world, seed) = (me.world.clone(), random.next());
            let _ = cx.spawn(async move |cx: Context<u64>| {
                cx.yield_now().await;
                live(&world, cx, seed, seed);
            });
        }
    }
}
