//! Notifying the senders that wait for capacity in a mailbox with a limit. The owner of the mailbox
//! does it when messages leave.

use crate::kernel::kernel_cx::KernelCx;
use crate::mailbox::limit::OwnerLimit;
use crate::ops::waker;
use crate::pid::Pid;

/// Wakes a process that waits for capacity, so that it tries again.
fn call(kernel_cx: &KernelCx<'_>, pid: Pid) {
    if let Some(process) = kernel_cx.find(pid) {
        waker::request_wake(process, kernel_cx);
    }
}

// All methods are cold: for a process without a limit the code is one jump that is not taken.
impl OwnerLimit<'_> {
    /// Records that a message has left the private queue.
    #[cold]
    pub(crate) fn received(&self, kernel_cx: &KernelCx<'_>) {
        self.on_taken();
        self.left(kernel_cx);
    }

    /// Records that a counted message is gone, and notifies a waiting sender.
    #[cold]
    pub(crate) fn left(&self, kernel_cx: &KernelCx<'_>) {
        if self.release() {
            self.notify_waiters(|pid| call(kernel_cx, pid));
        }
    }

    /// Checks the waiting senders again: another thread returned a slot, or a slot was reserved for
    /// a waiter that has been cancelled.
    #[cold]
    pub(crate) fn look(&self, kernel_cx: &KernelCx<'_>) {
        self.notify_if_free(|pid| call(kernel_cx, pid));
    }

    /// Closes the capacity of a dead process; if `tells`, wakes every waiting sender.
    #[cold]
    pub(crate) fn close(self, kernel_cx: &KernelCx<'_>, tells: bool) {
        self.close_capacity(|pid| {
            if tells {
                call(kernel_cx, pid);
            }
        });
    }
}
