//! The supervised services: servers that crash, a state machine, an event manager, groups, a
//! registry, dynamic children.

use std::sync::Arc;
use std::time::Duration;

use atropos::otp::event::{EventHandler, EventManager, HandlerNext, RemovedHandler};
use atropos::otp::group::ProcessGroups;
use atropos::otp::registry::Registry;
use atropos::otp::server::MailboxPolicy;
use atropos::otp::statem::Driver;
use atropos::otp::{Event, MachineCx, StartError, StateMachine, Transition};
use atropos::prelude::*;

use crate::actor::{self, Me};
use crate::classes::Class;
use crate::ledger::{Kind, PLANNED, Token, Tracked, count};
use crate::random::Random;
use crate::world::ChaosWorld;

/// The servers, by name.
pub(crate) const SERVERS: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
/// The name of the state machine.
pub(crate) const MACHINE: &str = "machine";
/// The name of the supervisor of dynamic children.
pub(crate) const DYNAMIC: &str = "dynamic";
/// The name of the event manager.
pub(crate) const EVENTS: &str = "events";
/// The name of the scope of groups.
pub(crate) const GROUPS: &str = "groups";
/// The name of the registry.
pub(crate) const REGISTRY: &str = "registry";

/// Returns the names of all services.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SERVERS.into_iter().chain([MACHINE, DYNAMIC, EVENTS, GROUPS, REGISTRY])
}

pub(crate) type TheGroups = ProcessGroups<u32>;
pub(crate) type TheRegistry = Registry<u32, u64>;
pub(crate) type TheEvents = EventManager<u64>;
pub(crate) type TheMachine = Driver<Clockwork>;

/// A server; [`Ask`] has its requests.
pub(crate) struct Service {
    world: Arc<ChaosWorld>,
    state: Tracked,
    kept: Vec<Reply<Tracked>>,
    random: Random,
}

/// A request to a server.
pub(crate) enum Ask {
    /// Answers at once, after a while, or never.
    Ping(Reply<Tracked>, u64),
    /// Delivers a message.
    Cast(Token),
    /// Makes the server panic.
    Crash,
    /// Ends the server.
    Stop,
    /// Makes the server continue by itself this many times.
    Continue(u8),
}

impl Service {
    pub(crate) fn new(world: &Arc<ChaosWorld>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let state = Tracked::new(&world.ledger, Kind::State).bomb(world.bomb(&mut random));
        Self { world: world.clone(), state, kept: Vec::new(), random }
    }

    fn answer(&mut self, reply: Reply<Tracked>) {
        let bomb = self.world.bomb(&mut self.random);
        reply.send(Tracked::new(&self.world.ledger, Kind::Answer).bomb(bomb));
    }
}

impl Server for Service {
    type Message = Ask;

    async fn init(&mut self, _: ServerCx<'_, Self>) -> Result<Next<Ask>, InitError> {
        // The start is slow now and then.
        match self.random.below(8) {
            0 => Ok(Next::Continue(Ask::Continue(3))),
            1 => Ok(Next::Timeout(self.random.time(1_000))),
            _ => Ok(Next::Wait),
        }
    }

    async fn handle(&mut self, ask: Ask, cx: ServerCx<'_, Self>) -> Next<Ask> {
        self.state.check();
        match ask {
            Ask::Ping(reply, seed) => match Random::new(seed).below(10) {
                0 => self.kept.push(reply),
                1 => drop(reply),
                2 => {
                    cx.sleep(Random::new(seed).time(3_000)).await;
                    self.answer(reply);
                }
                3 => {
                    if let Some(reply) = self.kept.pop() {
                        self.answer(reply);
                    }
                    self.kept.push(reply);
                    if self.kept.len() > 8 {
                        self.kept.clear();
                    }
                }
                4 => {
                    // An answer that another process gives.
                    let answer = Tracked::new(&self.world.ledger, Kind::Answer);
                    let _ = cx.spawn(async move |cx: Context<()>| {
                        cx.yield_now().await;
                        reply.send(answer);
                    });
                }
                _ => self.answer(reply),
            },
            Ask::Cast(token) => token.received(),
            Ask::Crash if self.world.has(Class::Panics) => panic!("{PLANNED}a server"),
            Ask::Crash => return Next::Stop(Reason::crash("a server's")),
            Ask::Stop => return Next::Stop(Reason::NORMAL),
            Ask::Continue(0) => {}
            Ask::Continue(left) => {
                let _ = cx.cast_after(self.random.time(2_000), Ask::Cast(Token::new(&self.world.ledger)));
                return Next::Continue(Ask::Continue(left - 1));
            }
        }
        if self.random.once_in(8) { Next::Timeout(self.random.time(2_000)) } else { Next::Wait }
    }

    async fn terminate(&mut self, _: &Reason, cx: ServerCx<'_, Self>) {
        if self.random.once_in(3) {
            cx.sleep(self.random.time(500)).await;
        }
    }
}

/// A state machine.
pub(crate) struct Clockwork {
    world: Arc<ChaosWorld>,
    state: Tracked,
}

/// A message to the state machine.
pub(crate) enum Tick {
    /// The seed of its next transition.
    Do(u64),
    /// A question.
    Ask(Reply<Tracked>),
    /// A message.
    Token(Token),
}

impl StateMachine for Clockwork {
    type State = u8;
    type Message = Tick;

    async fn init(&mut self, _: MachineCx<'_, Self>) -> Result<u8, InitError> {
        Ok(0)
    }

    async fn handle(&mut self, state: &u8, happened: Event<Self>, _: MachineCx<'_, Self>) -> Transition<Self> {
        self.state.check();
        match happened {
            Event::Message(Tick::Ask(reply)) if *state == 2 => {
                Transition::keep().postpone(Event::Message(Tick::Ask(reply)))
            }
            Event::Message(Tick::Token(token)) if *state == 3 => {
                Transition::keep().postpone(Event::Message(Tick::Token(token)))
            }
            Event::Message(Tick::Ask(reply)) | Event::Internal(Tick::Ask(reply)) => {
                reply.send(Tracked::new(&self.world.ledger, Kind::Answer));
                Transition::keep()
            }
            Event::Message(Tick::Token(token)) | Event::Internal(Tick::Token(token)) => {
                token.received();
                Transition::keep()
            }
            Event::Message(Tick::Do(seed)) | Event::Internal(Tick::Do(seed)) => self.step(*state, seed),
            Event::StateTimeout | Event::EventTimeout | Event::Timeout(_) => Transition::to((*state + 1) % 4),
            _ => Transition::keep(),
        }
    }
}

impl Clockwork {
    fn step(&self, state: u8, seed: u64) -> Transition<Self> {
        let mut random = Random::new(seed);
        let time = random.time(2_000);
        match random.below(12) {
            0 => Transition::to((state + 1) % 4),
            // The machine always comes back from the states in which it postpones events.
            1 => Transition::to(2).state_timeout(time),
            2 => Transition::to(3).state_timeout(time),
            3 => Transition::keep().event_timeout(time),
            4 => Transition::keep().timeout("a", time),
            5 => Transition::keep().timeout("b", time).cancel_timeout("a"),
            6 => Transition::keep().cancel_state_timeout(),
            7 => Transition::repeat(),
            8 => Transition::keep().next(Tick::Token(Token::new(&self.world.ledger))).next(Tick::Do(random.next())),
            9 => Transition::to(0),
            10 if self.world.has(Class::Panics) && random.once_in(2) => panic!("{PLANNED}a machine"),
            11 if random.once_in(3) => Transition::stop(Reason::NORMAL),
            _ => Transition::keep(),
        }
    }
}

/// A handler of events.
pub(crate) struct Hears {
    state: Tracked,
    panics: bool,
}

impl Hears {
    pub(crate) fn new(world: &ChaosWorld, random: &mut Random) -> Self {
        let state = Tracked::new(&world.ledger, Kind::Handler).bomb(world.bomb(random));
        Self { state, panics: world.has(Class::Panics) }
    }
}

impl EventHandler<u64> for Hears {
    fn event(&mut self, event: &u64) -> HandlerNext {
        self.state.check();
        assert!(!self.panics || !event.is_multiple_of(29), "{PLANNED}a handler");
        if event.is_multiple_of(7) { HandlerNext::Leave } else { HandlerNext::Stay }
    }

    fn terminate(&mut self, _: &RemovedHandler) {
        self.state.check();
    }
}

/// The argument with which a dynamic child is started.
pub(crate) struct Argument {
    held: Tracked,
    seed: u64,
}

impl Argument {
    pub(crate) fn new(world: &ChaosWorld, random: &mut Random) -> Self {
        Self { held: Tracked::new(&world.ledger, Kind::Argument), seed: random.next() }
    }
}

fn start_dynamic(
    world: &Arc<ChaosWorld>,
    starter: &mut ChildStarter<'_>,
    argument: &mut Argument,
) -> Result<StartedChild, StartError> {
    argument.held.check();
    let mut random = Random::new(argument.seed);
    argument.seed = random.next();
    match random.below(6) {
        0 => starter.server(Service::new(world, random.next())),
        1 => Err(StartError::Refused(Reason::value("not now"))),
        _ => {
            let me = Me::new(world, random.next());
            starter.spawn(move |cx| actor::run(cx, me))
        }
    }
}

fn server(world: &Arc<ChaosWorld>, name: &'static str, change: impl Fn(Kept) -> Kept + Send + 'static) -> ChildSpec {
    let world = world.clone();
    let mut seed = 0;
    ChildSpec::worker(name, move |starter: &mut ChildStarter<'_>| {
        seed += 1;
        starter
            .server(change(Kept { start: Service::new(&world, seed).start().name(name), world: world.clone() }).start)
    })
    .shutdown(Shutdown::Within(Duration::from_secs(20)))
}

/// A start under construction.
struct Kept {
    start: atropos::otp::server::Start<'static, Service>,
    world: Arc<ChaosWorld>,
}

impl Kept {
    fn reborn(self) -> Self {
        let world = self.world.clone();
        let make = move || Service::new(&world, 7);
        let start =
            self.start.restart_in_place(make, MailboxPolicy::Drop, Intensity::within(100, Duration::from_secs(1)));
        Self { start, ..self }
    }
}

/// Returns the supervision tree. Its top has no name, and no action here ends it.
pub(crate) fn tree(world: &Arc<ChaosWorld>) -> Supervisor {
    let any = Intensity::Unlimited;
    let all = {
        let world = world.clone();
        ChildSpec::supervisor("all", move |starter: &mut ChildStarter<'_>| {
            let tree = Supervisor::one_for_all().intensity(any);
            let traps = |kept: Kept| Kept { start: kept.start.trap_exit(true), ..kept };
            starter.supervisor(tree.child(server(&world, "s1", traps)).child(server(&world, "s2", |kept| kept)))
        })
    };
    let rest = {
        let world = world.clone();
        ChildSpec::supervisor("rest", move |starter: &mut ChildStarter<'_>| {
            let tree = Supervisor::rest_for_one().intensity(any);
            let bounded = |kept: Kept| Kept { start: kept.start.mailbox_limit(4), ..kept };
            starter.supervisor(tree.child(server(&world, "s3", bounded)).child(server(&world, "s4", |kept| kept)))
        })
    };
    let dynamic = {
        let world = world.clone();
        ChildSpec::supervisor(DYNAMIC, move |starter: &mut ChildStarter<'_>| {
            let world = world.clone();
            let children = DynamicSupervisor::new(move |starter: &mut ChildStarter<'_>, argument: &mut Argument| {
                start_dynamic(&world, starter, argument)
            });
            starter.supervisor(children.restart(Restart::Transient).intensity(Intensity::Unlimited).name(DYNAMIC))
        })
    };
    let machine = {
        let world = world.clone();
        ChildSpec::worker(MACHINE, move |starter: &mut ChildStarter<'_>| {
            let state = Tracked::new(&world.ledger, Kind::State);
            starter.server(Clockwork { world: world.clone(), state }.start().name(MACHINE))
        })
    };
    Supervisor::one_for_one()
        .intensity(any)
        .child(server(world, "s0", |kept| kept))
        .child(all)
        .child(rest)
        .child(server(world, "s5", Kept::reborn))
        .child(dynamic)
        .child(machine)
        .child(ChildSpec::worker(EVENTS, |starter: &mut ChildStarter<'_>| {
            starter.server(TheEvents::new().start().name(EVENTS))
        }))
        .child(ChildSpec::worker(GROUPS, |starter: &mut ChildStarter<'_>| {
            starter.server(TheGroups::new().start().name(GROUPS))
        }))
        .child(ChildSpec::worker(REGISTRY, |starter: &mut ChildStarter<'_>| {
            starter.server(TheRegistry::unique().start().name(REGISTRY))
        }))
}

/// Counts how a call ended.
pub(crate) fn tally<E>(world: &ChaosWorld, answer: Result<Tracked, E>) {
    match answer {
        Ok(answer) => {
            answer.check();
            count(&world.ledger.answered);
        }
        Err(_) => count(&world.ledger.unanswered),
    }
}
