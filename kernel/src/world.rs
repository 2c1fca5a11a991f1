//! [`Platform`]: what the kernel needs from where it runs.

use crate::pid::Pid;
use crate::reason::Reason;
use crate::reclaim::Guard;
use crate::sync::Cell;
use crate::watcher::FiredWatch;

/// What runs here, now: the innermost slice on this thread of execution, or null.
pub type CurrentSlot = Cell<*const ()>;

/// Runs foreign code to its end, or to its panic, and returns.
pub type CatchPanic = fn(&mut dyn FnMut());

/// What the kernel needs from where it runs: a clock, a way to wake a core, a place to
/// note what is running, and a way to survive a panic.
///
/// # Safety
/// Memory safety rests on [`Platform::here`] and on where [`Platform::catch_panic`] runs what it is given:
///
/// - [`Platform::here`] always returns the same function. On each thread of execution (OS thread, virtual core, hart) that returns a
///   valid pointer to a place which is that thread's alone, the same one each time, at any time at which anything of the kernel's may be used
///   or dropped there: the kernel hands out a process's private parts to whoever finds that process noted there.
/// - The place is null at first, and only the kernel writes there.
/// - A thread of execution does not change under the kernel: from a call of the kernel's to its return, what `here` gives stays the same. So
///   an embedder with green threads does not switch them in a body, or has one place for what shares a stack.
/// - [`Platform::catch_panic`] calls what it is given on this thread of execution, and before it returns.
/// - [`Platform::heavy_barrier`] has done what it says when it returns true.
///
/// Nothing else can break memory safety. `catch_panic` should call the code once, and return an error if it has panicked; if it
/// calls the code again, the kernel does nothing there; if it never does, or keeps a panic secret, the kernel sees that itself. A
/// [`Platform::now`] that goes back makes timers late. A [`Platform::wake`] that does not wake lets a core sleep on work. A method that panics
/// goes through the kernel, which may lose the process that runs, or its core; so none should.
pub unsafe trait Platform: Send + Sync + 'static {
    /// Nanoseconds since a moment of the world's choice. Never goes back.
    fn now(&self) -> u64;

    /// A time that is not before [`Platform::now`], and at most [`Platform::coarse_error_ns`] after it: from when a timer's time counts. For
    /// a world that can say this for less.
    fn coarse_now(&self) -> u64 {
        self.now()
    }

    /// How many nanoseconds after now [`Platform::coarse_now`] may be: a timer that is read says that much less than it has left, so that it
    /// never has more than it was started with. Always the same.
    fn coarse_error_ns(&self) -> u64 {
        0
    }

    /// So many nanoseconds of one slice after which other cores do what lies with its core: its timers, and who is queued there. `None`: they
    /// never do, and cores cost each other nothing. A world with threads should say a millisecond or so; one whose cores are stepped by
    /// turns has nobody who could. Always the same.
    fn rescues_after(&self) -> Option<u64> {
        None
    }

    /// Has all threads of execution that drive cores execute a full memory barrier, between two instructions of theirs, and this
    /// one too: true. A world that cannot do so says false, always the same, and then cores that may be rescued pay for a fence
    /// around each slice. Asked for once by [`crate::Kernel::new`], and by each rescue.
    fn heavy_barrier(&self) -> bool {
        false
    }

    /// There is work for a core that has said it is idle: make its driver call
    /// [`crate::Core::run`] again. A call that comes before the driver has gone to sleep must
    /// keep it from sleeping.
    fn wake(&self, core: usize);

    /// How to find the place where the running thread of execution notes what it runs. A plain
    /// function, so that it can be kept by what outlives the world.
    fn here(&self) -> fn() -> *const CurrentSlot;

    /// Runs foreign code, once, here and now: a body, a destructor. A panic becomes a crash with its text, where
    /// the world can catch it.
    fn catch_panic(&self, code: &mut dyn FnMut()) -> Result<(), Reason> {
        code();
        Ok(())
    }

    /// As [`Platform::catch_panic`], as a plain function, for foreign values that may be dropped when neither this world nor its kernel
    /// is at hand, or there at all: what a [`crate::Reason`] carries, and what is [`crate::CatchDrop`]. Their panics end here,
    /// and nobody is told. `None` where the world catches no panics.
    fn panic_catcher(&self) -> Option<CatchPanic> {
        None
    }

    /// Somebody who is no process has waited for a death ([`crate::Host::watch_exit`]), and it has come: on the core in
    /// the midst of it, or on the thread that found it over. A world that has threads puts the watch in an
    /// [`crate::ExitQueue`] and returns, without blocking or allocating. Without them it is run here and now.
    fn on_watch_fired(&self, fired: FiredWatch) {
        let mut fired = Some(fired);
        if let Err(reason) = self.catch_panic(&mut || fired.take().into_iter().for_each(FiredWatch::run)) {
            self.on_unhandled_panic(&reason);
        }
    }

    /// A process has ended, and exits are observed ([`crate::Kernel::observe_exits`]). On its core, in the midst of the
    /// death: it must not block, allocate or panic. `guard` is the core's.
    fn on_process_exit(&self, pid: Pid, reason: &Reason, guard: &Guard<'_>) {
        let _ = (pid, reason, guard);
    }

    /// A kernel of this world's is gone, and no pid of a later generation than `last_generation` was given out by it: those from there to the last of
    /// [`crate::Options::generations`] may be lent to another.
    fn on_kernel_drop(&self, last_generation: u32) {
        let _ = last_generation;
    }

    /// A destructor panicked; there was nobody to tell.
    fn on_unhandled_panic(&self, reason: &Reason) {
        let _ = reason;
    }
}
