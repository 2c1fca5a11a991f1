//! The teardown of a kernel: the end of its last core, and of the kernel itself, ends the processes
//! that are left. They never run again.

use core::ptr::NonNull;

use crate::intrusive::list::Chain;
use crate::kernel::Kernel;
use crate::kernel::core_local::CoreLocal;
use crate::kernel::kernel_cx::KernelCx;
use crate::ops::exit::{close, close_capacity, vacate};
use crate::ops::waiters;
use crate::process::header::Header;
use crate::process::relation::link::{Link, LinkEnd};
use crate::process::relation::watcher::WatcherEntry;
use crate::process::request_watch;
use crate::reason::Reason;
use crate::reclaim::Guard;
use crate::sync::Ordering;

impl Kernel {
    /// Records the end of a core. The end of the last core also ends all processes, since no core
    /// runs them afterwards: a process that holds its own waker keeps the kernel alive, and the two
    /// would keep each other for ever.
    pub(crate) fn on_core_drop(&self, guard: &Guard<'_>, core: &CoreLocal) {
        // AcqRel: the last core sees everything that the other cores did.
        if self.ended.fetch_add(1, Ordering::AcqRel) + 1 != self.cores() {
            return;
        }
        self.close();
        let kernel_cx = self.kernel_cx(guard, None);
        for index in 0..self.table.extent() {
            if let Some(process) = self.table.at(index, guard) {
                // SAFETY: P1 — all other cores have ended, so no core runs the process, and this
                // last core owns it.
                unsafe { discard_without_core(&kernel_cx, process.whole()) };
                core.release(self, process.pid);
                // SAFETY: T2 (`table`) — `discard_without_core` has vacated the slot, so the table
                // no longer leads to the process.
                unsafe { core.retire(process.whole()) };
            }
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // The processes that are left are those that `on_core_drop` did not end, because not every
        // core of the kernel was created. Their destructors run here, in the memory of a kernel
        // that still has everything except cores.
        let participant = self.domain.register();
        for index in 0..self.table.extent() {
            let guard = participant.pin();
            let Some(process) = self.table.at(index, &guard) else { continue };
            let process = process.whole();
            // SAFETY: P1 — no core and no queue can run the process any longer, so this thread owns
            // it.
            unsafe { discard_without_core(&self.kernel_cx(&guard, None), process) };
            drop(guard);
            // SAFETY: this releases the table's reference, once. No waker exists, because wakers
            // hold the kernel.
            unsafe { Header::release_table_ref(process, None) };
        }
        self.world().on_kernel_drop(self.table.last_generation());
    }
}

/// Ends a process that will never run again, of a kernel that no longer has a core. No process is
/// notified: those that could be end as well. The caller must retire its memory.
///
/// # Safety
/// The kernel has no core, and the caller is the thread that ends its processes.
unsafe fn discard_without_core(kernel_cx: &KernelCx<'_>, process: NonNull<Header>) {
    // SAFETY: P1: no core can run the process (this function's contract), so the caller owns it.
    let header = unsafe { process.as_ref() };
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { header.private() };
    // If a panic cut a death short, on a platform that does not catch it, the body is dropped
    // already.
    if core::mem::replace(&mut private.fetches, false)
        && let Some(drop_body) = header.vtable.drop_body
    {
        // SAFETY: P1: the caller owns the process; once.
        kernel_cx.catch_panic(|| unsafe { drop_body(process) });
    }
    waiters::end(header, kernel_cx);
    // SAFETY: P1: the caller owns the process.
    unsafe { header.private() }.dying = Some(Reason::KILLED);
    // SAFETY: P3: the owner writes it before anything is closed.
    header.reason.with_mut(|place| unsafe { *place = Reason::KILLED });
    let mut late = close(header, kernel_cx);
    close_capacity(header, kernel_cx, false);
    while let Some(node) = late.pop_front() {
        // SAFETY: N1: the node was taken, so the caller holds it.
        unsafe { kernel_cx.release(node) };
    }
    // SAFETY: P1: the caller owns the process.
    let private = unsafe { header.private() };
    while let Some(half) = private.links.pop() {
        // SAFETY: the end's reference, which the set held; not used again.
        unsafe { Link::release(LinkEnd::link(half), kernel_cx.pool()) };
    }
    for link in header.links.close() {
        // SAFETY: the end's reference, which the list held; not used again.
        unsafe { Link::release(link, kernel_cx.pool()) };
    }
    // SAFETY: P1: the caller owns the process; no other borrow is kept.
    while let Some(request) = unsafe { header.private() }.open.pop() {
        // SAFETY: the watch belonged to this process; not used again.
        unsafe { request_watch::let_go(request, kernel_cx.pool()) };
    }
    let mut outside = Chain::empty();
    for watch in header.watchers.close() {
        // SAFETY: the watch was taken from the list, with its reference.
        if unsafe { WatcherEntry::is_host(watch) } {
            // SAFETY: the watch was taken from the list, and is in no other chain.
            unsafe { outside.push(watch) };
        } else {
            // SAFETY: the list's reference; not used again.
            unsafe { WatcherEntry::release(watch, kernel_cx.pool()) };
        }
    }
    vacate(header, kernel_cx, outside, Reason::KILLED);
}
