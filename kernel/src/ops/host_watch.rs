//! Installing, firing and withdrawing exit watches (`process::relation::host_watch`).

use crate::kernel::kernel_cx::KernelCx;
use crate::mutation::mutant;
use crate::ops::relations::watch_was_cancelled;
use crate::pid::Pid;
use crate::process::relation::WatchError;
use crate::process::relation::host_watch::{FiredWatch, ListedWatch};
use crate::process::relation::watcher::Watcher;
use crate::process::table::Tombstone;
use crate::reason::Reason;

pub use crate::process::relation::host_watch::{ExitWatch, PreparedWatch};

impl PreparedWatch {
    /// Returns a handle, whose status is [`crate::WatchStatus::Prepared`] until the watch is
    /// installed.
    pub fn handle(&self) -> ExitWatch {
        ExitWatch::of(self.share())
    }

    /// (1) Installs the watch on a process. Fails only if the pid was never allocated. Lock-free.
    pub(crate) fn install(self, kernel_cx: &KernelCx<'_>, pid: Pid) -> Result<ExitWatch, WatchError> {
        let process = kernel_cx.find(pid);
        let remembered =
            match process.map_or_else(|| kernel_cx.kernel.tombstone(pid, kernel_cx.guard), |_| Tombstone::Recycled) {
                Tombstone::NeverAllocated => return Err(WatchError::NoSuchProcess(pid)),
                Tombstone::Known(reason) => Some(reason),
                Tombstone::Recycled => None,
            };
        let handle = self.handle();
        let watch = self.arm(pid);
        let Some(process) = process else {
            fire(watch, kernel_cx, remembered);
            return Ok(handle);
        };
        if let Err(Watcher::HostWatch(watch)) = process.watchers.push(Watcher::HostWatch(watch)) {
            // The list is closed, so the mailbox is, and there is a reason.
            mutant!(kernel_cx.kernel.mutations, RefusedIsPlaced,
                right => fire(watch, kernel_cx, process.exit_reason()),
                wrong => core::mem::forget(watch),
            );
        }
        Ok(handle)
    }
}

impl ExitWatch {
    /// (3) Withdraws the watch. Returns `true` if it was in force, and so will never fire; the
    /// callback is then dropped here. O(1) amortised.
    pub(crate) fn cancel(&self, kernel_cx: &KernelCx<'_>) -> bool {
        // A watch of another kernel cannot be withdrawn here.
        if self.pid().is_some_and(|pid| !kernel_cx.kernel.lends(pid)) {
            return false;
        }
        let Some(_callback) = self.withdraw() else { return false };
        if let Some(process) = self.pid().and_then(|pid| kernel_cx.find(pid)) {
            watch_was_cancelled(process, kernel_cx);
        }
        true
    }
}

/// (2) Fires the watch because the target has died.
pub(crate) fn fire(watch: ListedWatch, kernel_cx: &KernelCx<'_>, reason: Option<Reason>) {
    let is_inline = watch.is_inline();
    let Ok(fired) = watch.fire(reason, kernel_cx.kernel.mutations) else { return };
    if !is_inline {
        return kernel_cx.kernel.world().on_watch_fired(fired);
    }
    kernel_cx.catch_panic(|| FiredWatch::run(fired));
}
