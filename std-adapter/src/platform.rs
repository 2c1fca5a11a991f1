//! The kernel's platform on an operating system: a monotonic clock, threads that are parked and
//! unparked, a thread-local slot for the current slice, and panics that are caught.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread::Thread;
use std::time::Instant;

use atropos_kernel::platform::{CurrentSlot, Platform};
use atropos_kernel::reclaim::Guard;
use atropos_kernel::task::coop::poll_proceed_here;
use atropos_kernel::{AnyMessage, CatchDrop, CatchPanic, FiredWatch, Forwarded, MAX_CORES, Pid, Reason};

use crate::callbacks::Callbacks;
use crate::clock;
use crate::forward::Forwarders;
use crate::lease::Lease;
use crate::membarrier;
use crate::panics::{catch_panic, contain_as_reason};
use crate::subscribers::Subscribers;

thread_local! {
    static HERE: CurrentSlot = const { Cell::new(std::ptr::null()) };
}

fn current_slot() -> *const CurrentSlot {
    // The pointer is used only on this thread, and while it runs.
    HERE.with(std::ptr::from_ref)
}

/// The length of a slice, in nanoseconds, after which other cores fire the timers and run the
/// processes queued at its core.
const RESCUES_AFTER: u64 = 1_000_000;
/// Charges a poll of this crate's own futures to the current process.
///
/// In a process each poll costs a reduction, and returns `Pending` when none is left, as the awaits
/// of a `Context` do. On any other thread it proceeds.
pub(crate) fn poll_proceed(task: &mut Context<'_>) -> Poll<()> {
    // SAFETY: `current_slot` is the slot of every runtime's platform.
    unsafe { poll_proceed_here(current_slot, task) }
}

/// The hook that receives a destructor's panic.
pub(crate) type PanicHook = CatchDrop<Box<dyn Fn(&Reason) + Send + Sync>>;

/// The kernel's platform on operating-system threads.
pub(crate) struct ThreadPlatform {
    /// The instant from which its clock counts.
    origin: Instant,
    /// `true` if timers may read the processor's counter.
    counts: bool,
    /// `true` if the system can make all threads execute a barrier.
    barrier: bool,
    threads: Box<[OnceLock<Thread>]>,
    on_unhandled_panic: PanicHook,
    callbacks: Arc<Callbacks>,
    subscribers: Subscribers,
    lease: Lease,
    forwarders: Forwarders,
}

impl ThreadPlatform {
    pub(crate) fn new(cores: usize, on_unhandled_panic: PanicHook, callbacks: Callbacks, lease: Lease) -> Self {
        assert!(cores <= MAX_CORES);
        Self {
            origin: clock::origin(),
            counts: clock::counts(),
            barrier: membarrier::register(),
            threads: (0..cores).map(|_| OnceLock::new()).collect(),
            on_unhandled_panic,
            callbacks: Arc::new(callbacks),
            subscribers: Subscribers::new(),
            lease,
            forwarders: Forwarders::default(),
        }
    }

    pub(crate) fn callbacks(&self) -> &Arc<Callbacks> {
        &self.callbacks
    }

    pub(crate) fn forwarders(&self) -> &Forwarders {
        &self.forwarders
    }

    pub(crate) fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }

    /// Registers this thread as the one that drives a core, before the core first announces that it
    /// is idle.
    pub(crate) fn drives(&self, core: usize) {
        let set = self.threads[core].set(std::thread::current());
        assert!(set.is_ok(), "core {core} has one thread");
    }
}

// SAFETY: `current_slot` is a thread-local that only the kernel writes to: each thread has a slot
// of its own, for as long as it runs. `catch_panic` calls its argument once, before it returns.
unsafe impl Platform for ThreadPlatform {
    fn now(&self) -> u64 {
        clock::now(self.origin)
    }

    fn coarse_now(&self) -> u64 {
        if self.counts { clock::coarse_now(self.origin) } else { self.now() }
    }

    fn coarse_error_ns(&self) -> u64 {
        if self.counts { clock::SOON_BY } else { 0 }
    }

    fn rescues_after(&self) -> Option<u64> {
        Some(RESCUES_AFTER)
    }

    fn heavy_barrier(&self) -> bool {
        self.barrier && membarrier::all_threads()
    }

    fn wake(&self, core: usize) {
        // A core is woken only after it has announced, on its thread, that it is idle.
        if let Some(thread) = self.threads[core].get() {
            thread.unpark();
        }
    }

    fn current_slot(&self) -> fn() -> *const CurrentSlot {
        current_slot
    }

    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        // A body that panicked is dropped, and never resumed.
        contain_as_reason(code)
    }

    fn panic_catcher(&self) -> Option<CatchPanic> {
        Some(|code| drop(catch_panic(code)))
    }

    fn forward(&self, proxy: Pid, sender: Option<Pid>, message: AnyMessage) -> Forwarded {
        self.forwarders.forward(proxy, sender, message)
    }

    fn on_proxy_signal(&self, proxy: Pid) {
        self.forwarders.on_proxy_signal(proxy);
    }

    fn not_queued(&self, proxy: Pid, message: AnyMessage) -> AnyMessage {
        self.forwarders.not_queued(proxy, message)
    }

    fn on_watch_fired(&self, fired: FiredWatch) {
        self.callbacks.fired(fired);
    }

    fn on_process_exit(&self, pid: Pid, reason: &Reason, guard: &Guard<'_>) {
        self.subscribers.ended(pid, reason, guard);
    }

    fn on_kernel_drop(&self, last_generation: u32) {
        self.lease.was_used_to(last_generation);
    }

    fn on_unhandled_panic(&self, reason: &Reason) {
        // The hook may panic too, and that panic has no further receiver.
        let _ = catch_panic(|| (self.on_unhandled_panic)(reason));
    }
}
