//! Scripted processes that record what they receive, and otherwise only wait.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use atropos::facility::{KernelAccess as _, KernelFacilities, Spawner};
use atropos::kernel::Tombstone;
use atropos::{Context, Handle, MonitorTarget, Pid, Reason, Received, Runtime, SpawnOptions};

/// A signal that a process received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Exit(Option<u64>, Reason),
    Down { reference: u64, process: u64, reason: Reason },
}

pub(crate) type Work = Box<dyn FnOnce(&Context<Order>) + Send>;

pub(crate) enum Order {
    /// Runs in the process's own slice.
    Do(Work),
    Stop(Reason),
    /// Sends what the process has received.
    Tell(Sender<Vec<Event>>),
}

/// A scripted process of a test.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) pid: Pid,
    handle: Handle,
}

pub(crate) fn runtime(cores: usize) -> Runtime {
    Runtime::builder().cores(cores).build().expect("threads")
}

pub(crate) fn native(runtime: &Runtime) -> KernelFacilities<Handle> {
    KernelFacilities::new(runtime.handle())
}

/// Returns a pid that was never allocated.
pub(crate) fn nobody() -> u64 {
    Pid::new(77, 7_000).expect("in range").to_raw()
}

impl Probe {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        Self::with(runtime, &SpawnOptions::new())
    }

    pub(crate) fn trapping(runtime: &Runtime) -> Self {
        Self::with(runtime, &SpawnOptions::new().trap_exit(true))
    }

    pub(crate) fn with(runtime: &Runtime, options: &SpawnOptions<'_>) -> Self {
        let started = runtime.spawn_with(options, async move |cx: Context<Order>| {
            let mut written = Vec::new();
            loop {
                match cx.recv().await {
                    Received::Message(Order::Do(work)) | Received::Timer { message: Order::Do(work), .. } => work(&cx),
                    Received::Message(Order::Stop(reason)) | Received::Timer { message: Order::Stop(reason), .. } => {
                        return reason;
                    }
                    Received::Message(Order::Tell(to)) | Received::Timer { message: Order::Tell(to), .. } => {
                        to.send(written.clone()).expect("the test waits");
                    }
                    Received::Exit(exit) => {
                        written.push(Event::Exit(exit.from.map(Pid::to_raw), exit.reason));
                    }
                    Received::Down(down) => {
                        let MonitorTarget::Pid(process) = down.target else { panic!("a monitor by name") };
                        let (reference, process) = (down.reference.to_raw(), process.to_raw());
                        written.push(Event::Down { reference, process, reason: down.reason });
                    }
                }
            }
        });
        Self { pid: started.expect("a process").pid(), handle: runtime.handle() }
    }

    pub(crate) fn raw(&self) -> u64 {
        self.pid.to_raw()
    }

    /// Runs `work` in the process's own slice, and waits for its result.
    pub(crate) fn ask<R: Send + 'static>(&self, work: impl FnOnce(&Context<Order>) -> R + Send + 'static) -> R {
        let (send, receive) = channel();
        let work: Work = Box::new(move |cx| send.send(work(cx)).expect("the test waits"));
        assert!(self.handle.send(self.pid, Order::Do(work)).is_ok(), "alive");
        receive.recv_timeout(Duration::from_secs(60)).expect("it has run the work")
    }

    /// Keeps the process, and its core, busy until the sender is dropped.
    pub(crate) fn keep(&self) -> Kept {
        let (begun, began) = channel();
        let (go, wait) = channel::<()>();
        let work: Work = Box::new(move |_| {
            begun.send(()).expect("the test waits");
            let _ = wait.recv();
        });
        assert!(self.handle.send(self.pid, Order::Do(work)).is_ok(), "alive");
        began.recv().expect("it is busy");
        Kept(go)
    }

    /// Returns what the process has received so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        let (send, receive) = channel();
        assert!(self.handle.send(self.pid, Order::Tell(send)).is_ok(), "alive");
        receive.recv_timeout(Duration::from_secs(60)).expect("it replies")
    }

    pub(crate) fn downs(&self) -> Vec<(u64, Reason)> {
        let down = |event| match event {
            Event::Down { reference, reason, .. } => Some((reference, reason)),
            Event::Exit(..) => None,
        };
        self.events().into_iter().filter_map(down).collect()
    }

    pub(crate) fn exits(&self) -> Vec<(Option<u64>, Reason)> {
        let exit = |event| match event {
            Event::Exit(from, reason) => Some((from, reason)),
            Event::Down { .. } => None,
        };
        self.events().into_iter().filter_map(exit).collect()
    }

    /// Makes the process exit by itself.
    pub(crate) fn stop(&self, reason: Reason) {
        let _ = self.handle.send(self.pid, Order::Stop(reason));
        self.ends();
    }

    /// Kills the process, by the host.
    pub(crate) fn kill(&self) {
        self.handle.exit(self.pid, Reason::KILL).expect("a kill needs no memory");
        self.ends();
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.handle.is_alive(self.pid)
    }

    /// Waits for the process's exit; returns the reason, from the tombstone in its slot.
    pub(crate) fn ends(&self) -> Reason {
        ends(&self.handle, self.pid)
    }
}

/// A guard that keeps a process busy, see [`Probe::keep`].
pub(crate) struct Kept(#[allow(dead_code, reason = "only its drop matters")] std::sync::mpsc::Sender<()>);

/// Waits for the exit of a process; returns the reason. All its watchers have been notified then,
/// because that is done in the slice in which it dies.
pub(crate) fn ends(handle: &Handle, pid: Pid) -> Reason {
    let mut reason = None;
    until("it ends", || {
        let mut over = false;
        handle.enter(&mut |host| {
            if let Tombstone::Known(why) = host.tombstone(pid) {
                let runs = |core| host.running(core).is_some_and(|(_, running)| running == pid);
                over = !(0..host.kernel().cores()).any(runs);
                reason = Some(why);
            }
        });
        over
    });
    reason.expect("found")
}

pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// A program of one function, whose argument is the closure to run.
pub(crate) struct Tasks;

/// The closure that [`Tasks`] runs.
pub(crate) type Task = Box<dyn FnMut(&atropos::Cx<'_, Order>) -> atropos::BodyPoll + Send>;

/// A body that is a closure.
pub(crate) struct Runs(Task);

impl atropos::Body for Runs {
    type Message = Order;

    fn resume(&mut self, cx: &atropos::Cx<'_, Order>) -> atropos::BodyPoll {
        (self.0)(cx)
    }
}

impl atropos::facility::CodeResolver for Tasks {
    type Body = Runs;

    fn resolve(&self, entry: atropos::facility::EntryPoint<'_>) -> Option<Runs> {
        if (entry.module, entry.function) != ("tasks", "run") {
            return None;
        }
        entry.arguments.downcast::<Task>().ok().map(|task| Runs(*task))
    }
}

pub(crate) fn spawner(runtime: &Runtime) -> Spawner<Handle, Tasks> {
    Spawner::new(runtime.handle(), Tasks)
}

/// Returns the entry point that runs a closure.
pub(crate) fn run(
    task: impl FnMut(&atropos::Cx<'_, Order>) -> atropos::BodyPoll + Send + 'static,
) -> atropos::facility::EntryPoint<'static> {
    let task: Task = Box::new(task);
    atropos::facility::EntryPoint { module: "tasks", function: "run", arguments: Box::new(task) }
}

/// Returns a receiver's next item, which must arrive soon.
pub(crate) fn next<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(Duration::from_secs(60)).expect("an item arrives")
}
