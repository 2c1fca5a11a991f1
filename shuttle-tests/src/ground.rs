//! [`Ground`]: a kernel whose cores and hosts are threads of shuttle's.
//!
//! A core's thread steps its core until there is nothing to do, and then sleeps until the kernel
//! wakes it or its deadline passes. There is no other way to wake it. So a lost wake-up is a core
//! that sleeps although it has work, and the harness checks for that whenever the web is at *rest*:
//! every core sleeps, none has been woken, and no host runs. The main thread waits for rest
//! ([`Ground::settle`]). Time is virtual, and passes then, or when a host advances it.
//!
//! The state that the threads share here is in locks of `std`, which shuttle does not see. Each
//! lock is held briefly within one of shuttle's steps, never across an operation of the kernel, so
//! the web's own records add no schedules.
//!
//! - **G1.** A thread records under the lock that it sleeps before it parks, and its waker records
//!   the wake under the lock before it unparks the thread. A token that comes too early keeps the
//!   thread from parking, so no wake is lost here.
//! - **G2.** A core that its own thread did not drop is never dropped: after a failure another
//!   thread's stack, which is never unwound, may hold guards and processes of the same kernel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atropos_kernel::reclaim::{Domain, Participant};
use atropos_kernel::{Core, Host, Kernel, Limits, Options, Pid, Reason, RunOutcome};
use atropos_sim::{Environment, LeakOnPanic, Leaks, SimPlatform};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread::{self, JoinHandle, Thread};

/// Returns a number below `below`, drawn from shuttle: a replay draws the same.
pub fn random(below: usize) -> usize {
    thread_rng().gen_range(0..below)
}

/// Returns `true` with a probability of one in `of`.
pub fn chance(of: usize) -> bool {
    random(of) == 0
}

/// The thread of one core.
#[derive(Default, Debug)]
struct Driver {
    thread: Option<Thread>,
    /// Set while the thread sleeps, with its deadline, if any.
    asleep: Option<Option<u64>>,
    woken: bool,
}

#[derive(Debug)]
struct State {
    drivers: Vec<Driver>,
    main: Thread,
    hosts: usize,
    over: bool,
}

impl State {
    fn is_at_rest(&self) -> bool {
        self.hosts == 0 && self.drivers.iter().all(|driver| driver.asleep.is_some() && !driver.woken)
    }

    /// Records a wake, and returns the thread to unpark.
    fn wake(&mut self, core: usize) -> Option<Thread> {
        let driver = &mut self.drivers[core];
        driver.woken = true;
        driver.asleep.and(driver.thread.clone())
    }
}

/// The environment of a web: virtual time, and wakes that unpark threads.
#[derive(Debug)]
struct Clockwork {
    now: AtomicU64,
    state: Mutex<State>,
}

impl Clockwork {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Advances the time, and wakes the cores whose deadlines have passed.
    fn advance_to(&self, now: u64) {
        self.now.fetch_max(now, Ordering::Relaxed);
        let mut due = Vec::new();
        {
            let mut state = self.state();
            for core in 0..state.drivers.len() {
                if matches!(state.drivers[core].asleep, Some(Some(until)) if until <= now) {
                    due.extend(state.wake(core));
                }
            }
        }
        for thread in due {
            thread.unpark();
        }
    }

    /// Sleeps until the core is woken. Returns `false` when the web is over.
    fn sleep(&self, core: usize, until: Option<u64>) -> bool {
        loop {
            let main = {
                let mut state = self.state();
                if state.over {
                    return false;
                }
                // The clock may have passed `until` since the core looked.
                let due = until.is_some_and(|until| until <= self.now.load(Ordering::Relaxed));
                let driver = &mut state.drivers[core];
                if driver.woken || due {
                    (driver.woken, driver.asleep) = (false, None);
                    return true;
                }
                driver.asleep = Some(until);
                state.is_at_rest().then(|| state.main.clone())
            };
            if let Some(main) = main {
                main.unpark();
            }
            thread::park();
        }
    }
}

impl Environment for Clockwork {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn wake(&self, core: usize) {
        let thread = self.state().wake(core);
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

fn drive(kernel: Arc<Kernel>, clock: &Clockwork, id: usize) {
    // The thread is recorded before it sleeps, so that a waker finds it (G1).
    clock.state().drivers[id].thread = Some(thread::current());
    // A core of a failed web is leaked (G2).
    let mut core = LeakOnPanic::new(Core::new(kernel, id));
    loop {
        match core.run(1 + random(4) as u32) {
            RunOutcome::Worked => {}
            RunOutcome::Idle { until } => {
                if !clock.sleep(id, until) {
                    return;
                }
            }
        }
    }
}

/// One thread's access to the kernel as a host.
#[derive(Debug)]
pub struct Guest {
    kernel: Arc<Kernel>,
    clock: Arc<SimPlatform<Clockwork>>,
    participant: Participant,
}

impl Guest {
    /// Runs `f` with the kernel as a host sees it. Meant for a few calls, since the thread is
    /// pinned for the duration.
    pub fn with<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&Host::new(&self.kernel, &self.participant))
    }

    /// Advances the time by `by` nanoseconds.
    pub fn advance(&self, by: u64) {
        self.clock.advance_to(self.clock.now() + by);
    }

    /// Sends an exit signal without a sender.
    pub fn exit(&self, to: Pid, reason: Reason) -> bool {
        self.with(|host| host.exit(to, reason)).expect("the kernel has memory")
    }

    /// Kills a process. Returns `true` if it was alive.
    pub fn kill(&self, pid: Pid) -> bool {
        self.exit(pid, Reason::KILL)
    }
}

/// A kernel with its threads.
#[derive(Debug)]
pub struct Ground {
    guest: Guest,
    cores: Vec<JoinHandle<()>>,
    hosts: Vec<JoinHandle<()>>,
}

impl Ground {
    /// Creates a kernel of `cores` cores, which do not run yet.
    pub fn new(cores: usize) -> Self {
        Self::with_processes(cores, 1 << 12)
    }

    /// Creates a kernel of `cores` cores, with at most `processes` processes.
    pub fn with_processes(cores: usize, processes: u32) -> Self {
        let state = State {
            drivers: (0..cores).map(|_| Driver::default()).collect(),
            main: thread::current(),
            hosts: 0,
            over: false,
        };
        let clock = Arc::new(SimPlatform::new(Clockwork { now: AtomicU64::new(0), state: Mutex::new(state) }));
        // A limit that is not reached. It makes the kernel count its nodes, so that a leak shows.
        let limits = Limits { processes, nodes: 1 << 20, ..Limits::default() };
        let options = Options { cores, limits, seed: random(1 << 20) as u64, ..Options::default() };
        let kernel = Kernel::new(options, Domain::new(), clock.clone());
        let participant = kernel.register();
        Self { guest: Guest { kernel, clock, participant }, cores: Vec::new(), hosts: Vec::new() }
    }

    /// Returns the main thread's access to the kernel.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Starts the cores.
    pub fn start(&mut self) {
        for id in 0..self.guest.kernel.cores() {
            let (kernel, clock) = (self.guest.kernel.clone(), self.guest.clock.clone());
            self.cores.push(thread::spawn(move || drive(kernel, &clock, id)));
        }
    }

    /// Starts a host thread.
    pub fn host(&mut self, f: impl FnOnce(&Guest) + Send + 'static) {
        let (kernel, clock) = (self.guest.kernel.clone(), self.guest.clock.clone());
        clock.state().hosts += 1;
        self.hosts.push(thread::spawn(move || {
            let guest = Guest { participant: kernel.register(), kernel, clock };
            f(&guest);
            let main = {
                let mut state = guest.clock.state();
                state.hosts -= 1;
                state.is_at_rest().then(|| state.main.clone())
            };
            if let Some(main) = main {
                main.unpark();
            }
        }));
    }

    fn wait_for_rest(&self) {
        while !self.guest.clock.state().is_at_rest() {
            thread::park();
        }
        assert!(self.guest.kernel.is_quiescent(), "all cores sleep although there is work");
    }

    /// Waits until nothing more can happen, however long that takes.
    ///
    /// # Panics
    /// Panics when all cores sleep although there is work, or when the web never comes to rest.
    pub fn settle(&self) {
        for _round in 0..1_000 {
            self.wait_for_rest();
            let due = {
                let state = self.guest.clock.state();
                state.drivers.iter().filter_map(|driver| driver.asleep.flatten()).min()
            };
            let Some(due) = due else { return };
            self.guest.clock.advance_to(due);
        }
        panic!("the web never comes to rest: there is always another timer");
    }

    /// Returns the live processes, in the order of their slots.
    pub fn alive(&self) -> Vec<Pid> {
        self.guest.with(|host| host.processes().collect())
    }

    /// Ends the cores, and checks what the kernel still holds.
    ///
    /// # Panics
    /// Panics when a process lives, or when anything of the dead processes is left.
    pub fn finish(mut self) {
        assert_eq!(self.alive(), [], "all processes have ended");
        let drivers: Vec<Thread> = {
            let mut state = self.guest.clock.state();
            state.over = true;
            state.drivers.iter().filter_map(|driver| driver.thread.clone()).collect()
        };
        for thread in drivers {
            thread.unpark();
        }
        for thread in self.hosts.drain(..).chain(self.cores.drain(..)) {
            thread.join().expect("a failure would have ended the execution");
        }
        let Guest { kernel, clock, participant } = self.guest;
        for _epoch in 0..3 {
            participant.flush();
        }
        drop(participant);
        assert_eq!(Leaks::check(&kernel), Ok(()), "nothing of the dead processes is left");
        assert_eq!(Arc::strong_count(&kernel), 1, "a reference to the kernel is left");
        drop(kernel);
        assert_eq!(Arc::strong_count(&clock), 1, "a reference to the platform is left");
    }
}
