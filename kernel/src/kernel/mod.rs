//! [`Kernel`]: the state that all cores share. An embedder holds a handle of it
//! ([`crate::Kernel`]), with its [`Options`] and [`Limits`].

pub(crate) mod core_local;
pub(crate) mod current;
pub(crate) mod custody;
pub(crate) mod handle;
pub(crate) mod kernel_cx;
pub(crate) mod pace;
pub mod platform;
pub(crate) mod slice;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::RangeInclusive;
use core::ptr::NonNull;

use crate::config;
use crate::kernel::core_local::{CoreLocal, CoreShared};
use crate::kernel::custody::Barrier;
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel::platform::Platform;
use crate::kernel_ptr::{CurrentSlotFn, KernelPtr};
use crate::memory::depot::Depot;
use crate::mutation::MutationSwitch;
use crate::pid::{MAX_SLOTS, Pid};
use crate::process::header::ANY_CORE;
use crate::process::name::Names;
use crate::process::owned::Owned;
use crate::process::references::References;
use crate::process::table::{Table, TableFull, Tombstone};
use crate::process::timer_record::CancelledShare;
use crate::process::timer_slot::TimerSlots;
use crate::reason::Reason;
use crate::reclaim::{Domain, Guard, Participant};
use crate::runq::idle::Idle;
use crate::signal::node::Budget;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, PlainAtomicBool, PlainAtomicUsize, fence};

/// The limits of a kernel's size. A call that would exceed a limit returns an error.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of live processes. A core keeps up to two blocks, each a 64th of its share,
    /// in reserve. A spawn may therefore be refused when fewer than that are free elsewhere.
    pub processes: u32,
    /// Maximum number of names that are ever registered or used for a monitor.
    pub names: usize,
    /// Maximum number of timers at a time, for each core. As many timers again may exist, over all
    /// cores together, that were started for processes running elsewhere
    /// ([`crate::Caller::send_after`]).
    pub timers: usize,
    /// Maximum number of messages, exit signals, links, monitors, timers and queries at a time.
    /// `usize::MAX` means no limit and costs nothing; with a limit, each of them costs two
    /// operations on a shared counter. A call that would exceed the limit returns an out-of-memory
    /// error. Process exits need no such node.
    pub nodes: usize,
    /// Bytes of memory that a core keeps for its next messages, links, monitors, timers and
    /// processes. Beyond that it holds a surplus of at most 128 times as much. The core returns the
    /// surplus when it has nothing else to do, and little by little while it is busy. In addition,
    /// all cores together keep up to four times 64 blocks of each size that they exchange. 0:
    /// nothing is kept.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processes: 1 << 24, names: 1 << 16, timers: 1 << 26, nodes: usize::MAX, kept: 1 << 18 }
    }
}

/// The options with which a kernel is created.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of cores, 1 to [`crate::MAX_CORES`].
    pub cores: usize,
    /// Limits of processes, names, timers, nodes and pooled memory, see [`Limits`].
    pub limits: Limits,
    /// `true` if a monitor of a dead process reports the reason of its exit, as long as the slot
    /// keeps it, instead of OTP's `noproc`.
    pub tombstones: bool,
    /// Seed that decides the victims of work stealing.
    pub seed: u64,
    /// The generations of the pids that the kernel gives out; by default all. If two kernels of a
    /// program have no generation in common, they never give out the same pid, so a pid of one
    /// kernel names no process of the other. A slot that has used its last generation is no longer
    /// used, and another takes its place, up to 2^28 slots in a kernel's life. See
    /// [`Platform::on_kernel_drop`].
    pub generations: RangeInclusive<u32>,
    /// The source of the kernel's references. If it is shared with other kernels, no two references
    /// of these kernels are equal. By default the kernel has a counter of its own.
    pub references: Option<Arc<References>>,
    /// The mutation that a model injects into the kernel.
    #[cfg(loom)]
    pub mutation: Option<crate::mutation::Mutation>,
    /// `true` if a model simulates that kills get no memory.
    #[cfg(loom)]
    pub kills_without_memory: bool,
}

impl Options {
    #[cfg(loom)]
    const fn mutations(&self) -> MutationSwitch {
        MutationSwitch::new(self.mutation, self.kills_without_memory)
    }

    #[cfg(not(loom))]
    const fn mutations(&self) -> MutationSwitch {
        MutationSwitch
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cores: 1,
            limits: Limits::default(),
            tombstones: false,
            seed: 0x5EED,
            generations: 1..=u32::MAX,
            references: None,
            #[cfg(loom)]
            mutation: None,
            #[cfg(loom)]
            kills_without_memory: false,
        }
    }
}

/// The shared state of all cores. [`Kernel::new`] creates it in an `Arc`, and it never moves out of
/// it.
pub(crate) struct Kernel {
    pub(crate) table: Table,
    pub(crate) names: Names,
    pub(crate) references: Arc<References>,
    pub(crate) idle: Idle,
    pub(crate) nodes: Budget,
    /// The depot of memory blocks on their way between cores.
    pub(crate) depot: Arc<Depot>,
    /// The budget of timers that are started by proxy: a caller on another core knows no wheel on
    /// which it could reserve room.
    pub(crate) timers_by_proxy: Budget,
    pub(crate) cores: Box<[CoreShared]>,
    pub(crate) domain: Domain,
    pub(crate) current_slot: CurrentSlotFn,
    /// The kind of barrier by which a core and its rescuers agree (`kernel::custody`).
    pub(crate) barrier: Barrier,
    pub(crate) options: Options,
    /// The mutation that a model injects, if any.
    pub(crate) mutations: MutationSwitch,
    world: Arc<dyn Platform>,
    /// Number of processes plus the credits of the cores; at most the limit.
    granted: AtomicUsize,
    credit_block: u32,
    next_inbox: PlainAtomicUsize,
    closing: AtomicBool,
    /// A hint to exiting processes. The observer has its own way of knowing from when it observes.
    observed: PlainAtomicBool,
    /// Number of cores that have ended (`ops::teardown`).
    pub(crate) ended: AtomicUsize,
}

impl KernelPtr {
    /// Returns the pointer to a kernel.
    #[inline(always)]
    pub(crate) const fn of(kernel: &Kernel) -> Self {
        Self::from_erased(NonNull::from_ref(kernel).cast())
    }

    /// Returns the kernel.
    ///
    /// # Safety
    /// The kernel exists for as long as the caller uses it.
    #[inline(always)]
    pub(crate) const unsafe fn get<'k>(self) -> &'k Kernel {
        // SAFETY: `of` made the pointer, and the kernel exists (this function's contract).
        unsafe { self.erased().cast().as_ref() }
    }

    /// Returns the timer slots of the kernel's references.
    ///
    /// # Safety
    /// The kernel exists for as long as the caller uses the slots.
    #[inline(always)]
    pub(crate) unsafe fn timer_slots<'k>(self) -> &'k TimerSlots {
        // SAFETY: the kernel exists, and holds its references (this function's contract).
        &unsafe { self.get() }.references.timers
    }

    /// Adds a reference that holds the kernel (`process/header`, P4).
    ///
    /// # Safety
    /// The kernel exists.
    #[inline(always)]
    pub(crate) unsafe fn hold(self) {
        // SAFETY: the kernel is in an `Arc`, which no code can take it out of (`handle`), and it
        // exists (this function's contract).
        unsafe { Arc::increment_strong_count(self.erased().cast::<Kernel>().as_ptr().cast_const()) };
    }

    /// Releases a reference that [`KernelPtr::hold`] added.
    ///
    /// # Safety
    /// The caller has the reference, and does not use the kernel by it again.
    #[inline(always)]
    pub(crate) unsafe fn release(self) {
        // SAFETY: `hold` took this count, and the caller releases it once (this function's
        // contract).
        unsafe { Arc::decrement_strong_count(self.erased().cast::<Kernel>().as_ptr().cast_const()) };
    }
}

impl core::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kernel").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Creates a kernel, see [`crate::Kernel::new`].
    #[cfg_attr(
        not(feature = "epoch"),
        allow(clippy::arc_with_non_send_sync, reason = "one hart owns the kernel; the code also serves many")
    )]
    pub(crate) fn new(options: Options, domain: Domain, world: Arc<dyn Platform>) -> Arc<Self> {
        assert!((1..=config::MAX_CORES).contains(&options.cores), "a kernel has 1 to {} cores", config::MAX_CORES);
        let generations = (*options.generations.start(), *options.generations.end());
        assert!(0 < generations.0 && generations.0 <= generations.1, "generations must not contain 0 or be empty");
        let limit = options.limits.processes.min(MAX_SLOTS);
        let barrier = match world.rescues_after() {
            Some(1..) if options.cores > 1 => {
                if world.heavy_barrier() {
                    Barrier::Heavy
                } else {
                    Barrier::Both
                }
            }
            _ => Barrier::Alone,
        };
        let now = world.now();
        Arc::new(Self {
            table: Table::with_generations(limit, options.cores, generations.0, generations.1),
            names: Names::new(options.limits.names),
            references: options.references.clone().unwrap_or_default(),
            idle: Idle::new(barrier != Barrier::Alone),
            nodes: Budget::new(options.limits.nodes),
            depot: Arc::default(),
            timers_by_proxy: Budget::new(options.limits.timers),
            cores: (0..options.cores).map(|_| CoreShared::new(options.cores, now)).collect(),
            domain,
            current_slot: CurrentSlotFn::of(&*world),
            barrier,
            credit_block: (options.limits.processes / (64 * options.cores as u32)).clamp(1, 64),
            mutations: options.mutations(),
            options,
            world,
            granted: AtomicUsize::new(0),
            next_inbox: PlainAtomicUsize::new(0),
            closing: AtomicBool::new(false),
            observed: PlainAtomicBool::new(false),
            ended: AtomicUsize::new(0),
        })
    }

    /// Returns `true` if kills get no memory, so that they take the alternative path.
    #[inline(always)]
    pub(crate) const fn starves_kills(&self) -> bool {
        self.mutations.starves_kills()
    }

    /// Returns the platform on which the kernel runs.
    pub(crate) fn world(&self) -> &dyn Platform {
        &*self.world
    }

    /// Returns the time of the platform's clock in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.world.now()
    }

    /// Returns the number of cores.
    pub(crate) fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Registers a new participant of the kernel's reclamation.
    pub(crate) fn register(&self) -> Participant {
        self.domain.register()
    }

    /// Runs foreign code whose panic is reported to no caller, only to
    /// [`Platform::on_unhandled_panic`].
    pub(crate) fn catch_panic(&self, code: impl FnOnce()) {
        if let Err(reason) = self.contained(code) {
            self.world.on_unhandled_panic(&reason);
        }
    }

    /// Runs foreign code and returns its result or its panic. The code runs at most once. If it
    /// returned a value, that value is the result, whatever the platform does with it or reports
    /// ([`Platform::catch_panic`]).
    pub(crate) fn contained<R>(&self, code: impl FnOnce() -> R) -> Result<R, Reason> {
        let (mut code, mut result) = (Some(code), None);
        let said = self.world.catch_panic(&mut || {
            if let Some(code) = code.take() {
                result = Some(code());
            }
        });
        match (result, said) {
            (Some(result), _) => Ok(result),
            (None, Err(reason)) => Err(reason),
            (None, Ok(())) => Err(Reason::crash("the platform reported success, but the code did not run to its end")),
        }
    }

    /// Queues a process from outside its core. Lock-free.
    pub(crate) fn inject(&self, owned: Owned<'_>) {
        let core = owned.core;
        let node = owned.into_run_node();
        if core != ANY_CORE {
            let core = usize::from(core);
            self.cores[core].queues.pinned.push(node);
            if self.idle.notify_core(core) {
                self.world.wake(core);
            }
            return;
        }
        let core = self.next_inbox.fetch_add(1, Ordering::Relaxed) % self.cores.len();
        self.cores[core].queues.inbox.push(node);
        self.notify();
    }

    /// Announces work that any core can do: wakes a core if none searches for work. Lock-free.
    pub(crate) fn notify(&self) {
        if let Some(core) = self.idle.notify() {
            self.world.wake(core);
        }
    }

    /// Announces work like [`Kernel::notify`], in the middle of a slice (`runq::idle`, I1).
    /// Lock-free.
    #[inline]
    pub(crate) fn notify_relaxed(&self) {
        if let Some(core) = self.idle.notify_relaxed() {
            self.world.wake(core);
        }
    }

    /// Hands a cancelled timer to the core on whose wheel it is.
    pub(crate) fn timer_cancelled(&self, timer: CancelledShare) {
        if let Err(refused) = self.cores[timer.core()].cancelled.push(timer) {
            // The core has ended, and its wheel with it: the core left the wheel's reference to
            // this call.
            // SAFETY: a core takes all timers off its wheel before it closes the list.
            unsafe { refused.release(None) };
        }
    }

    /// Returns the number of processes that one credit block allows a core to start.
    pub(crate) fn credit_block(&self) -> u32 {
        self.credit_block
    }

    /// Takes a credit to start one block of processes.
    pub(crate) fn take_credit(&self) -> Result<u32, TableFull> {
        let block = self.credit_block() as usize;
        let limit = self.options.limits.processes as usize;
        // Relaxed: a count that orders nothing.
        let granted = self.granted.fetch_add(block, Ordering::Relaxed);
        if granted + block > limit {
            self.granted.fetch_sub(block, Ordering::Relaxed);
            return Err(TableFull::Full);
        }
        Ok(block as u32)
    }

    /// Returns `true` if the kernel is closed, for a caller that has just been given credit and is
    /// not a process. Either this caller finds the kernel closed, or the thread that closed it
    /// finds the credit counted (`is_empty`) and waits.
    pub(crate) fn is_closed_fenced(&self) -> bool {
        // Pairs with the fence of `close`. Without the two fences both threads may read the other's
        // old value; hence SeqCst.
        fence(Ordering::SeqCst);
        self.closing.load(Ordering::Relaxed)
    }

    pub(crate) fn return_credit(&self, count: u32) {
        // Release: pairs with the Acquire of `is_empty`.
        self.granted.fetch_sub(count as usize, Ordering::Release);
    }

    /// Returns the number of live processes, see [`crate::Kernel::process_count`].
    pub(crate) fn process_count(&self) -> usize {
        self.granted.load(Ordering::Relaxed)
    }

    /// Returns the number of nodes in use, see [`crate::Kernel::nodes_used`].
    pub(crate) fn nodes_used(&self) -> usize {
        self.nodes.used()
    }

    /// Returns `true` if all cores are idle and nothing is queued, see
    /// [`crate::Kernel::is_quiescent`].
    pub(crate) fn is_quiescent(&self) -> bool {
        self.idle.all(self.cores.len())
            && self.cores.iter().all(|core| !core.queues.has_local())
            && self.idle.all(self.cores.len())
    }

    /// Returns `true` if the core has announced that it is idle, see [`crate::Kernel::is_idle`].
    pub(crate) fn is_idle(&self, core: usize) -> bool {
        self.idle.contains(core)
    }

    /// Closes the kernel to new processes, see [`crate::Kernel::close`].
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        // Pairs with the fence of `is_closed_fenced`.
        fence(Ordering::SeqCst);
    }

    /// Turns the observation of exits on or off, see [`crate::Kernel::observe_exits`].
    pub(crate) fn observe_exits(&self, observe: bool) {
        self.observed.store(observe, Ordering::Release);
    }

    pub(crate) fn observes_exits(&self) -> bool {
        // Relaxed: this load is the only cost of an exit that is not observed. A signal sent after
        // `observe_exits` orders it.
        self.observed.load(Ordering::Relaxed)
    }

    /// Returns `true` if there is no process, see [`crate::Kernel::is_empty`].
    pub(crate) fn is_empty(&self) -> bool {
        // Acquire: pairs with the Release of `return_credit`.
        self.granted.load(Ordering::Acquire) == 0
    }

    /// Returns `true` if the kernel was closed, see [`crate::Kernel::is_closing`].
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Returns `true` if a pid of this generation may belong to this kernel (`pid`, I1).
    pub(crate) fn lends(&self, pid: Pid) -> bool {
        self.options.generations.contains(&pid.generation())
    }

    /// Returns what is known about a process that is not alive. The reason is known from the
    /// closing of the mailbox on. The slot keeps it only later, after the links have fired.
    pub(crate) fn tombstone(&self, pid: Pid, guard: &Guard<'_>) -> Tombstone {
        match self.table.find(pid, guard).and_then(|process| process.exit_reason()) {
            Some(reason) => Tombstone::Known(reason),
            None => self.table.tombstone(pid, guard),
        }
    }

    /// Returns the reason that a monitor of a dead process reports.
    pub(crate) fn exit_reason(&self, pid: Pid, guard: &Guard<'_>) -> Reason {
        if !self.options.tombstones {
            return Reason::NOPROC;
        }
        match self.tombstone(pid, guard) {
            Tombstone::Known(reason) => reason,
            Tombstone::Recycled | Tombstone::NeverAllocated => Reason::NOPROC,
        }
    }

    /// Returns a kernel context; `core` is `None` for a host thread.
    ///
    /// # Panics
    /// If the guard is of another kernel's domain: it would protect nothing here.
    pub(crate) fn kernel_cx<'a>(&'a self, guard: &'a Guard<'a>, core: Option<&'a CoreLocal>) -> KernelCx<'a> {
        assert!(guard.belongs_to(&self.domain), "the guard belongs to another domain");
        KernelCx { kernel: self, guard, core }
    }

    /// Returns a kernel context as [`Kernel::kernel_cx`] does, without the check.
    ///
    /// # Safety
    /// The guard is of this kernel's domain.
    #[inline(always)]
    pub(crate) unsafe fn kernel_cx_unchecked<'a>(
        &'a self,
        guard: &'a Guard<'a>,
        core: Option<&'a CoreLocal>,
    ) -> KernelCx<'a> {
        KernelCx { kernel: self, guard, core }
    }
}
