//! [`Role`]: what processes do. One type for all, so that a library with typed actors needs only
//! one actor type.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use atropos_bench::workloads::tools::{Left, Random};
use atropos_bench::workloads::Times;

use crate::system::System;

/// A channel to the driver, which waits.
pub type Sender<T> = tokio::sync::mpsc::UnboundedSender<T>;

/// A message: at most a word, or an address.
#[derive(Clone, Debug)]
pub enum Message<A> {
    /// Starts the workload.
    Go,
    /// A number.
    Number(u64),
    /// A ping, with the address for the pong.
    Ping(A),
    /// The reply to a ping.
    Pong,
    /// The address to send to from now on.
    Next(A),
}

/// The next step of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// It waits for the next message.
    Go,
    /// It ends.
    Stop,
}

/// A process that exchanges messages with a ponger.
pub struct Pinger<S: System> {
    to: S::Address,
    left: u64,
    begun: Option<Instant>,
    sent: Instant,
    times: Option<Times>,
    done: Sender<(Instant, Instant, Option<Times>)>,
}

/// A member of a ring.
pub struct Member<S: System> {
    next: Option<S::Address>,
    done: Sender<Instant>,
}

/// A producer that sends rounds of messages, one to each consumer.
pub struct Producer<S: System> {
    to: Vec<S::Address>,
    rounds: u64,
}

/// A consumer of a number of messages.
pub struct Consumer {
    left: u64,
    all: Arc<Left>,
    done: Sender<Instant>,
}

/// A process that pings others of its kind.
pub struct Peer<S: System> {
    own: u64,
    others: Arc<OnceLock<Vec<S::Address>>>,
    random: Random,
    to_do: u64,
    answered: Arc<Left>,
    done: Sender<Instant>,
}

/// A receiver of timer messages, each with its due time.
pub struct Late {
    left: u64,
    /// The instant from which due times count.
    since: Instant,
    times: Times,
    done: Sender<(Instant, Times)>,
}

/// An inner node of the tree.
pub struct Node<S: System> {
    above: Above<S>,
    first: u64,
    leaves: u64,
    open: u32,
    sum: u64,
}

/// The receiver of a node's sum.
pub enum Above<S: System> {
    /// Another node.
    Node(S::Address),
    /// The driver.
    Root(Sender<(u64, Instant)>),
}

/// The role of a process. Large state is boxed, so that a waiting process is small.
pub enum Role<S: System> {
    /// Ends at its first message, and counts that.
    Waits(Arc<Left>),
    /// Replies to pings.
    Ponger,
    /// Sends itself a message for each message that it receives.
    Hog,
    /// Sends pings: see [`Pinger`].
    Pinger(Box<Pinger<S>>),
    /// Passes a message around a ring: see [`Member`].
    Member(Box<Member<S>>),
    /// Sends to consumers: see [`Producer`].
    Producer(Box<Producer<S>>),
    /// Receives from producers: see [`Consumer`].
    Consumer(Box<Consumer>),
    /// Pings random others: see [`Peer`].
    Peer(Box<Peer<S>>),
    /// Receives timer messages: see [`Late`].
    Late(Box<Late>),
    /// Starts its children and adds up their sums: see [`Node`].
    Node(Box<Node<S>>),
}

impl<S: System> Role<S> {
    /// Returns a pinger that makes `n` round trips with `to`; if `timed`, each one is timed.
    pub fn pinger(to: S::Address, n: u64, timed: bool, done: Sender<(Instant, Instant, Option<Times>)>) -> Self {
        let times = timed.then(|| Times::new(n));
        Self::Pinger(Box::new(Pinger { to, left: n, begun: None, sent: Instant::now(), times, done }))
    }

    /// Returns a member of a ring; without `next`, a message sets it later.
    pub fn member(next: Option<S::Address>, done: Sender<Instant>) -> Self {
        Self::Member(Box::new(Member { next, done }))
    }

    /// Returns a producer that sends `rounds` messages to each.
    pub fn producer(to: Vec<S::Address>, rounds: u64) -> Self {
        Self::Producer(Box::new(Producer { to, rounds }))
    }

    /// Returns a consumer that expects `count` messages; the last one of all consumers reports the
    /// end.
    pub fn consumer(count: u64, all: Arc<Left>, done: Sender<Instant>) -> Self {
        Self::Consumer(Box::new(Consumer { left: count, all, done }))
    }

    /// Returns the process with number `own` among those that ping each other, `to_do` times.
    pub fn peer(
        own: u64,
        others: Arc<OnceLock<Vec<S::Address>>>,
        to_do: u64,
        answered: Arc<Left>,
        done: Sender<Instant>,
    ) -> Self {
        Self::Peer(Box::new(Peer { own, others, random: Random::new(own + 1), to_do, answered, done }))
    }

    /// Returns a receiver of `n` timer messages.
    pub fn late(n: u64, since: Instant, done: Sender<(Instant, Times)>) -> Self {
        Self::Late(Box::new(Late { left: n, since, times: Times::new(n), done }))
    }

    /// Returns a node with its leaves.
    pub fn node(above: Above<S>, first: u64, leaves: u64) -> Self {
        Self::Node(Box::new(Node { above, first, leaves, open: 10, sum: 0 }))
    }

    /// Handles one message.
    pub async fn step(&mut self, system: &S, own: &S::Address, message: Message<S::Address>) -> Flow {
        match (self, message) {
            (Self::Waits(left), Message::Number(_)) => {
                left.one_less();
                return Flow::Stop;
            }
            (Self::Ponger, Message::Ping(from)) => system.send(&from, Message::Pong),
            (Self::Hog, Message::Number(turn)) => system.send(own, Message::Number((turn + 1) & 0xFFFF)),
            (Self::Pinger(pinger), _) => return pinger.step(system, own),
            (Self::Member(member), message) => member.step(system, message),
            (Self::Producer(producer), Message::Go) => producer.run(system).await,
            (Self::Consumer(consumer), Message::Number(_)) => consumer.step(),
            (Self::Peer(peer), message) => peer.step(system, own, message),
            (Self::Late(late), Message::Number(due)) => late.step(due),
            (Self::Node(node), Message::Go) => node.begin(system, own).await,
            (Self::Node(node), Message::Number(sum)) => return node.add(system, sum),
            _ => panic!("a message for another role"),
        }
        Flow::Go
    }
}

impl<S: System> Pinger<S> {
    fn step(&mut self, system: &S, own: &S::Address) -> Flow {
        // The first message comes from the driver, and starts the clock.
        match self.begun {
            None => self.begun = Some(Instant::now()),
            Some(begun) => {
                self.left -= 1;
                if let Some(times) = &mut self.times {
                    times.note(self.sent.elapsed().as_nanos() as u64);
                }
                if self.left == 0 {
                    // The driver waits for this value.
                    let _ = self.done.send((begun, Instant::now(), self.times.take()));
                    return Flow::Stop;
                }
            }
        }
        if self.times.is_some() {
            self.sent = Instant::now();
        }
        system.send(&self.to, Message::Ping(own.clone()));
        Flow::Go
    }
}

impl<S: System> Member<S> {
    fn step(&mut self, system: &S, message: Message<S::Address>) {
        match (message, &self.next) {
            (Message::Next(next), _) => self.next = Some(next),
            (Message::Number(1), _) => drop(self.done.send(Instant::now())),
            (Message::Number(left), Some(next)) => system.send(next, Message::Number(left - 1)),
            _ => panic!("the ring is open"),
        }
    }
}

impl<S: System> Producer<S> {
    async fn run(&mut self, system: &S) {
        let mut sent = 0_u32;
        for round in 0..self.rounds {
            for to in &self.to {
                system.send(to, Message::Number(round));
                sent = sent.wrapping_add(1);
                if sent.is_multiple_of(128) {
                    system.breathe().await;
                }
            }
        }
    }
}

impl Consumer {
    fn step(&mut self) {
        self.left = self.left.checked_sub(1).expect("one message too many");
        if self.left == 0 && self.all.one_less() {
            let _ = self.done.send(Instant::now());
        }
    }
}

impl Late {
    fn step(&mut self, due: u64) {
        let now = self.since.elapsed().as_nanos() as u64;
        self.times.note(now.checked_sub(due).expect("a timer came early"));
        self.left -= 1;
        if self.left == 0 {
            let _ = self.done.send((Instant::now(), std::mem::take(&mut self.times)));
        }
    }
}

impl<S: System> Peer<S> {
    fn step(&mut self, system: &S, own: &S::Address, message: Message<S::Address>) {
        match message {
            Message::Ping(from) => {
                self.answered.one_less();
                system.send(&from, Message::Pong);
            }
            Message::Pong if self.to_do == 0 => drop(self.done.send(Instant::now())),
            _ => {
                self.to_do -= 1;
                let others = self.others.get().expect("all have been started");
                let other = self.random.other(others.len() as u64, self.own);
                system.send(&others[other as usize], Message::Ping(own.clone()));
            }
        }
    }
}

impl<S: System> Node<S> {
    async fn begin(&mut self, system: &S, own: &S::Address) {
        let below = self.leaves / 10;
        for child in 0..10 {
            let first = self.first + child * below;
            if below == 1 {
                let (above, to) = (own.clone(), system.clone());
                system.once(move || to.send(&above, Message::Number(first))).await;
            } else {
                let node = Role::node(Above::Node(own.clone()), first, below);
                let node = system.start(node).await;
                system.send(&node, Message::Go);
            }
        }
    }

    fn add(&mut self, system: &S, sum: u64) -> Flow {
        self.sum += sum;
        self.open -= 1;
        if self.open > 0 {
            return Flow::Go;
        }
        match &self.above {
            Above::Node(above) => system.send(above, Message::Number(self.sum)),
            Above::Root(done) => drop(done.send((self.sum, Instant::now()))),
        }
        Flow::Stop
    }
}
