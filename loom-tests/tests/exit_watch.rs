//! Models of exit watches by host threads. Each watch fires once, with its target's reason, or is
//! cancelled and never fires. Its callback runs or is dropped once, whether the death, the
//! cancellation or a sweep comes first.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::Mutex;

use atropos_kernel::internals::mutation::Mutation;
use atropos_kernel::reclaim::{Domain, Participant};
use atropos_kernel::{
    Core, ExitInfo, ExitQueue, ExitWatch, FiredWatch, Host, Kernel, Limits, Options, Pid, Reason, SpawnOptions,
    WatchStatus,
};
use atropos_loom::host::{Canary, body, member};
use atropos_loom::mutant;
use atropos_loom::platform::{ends, explore};
use atropos_sim::{Environment, SimPlatform};
use loom::thread;

/// A platform that queues each fired watch, so that another thread takes it.
#[derive(Default)]
struct Queued(ExitQueue);

impl Environment for Queued {
    fn now(&self) -> u64 {
        0
    }
    fn wake(&self, _: usize) {}
    fn on_watch_fired(&self, fired: FiredWatch) {
        // A closed queue returns the watch, which is dropped.
        drop(self.0.push(fired));
    }
}

const WHY: Reason = Reason::SHUTDOWN;

struct Scene {
    kernel: Arc<Kernel>,
    world: Arc<SimPlatform<Queued>>,
    core: Core,
    member: Participant,
    target: Pid,
}

/// Creates a kernel of one core, whose one process has run once and ends when it runs again.
fn scene(mutation: Option<Mutation>) -> Scene {
    let world = Arc::new(SimPlatform::<Queued>::default());
    let limits = Limits { processes: 2, names: 1, timers: 1, ..Limits::default() };
    let options = Options { limits, mutation, ..Options::default() };
    let kernel = Kernel::new(options, Domain::new(), world.clone());
    let member = member(&kernel);
    let mut core = Core::new(kernel.clone(), 0);
    let target = Host::new(&kernel, &member).spawn(&SpawnOptions::new(), body(ends(WHY))).unwrap().pid;
    let _ = core.run(1);
    Scene { kernel, world, core, member, target }
}

/// The exits that a watch has reported. The drop of the watch is counted.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<ExitInfo>>>);

type Ends = Arc<std::sync::atomic::AtomicUsize>;

impl Told {
    fn watch(&self, host: &Host<'_>, pid: Pid) -> (ExitWatch, Ends) {
        let (canary, ends) = Canary::new();
        let told = self.clone();
        let act = move |ended| {
            canary.sing();
            told.0.lock().unwrap().push(ended);
        };
        (host.watch_exit(pid, act).unwrap(), ends)
    }

    fn reasons(&self) -> Vec<Option<Reason>> {
        self.0.lock().unwrap().iter().map(|ended| ended.reason.clone()).collect()
    }
}

fn ended(ends: &Ends) -> usize {
    ends.load(std::sync::atomic::Ordering::Relaxed)
}

/// A watch is installed, and perhaps cancelled, while its target dies. Both threads take fired
/// watches from the queue.
fn watched(withdraws: bool, mutation: Option<Mutation>) -> &'static str {
    let Scene { kernel, world, mut core, member, target } = scene(mutation);
    let told = Told::default();
    let takes = world.clone();
    let dies = thread::spawn(move || {
        let _ = core.run(1);
        takes.0.take().for_each(FiredWatch::run);
        core
    });
    let host = Host::new(&kernel, &member);
    let (watch, ends) = told.watch(&host, target);
    let withdrawn = withdraws && host.cancel_watch(&watch);
    drop(host);
    world.0.take().for_each(FiredWatch::run);
    let early = told.reasons().len();
    let core = dies.join().unwrap();
    world.0.take().for_each(FiredWatch::run);
    let outcome = match (&*told.reasons(), withdrawn, early) {
        ([Some(why)], false, 1) if *why == WHY => "fired early",
        ([Some(why)], false, _) if *why == WHY => "fired",
        ([], true, _) => "cancelled",
        other => panic!("fired once, or cancelled: {other:?}"),
    };
    let status = if withdrawn { WatchStatus::Cancelled } else { WatchStatus::Fired };
    assert_eq!((watch.status(), watch.pid(), ended(&ends)), (status, Some(target), 1), "run or dropped, once");
    drop((core, watch, member, kernel));
    outcome
}

/// Of three installed watches two are cancelled, and the second cancellation sweeps the list, while
/// the target dies. The third watch fires, even if the sweep held it when the list was closed.
fn swept(mutation: Option<Mutation>) -> &'static str {
    let Scene { kernel, world, mut core, member, target } = scene(mutation);
    let told = Told::default();
    let host = Host::new(&kernel, &member);
    let watches = [(); 3].map(|()| told.watch(&host, target));
    drop(host);
    let dies = thread::spawn(move || {
        let _ = core.run(1);
        core
    });
    let host = Host::new(&kernel, &member);
    let withdrawn = [0, 2].map(|number: usize| host.cancel_watch(&watches[number].0));
    drop(host);
    let core = dies.join().unwrap();
    world.0.take().for_each(FiredWatch::run);
    let expected = 3 - withdrawn.iter().filter(|withdrawn| **withdrawn).count();
    assert_eq!(told.reasons(), vec![Some(WHY); expected], "each watch that was not cancelled, once");
    assert_eq!(watches[1].0.status(), WatchStatus::Fired);
    assert!(watches.iter().all(|(_, ends)| ended(ends) == 1), "run or dropped, once");
    drop((core, watches, member, kernel));
    match withdrawn {
        [true, true] => "both in time",
        [false, false] => "too late",
        _ => "one in time",
    }
}

/// The queue is closed while a watch fires: the watch is in the batch that the closer takes, or is
/// returned.
fn closed() -> &'static str {
    let Scene { kernel, world, mut core, member, target } = scene(None);
    let told = Told::default();
    let (watch, ends) = told.watch(&Host::new(&kernel, &member), target);
    let dies = thread::spawn(move || {
        let _ = core.run(1);
        core
    });
    world.0.close().for_each(FiredWatch::run);
    let core = dies.join().unwrap();
    assert_eq!((watch.status(), ended(&ends)), (WatchStatus::Fired, 1), "run or dropped, once");
    drop((core, watch, member, kernel));
    if told.reasons().is_empty() { "returned" } else { "in time" }
}

/// A kernel that ends fires the watches of the processes that it ends.
fn kernel_ends() -> &'static str {
    let Scene { kernel, world, core, member, target } = scene(None);
    let told = Told::default();
    let (watch, ends) = told.watch(&Host::new(&kernel, &member), target);
    drop(core);
    world.0.take().for_each(FiredWatch::run);
    assert_eq!((told.reasons(), watch.status(), ended(&ends)), (vec![Some(Reason::KILLED)], WatchStatus::Fired, 1));
    drop((watch, member, kernel));
    "fired"
}

#[test]
fn protocol() {
    explore("watch || exit || take", Some(2), &["fired", "fired early"], || watched(false, None));
    let all = ["fired", "fired early", "cancelled"];
    explore("watch, cancel || exit || take", Some(2), &all, || watched(true, None));
    explore("cancel twice and sweep || exit", Some(2), &["both in time", "one in time", "too late"], || swept(None));
    explore("exit || the queue is closed", Some(2), &["in time", "returned"], closed);
    explore("the kernel ends", Some(2), &["fired"], kernel_ends);
}

#[test]
fn mutants() {
    let wrong = |name, mutation, f: fn(Option<Mutation>) -> &'static str| {
        mutant(name, Some(2), move || _ = f(Some(mutation)));
    };
    wrong("watch, a refusal that is ignored", Mutation::RefusedIsPlaced, |m| watched(false, m));
    wrong("watch, fired though cancelled", Mutation::FiresAnyway, |m| watched(true, m));
    wrong("watch, a sweep that drops what it holds", Mutation::SweepForgets, swept);
}
