//! The kernel's own modules, for the models of `loom-tests` and for the benches. They are not part
//! of the interface and may change with any version.

pub use crate::shipped::Shipped;

macro_rules! open {
    ($($module:ident = $path:path),* $(,)?) => {$(
        #[allow(missing_docs, reason = "the module documents itself")]
        pub mod $module {
            pub use $path::*;
        }
    )*};
}
open!(
    config = crate::config,
    link = crate::process::relation::link,
    counted = crate::intrusive::counted,
    handle = crate::intrusive::handle,
    list = crate::intrusive::list,
    mailbox = crate::mailbox,
    memory = crate::memory,
    monitor = crate::process::relation::monitor,
    mutation = crate::mutation,
    request = crate::ops::request,
    sweep_list = crate::intrusive::sweep_list,
    capacity = crate::mailbox::capacity,
    record_set = crate::intrusive::record_set,
    refcount = crate::intrusive::refcount,
    sync = crate::sync,
    table = crate::process::table,
    watcher = crate::process::relation::watcher,
);
/// The modules of signals.
pub mod signal {
    pub use crate::mailbox::queue;
    pub use crate::signal::{held, message, node};
}
/// The modules of run queues.
pub mod runq {
    pub use crate::runq::{Local, Queued, Queues, Shared, Steps, idle, inbox, newborn_deque, node, ring};
}
/// The modules of timers.
pub mod timer {
    pub use crate::timer::{inbox, wheel};
    /// The record of a timer.
    pub mod record {
        pub use crate::ops::timer_outcome::*;
        pub use crate::process::timer_record::*;
    }
}
/// The module that decides which thread has the private half of a core.
pub mod custody {
    pub use crate::kernel::custody::*;
}
/// The module of process wakers.
pub mod waker {
    pub use crate::ops::waker::*;
}
/// The kernel context of a host thread.
pub mod kernel_cx {
    use crate::kernel::handle::Kernel;
    pub use crate::kernel::kernel_cx::KernelCx;
    use crate::reclaim::Guard;

    /// Creates a host thread's kernel context.
    pub fn of<'a>(kernel: &'a Kernel, guard: &'a Guard<'a>) -> KernelCx<'a> {
        kernel.inner().kernel_cx(guard, None)
    }
}
/// The end of the kernel itself.
pub mod life {
    use crate::kernel::handle::Kernel;

    /// Returns a function that reports whether the kernel still exists, for use when all
    /// handles are gone.
    pub fn of(kernel: &Kernel) -> impl Fn() -> bool + use<> {
        let kernel = alloc::sync::Arc::downgrade(kernel.inner());
        move || kernel.strong_count() > 0
    }
}
/// The modules of registered names.
pub mod name {
    use crate::kernel::handle::Kernel;
    use crate::pid::Pid;
    pub use crate::process::name::*;
    use crate::process::owned::Owned;
    use crate::process::process_ref::ProcessRef;
    use crate::reclaim::Guard;

    /// Returns the entry of a name, and adds it if it is new.
    pub fn intern<'k>(kernel: &'k Kernel, text: &str) -> Result<&'k NameEntry, RegisterError> {
        kernel.inner().names.intern(text)
    }

    /// Closes the mailbox of a process, as its death does. Returns `true` if it was empty.
    ///
    /// # Safety
    /// The caller owns the process.
    pub unsafe fn close(process: ProcessRef<'_>) -> bool {
        // SAFETY: the caller owns the process (this function's contract).
        unsafe { Owned::assume(process) }.close_mailbox().is_empty()
    }

    /// Returns the pid of the process.
    pub fn pid(process: ProcessRef<'_>) -> Pid {
        process.pid
    }

    /// Releases the name of a dying process.
    pub fn die<S: Steps>(process: ProcessRef<'_>) {
        crate::process::name::release_by::<S>(process);
    }

    /// Returns the live or dying process that `pid` names.
    pub fn find<'g>(kernel: &'g Kernel, pid: Pid, guard: &'g Guard<'_>) -> Option<ProcessRef<'g>> {
        assert!(guard.belongs_to(&kernel.inner().domain), "the guard belongs to another domain");
        kernel.inner().table.find(pid, guard)
    }
}
