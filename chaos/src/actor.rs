//! An actor: a process that acts by the seeds in its messages, and keeps account of its monitors,
//! timers and values.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use atropos::{Alias, Context, Reason, Received, Reference, Reply};

use crate::classes::Class;
use crate::inside;
use crate::ledger::{Kind, Ledger, Token, Tracked, count};
use crate::random::Random;
use crate::world::ChaosWorld;

/// A message to an actor.
pub(crate) struct Told {
    pub(crate) token: Token,
    pub(crate) what: What,
}

/// An instruction to an actor.
pub(crate) enum What {
    /// Does nothing.
    Nothing,
    /// Acts by this seed.
    Act(u64),
    /// Answers, or does not.
    Ask(Reply<Tracked>),
    /// Checks that everything that the actor waits for is in force.
    Check(Checked),
}

/// A guard that counts a check as done, also when the actor died before it.
pub(crate) struct Checked(pub(crate) Arc<Ledger>);

impl Drop for Checked {
    fn drop(&mut self) {
        count(&self.0.checks_over);
    }
}

impl Told {
    pub(crate) fn new(world: &ChaosWorld, what: What) -> Self {
        Self { token: Token::new(&world.ledger), what }
    }

    /// Returns an instruction with a random seed, or to do nothing; its destructor may panic.
    pub(crate) fn random(world: &ChaosWorld, random: &mut Random) -> Self {
        let what = if random.once_in(3) { What::Nothing } else { What::Act(random.next()) };
        let told = Self::new(world, what);
        Self { token: told.token.bomb(world.bomb(random)), ..told }
    }
}

/// The actor's next step: continue, or end.
pub(crate) enum Flow {
    On,
    End(Reason),
}

/// The state of an actor.
pub(crate) struct Me {
    pub(crate) world: Arc<ChaosWorld>,
    pub(crate) body: Tracked,
    pub(crate) random: Random,
    pub(crate) monitors: BTreeSet<Reference>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) timers: Vec<Reference>,
    pub(crate) kept: Vec<Reply<Tracked>>,
    pub(crate) handlers: u64,
    /// `true` if it traps exits and received an exit to shut down.
    pub(crate) ends: bool,
    /// Its last actions, for a report.
    pub(crate) last: VecDeque<&'static str>,
}

impl Me {
    pub(crate) fn new(world: &Arc<ChaosWorld>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let bomb = world.bomb(&mut random);
        count(&world.ledger.spawned);
        Self {
            world: world.clone(),
            body: Tracked::new(&world.ledger, Kind::Body).bomb(bomb),
            random,
            monitors: BTreeSet::new(),
            aliases: Vec::new(),
            timers: Vec::new(),
            kept: Vec::new(),
            handlers: 0,
            ends: false,
            last: VecDeque::new(),
        }
    }

    /// Records an action.
    pub(crate) fn note(&mut self, what: &'static str) {
        if self.last.len() == 8 {
            self.last.pop_front();
        }
        self.last.push_back(what);
    }

    pub(crate) fn monitored(&mut self, reference: Reference) {
        count(&self.world.ledger.monitors_made);
        self.monitors.insert(reference);
    }

    /// Handles a received signal. Returns a seed, if the actor should act by it.
    pub(crate) fn meet(&mut self, cx: &Context<Told>, received: Received<Told>) -> Option<u64> {
        let pid = cx.pid();
        self.body.check();
        match received {
            Received::Message(Told { token, what }) => {
                token.received();
                match what {
                    What::Nothing => {}
                    What::Act(seed) => return Some(seed),
                    What::Ask(reply) => self.asked(reply),
                    What::Check(checked) => {
                        inside::check(cx, self);
                        drop(checked);
                    }
                }
            }
            Received::Down(down) => {
                if self.monitors.remove(&down.reference) {
                    count(&self.world.ledger.monitors_answered);
                } else {
                    let last = &self.last;
                    self.world.ledger.fault(format!("{pid} got an unexpected DOWN: {down:?}, after {last:?}"));
                }
            }
            Received::Exit(exit) if exit.from.is_none() || exit.reason == Reason::SHUTDOWN => self.ends = true,
            _ => {}
        }
        None
    }

    fn asked(&mut self, reply: Reply<Tracked>) {
        match self.random.below(8) {
            0 => drop(reply),
            1 => self.kept.push(reply),
            2 => {
                if let Some(reply) = self.kept.pop() {
                    self.answer(reply);
                }
                self.kept.push(reply);
            }
            _ => self.answer(reply),
        }
        if self.kept.len() > 8 {
            self.kept.clear();
        }
    }

    fn answer(&mut self, reply: Reply<Tracked>) {
        let bomb = self.world.bomb(&mut self.random);
        reply.send(Tracked::new(&self.world.ledger, Kind::Answer).bomb(bomb));
    }
}

impl Drop for Me {
    fn drop(&mut self) {
        for _ in &self.monitors {
            count(&self.world.ledger.monitors_ended_with_watcher);
        }
    }
}

/// The body of an actor. What it keeps is dropped before it returns: a value that is being returned
/// leaks when the destructor of a local panics (rust-lang/rust#47949).
pub(crate) async fn run(mut cx: Context<Told>, mut me: Me) -> Reason {
    let reason = live(&mut cx, &mut me).await;
    drop(me);
    reason
}

async fn live(cx: &mut Context<Told>, me: &mut Me) -> Reason {
    let (world, pid) = (me.world.clone(), cx.pid());
    let random = &mut me.random.clone();
    world.know(pid, random);
    if world.has(Class::Foreign) && random.once_in(4) {
        let _ = world.graveyard.pids.put(pid, random);
    }
    loop {
        let received = match me.random.below(6) {
            0 => cx.recv_timeout(me.random.time(5_000)).await,
            1 => cx.try_recv(),
            _ => Some(cx.recv().await),
        };
        let seed = match received {
            Some(received) => me.meet(cx, received),
            None => {
                cx.yield_now().await;
                None
            }
        };
        if me.ends {
            return Reason::SHUTDOWN;
        }
        let Some(seed) = seed else { continue };
        let mut random = Random::new(seed);
        for _ in 0..1 + random.below(8) {
            count(&world.ledger.acts);
            if let Flow::End(reason) = inside::act(cx, me, random.next()).await {
                return reason;
            }
        }
    }
}
