//! The exit signal, [`ExitSignal`], sent by `exit(Pid, Reason)` (`ops::exit_signal`).

use core::ptr::NonNull;

use crate::memory::pool::{self, Pool};
use crate::pid::Pid;
use crate::reason::Reason;
use crate::signal::node::Node;

/// A signal that requests the receiver's exit.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ExitSignal {
    /// The head.
    pub(crate) node: Node,
    /// The sending process; `None` is the host.
    pub from: Option<Pid>,
    /// The exit reason.
    pub reason: Reason,
}

impl ExitSignal {
    /// Moves the signal's fields out and frees it.
    ///
    /// # Safety
    /// The caller holds `node` (rule N1), of kind `Exit`, and does not use it again.
    pub(crate) unsafe fn open(node: NonNull<Node>, pool: Option<&Pool>) -> (Option<Pid>, Reason) {
        // SAFETY: N1: the caller holds the node, which heads an `ExitSignal` (this function's
        // contract).
        let signal = unsafe { node.cast::<Self>().read() };
        // SAFETY: moved out above; not used again.
        unsafe { pool::free(node.cast::<Self>(), pool) };
        (signal.from, signal.reason)
    }
}
