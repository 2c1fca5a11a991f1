//! The test bed: simulated cores (`atropos-sim`) and virtual time, and scripted workers that are
//! counted.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atropos_kernel::{Context, Host, Kernel, Options, Pid, Reason, Received, SpawnOptions, Tombstone, task};
use atropos_otp::{ChildSpec, ChildStarter, Report, ReportHook, StartError, StartedChild, Supervisor, SupervisorRef};
use atropos_sim::Sim;

pub(crate) use atropos_sim::crash;

/// The test bed of simulated cores.
pub(crate) struct Bed {
    pub(crate) kernel: Arc<Kernel>,
    sim: Sim,
}

impl Bed {
    pub(crate) fn new(cores: usize, seed: u64) -> Self {
        Self::with(Options { cores, seed, ..Options::default() })
    }

    pub(crate) fn with(options: Options) -> Self {
        // A step is one slice, so that a test can act between any two.
        let sim = Sim::with(options).slices_per_step(1..=1);
        Self { kernel: sim.kernel().clone(), sim }
    }

    pub(crate) fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&self.sim.host())
    }

    /// Runs one slice of a random core that has work; returns `false` if no core has any.
    pub(crate) fn step(&mut self) -> bool {
        self.sim.step()
    }

    /// Steps until no core has work before time advances.
    pub(crate) fn settle(&mut self) {
        self.sim.settle().expect("the cores come to rest");
    }

    pub(crate) fn now(&self) -> Duration {
        self.sim.now()
    }

    /// Advances the virtual time.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.sim.sleep(time).expect("the cores come to rest");
    }

    /// Advances the time to the next timer; returns `false` if there is none.
    pub(crate) fn next_timer(&mut self) -> bool {
        self.sim.next_timer().expect("the cores come to rest")
    }

    pub(crate) fn spawn<M, S, F>(&self, trap: bool, body: S) -> Pid
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: task::IntoReason> + Send + 'static,
    {
        let options = SpawnOptions::new().trap_exit(trap);
        self.host(|host| host.spawn_async(&options, body)).expect("space").pid()
    }

    /// Runs a process to its end, advancing the time as needed; returns its value.
    pub(crate) fn run<T, S, F>(&mut self, body: S) -> T
    where
        T: Send + 'static,
        S: FnOnce(Context<()>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.run_as(body)
    }

    /// Runs a process as [`Bed::run`] does, with any message type.
    pub(crate) fn run_as<M, T, S, F>(&mut self, body: S) -> T
    where
        M: Send + 'static,
        T: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let place = Arc::new(Mutex::new(None));
        let slot = place.clone();
        self.spawn(false, move |cx| {
            let body = body(cx);
            async move { *lock(&slot) = Some(body.await) }
        });
        loop {
            self.settle();
            if let Some(value) = lock(&place).take() {
                return value;
            }
            assert!(self.next_timer(), "the process waits for ever or has crashed");
        }
    }

    /// Starts a supervisor under a parent that traps exits and waits; returns when the supervisor
    /// is up.
    pub(crate) fn family(&mut self, supervisor: Supervisor) -> (Pid, SupervisorRef) {
        let (parent, started) = self.try_family(supervisor);
        (parent, started.expect("it is up"))
    }

    pub(crate) fn try_family(&mut self, supervisor: Supervisor) -> (Pid, Result<SupervisorRef, StartError>) {
        let place = Arc::new(Mutex::new(None));
        let slot = place.clone();
        let parent = self.spawn(true, move |cx: Context<()>| async move {
            let started = supervisor.start_link(&cx).await;
            *lock(&slot) = Some(started);
            loop {
                cx.recv().await;
            }
        });
        loop {
            self.settle();
            if let Some(started) = lock(&place).take() {
                return (parent, started);
            }
            assert!(self.next_timer(), "the supervisor is not up and no timer is left");
        }
    }

    pub(crate) fn exit(&self, pid: impl Into<Pid>, reason: Reason) {
        self.host(|host| host.exit(pid.into(), reason)).expect("memory");
    }

    /// Sends an exit signal from an unrelated process.
    pub(crate) fn exit_from_a_stranger(&mut self, pid: impl Into<Pid>, reason: Reason) {
        let pid = pid.into();
        self.run(move |cx| async move { cx.exit(pid, reason).expect("memory") });
    }

    pub(crate) fn is_alive(&self, pid: impl Into<Pid>) -> bool {
        self.host(|host| host.is_alive(pid.into()))
    }

    pub(crate) fn processes(&self) -> usize {
        self.host(|host| host.processes().count())
    }

    /// Returns the exit reason of a dead process.
    pub(crate) fn died_of(&self, pid: impl Into<Pid>) -> Reason {
        match self.host(|host| host.tombstone(pid.into())) {
            Tombstone::Known(reason) => reason,
            other => panic!("not dead, or its tombstone is gone: {other:?}"),
        }
    }

    /// Sends an order to a worker of a [`Yard`].
    pub(crate) fn tell(&self, pid: Pid, told: Told) {
        self.host(|host| host.send(pid, told)).expect("a worker accepts it");
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An order to a worker.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    End(Reason),
    Panic,
    /// Unlinks from this process (the supervisor).
    Unlink(Pid),
    /// Ignores exit signals.
    Ignore,
    /// Delays its exit on `shutdown` by this long.
    Slow(Duration),
}

#[derive(Default)]
struct State {
    /// Processes by id, in the order of their starts.
    started: BTreeMap<String, Vec<Pid>>,
    live: BTreeMap<String, usize>,
    /// The most processes of an id that were alive at the same time.
    most: BTreeMap<String, usize>,
    events: Vec<String>,
    reports: Vec<Report>,
    fails: BTreeMap<String, usize>,
}

/// The table in which workers are counted.
#[derive(Clone, Default)]
pub(crate) struct Yard(Arc<Mutex<State>>);

struct Life(Yard, String);

impl Drop for Life {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        *state.live.get_mut(&self.1).expect("it was counted") -= 1;
        state.events.push(format!("-{}", self.1));
    }
}

impl Yard {
    /// Returns the last process of an id.
    pub(crate) fn pid(&self, id: &str) -> Pid {
        *lock(&self.0).started.get(id).and_then(|pids| pids.last()).expect("it was started")
    }

    /// Returns the number of starts of an id.
    pub(crate) fn starts(&self, id: &str) -> usize {
        lock(&self.0).started.get(id).map_or(0, Vec::len)
    }

    pub(crate) fn live(&self) -> usize {
        lock(&self.0).live.values().sum()
    }

    pub(crate) fn live_of(&self, id: &str) -> usize {
        lock(&self.0).live.get(id).copied().unwrap_or(0)
    }

    /// Returns the most processes of one id that were ever alive at the same time.
    pub(crate) fn most_of_one(&self) -> usize {
        lock(&self.0).most.values().copied().max().unwrap_or(0)
    }

    /// Returns the starts (`+id`) and exits (`-id`) since the last call.
    pub(crate) fn events(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).events)
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut lock(&self.0).reports)
    }

    /// Returns a hook that stores its reports.
    pub(crate) fn hook(&self) -> ReportHook {
        let yard = self.clone();
        ReportHook::new(move |report| lock(&yard.0).reports.push(report.clone()))
    }

    /// Makes the next starts of an id fail.
    pub(crate) fn fail(&self, id: &str, times: usize) {
        lock(&self.0).fails.insert(id.to_owned(), times);
    }

    /// Specifies a worker.
    pub(crate) fn worker(&self, id: &str) -> ChildSpec {
        let (yard, name) = (self.clone(), id.to_owned());
        ChildSpec::worker(id.to_owned(), move |starter: &mut ChildStarter<'_>| yard.start(starter, &name, false))
    }

    /// Specifies a worker that traps exits.
    pub(crate) fn trapping(&self, id: &str) -> ChildSpec {
        let (yard, name) = (self.clone(), id.to_owned());
        ChildSpec::worker(id.to_owned(), move |starter: &mut ChildStarter<'_>| yard.start(starter, &name, true))
    }

    pub(crate) fn start(
        &self,
        starter: &mut ChildStarter<'_>,
        id: &str,
        trap: bool,
    ) -> Result<StartedChild, StartError> {
        if let Some(left) = lock(&self.0).fails.get_mut(id).filter(|left| **left > 0) {
            *left -= 1;
            return Err(StartError::Refused(Reason::value("scripted failure")));
        }
        let life = self.born(id);
        let supervisor = starter.supervisor_pid();
        let options = SpawnOptions::new().trap_exit(trap);
        let started = starter.spawn_with(&options, move |cx| work(cx, life, supervisor))?;
        let pid = started.pid().expect("a process");
        lock(&self.0).started.entry(id.to_owned()).or_default().push(pid);
        Ok(started)
    }

    fn born(&self, id: &str) -> Life {
        let mut state = lock(&self.0);
        let live = state.live.entry(id.to_owned()).or_default();
        *live += 1;
        let live = *live;
        let most = state.most.entry(id.to_owned()).or_default();
        *most = live.max(*most);
        state.events.push(format!("+{id}"));
        Life(self.clone(), id.to_owned())
    }
}

async fn work(cx: Context<Told>, _life: Life, supervisor: Pid) -> Reason {
    let (mut ignores, mut slow) = (false, Duration::ZERO);
    loop {
        match cx.recv().await {
            Received::Message(Told::End(reason)) => return reason,
            Received::Message(Told::Panic) => crash("a worker panics"),
            Received::Message(Told::Unlink(from)) => cx.unlink(from),
            Received::Message(Told::Ignore) => {
                cx.trap_exit(true);
                ignores = true;
            }
            Received::Message(Told::Slow(time)) => slow = time,
            Received::Exit(exit) if exit.from == Some(supervisor) && !ignores => {
                if !slow.is_zero() {
                    cx.sleep(slow).await;
                }
                return exit.reason;
            }
            _ => {}
        }
    }
}

/// Returns an abnormal exit reason for tests.
pub(crate) fn boom() -> Reason {
    Reason::value("boom")
}
