//! [`KernelCx`]: how one side reaches another: the kernel, a guard, and the core it is done from.

use core::ptr::NonNull;

use crate::kernel::Kernel;
use crate::mailbox::Pushed;
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::mutate::Mutation;
use crate::name::RegisterError;
use crate::pid::Pid;
use crate::process::header::Header;
use crate::reclaim::Guard;
use crate::sched::local::CoreLocal;
use crate::signal::node::Node;

/// Whoever sends a signal has one: a core during a slice, or the host for one call.
#[derive(Clone, Copy, Debug)]
pub struct KernelCx<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) guard: &'a Guard<'a>,
    /// The core that this is done on; `None` for the host.
    pub(crate) core: Option<&'a CoreLocal>,
}

impl<'a> KernelCx<'a> {
    /// The live or dying process that `pid` names.
    pub fn find(&self, pid: Pid) -> Option<&'a Header> {
        self.kernel.table.find(pid, self.guard)
    }

    /// Who has the name, once its pid leads to it (`name`, A3). Wait-free.
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

    /// Takes a name from whoever has it; false when nobody did. Lock-free.
    pub fn unregister(&self, name: &str) -> bool {
        self.kernel.names.find(name).is_some_and(|entry| entry.unregister(self.guard))
    }

    /// The blocks that are kept where this is done.
    #[inline]
    pub fn pool(&self) -> Option<&'a Pool> {
        self.core.map(CoreLocal::pool)
    }

    /// Moves `value` to the heap; gives it back when there is no memory.
    #[inline]
    pub fn try_new<T>(&self, value: T) -> Result<NonNull<T>, T> {
        match self.pool() {
            Some(pool) => pool.try_new(value),
            None => memory::try_new(value),
        }
    }

    /// Memory for a `T`.
    #[inline]
    pub fn try_alloc<T>(&self) -> Result<NonNull<T>, NoMemory> {
        match self.pool() {
            Some(pool) => pool.try_alloc(),
            None => memory::try_alloc(),
        }
    }

    /// Pushes a signal to whoever `pid` names, or releases it; whether it arrived. Lock-free.
    ///
    /// # Safety
    /// The caller holds `node`, which is the receiver's or gone afterwards.
    pub unsafe fn deliver(&self, pid: Pid, node: NonNull<Node>) -> bool {
        if let Some(process) = self.find(pid) {
            // SAFETY: by contract.
            if unsafe { self.push(process, node) } {
                return true;
            }
        }
        if !self.kernel.mutated(Mutation::RefusedIsKept) {
            // SAFETY: not delivered, so still held.
            unsafe { self.release(node) };
        }
        false
    }

    /// Pushes a signal; false when the process is dead, and the node still the caller's. Lock-free.
    ///
    /// # Safety
    /// The caller holds `node`; after `true` it is the receiver's.
    pub unsafe fn push(&self, process: &Header, node: NonNull<Node>) -> bool {
        // SAFETY: by contract.
        match unsafe { process.mailbox.push(node) } {
            Pushed::Quiet => true,
            Pushed::Wake => {
                self.schedule(process);
                true
            }
            Pushed::Closed => false,
        }
    }

    /// Queues a process that a push woke: the caller owns it (P1) and hands it on here. Lock-free.
    pub fn schedule(&self, process: &Header) {
        self.queue(process, false);
    }

    /// As [`KernelCx::schedule`], a process that has just been published.
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

    /// Runs foreign code, whose panic nobody can be told of. It may block: the private half of the core is left meanwhile (`sched::local`, H1).
    pub(crate) fn catch_panic(&self, code: impl FnOnce()) {
        let _outside = self.core.map(CoreLocal::outside);
        self.kernel.catch_panic(code);
    }

    /// Releases a signal that nobody receives; foreign destructors are contained.
    ///
    /// # Safety
    /// The caller holds `node` and does not use it again.
    pub unsafe fn release(&self, node: NonNull<Node>) {
        // SAFETY: by contract, and once.
        self.catch_panic(|| unsafe { Node::release(node, self.pool()) });
    }
}
