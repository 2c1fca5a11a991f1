//! A whole kernel inside a model: [`Stage`].
//!
//! A model sets up its processes, each pinned to the core that runs it in the model. It then lets
//! the cores run for a few slices at the same time ([`Stage::race`]), and finally lets them run to
//! the end, one at a time ([`Stage::settle`]). Loom searches only the race, so a model does
//! everything else before or after it.
//!
//! In a race, a core runs the given number of slices, and most models make sure that there are that
//! many slices to run. A core that searches for more work, steals or goes to sleep is the subject
//! of another model (`runq`). A process that runs in the race yields during the setup.
//!
//! What a process has seen is what waits in its mailbox: the bodies here inspect their mailboxes
//! and receive nothing, so the account ([`Log`]) is complete whenever it is read. At the end every
//! process is killed, and then no node may be left ([`Stage::end`]): each monitor, link and signal
//! was received or released once.
//!
//! [`explore`] is a model that returns how each execution ended. The search must produce every
//! outcome that the protocol allows, and no other. So a model of a race that never happens fails.

use std::collections::BTreeSet;
use std::future::Future as _;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use atropos_kernel::reclaim::Participant;
use atropos_kernel::{
    BodyPoll, Core, Cx, Host, Kernel, Limits, MaybeReady, Options, Pid, Reason, RunOutcome, SpawnOptions, Tombstone,
};
use atropos_sim::{LeakOnPanic, Leaks};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::host;
use crate::seen::Log;

pub use atropos_kernel::internals::mutation::Mutation;

/// Returns a body that does `first` in its first slice and yields, does `then` in its second slice,
/// and from then on inspects its mailbox.
pub fn act(
    log: &Log,
    mut first: impl FnMut(&Cx<'_, u8>) + Send + 'static,
    mut then: impl FnMut(&Cx<'_, u8>) + Send + 'static,
) -> impl FnMut(&Cx<'_, u8>) -> BodyPoll + Send + 'static {
    let (log, mut slice) = (log.clone(), 0);
    move |cx| {
        slice += 1;
        match slice {
            1 => {
                first(cx);
                return BodyPoll::Yield;
            }
            2 => then(cx),
            _ => {}
        }
        log.look(cx);
        BodyPoll::Wait
    }
}

/// Returns a body that yields once, and ends in its second slice.
pub fn ends(reason: Reason) -> impl FnMut(&Cx<'_, u8>) -> BodyPoll + Send + 'static {
    let mut ran = false;
    move |_| if std::mem::replace(&mut ran, true) { BodyPoll::Exit(reason.clone()) } else { BodyPoll::Yield }
}

/// A body that only waits.
pub fn waits(_: &Cx<'_, u8>) -> BodyPoll {
    BodyPoll::Wait
}

/// A cell that a model fills during setup, such as a pid that another body must know.
#[derive(Clone, Default, Debug)]
pub struct Known<T>(Arc<Mutex<Option<T>>>);

impl<T: Copy> Known<T> {
    /// Creates a cell without a value.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Sets the value.
    pub fn set(&self, value: T) {
        *self.0.lock().unwrap() = Some(value);
    }

    /// Returns the value, if it has been set.
    pub fn get(&self) -> Option<T> {
        *self.0.lock().unwrap()
    }
}

/// A point that the parts of a race pass in every order. Loom does not try a plain load behind
/// another thread's later exchange, so a body that only loads would never see the last change. Loom
/// tries two exchanges in both orders.
#[derive(Clone, Debug)]
pub struct Crossing(Arc<AtomicUsize>);

impl Crossing {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    /// Passes the point. Relaxed: it must not order what the kernel does not order.
    pub fn pass(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A kernel in a model, with its cores, a host thread and a second host thread (the guest).
#[derive(Debug)]
pub struct Stage {
    /// The kernel that all cores share.
    pub kernel: Arc<Kernel>,
    /// The point that the parts of a race pass at their ends, and that bodies pass when they look.
    pub crossing: Crossing,
    cores: Vec<LeakOnPanic<Core>>,
    host: LeakOnPanic<Participant>,
    guest: Option<LeakOnPanic<Participant>>,
}

/// Largest number of processes on a stage.
const PROCESSES: u32 = 8;

impl Stage {
    /// Creates a kernel of `cores` cores, with one fault if there is a mutation.
    pub fn new(cores: usize, mutation: Option<Mutation>) -> Self {
        Self::with(Options { cores, mutation, ..Options::default() })
    }

    /// Creates a kernel whose monitors of dead processes report why they died.
    pub fn with_tombstones(cores: usize, mutation: Option<Mutation>) -> Self {
        Self::with(Options { cores, mutation, tombstones: true, ..Options::default() })
    }

    /// Creates a kernel in which kills find no memory.
    pub fn without_memory(cores: usize, mutation: Option<Mutation>) -> Self {
        Self::with(Options { cores, mutation, kills_without_memory: true, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let limits = Limits { processes: PROCESSES, names: 1, timers: 1, nodes: 64, kept: 0 };
        let (kernel, _) = host::with(Options { limits, ..options });
        let cores = (0..kernel.cores()).map(|id| LeakOnPanic::new(Core::new(kernel.clone(), id))).collect();
        let (host, guest) = (LeakOnPanic::new(host::member(&kernel)), LeakOnPanic::new(host::member(&kernel)));
        Self { kernel, crossing: Crossing::new(), cores, host, guest: Some(guest) }
    }

    /// Returns the kernel as the model's main thread sees it.
    pub fn host(&self) -> Host<'_> {
        Host::new(&self.kernel, &self.host)
    }

    /// Starts a process on a core.
    pub fn start(&self, core: usize, body: impl FnMut(&Cx<'_, u8>) -> BodyPoll + Send + 'static) -> Pid {
        self.start_with(&SpawnOptions::new().core(core), body)
    }

    /// Starts a process that traps exits.
    pub fn start_trapping(&self, core: usize, body: impl FnMut(&Cx<'_, u8>) -> BodyPoll + Send + 'static) -> Pid {
        self.start_with(&SpawnOptions::new().core(core).trap_exit(true), body)
    }

    /// Starts a process with the given options.
    pub fn start_with(
        &self,
        options: &SpawnOptions<'_>,
        body: impl FnMut(&Cx<'_, u8>) -> BodyPoll + Send + 'static,
    ) -> Pid {
        self.host().spawn(options, host::body(body)).unwrap().pid
    }

    /// Runs a core for `slices` slices, while no other thread acts.
    pub fn run(&mut self, core: usize, slices: u32) {
        assert_eq!(self.cores[core].run(slices), RunOutcome::Worked, "the core has that many slices to run");
    }

    /// Lets the cores run at the same time, each for at most its number of slices: core 0 in this
    /// thread, every other core in a thread of its own.
    pub fn race(&mut self, slices: &[u32]) {
        self.race_with(slices, None::<fn(&Host<'_>)>);
    }

    /// Runs a race as [`Stage::race`] does, while a host thread does `act`.
    pub fn race_host(&mut self, slices: &[u32], act: impl FnOnce(&Host<'_>) + Send + 'static) {
        self.race_with(slices, Some(act));
    }

    fn race_with(&mut self, slices: &[u32], act: Option<impl FnOnce(&Host<'_>) + Send + 'static>) {
        assert_eq!(slices.len(), self.cores.len());
        let guest = act.map(|act| {
            let (kernel, participant, crossing) =
                (self.kernel.clone(), self.guest.take().unwrap(), self.crossing.clone());
            thread::spawn(move || {
                act(&Host::new(&kernel, &participant));
                crossing.pass();
                participant
            })
        });
        // Loom starts the threads in this order. So every thread but the last may look too early,
        // and passes the crossing before it acts; every thread but the first may act too late to be
        // seen, and passes the crossing afterwards.
        let last = slices.len() - usize::from(guest.is_none());
        let others = self.cores.drain(1..).zip(1..).map(|(mut core, number)| {
            let (slices, crossing) = (slices[number], self.crossing.clone());
            thread::spawn(move || {
                if number != last {
                    crossing.pass();
                }
                let _ = core.run(slices);
                crossing.pass();
                core
            })
        });
        let others: Vec<_> = others.collect();
        self.crossing.pass();
        let _ = self.cores[0].run(slices[0]);
        for other in others {
            self.cores.push(other.join().unwrap());
        }
        self.guest = guest.map(|guest| guest.join().unwrap()).or(self.guest.take());
    }

    /// Lets the cores run, one at a time, until there is nothing left to do.
    pub fn settle(&mut self) {
        for _ in 0..8 {
            for core in &mut self.cores {
                assert_ne!(core.run(100), RunOutcome::Worked, "the processes of a model end");
            }
            if self.kernel.is_quiescent() {
                return;
            }
        }
        panic!("the cores of a model became idle");
    }

    /// Returns why a process died, or `None` while it lives.
    pub fn died_of(&self, pid: Pid) -> Option<Reason> {
        let host = self.host();
        if host.is_alive(pid) {
            return None;
        }
        match host.tombstone(pid) {
            Tombstone::Known(reason) => Some(reason),
            other => panic!("the slot must not have been reused: {other:?}"),
        }
    }

    /// Returns the pids that a process reports as linked to it. No other thread acts during the
    /// call.
    pub fn links(&mut self, pid: Pid) -> Vec<Pid> {
        let MaybeReady::Pending(waiting) = self.host().info(pid) else {
            panic!("the process must live, so the query is pending")
        };
        self.settle();
        match pin!(waiting).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Some(info))) => info.links,
            other => panic!("the query must have been answered: {other:?}"),
        }
    }

    /// Returns the number of signals, links, monitors and timers that the kernel holds while the
    /// processes that are left live.
    pub fn nodes(&self) -> usize {
        self.kernel.nodes_used()
    }

    /// Kills every process that is left, and checks that nothing remains afterwards.
    pub fn end(mut self) {
        let host = self.host();
        for pid in host.processes() {
            assert_eq!(host.exit(pid, Reason::KILL), Ok(true));
        }
        drop(host);
        self.settle();
        assert_eq!(Leaks::check(&self.kernel), Ok(()), "a kill is final, and what was sent is received or released");
    }
}

/// Searches a model whose executions return how they ended.
///
/// # Panics
/// Panics when the model fails, when the search is cut, or when the outcomes found differ from
/// `outcomes`.
pub fn explore(
    name: &str,
    bound: Option<usize>,
    outcomes: &[&'static str],
    f: impl Fn() -> &'static str + Sync + Send + 'static,
) {
    // Without a search there are no outcomes.
    if !crate::trace::Asked::read().has_models() {
        return;
    }
    let met = Arc::new(Mutex::new(BTreeSet::new()));
    let all = met.clone();
    crate::model(name, bound, move || {
        let outcome = f();
        all.lock().unwrap().insert(outcome);
    });
    let met = met.lock().unwrap();
    assert_eq!(*met, outcomes.iter().copied().collect(), "{name}: the outcomes that the search found");
}
