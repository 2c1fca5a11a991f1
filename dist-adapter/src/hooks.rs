//! [`RuntimeHooks`]: the interface that the plane requires of the runtime whose processes it
//! serves.

use atropos_kernel::{NoMemory, Reason};

use crate::pid::RemotePid;
use crate::reference::RemoteReference;

/// The runtime's local processes, by their raw pids.
///
/// Many threads call it at once, and the plane holds no lock during a call: an implementation may
/// call the plane. It should not panic. If it does, the panic reaches the plane's caller and that
/// one delivery counts as made. The next call of the plane ([`crate::ControlPlane::resume`]) does
/// the work that was left.
pub trait RuntimeHooks: Send + Sync {
    /// Delivers a monitor's DOWN to its watcher. If the watcher is dead, the implementation drops
    /// the DOWN.
    ///
    /// The plane calls this once for a reference, possibly before the `monitor_remote` that returns
    /// the reference has returned.
    fn deliver_down(&self, watcher: u64, reference: RemoteReference, target: RemotePid, reason: Reason);

    /// Starts a watch: the runtime calls [`crate::ControlPlane::exited`] with the reason when the
    /// process has ended.
    ///
    /// If the process is dead already or never existed, the runtime calls `exited` at once, with
    /// `noproc`. The plane may call `watch` more than once for a process. One call of `exited` is
    /// enough then, but more do no harm. Pids are never reused.
    fn watch(&self, pid: u64) -> Result<(), NoMemory>;

    /// Requests that the runtime drop a watch, because no peer monitors the process now.
    ///
    /// When the runtime drops the watch it calls [`crate::ControlPlane::release`] first, and keeps
    /// the watch if `release` returns `false`. Dropping the watch must not undo a
    /// [`RuntimeHooks::watch`] that comes after that call. The plane does not call `unwatch` again
    /// for this process until `release` was called. A call that panics counts as made.
    ///
    /// The default implementation keeps the watch until the process ends. Until then the watch
    /// costs the peer one charge of its quota ([`crate::Options::inbound_limit`]).
    fn unwatch(&self, pid: u64) {
        let _ = pid;
    }
}
