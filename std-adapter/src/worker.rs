//! A worker: the thread that drives one core.
//!
//! It steps the core until the core is idle. Then it spins briefly, in case work comes at once or a
//! timer is due (a park and an unpark cost tens of microseconds). Then it parks, until the next
//! timer, or without a limit. Only these wake it: work, its own timers, a periodic check of the
//! busy cores (one idle worker makes it, while any core is busy), and the shutdown. So an idle
//! runtime causes no wake-ups. A worker that was woken and has run nothing does not spin again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atropos_kernel::{Core, Kernel, RunOutcome};

use crate::platform::ThreadPlatform;
use crate::role::Role;
use crate::watchdog::WatchdogWaker;

/// The number of slices between two checks of the stop flag.
const SLICES: u32 = 256;

/// The state that the workers of a runtime share.
pub(crate) struct Shared {
    pub(crate) stop: AtomicBool,
    /// How often a worker was woken from its park.
    pub(crate) wakeups: AtomicU64,
    pub(crate) spin: Duration,
    pub(crate) bell: Option<WatchdogWaker>,
}

pub(crate) fn run(kernel: Arc<Kernel>, world: &ThreadPlatform, id: usize, shared: &Shared) {
    world.drives(id);
    Role::Worker(std::ptr::from_ref(shared).cast()).take_on();
    sharpen();
    let mut core = Core::new(kernel, id);
    let mut slices = None;
    while !shared.stop.load(Ordering::Acquire) {
        if let RunOutcome::Idle { until } = core.run(SLICES) {
            let spins = slices.replace(core.slices()) != Some(core.slices());
            wait(core.kernel(), world, id, until, spins, shared);
            if let Some(bell) = &shared.bell {
                bell.ring();
            }
        }
    }
}

/// Sets this thread's timer slack to the minimum, so that it wakes when its timer is due. By
/// default Linux may delay it by up to 50 µs, on purpose, which doubles the time that waking a
/// thread takes.
fn sharpen() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call sets a number of this thread, and takes no pointer. The thread works
    // whatever the call returns.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}

/// Waits until a waker claims the core, or its timer is due.
fn wait(kernel: &Kernel, world: &ThreadPlatform, id: usize, until: Option<u64>, spins: bool, shared: &Shared) {
    use atropos_kernel::Platform;
    let is_due = || until.is_some_and(|until| until <= world.now());
    let spun = Instant::now();
    while spins && spun.elapsed() < shared.spin {
        if !kernel.is_idle(id) || is_due() || shared.stop.load(Ordering::Acquire) {
            return;
        }
        for _ in 0..32 {
            std::hint::spin_loop();
        }
    }
    // A waker clears the core's idle bit before it unparks. So a token that an earlier wake-up left
    // behind only makes this loop run once more.
    while kernel.is_idle(id) && !shared.stop.load(Ordering::Acquire) {
        match until.map(|until| Duration::from_nanos(until.saturating_sub(world.now()))) {
            Some(Duration::ZERO) => return,
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
        shared.wakeups.fetch_add(1, Ordering::Relaxed);
    }
}
