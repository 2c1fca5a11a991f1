//! A whole kernel inside a model: [`Stage`].
//!
//! A model sets its processes up, each pinned to the core that plays its part, lets the cores run for a few slices at
//! the same time ([`Stage::race`]), and then lets them run to the end, one at a time ([`Stage::settle`]). Only the race is
//! searched, so what a model must not lose time on is done before it or after it.
//!
//! In a race a core runs as many slices as it is told, and most models see to it that there are so many: a core that
//! looks for more work, steals or goes to sleep is another model's business (`runq`). A process that is to run
//! in the race yields in the setting up.
//!
//! What a process has seen is what waits for it: the bodies here look at their mailboxes and take nothing, so that the
//! account ([`Log`]) is whole whenever it is read. At the end everybody is killed, and then no node may be left
//! ([`Stage::end`]): each monitor, link and signal was received or given up once.
//!
//! [`explore`] is a model that says how each execution ended; the search must have met every outcome that
//! the protocol allows, and no other. So a model of a race that never happens fails.

use std::collections::BTreeSet;
use std::future::Future as _;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use atropos_kernel::reclaim::Participant;
use atropos_kernel::{
    MaybeReady, Core, Cx, Tombstone, Host, Kernel, Limits, Options, Pid, RunOutcome, Reason, Resumed, QueryReply, SpawnOptions,
};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::host;
use crate::seen::Log;

pub use atropos_kernel::internals::mutate::Mutation;

/// A body that does `first` in its first slice, which it yields after, `then` in its second, and from then on looks.
pub fn act(
    log: &Log,
    mut first: impl FnMut(&Cx<'_, u8>) + Send + 'static,
    mut then: impl FnMut(&Cx<'_, u8>) + Send + 'static,
) -> impl FnMut(&Cx<'_, u8>) -> Resumed + Send + 'static {
    let (log, mut slice) = (log.clone(), 0);
    move |cx| {
        slice += 1;
        match slice {
            1 => {
                first(cx);
                return Resumed::Yield;
            }
            2 => then(cx),
            _ => {}
        }
        log.look(cx);
        Resumed::Wait
    }
}

/// A body that yields once, and ends in its second slice.
pub fn ends(reason: Reason) -> impl FnMut(&Cx<'_, u8>) -> Resumed + Send + 'static {
    let mut ran = false;
    move |_| if std::mem::replace(&mut ran, true) { Resumed::Exit(reason.clone()) } else { Resumed::Yield }
}

/// A body that only waits.
pub fn waits(_: &Cx<'_, u8>) -> Resumed {
    Resumed::Wait
}

/// A cell that a model fills while it sets up: a pid that another body has to know.
#[derive(Clone, Default, Debug)]
pub struct Known<T>(Arc<Mutex<Option<T>>>);

impl<T: Copy> Known<T> {
    /// Not known yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// From now on it is.
    pub fn set(&self, value: T) {
        *self.0.lock().unwrap() = Some(value);
    }

    /// What it is.
    pub fn get(&self) -> Option<T> {
        *self.0.lock().unwrap()
    }
}

/// A point that the parts of a race pass in every order. Loom does not try a plain load behind another thread's later
/// exchange, so a body that only looks would never see what comes last; two exchanges it tries both ways round.
#[derive(Clone, Debug)]
pub struct Crossing(Arc<AtomicUsize>);

impl Crossing {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(0)))
    }

    /// Passes. Relaxed: it must not order what the kernel does not.
    pub fn pass(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Stage {
    /// What the cores share.
    pub kernel: Arc<Kernel>,
    /// Passed at the ends of the parts of a race, and by bodies that look.
    pub crossing: Crossing,
    cores: Vec<Part<Core>>,
    host: Part<Participant>,
    guest: Option<Part<Participant>>,
}

/// A part of the kernel that is dropped unless its model has failed: a panic in the middle of a slice leaves nothing
/// that could be taken apart, and a second one would end the search for good.
#[derive(Debug)]
struct Part<T>(ManuallyDrop<T>);

impl<T> Part<T> {
    fn new(part: T) -> Self {
        Self(ManuallyDrop::new(part))
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Part<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: dropped here only.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// Processes that a stage has room for.
const PROCESSES: u32 = 8;

impl Stage {
    /// A kernel of so many cores, with one thing wrong if there is a mutation.
    pub fn new(cores: usize, mutation: Option<Mutation>) -> Self {
        Self::with(Options { cores, mutation, ..Options::default() })
    }

    /// A kernel whose monitors of the dead say why they died.
    pub fn with_tombstones(cores: usize, mutation: Option<Mutation>) -> Self {
        Self::with(Options { cores, mutation, tombstones: true, ..Options::default() })
    }

    /// A kernel in which kills find no memory.
    pub fn without_memory(cores: usize, mutation: Option<Mutation>) -> Self {
        Self::with(Options { cores, mutation, kills_without_memory: true, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let limits = Limits { processes: PROCESSES, names: 1, timers: 1, nodes: 64, kept: 0 };
        let (kernel, _) = host::with(Options { limits, ..options });
        let cores = (0..kernel.cores()).map(|id| Part::new(Core::new(kernel.clone(), id))).collect();
        let (host, guest) = (Part::new(host::member(&kernel)), Part::new(host::member(&kernel)));
        Self { kernel, crossing: Crossing::new(), cores, host, guest: Some(guest) }
    }

    /// The kernel as the model's main thread sees it.
    pub fn host(&self) -> Host<'_> {
        Host::new(&self.kernel, &self.host)
    }

    /// Starts a process on a core.
    pub fn start(&self, core: usize, body: impl FnMut(&Cx<'_, u8>) -> Resumed + Send + 'static) -> Pid {
        self.start_with(&SpawnOptions::new().core(core), body)
    }

    /// Starts a process that traps exits.
    pub fn start_trapping(&self, core: usize, body: impl FnMut(&Cx<'_, u8>) -> Resumed + Send + 'static) -> Pid {
        self.start_with(&SpawnOptions::new().core(core).trap_exit(true), body)
    }

    /// Starts a process as the options say.
    pub fn start_with(
        &self,
        options: &SpawnOptions<'_>,
        body: impl FnMut(&Cx<'_, u8>) -> Resumed + Send + 'static,
    ) -> Pid {
        self.host().spawn(options, host::body(body)).unwrap().pid
    }

    /// Runs a core for so many slices, while nobody else does anything.
    pub fn run(&mut self, core: usize, slices: u32) {
        assert_eq!(self.cores[core].run(slices), RunOutcome::Worked, "there are so many slices to run");
    }

    /// Lets the cores run at the same time, each so many slices if there are so many: core 0 in this thread, the others in theirs.
    pub fn race(&mut self, slices: &[u32]) {
        self.race_with(slices, None::<fn(&Host<'_>)>);
    }

    /// As [`Stage::race`], while a thread that is no core does something.
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
        // Loom starts them in this order. So who is not the last may look too early, and passes before it does;
        // and who is not the first may do something too late to be looked at, and passes after it.
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

    /// Lets the cores run, one at a time, until there is nothing to do.
    pub fn settle(&mut self) {
        for _ in 0..8 {
            for core in &mut self.cores {
                assert_ne!(core.run(100), RunOutcome::Worked, "the processes of a model come to an end");
            }
            if self.kernel.is_quiescent() {
                return;
            }
        }
        panic!("the cores of a model come to rest");
    }

    /// Why a process died; `None` while it lives.
    pub fn died_of(&self, pid: Pid) -> Option<Reason> {
        let host = self.host();
        if host.is_alive(pid) {
            return None;
        }
        match host.tombstone(pid) {
            Tombstone::Known(reason) => Some(reason),
            other => panic!("the slot has not been used again: {other:?}"),
        }
    }

    /// With whom a process says it is linked. Nobody else does anything.
    pub fn links(&mut self, pid: Pid) -> Vec<Pid> {
        let Ok(MaybeReady::Pending(waiting)) = self.host().info(pid) else { panic!("it lives, and is asked") };
        self.settle();
        match pin!(waiting).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(QueryReply::Info(info)) => info.links,
            other => panic!("it has answered: {other:?}"),
        }
    }

    /// Kills whoever is left: then nothing may be left.
    pub fn end(mut self) {
        let host = self.host();
        for pid in host.processes() {
            assert_eq!(host.exit(pid, Reason::KILL), Ok(true));
        }
        drop(host);
        self.settle();
        assert_eq!(self.kernel.process_count(), 0, "a kill is final");
        assert_eq!(self.kernel.nodes_used(), 0, "every signal, link and monitor was received or given up");
    }
}

/// Searches a model whose executions say how they ended.
///
/// # Panics
/// When it fails, is cut, or the outcomes met are not the `outcomes` that there are.
pub fn explore(
    name: &str,
    bound: Option<usize>,
    outcomes: &[&'static str],
    f: impl Fn() -> &'static str + Sync + Send + 'static,
) {
    let met = Arc::new(Mutex::new(BTreeSet::new()));
    let all = met.clone();
    crate::model(name, bound, move || {
        let outcome = f();
        all.lock().unwrap().insert(outcome);
    });
    let met = met.lock().unwrap();
    assert_eq!(*met, outcomes.iter().copied().collect(), "{name}: the outcomes that the search has met");
}
