//! [`Kernel`], what an embedder holds: a handle of the kernel, and not the kernel itself.
//!
//! Processes, cores and wakers point to their kernel (`process/header`, P4), so it must stay where it was made. A value can be moved out
//! of an `Arc` or swapped by safe code; this one is only a count of the kernel, which nobody can reach but through it.

use alloc::sync::Arc;
use core::fmt;

use crate::kernel::{self, Options};
use crate::reclaim::{Domain, Participant};
use crate::world::Platform;

/// The shared state of all cores, as an embedder sees it. The kernel is there as long as a handle, a [`crate::Core`], or a waker
/// of one of its processes is.
pub struct Kernel(Arc<kernel::Kernel>);

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Kernel {
    /// A kernel without a process. Its cores are made by [`crate::Core::new`].
    ///
    /// # Panics
    /// When there are no cores, or too many; and when [`Options::generations`] is empty or has a 0.
    #[cfg_attr(
        not(feature = "epoch"),
        allow(clippy::arc_with_non_send_sync, reason = "one hart has it to itself, and the same code serves many")
    )]
    pub fn new(options: Options, domain: Domain, world: Arc<dyn Platform>) -> Arc<Self> {
        Arc::new(Self(kernel::Kernel::new(options, domain, world)))
    }

    /// What it is a handle of.
    pub(crate) fn inner(&self) -> &Arc<kernel::Kernel> {
        &self.0
    }

    /// Where it runs.
    pub fn world(&self) -> &dyn Platform {
        self.0.world()
    }

    /// Nanoseconds of the world's clock.
    pub fn now(&self) -> u64 {
        self.0.now()
    }

    /// Cores.
    pub fn cores(&self) -> usize {
        self.0.cores()
    }

    /// A member of the kernel's reclamation: for a thread that is not a core and wants to
    /// use [`crate::Host`].
    pub fn register(&self) -> Participant {
        self.0.register()
    }

    /// Processes alive: exact when every core is idle, otherwise too high by at most two
    /// blocks a core (see [`crate::Limits::processes`]).
    pub fn process_count(&self) -> usize {
        self.0.process_count()
    }

    /// Nodes in use, if they are limited ([`crate::Limits::nodes`]).
    pub fn nodes_used(&self) -> usize {
        self.0.nodes_used()
    }

    /// Whether every core has announced that it has nothing to do, and nothing is queued.
    pub fn is_quiescent(&self) -> bool {
        self.0.is_quiescent()
    }

    /// Whether a core has announced that it is idle and nobody has claimed it since: its driver
    /// may sleep for as long as this is true.
    pub fn is_idle(&self, core: usize) -> bool {
        self.0.is_idle(core)
    }

    /// From now on no process is started, but by who is at it already: see [`Kernel::is_empty`].
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether the world wants to be told of every exit ([`Platform::on_process_exit`]): of those that happen after this call,
    /// as the dying core sees it.
    pub fn observe_exits(&self, observe: bool) {
        self.0.observe_exits(observe);
    }

    /// Whether there is no process. Once that is true after [`Kernel::close`] there will never be one. It is told when
    /// the cores have become idle.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether [`Kernel::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.0.is_closing()
    }
}
