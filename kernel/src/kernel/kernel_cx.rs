//! [`KernelCx`]: the context of a kernel operation: the kernel, a guard, and the acting core, if
//! any.

use core::ptr::NonNull;

use crate::kernel::Kernel;
use crate::kernel::core_local::CoreLocal;
use crate::memory::pool::Pool;
use crate::memory::pool_box::PoolBox;
use crate::memory::{self, NoMemory};
use crate::mutation::mutant;
use crate::pid::Pid;
use crate::process::name::RegisterError;
use crate::process::owned::Owned;
use crate::process::process_ref::ProcessRef;
use crate::reclaim::Guard;
use crate::signal::held::{BoxedSignal, HeldNode};

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
    pub fn find(&self, pid: Pid) -> Option<ProcessRef<'a>> {
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

    /// Allocates memory for a `T`.
    #[inline]
    pub fn try_alloc<T>(&self) -> Result<NonNull<T>, NoMemory> {
        match self.pool() {
            Some(pool) => pool.try_alloc(),
            None => memory::try_alloc(),
        }
    }

    /// Moves `value` to the heap, or gives it back when there is no memory.
    #[inline]
    pub(crate) fn try_new<T>(&self, value: T) -> Result<PoolBox<T>, T> {
        PoolBox::try_new(value, self.pool())
    }

    /// Pushes a signal to the process that `pid` names, or releases the signal. Returns `true` if
    /// it arrived. Lock-free.
    pub fn deliver(&self, pid: Pid, node: HeldNode) -> bool {
        let refused = match self.find(pid) {
            Some(process) => self.push(process, node).err(),
            None => Some(node),
        };
        let Some(refused) = refused else { return true };
        mutant!(self.kernel.mutations, RefusedIsKept,
            right => self.release(refused),
            wrong => _ = refused.into_raw(),
        );
        false
    }

    /// Pushes a signal. Lock-free.
    ///
    /// # Errors
    /// The signal, if the process is dead.
    pub fn push(&self, process: ProcessRef<'_>, node: HeldNode) -> Result<(), HeldNode> {
        process.push(node).map(|woken| self.schedule_woken(woken))
    }

    /// Pushes a signal as [`KernelCx::push`] does, and returns it with its type if the process is
    /// dead.
    #[inline]
    pub(crate) fn push_box<T: BoxedSignal>(
        &self,
        process: ProcessRef<'_>,
        signal: PoolBox<T>,
    ) -> Result<(), PoolBox<T>> {
        process.push_box(signal).map(|woken| self.schedule_woken(woken))
    }

    #[inline]
    fn schedule_woken(&self, woken: Option<Owned<'_>>) {
        if let Some(owned) = woken {
            self.schedule(owned);
        }
    }

    /// Queues a process that this thread has woken or claimed. Lock-free.
    pub(crate) fn schedule(&self, owned: Owned<'_>) {
        self.queue(owned, false);
    }

    /// Queues a process that has just been published, like [`KernelCx::schedule`].
    pub(crate) fn schedule_newborn(&self, owned: Owned<'_>) {
        self.queue(owned, true);
    }

    #[inline]
    fn queue(&self, owned: Owned<'_>, newborn: bool) {
        match self.core {
            Some(core) if core.takes(&owned) => core.schedule(self.kernel, owned, newborn),
            _ => self.kernel.inject(owned),
        }
    }

    /// Runs foreign code whose panic cannot be reported to a caller. The code may block, so the
    /// private half of the core is left while it runs (`kernel::core_local`, H1).
    pub(crate) fn catch_panic(&self, code: impl FnOnce()) {
        let _outside = self.core.map(CoreLocal::outside);
        self.kernel.catch_panic(code);
    }

    /// Releases a signal that no process receives. Panics of foreign destructors are caught.
    pub fn release(&self, node: HeldNode) {
        self.catch_panic(|| node.release(self.pool()));
    }
}
