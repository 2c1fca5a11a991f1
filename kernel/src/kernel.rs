//! [`Kernel`]: what all cores share. An embedder has a handle of it ([`crate::Kernel`]).

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::RangeInclusive;
use core::ptr::NonNull;

use crate::config;
use crate::hand::KernelCx;
use crate::memory::depot::Depot;
use crate::name::Names;
use crate::pid::{MAX_SLOTS, Pid, References};
use crate::process::exit::discard;
use crate::process::header::Header;
use crate::reason::Reason;
use crate::reclaim::{Domain, Guard, Participant};
use crate::runq::idle::Idle;
use crate::sched::custody::Barrier;
use crate::sched::local::{CoreLocal, CoreShared};
use crate::signal::node::Budget;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, PlainAtomicBool, PlainAtomicUsize, fence};
use crate::table::{Tombstone, TableFull, Table};
use crate::timer::record::TimerHead;
use crate::world::{CurrentSlot, Platform};

/// How large a kernel may get. Exhaustion is an error to the caller who asked.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Processes alive at a time. A core keeps up to two blocks of a 64th of its share in
    /// hand, so a spawn may be refused when fewer than that are free elsewhere.
    pub processes: u32,
    /// Names ever registered or monitored by.
    pub names: usize,
    /// Timers at a time, for each core; and as many again that were started for processes which ran elsewhere
    /// ([`crate::Caller::send_after`]), of all cores together.
    pub timers: usize,
    /// Messages, exit signals, links, monitors, timers and questions at a time; `usize::MAX` for no limit,
    /// which costs nothing (a limit costs two operations on a shared counter each). Who asks for
    /// one too many is told that there is no memory. Deaths need none.
    pub nodes: usize,
    /// Bytes of memory that a core keeps for its next messages, links, monitors, timers and processes. What it has more, at
    /// most 128 times that, it gives back when it has nothing else to do, and little by little while it has. Beside it all cores together keep up to
    /// four times 64 blocks of each size that they exchange. 0: nothing is kept.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processes: 1 << 24, names: 1 << 16, timers: 1 << 26, nodes: usize::MAX, kept: 1 << 18 }
    }
}

/// How a kernel is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Cores, 1 to [`crate::MAX_CORES`].
    pub cores: usize,
    /// See [`Limits`].
    pub limits: Limits,
    /// A monitor of a dead process gives the reason it died of, as long as its slot
    /// remembers, instead of OTP's `noproc`.
    pub tombstones: bool,
    /// Decides the victims of steals.
    pub seed: u64,
    /// The generations of the pids that it gives out; by default all that there are. Two kernels of a program that have none in common never
    /// give out the same pid, so a pid of one is to the other a process that never was. A slot that has used the last of them is
    /// used no more, and another takes its place, up to 2^28 in a kernel's life. See [`Platform::on_kernel_drop`].
    pub generations: RangeInclusive<u32>,
    /// Where its references come from: shared with other kernels, so that none of theirs is equal to one of its own, or by default a counter of its
    /// own.
    pub references: Option<Arc<References>>,
    /// What a model has it do wrongly.
    #[cfg(loom)]
    pub mutation: Option<crate::mutate::Mutation>,
    /// A model of want of memory: kills get none.
    #[cfg(loom)]
    pub kills_without_memory: bool,
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

/// The shared state of all cores. Made in an `Arc` by [`Kernel::new`], and never moved out of it: nobody has it by itself.
pub struct Kernel {
    pub(crate) table: Table,
    pub(crate) names: Names,
    pub(crate) references: Arc<References>,
    pub(crate) idle: Idle,
    pub(crate) nodes: Budget,
    /// Blocks on their way between cores.
    pub(crate) depot: Arc<Depot>,
    /// Timers that were started by proxy: who asks for one knows no wheel that it could ask for room.
    pub(crate) timers_by_proxy: Budget,
    pub(crate) cores: Box<[CoreShared]>,
    pub(crate) domain: Domain,
    pub(crate) here: fn() -> *const CurrentSlot,
    /// How a core and its rescuers agree (`sched::custody`).
    pub(crate) barrier: Barrier,
    pub(crate) options: Options,
    world: Arc<dyn Platform>,
    /// Processes and the cores' credits; at most the limit.
    granted: AtomicUsize,
    credit_block: u32,
    next_inbox: PlainAtomicUsize,
    closing: AtomicBool,
    /// A hint to the dying: whoever observes has its own way of knowing since when.
    observed: PlainAtomicBool,
    /// Cores that have ended.
    ended: AtomicUsize,
}

impl core::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kernel").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Kernel {
    /// See [`crate::Kernel::new`].
    #[cfg_attr(
        not(feature = "epoch"),
        allow(clippy::arc_with_non_send_sync, reason = "one hart has it to itself, and the same code serves many")
    )]
    pub(crate) fn new(options: Options, domain: Domain, world: Arc<dyn Platform>) -> Arc<Self> {
        assert!((1..=config::MAX_CORES).contains(&options.cores), "1 to {} cores", config::MAX_CORES);
        let generations = (*options.generations.start(), *options.generations.end());
        assert!(0 < generations.0 && generations.0 <= generations.1, "generations from 1 on, and at least one");
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
            here: world.here(),
            barrier,
            credit_block: (options.limits.processes / (64 * options.cores as u32)).clamp(1, 64),
            options,
            world,
            granted: AtomicUsize::new(0),
            next_inbox: PlainAtomicUsize::new(0),
            closing: AtomicBool::new(false),
            observed: PlainAtomicBool::new(false),
            ended: AtomicUsize::new(0),
        })
    }

    /// Where it runs.
    pub fn world(&self) -> &dyn Platform {
        &*self.world
    }

    /// Nanoseconds of the world's clock.
    pub fn now(&self) -> u64 {
        self.world.now()
    }

    /// Cores.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// A member of the kernel's reclamation.
    pub fn register(&self) -> Participant {
        self.domain.register()
    }

    /// Runs foreign code, whose panic nobody can be told of.
    pub(crate) fn catch_panic(&self, code: impl FnOnce()) {
        if let Err(reason) = self.contained(code) {
            self.world.on_unhandled_panic(&reason);
        }
    }

    /// Runs foreign code: what it has returned, or what it has panicked with. At most once, and what has returned has, whatever the
    /// world does with it and says of it ([`Platform::catch_panic`]).
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
            (None, Ok(())) => Err(Reason::crash("the world has not contained what it was to contain")),
        }
    }

    /// Queues a process from outside its core. Lock-free.
    pub(crate) fn inject(&self, process: &Header) {
        let node = process.run_node();
        if process.core != u32::MAX {
            let core = process.core as usize;
            // SAFETY: the caller woke the process, so it has it.
            unsafe { self.cores[core].queues.pinned.push(node) };
            if self.idle.work_added_for(core) {
                self.world.wake(core);
            }
            return;
        }
        let core = self.next_inbox.fetch_add(1, Ordering::Relaxed) % self.cores.len();
        // SAFETY: as above.
        unsafe { self.cores[core].queues.inbox.push(node) };
        self.work_added();
    }

    /// There is work that any core could do: wakes one if none looks for some. Lock-free.
    pub(crate) fn work_added(&self) {
        if let Some(core) = self.idle.work_added() {
            self.world.wake(core);
        }
    }

    /// As [`Kernel::work_added`], in the middle of a slice (`runq::idle`, I1). Lock-free.
    #[inline]
    pub(crate) fn work_adding(&self) {
        if let Some(core) = self.idle.work_adding() {
            self.world.wake(core);
        }
    }

    /// A timer of another core's wheel was cancelled.
    ///
    /// # Safety
    /// The caller cancelled it; the wheel's share goes with it.
    pub(crate) unsafe fn timer_cancelled(&self, timer: NonNull<TimerHead>) {
        // SAFETY: shared, so live.
        let core = unsafe { timer.as_ref() }.core;
        // SAFETY: on no such list yet: it was cancelled once.
        let pushed = unsafe { self.cores[core].cancelled.push(timer) };
        if pushed.is_err() {
            // The core is gone, and its wheel with it: it left the share to us.
            // SAFETY: the wheel's share.
            unsafe { TimerHead::give_up(timer, None) };
        }
    }

    /// Processes that a core has leave to start at a time.
    pub(crate) fn credit_block(&self) -> u32 {
        self.credit_block
    }

    /// Leave to start a block of processes.
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

    /// Whether the kernel is closed, for who has just been given credit and is no process: either it finds
    /// the kernel closed, or who closed it finds it counted (`is_empty`), and waits.
    pub(crate) fn is_closed_to_the_counted(&self) -> bool {
        // Pairs with the fence of `close`.
        fence(Ordering::SeqCst);
        self.closing.load(Ordering::Relaxed)
    }

    pub(crate) fn return_credit(&self, count: u32) {
        // Release: pairs with `is_empty`.
        self.granted.fetch_sub(count as usize, Ordering::Release);
    }

    /// See [`crate::Kernel::process_count`].
    pub fn process_count(&self) -> usize {
        self.granted.load(Ordering::Relaxed)
    }

    /// See [`crate::Kernel::nodes_used`].
    pub fn nodes_used(&self) -> usize {
        self.nodes.used()
    }

    /// See [`crate::Kernel::is_quiescent`].
    pub fn is_quiescent(&self) -> bool {
        self.idle.all(self.cores.len())
            && self.cores.iter().all(|core| !core.queues.has_own())
            && self.idle.all(self.cores.len())
    }

    /// See [`crate::Kernel::is_idle`].
    pub fn is_idle(&self, core: usize) -> bool {
        self.idle.contains(core)
    }

    /// See [`crate::Kernel::close`].
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        // Pairs with the fence of `is_closed_to_the_counted`.
        fence(Ordering::SeqCst);
    }

    /// See [`crate::Kernel::observe_exits`].
    pub fn observe_exits(&self, observe: bool) {
        self.observed.store(observe, Ordering::Release);
    }

    pub(crate) fn observes_exits(&self) -> bool {
        // Relaxed: all that a death pays when nobody observes; a signal sent after `observe_exits` orders it.
        self.observed.load(Ordering::Relaxed)
    }

    /// See [`crate::Kernel::is_empty`].
    pub fn is_empty(&self) -> bool {
        // Acquire: pairs with the Release of `return_credit`.
        self.granted.load(Ordering::Acquire) == 0
    }

    /// See [`crate::Kernel::is_closing`].
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// A core has ended. With the last one end all processes, since nothing will run them any more: one that holds a
    /// waker of its own holds the kernel, and the two would keep each other for ever.
    pub(crate) fn core_ended(&self, guard: &Guard<'_>, core: &CoreLocal) {
        // AcqRel: the last one sees what the others did.
        if self.ended.fetch_add(1, Ordering::AcqRel) + 1 != self.cores() {
            return;
        }
        self.close();
        let hand = self.hand(guard, None);
        for index in 0..self.table.extent() {
            if let Some(process) = self.table.at(index, guard) {
                // SAFETY: no core will run it, and there is one last core.
                unsafe { discard(&hand, process.whole()) };
                core.release(self, process.pid);
                // SAFETY: the table leads to it no more.
                unsafe { core.retire(process.whole()) };
            }
        }
    }

    /// Whether a pid of this generation may be one of this kernel's (`pid`, I1).
    pub(crate) fn lends(&self, pid: Pid) -> bool {
        self.options.generations.contains(&pid.generation())
    }

    /// What is known of a process that is not alive: from when its mailbox is closed, not only from when its slot remembers
    /// it, which comes after its links have fired.
    pub(crate) fn of_the_dead(&self, pid: Pid, guard: &Guard<'_>) -> Tombstone {
        if let Some(process) = self.table.find(pid, guard)
            && process.mailbox.is_closed()
        {
            // SAFETY: found closed (P3).
            return Tombstone::Known(unsafe { process.reason() });
        }
        self.table.of_the_dead(pid, guard)
    }

    /// What a monitor of a dead process says.
    pub(crate) fn epitaph(&self, pid: Pid, guard: &Guard<'_>) -> Reason {
        if !self.options.tombstones {
            return Reason::NOPROC;
        }
        match self.of_the_dead(pid, guard) {
            Tombstone::Known(reason) => reason,
            Tombstone::Recycled | Tombstone::NeverAllocated => Reason::NOPROC,
        }
    }

    /// A hand of the host's.
    pub(crate) fn hand<'a>(&'a self, guard: &'a Guard<'a>, core: Option<&'a CoreLocal>) -> KernelCx<'a> {
        KernelCx { kernel: self, guard, core }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Whoever is left was never run: `core_ended` has ended the others. Their destructors run here, on the memory
        // of a kernel that has everything but cores.
        let participant = self.domain.register();
        for index in 0..self.table.extent() {
            let guard = participant.pin();
            let Some(process) = self.table.at(index, &guard) else { continue };
            let process = process.whole();
            // SAFETY: no core and no queue will run it: we own it (P1).
            unsafe { discard(&self.hand(&guard, None), process) };
            drop(guard);
            // SAFETY: the table's share. There is no waker: they hold the kernel.
            unsafe { Header::give_up_table(process, None) };
        }
        self.world.on_kernel_drop(self.table.last_generation());
    }
}
