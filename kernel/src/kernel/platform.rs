//! [`Platform`]: what the kernel needs from the environment in which it runs.

use crate::pid::Pid;
use crate::process::relation::host_watch::FiredWatch;
use crate::reason::Reason;
use crate::reclaim::Guard;
use crate::signal::message::AnyMessage;

pub use crate::catch_drop::CatchPanic;
pub use crate::kernel_ptr::CurrentSlot;

/// What became of a message for a proxy ([`Platform::forward`]).
#[derive(Debug)]
pub enum Forwarded {
    /// It is on its way.
    Sent,
    /// It goes into the mailbox of the proxy, as any message does.
    Queue(AnyMessage),
}

/// The platform interface of the kernel: a clock, a way to wake a core, a place for the current
/// slice, and a way to catch a panic.
///
/// # Safety
/// Memory safety rests on [`Platform::current_slot`] and on where [`Platform::catch_panic`] runs
/// the code that it is given:
///
/// - [`Platform::current_slot`] always returns the same function. On each thread of execution (OS
///   thread, virtual core, hart) that function returns a valid pointer to a place that belongs to
///   this thread alone. The pointer is the same at every call. This holds at any time at which any
///   object of the kernel may be used or dropped on that thread: the kernel gives access to a
///   process's private parts to the thread on which that process is recorded as running.
/// - The place is null at first, and only the kernel writes to it.
/// - The thread of execution does not change during a call into the kernel: from the call to its
///   return, `current_slot` gives the same place. An embedder with green threads therefore does not
///   switch them within a body, or uses one place for all code that shares a stack.
/// - [`Platform::catch_panic`] calls its argument on this thread of execution, and before it
///   returns.
/// - [`Platform::heavy_barrier`] has executed the barrier when it returns `true`.
///
/// Nothing else can break memory safety. `catch_panic` should call the code once, and return an
/// error if it has panicked. If it calls the code again, the second call does nothing. If it never
/// calls the code, or hides a panic, the kernel detects that. A [`Platform::now`] that goes back
/// makes timers late. A [`Platform::wake`] that does not wake lets a core sleep although it has
/// work. A panic of a method propagates through the kernel, which may lose the process that runs,
/// or its core, so no method should panic.
pub unsafe trait Platform: Send + Sync + 'static {
    /// Returns the nanoseconds since a moment that the platform chooses. Never goes back.
    fn now(&self) -> u64;

    /// Returns the time of a coarse clock: not before [`Platform::now`], and at most
    /// [`Platform::coarse_error_ns`] after it. The duration of a timer counts from this time. For a
    /// platform that has a cheaper clock than `now`.
    fn coarse_now(&self) -> u64 {
        self.now()
    }

    /// Returns the error of the coarse clock: the maximum number of nanoseconds that
    /// [`Platform::coarse_now`] is ahead of `now`. The remaining time of a timer is reported this
    /// much shorter, so that it never exceeds the duration with which the timer was started. Always
    /// the same value.
    fn coarse_error_ns(&self) -> u64 {
        0
    }

    /// Returns the nanoseconds that a slice may run before other cores take over the work of its
    /// core, i.e. its timers and the processes queued there. `None`: they never do, and cores do
    /// not pay for it. A platform with threads should return about one millisecond. On a platform
    /// that steps its cores in turn, no other core could help. Always the same value.
    fn rescues_after(&self) -> Option<u64> {
        None
    }

    /// Makes all threads of execution that drive cores execute a full memory barrier between two of
    /// their instructions, executes one on this thread too, and returns `true`. A platform that
    /// cannot do so always returns `false`, and then cores that may be rescued pay for a fence
    /// around each slice. Called once by [`crate::Kernel::new`], and by each rescue.
    fn heavy_barrier(&self) -> bool {
        false
    }

    /// Wakes the driver of a core that has announced that it is idle: the driver must call
    /// [`crate::Core::run`] again, because the core has work. A call that comes before the driver
    /// has gone to sleep must keep it from sleeping.
    fn wake(&self, core: usize);

    /// Returns the function that finds the place in which the running thread of execution records
    /// its current slice. It is a plain function, so that objects that outlive the platform can
    /// keep it.
    fn current_slot(&self) -> fn() -> *const CurrentSlot;

    /// Runs foreign code once, on this thread and before it returns: a body or a destructor. A
    /// panic becomes a crash with its text if the platform can catch it.
    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        code();
        Ok(())
    }

    /// Returns a plain function that works like [`Platform::catch_panic`], or `None` if the
    /// platform catches no panics. It is for foreign values that may be dropped when this platform
    /// or its kernel cannot be reached or no longer exists: values that a [`crate::Reason`]
    /// carries, and [`crate::CatchDrop`] values. Their panics end there and are not reported.
    fn panic_catcher(&self) -> Option<CatchPanic> {
        None
    }

    /// Handles the exit for which a host thread has waited ([`crate::Host::watch_exit`]). It is
    /// called on the core in the middle of the exit, or on the thread that found the process
    /// already dead. A platform that has threads puts the watch in an [`crate::ExitQueue`] and
    /// returns, without blocking or allocating. The default, for a platform without threads, runs
    /// the callback here.
    fn on_watch_fired(&self, fired: FiredWatch) {
        let mut fired = Some(fired);
        if let Err(reason) = self.catch_panic(&mut || fired.take().into_iter().for_each(FiredWatch::run)) {
            self.on_unhandled_panic(&reason);
        }
    }

    /// Handles the exit of a process while exits are observed ([`crate::Kernel::observe_exits`]).
    /// It is called on the process's core, in the middle of the exit: it must not block, allocate
    /// or panic. `guard` is the core's.
    fn on_process_exit(&self, pid: Pid, reason: &Reason, guard: &Guard<'_>) {
        let _ = (pid, reason, guard);
    }

    /// Handles the end of a kernel of this platform. That kernel gave out no pid of a later
    /// generation than `last_generation`. The generations from there to the last of
    /// [`crate::Options::generations`] may be lent to another kernel.
    fn on_kernel_drop(&self, last_generation: u32) {
        let _ = last_generation;
    }

    /// Takes a message for a proxy ([`crate::SpawnOptions::proxy`]) in the proxy's place, in the
    /// thread that sends it: so what `sender` does next comes after it, wherever it goes. `sender`
    /// is the process that runs in this thread, if there is one. The message is in the box that
    /// [`crate::AnyMessage`] describes.
    fn forward(&self, proxy: Pid, sender: Option<Pid>, message: AnyMessage) -> Forwarded {
        let _ = (proxy, sender);
        Forwarded::Queue(message)
    }

    /// Handles an EXIT of a process that goes into the mailbox of a proxy ([`Platform::forward`]):
    /// what its sender sends to the proxy next comes after it. Must not call the kernel.
    fn on_proxy_signal(&self, proxy: Pid) {
        let _ = proxy;
    }

    /// Takes a message back that was to be queued ([`Forwarded::Queue`]) and could not be. Returns
    /// it as it was before.
    fn not_queued(&self, proxy: Pid, message: AnyMessage) -> AnyMessage {
        let _ = proxy;
        message
    }

    /// Handles a panic of a destructor that has no other place to be reported.
    fn on_unhandled_panic(&self, reason: &Reason) {
        let _ = reason;
    }
}

impl Reason {
    /// Marks the reason as one that a process of this platform has ([`Reason::catch_with`]).
    #[inline]
    pub(crate) fn come_into(&self, world: &dyn Platform) {
        self.catch_with(|| world.panic_catcher());
    }
}

/// A platform on which no core runs. Unit tests compile the kernel once more, so they cannot use
/// the platform of `atropos-sim`, which is one of the kernel that the rest of the workspace uses.
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) struct Nowhere;

// SAFETY: no thread of execution runs a core, so no slice is ever recorded.
#[cfg(all(test, not(any(loom, shuttle))))]
unsafe impl Platform for Nowhere {
    fn now(&self) -> u64 {
        0
    }
    fn wake(&self, _: usize) {}
    fn current_slot(&self) -> fn() -> *const CurrentSlot {
        || core::ptr::null()
    }
}
