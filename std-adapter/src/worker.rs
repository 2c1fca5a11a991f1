//! A worker: the thread that drives one core.
//!
//! It steps the core until the core says it is idle, spins a little in case something
//! comes at once, or a timer is due (a park and an unpark cost tens of microseconds), then
//! parks, for as long as the next timer allows, or for ever. Nothing wakes it but work, its
//! own timers, a look at those that are at work (one idle worker does that, while any is), and the end: an idle runtime makes
//! no wake-ups. A worker that was woken and has run nothing does not spin again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atropos_kernel::{Core, Kernel, RunOutcome};

use crate::role::Role;
use crate::watch::WatchdogWaker;
use crate::world::ThreadPlatform;

/// Slices between two looks at whether it is the end.
const SLICES: u32 = 256;

/// What the workers of a runtime share.
pub(crate) struct Shared {
    pub(crate) stop: AtomicBool,
    /// Times that a worker was woken from its park.
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

/// Has this thread woken when its time has come: the system may be up to 50 µs late otherwise, on purpose, which is as long again as
/// it takes to wake a thread.
fn sharpen() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets a number of this thread's, and takes no pointer. Whatever it returns, the thread works.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
    }
}

/// Waits until the core is claimed by a waker, or its timer is due.
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
    // A waker clears the core's bit before it unparks, so a token that was left by an earlier
    // wake can only make this loop turn once more.
    while kernel.is_idle(id) && !shared.stop.load(Ordering::Acquire) {
        match until.map(|until| Duration::from_nanos(until.saturating_sub(world.now()))) {
            Some(Duration::ZERO) => return,
            Some(left) => std::thread::park_timeout(left),
            None => std::thread::park(),
        }
        shared.wakeups.fetch_add(1, Ordering::Relaxed);
    }
}
