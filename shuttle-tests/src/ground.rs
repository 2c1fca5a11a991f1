//! [`Ground`]: a kernel whose cores and hosts are threads of shuttle's.
//!
//! A core's thread steps its core until there is nothing to do, and then sleeps in the only way that there is: until
//! the kernel wakes it, or its time has come. So a wake-up that is lost is a core that sleeps on work, and that is
//! looked for whenever everything has come to *rest*: every core sleeps, none has been woken, and no host runs. The
//! main thread waits for rest ([`Ground::settle`]); time, which is virtual, passes then, or when a host says so.
//!
//! What the threads agree on here is in locks of `std`, which shuttle does not see: each is held for a moment within
//! one of its steps, never over an operation of the kernel, so that the web's own bookkeeping adds no schedules.
//!
//! - **G1.** A thread that sleeps has said so under the lock before it parks; who wakes it notes that under the lock
//!   before it unparks. A token that comes too early keeps it from parking, so no wake is lost here.
//! - **G2.** A core that was not dropped by its own thread is not dropped at all: after a failure another thread's
//!   stack, which is never unwound, may hold guards and processes of the same kernel.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atropos_kernel::reclaim::{Domain, Participant};
use atropos_kernel::world::{CurrentSlot, Platform};
use atropos_kernel::{Core, Host, Kernel, Limits, Options, Pid, RunOutcome, Reason};
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread::{self, JoinHandle, Thread};

/// A number below, of shuttle's: a replay draws the same.
pub fn random(below: usize) -> usize {
    thread_rng().gen_range(0..below)
}

/// Whether one chance in so many has come true.
pub fn chance(of: usize) -> bool {
    random(of) == 0
}

shuttle::thread_local! {
    static HERE: CurrentSlot = Cell::new(std::ptr::null());
}

fn here() -> *const CurrentSlot {
    // Kept in a box of its own until the thread ends.
    HERE.with(std::ptr::from_ref)
}

/// One core's thread.
#[derive(Default, Debug)]
struct Driver {
    thread: Option<Thread>,
    /// It sleeps, and until when at the latest.
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

    /// Notes a wake, and returns whom to unpark.
    fn wake(&mut self, core: usize) -> Option<Thread> {
        let driver = &mut self.drivers[core];
        driver.woken = true;
        driver.asleep.and(driver.thread.clone())
    }
}

/// The world of a web.
#[derive(Debug)]
struct Clockwork {
    now: AtomicU64,
    state: Mutex<State>,
}

impl Clockwork {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time passes, and whose time has come is woken.
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

    /// Sleeps until the core is woken; false when the web is over.
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

// SAFETY: `here` is a thread-local of shuttle's: each of its threads has its own.
unsafe impl Platform for Clockwork {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn wake(&self, core: usize) {
        let thread = self.state().wake(core);
        if let Some(thread) = thread {
            thread.unpark();
        }
    }

    fn here(&self) -> fn() -> *const CurrentSlot {
        here
    }
}

/// A core that is dropped by its own thread or not at all (G2).
struct Driven(ManuallyDrop<Core>);

impl Drop for Driven {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

fn drive(kernel: Arc<Kernel>, clock: &Clockwork, id: usize) {
    // Before it sleeps: it must be found to be woken (G1).
    clock.state().drivers[id].thread = Some(thread::current());
    let mut core = Driven(ManuallyDrop::new(Core::new(kernel, id)));
    loop {
        match core.0.run(1 + random(4) as u32) {
            RunOutcome::Worked => {}
            RunOutcome::Idle { until } => {
                if !clock.sleep(id, until) {
                    return;
                }
            }
        }
    }
}

/// A host's way to the kernel, for one thread.
#[derive(Debug)]
pub struct Guest {
    kernel: Arc<Kernel>,
    clock: Arc<Clockwork>,
    participant: Participant,
}

impl Guest {
    /// The kernel as a host sees it; for a few calls, since it is pinned meanwhile.
    pub fn with<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        f(&Host::new(&self.kernel, &self.participant))
    }

    /// Lets time pass.
    pub fn advance(&self, by: u64) {
        self.clock.advance_to(self.clock.now() + by);
    }

    /// Sends an exit signal from nobody.
    pub fn exit(&self, to: Pid, reason: Reason) -> bool {
        self.with(|host| host.exit(to, reason)).expect("there is memory")
    }

    /// Kills it; whether it was alive.
    pub fn kill(&self, pid: Pid) -> bool {
        self.exit(pid, Reason::KILL)
    }
}

/// A kernel with its threads; see the module.
#[derive(Debug)]
pub struct Ground {
    guest: Guest,
    cores: Vec<JoinHandle<()>>,
    hosts: Vec<JoinHandle<()>>,
}

impl Ground {
    /// A kernel of so many cores, which do not run yet.
    pub fn new(cores: usize) -> Self {
        Self::with_processes(cores, 1 << 12)
    }

    /// Likewise, with at most so many processes.
    pub fn with_processes(cores: usize, processes: u32) -> Self {
        let state = State {
            drivers: (0..cores).map(|_| Driver::default()).collect(),
            main: thread::current(),
            hosts: 0,
            over: false,
        };
        let clock = Arc::new(Clockwork { now: AtomicU64::new(0), state: Mutex::new(state) });
        // A limit that is not reached: it makes the kernel count its nodes, and a leak show.
        let limits = Limits { processes, nodes: 1 << 20, ..Limits::default() };
        let options = Options { cores, limits, seed: random(1 << 20) as u64, ..Options::default() };
        let kernel = Kernel::new(options, Domain::new(), clock.clone());
        let participant = kernel.register();
        Self { guest: Guest { kernel, clock, participant }, cores: Vec::new(), hosts: Vec::new() }
    }

    /// The main thread's way to the kernel.
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

    /// Starts a host.
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
        assert!(self.guest.kernel.is_quiescent(), "all cores sleep, and there is work");
    }

    /// Waits until nothing can happen any more, however long that takes.
    ///
    /// # Panics
    /// When all sleep and there is work, or when it never ends.
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
        panic!("time passes, and there is always another timer");
    }

    /// Who is alive, in the order of their slots.
    pub fn alive(&self) -> Vec<Pid> {
        self.guest.with(|host| host.processes().collect())
    }

    /// Ends the cores, and looks for what the kernel has kept.
    ///
    /// # Panics
    /// When a process lives, or anything is left of the dead.
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
        assert_eq!(kernel.process_count(), 0, "processes are counted that are not there");
        assert_eq!(kernel.nodes_used(), 0, "signals, links, monitors or timers have leaked");
        assert_eq!(Arc::strong_count(&kernel), 1, "somebody keeps the kernel");
        drop(kernel);
        assert_eq!(Arc::strong_count(&clock), 1, "somebody keeps the world");
    }
}
