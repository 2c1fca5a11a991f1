//! [`Kernel`]: the handle of the kernel that an embedder holds, not the kernel itself.
//!
//! Processes, cores and wakers point to their kernel (`process/header`, P4), so the kernel must not
//! move. Safe code can move a value out of an `Arc` or swap it. This value is only a counted
//! reference to the kernel, which can be reached only through it.

use alloc::sync::Arc;
use core::fmt;

use crate::kernel::platform::Platform;
use crate::kernel::{self, Options};
use crate::reclaim::{Domain, Participant};

/// The shared state of all cores, as an embedder sees it. The kernel exists as long as a handle, a
/// [`crate::Core`], or a waker of one of its processes exists.
pub struct Kernel(Arc<kernel::Kernel>);

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Kernel {
    /// Creates a kernel without processes. [`crate::Core::new`] creates its cores.
    ///
    /// # Panics
    /// Panics if there are no cores or too many, and if [`Options::generations`] is empty or
    /// contains 0.
    #[cfg_attr(
        not(feature = "epoch"),
        allow(clippy::arc_with_non_send_sync, reason = "one hart owns the kernel; the code also serves many")
    )]
    pub fn new(options: Options, domain: Domain, world: Arc<dyn Platform>) -> Arc<Self> {
        Arc::new(Self(kernel::Kernel::new(options, domain, world)))
    }

    /// Returns the kernel to which this handle leads.
    pub(crate) fn inner(&self) -> &Arc<kernel::Kernel> {
        &self.0
    }

    /// Returns the platform on which the kernel runs.
    pub fn world(&self) -> &dyn Platform {
        self.0.world()
    }

    /// Returns the time of the platform's clock in nanoseconds.
    pub fn now(&self) -> u64 {
        self.0.now()
    }

    /// Returns the number of cores.
    pub fn cores(&self) -> usize {
        self.0.cores()
    }

    /// Registers a participant of the kernel's reclamation, for a thread that is not a core and
    /// uses [`crate::Host`].
    pub fn register(&self) -> Participant {
        self.0.register()
    }

    /// Returns the number of live processes. It is exact when every core is idle, and otherwise too
    /// high by at most two blocks per core (see [`crate::Limits::processes`]).
    pub fn process_count(&self) -> usize {
        self.0.process_count()
    }

    /// Returns the number of nodes in use, if they are limited ([`crate::Limits::nodes`]).
    pub fn nodes_used(&self) -> usize {
        self.0.nodes_used()
    }

    /// Returns `true` if every core has announced that it has nothing to do, and nothing is queued.
    pub fn is_quiescent(&self) -> bool {
        self.0.is_quiescent()
    }

    /// Returns `true` if a core has announced that it is idle and no thread has claimed it since.
    /// Its driver may sleep for as long as this is `true`.
    pub fn is_idle(&self, core: usize) -> bool {
        self.0.is_idle(core)
    }

    /// Closes the kernel: from now on no new process is started, except by calls that have already
    /// begun. See [`Kernel::is_empty`].
    pub fn close(&self) {
        self.0.close();
    }

    /// Sets whether the platform is notified of every exit ([`Platform::on_process_exit`]): of
    /// those that happen after this call, as the dying process's core sees it.
    pub fn observe_exits(&self, observe: bool) {
        self.0.observe_exits(observe);
    }

    /// Returns `true` if there is no process. Once this is `true` after [`Kernel::close`], it stays
    /// `true`. It becomes `true` only once the cores have become idle.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if [`Kernel::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
}
