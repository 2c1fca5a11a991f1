//! [`KernelCx`]: the context of a kernel operation: the kernel, a guard, and the acting core, if
//! any.

use core::ptr::NonNull;

use crate::kernel::Kernel;
use crate::kernel::core_local::CoreLocal;
use crate::mailbox::Pushed;
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::mutation::Mutation;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::process::name::RegisterError;
use crate::reclaim::Guard;
use crate::signal::node::Node;

/// The context of every kernel operation: a core has one during a slice, a host thread for one
/// call.
#[derive(Clone, Copy, Debug)]
pub struct KernelCx<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) guard: &'a Guard<'a>,
    /// The core on which the operation runs; `None` for a host thread.
    pub(crate) core: Option<&'a CoreLocal>,
}

impl<'a> KernelCx<'a> {
    /// Returns the live or dying process that `pid` names.
    pub fn find(&self, pid: Pid) -> Option<&'a Header> {
        self.kernel.table.find(pid, self.guard)
    }

    /// Returns the process that has the name, once its pid leads to it (`name`, A3). Wait-free.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        let pid = self.kernel.names.find(name)?.holder(self.guard)?.pid;
        self.find(pid).map(|process| process.pid)
    }

    /// Gives a name to a process. Lock-free.
    pub fn register(&self, name: &str, pid: Pid) -> Result<(), RegisterError> {
        let entry = self.kernel.names.intern(name)?;
        if entry.holder(self.guard).is_some() {
            return Err(RegisterError::InUse);
        }
        entry.register(self.find(pid).ok_or(RegisterError::NoProc)?)
    }

    /// Takes a name from its holder. Returns `false` if no process had it. Lock-free.
    pub fn unregister(&self, name: &str) -> bool {
        self.kernel.names.find(name).is_some_and(|entry| entry.unregister(self.guard))
    }

    /// Returns the pool of memory blocks of the core on which the operation runs.
    #[inline]
    pub fn pool(&self) -> Option<&'a Pool> {
        self.core.map(CoreLocal::pool)
    }

    /// Moves `value` to the heap, or gives it back when there is no memory.
    #[inline]
    pub fn try_new<T>(&self, value: T) -> Result<NonNull<T>, T> {
        match self.pool() {
            Some(pool) => pool.try_new(value),
            None => memory::try_new(value),
        }
    }

    /// Allocates memory for a `T`.
    #[inline]
    pub fn try_alloc<T>(&self) -> Result<NonNull<T>, NoMemory> {
        match self.pool() {
            Some(pool) => pool.try_alloc(),
            None => memory::try_alloc(),
        }
    }

    /// Pushes a signal to the process that `pid` names, or releases the signal. Returns `true` if
    /// it arrived. Lock-free.
    ///
    /// # Safety
    /// The caller owns `node`. Afterwards the node belongs to the receiver or is freed.
    pub unsafe fn deliver(&self, pid: Pid, node: NonNull<Node>) -> bool {
        if let Some(process) = self.find(pid) {
            // SAFETY: the caller owns `node` (this function's contract).
            if unsafe { self.push(process, node) } {
                return true;
            }
        }
        if !self.kernel.mutated(Mutation::RefusedIsKept) {
            // SAFETY: the node was not delivered, so the caller's ownership is still with this
            // call.
            unsafe { self.release(node) };
        }
        false
    }

    /// Pushes a signal. Returns `false` when the process is dead and the node still belongs to the
    /// caller. Lock-free.
    ///
    /// # Safety
    /// The caller owns `node`; after `true` it belongs to the receiver.
    pub unsafe fn push(&self, process: &Header, node: NonNull<Node>) -> bool {
        // SAFETY: the caller owns `node` (this function's contract).
        match unsafe { process.mailbox.push(node) } {
            Pushed::Quiet => true,
            Pushed::Wake => {
                self.schedule(process);
                true
            }
            Pushed::Closed => false,
        }
    }

    /// Queues a process that a push woke: the caller owns it (P1) and gives up that ownership here.
    /// Lock-free.
    pub fn schedule(&self, process: &Header) {
        self.queue(process, false);
    }

    /// Queues a process that has just been published, like [`KernelCx::schedule`].
    pub fn schedule_newborn(&self, process: &Header) {
        self.queue(process, true);
    }

    #[inline]
    fn queue(&self, process: &Header, newborn: bool) {
        match self.core {
            Some(core) if core.takes(process) => core.schedule(self.kernel, process, newborn),
            _ => self.kernel.inject(process),
        }
    }

    /// Runs foreign code whose panic cannot be reported to a caller. The code may block, so the
    /// private half of the core is left while it runs (`kernel::core_local`, H1).
    pub(crate) fn catch_panic(&self, code: impl FnOnce()) {
        let _outside = self.core.map(CoreLocal::outside);
        self.kernel.catch_panic(code);
    }

    /// Releases a signal that no process receives. Panics of foreign destructors are caught.
    ///
    /// # Safety
    /// The caller owns `node` and does not use it again.
    pub unsafe fn release(&self, node: NonNull<Node>) {
        // SAFETY: the caller owns `node` (this function's contract), and the closure runs once.
        self.catch_panic(|| unsafe { Node::release(node, self.pool()) });
    }
}
