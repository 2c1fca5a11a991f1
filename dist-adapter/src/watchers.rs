//! What the plane needs of the runtime whose processes it serves: [`Watchers`].

use atropos_kernel::{NoMemory, Reason};

use crate::pid::RemotePid;
use crate::reference::RemoteReference;

/// The local processes, by their raw pids. Called by many threads at once, with no lock of the plane held: an
/// implementation may call the plane. It should not panic. If it does, the panic reaches whoever called the plane, that one
/// delivery counts as made, and what was still to do is done by the next call of the plane ([`crate::ControlPlane::resume`]).
pub trait Watchers: Send + Sync {
    /// Brings a watcher the answer of its monitor. The watcher may be dead: then it is dropped. Called once for a reference
    /// and possibly before the `monitor_remote` that returns it has returned.
    fn deliver_down(&self, watcher: u64, reference: RemoteReference, target: RemotePid, reason: Reason);

    /// From now on, calls [`crate::ControlPlane::exited`] when the process has ended, with its reason; at once, with `noproc`, if it is
    /// dead already or was never there. It may be asked more than once for a process; one call is enough then, but more do no
    /// harm. Pids are never used again.
    fn watch(&self, pid: u64) -> Result<(), NoMemory>;

    /// No peer has a monitor of the process now: the runtime may take the watch back. When it does it calls
    /// [`crate::ControlPlane::release`] first, and keeps the watch if the plane says so. To take it back must not undo a
    /// [`Watchers::watch`] that comes after that call. It is not called again for this process until `release` was; if it
    /// panics, that counts as called.
    ///
    /// A runtime that does nothing here keeps the watch until the process ends; until then the peer pays for it with one
    /// place of its quota ([`crate::Options::inbound_limit`]).
    fn unwatch(&self, pid: u64) {
        let _ = pid;
    }
}
