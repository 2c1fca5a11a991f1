//! An actor: a process that does what the seeds in its messages say, and keeps account of what it has.

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

/// What an actor is to do.
pub(crate) enum What {
    /// Nothing.
    Nothing,
    /// What this seed says.
    Act(u64),
    /// To answer, or not.
    Ask(Reply<Tracked>),
    /// To look whether all is in force that it waits for.
    Check(Checked),
}

/// Says that a check was made, or that who was to make it is dead.
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

    /// What the seed says, or nothing; its destructor may panic.
    pub(crate) fn random(world: &ChaosWorld, random: &mut Random) -> Self {
        let what = if random.once_in(3) { What::Nothing } else { What::Act(random.next()) };
        let told = Self::new(world, what);
        Self { token: told.token.bomb(world.bomb(random)), ..told }
    }
}

/// Whether an actor goes on.
pub(crate) enum Flow {
    On,
    End(Reason),
}

/// What an actor has.
pub(crate) struct Me {
    pub(crate) world: Arc<ChaosWorld>,
    pub(crate) body: Tracked,
    pub(crate) random: Random,
    pub(crate) monitors: BTreeSet<Reference>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) timers: Vec<Reference>,
    pub(crate) kept: Vec<Reply<Tracked>>,
    pub(crate) handlers: u64,
    /// It was told to shut down, and traps exits.
    pub(crate) ends: bool,
    /// What it has done last, for a report.
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

    /// Notes what it does.
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

    /// Meets what has come; a seed, if it is to be followed.
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
                    self.world
                        .ledger
                        .fault(format!("{pid} got a DOWN that it does not wait for: {down:?}, after {last:?}"));
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

/// The body.
pub(crate) async fn run(mut cx: Context<Told>, mut me: Me) -> Reason {
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
            Some(received) => me.meet(&cx, received),
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
            if let Flow::End(reason) = inside::act(&mut cx, &mut me, random.next()).await {
                return reason;
            }
        }
    }
}
