//! [`Leaks`]: what dead processes have left in their kernel.

use std::error::Error;
use std::fmt;

use atropos_kernel::Kernel;

/// What a kernel still holds after the exits of all its processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaks {
    /// Number of processes that the kernel counts.
    pub processes: usize,
    /// Number of nodes: signals, links, monitors and timers.
    pub nodes: usize,
}

impl Leaks {
    /// Checks that a kernel holds no process and no node. The kernel counts its nodes only if its
    /// options limit them.
    ///
    /// # Errors
    /// Returns what the kernel holds.
    pub fn check(kernel: &Kernel) -> Result<(), Self> {
        let leaks = Self { processes: kernel.process_count(), nodes: kernel.nodes_used() };
        if leaks == (Self { processes: 0, nodes: 0 }) { Ok(()) } else { Err(leaks) }
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} processes are still counted, and {} nodes are left", self.processes, self.nodes)
    }
}

impl Error for Leaks {}
