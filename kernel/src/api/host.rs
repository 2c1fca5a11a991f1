//! [`Host`]: the kernel as seen by a thread that is not a core.

use alloc::boxed::Box;
use core::any::TypeId;
use core::time::Duration;

use crate::api::body::Body;
use crate::api::cx::{MaybeReady, ask};
use crate::api::task::address::Address;
use crate::api::task::context::Context;
use crate::api::task::future::{FutureBody, LargeBody, is_large};
use crate::catch_drop::DropCatcher;
use crate::kernel::Kernel;
use crate::kernel::handle;
use crate::kernel::kernel_cx::KernelCx;
use crate::memory::NoMemory;
use crate::ops::exit_signal;
use crate::ops::host_watch::{ExitWatch, PreparedWatch};
use crate::ops::info::ProcessInfo;
use crate::ops::query::{ChangeSuspension, GetInfo, IsAlive};
use crate::ops::send::{self, SendError};
use crate::ops::spawn::{self, SlotSource, SpawnError, SpawnOptions, Spawned};
use crate::ops::timer;
use crate::pid::{Alias, Pid, Reference};
use crate::process::process_ref::ProcessRef;
use crate::process::relation::{ExitInfo, WatchError};
use crate::process::table::{FreeSlots, Tombstone};
use crate::reason::Reason;
use crate::reclaim::{Guard, Participant};

/// A host thread's access to the processes. The thread is pinned for as long as the value lives, so
/// keep it for a few calls only.
#[derive(Debug)]
pub struct Host<'a> {
    kernel: &'a Kernel,
    handle: &'a handle::Kernel,
    guard: Guard<'a>,
}

impl<'a> Host<'a> {
    /// Creates the access of `participant`'s thread to the kernel.
    ///
    /// # Panics
    /// Panics if `participant` belongs to the domain of another kernel: it would protect nothing
    /// here.
    pub fn new(handle: &'a handle::Kernel, participant: &'a Participant) -> Self {
        let kernel: &Kernel = handle.inner();
        assert!(participant.belongs_to(&kernel.domain), "the participant belongs to another domain");
        Self { kernel, handle, guard: participant.pin() }
    }

    pub(crate) fn kernel_cx(&self) -> KernelCx<'_> {
        // SAFETY: the guard is of a participant of the kernel's domain (`new`).
        unsafe { self.kernel.kernel_cx_unchecked(&self.guard, None) }
    }

    /// Returns the platform's way to catch the panics of destructors, for values that the thread
    /// passes to a process.
    pub fn drop_catcher(&self) -> DropCatcher {
        DropCatcher::new(self.kernel.world().panic_catcher())
    }

    /// Starts a process that has no parent. Lock-free, except for growing the table.
    pub fn spawn<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        let mut slots = FreeSlots::new();
        let spawned = spawn::spawn(&self.kernel_cx(), SlotSource::Host(&mut slots), None, options, body);
        self.kernel.table.flush_cache(&mut slots);
        spawned
    }

    /// Starts a process that runs the future of `start`.
    pub fn spawn_async<M, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: crate::api::task::IntoReason> + Send + 'static,
    {
        let spawned = match const { is_large::<F>() } {
            true => self.spawn(options, LargeBody::new(start)),
            false => self.spawn(options, FutureBody::new(start)),
        };
        spawned.map(|spawned| Address::new(spawned.pid))
    }

    /// Sends a message. Lock-free.
    pub fn send<M: Send + 'static>(&self, to: Pid, message: M) -> Result<(), SendError<M>> {
        send::send(&self.kernel_cx(), to, message)
    }

    /// Sends to the process that has the name. Lock-free.
    pub fn send_name<M: Send + 'static>(&self, to: &str, message: M) -> Result<(), SendError<M>> {
        match self.kernel.names.find(to).and_then(|entry| entry.holder(&self.guard)) {
            Some(process) => send::send_to(&self.kernel_cx(), process, message),
            None => Err(SendError::NoName(message)),
        }
    }

    /// Sends through an alias. Lock-free.
    pub fn send_alias<M: Send + 'static>(&self, to: Alias, message: M) -> Result<(), SendError<M>> {
        send::send_alias(&self.kernel_cx(), to, message)
    }

    /// Sends an exit signal that has no sender. Returns `true` if it found a live process. A kill
    /// needs no memory. Lock-free.
    pub fn exit(&self, to: Pid, reason: Reason) -> Result<bool, NoMemory> {
        exit_signal::send(&self.kernel_cx(), None, to, reason)
    }

    /// Sends an exit signal in the name of another process, which may be dead by now: for a process
    /// elsewhere, which a proxy stands for ([`SpawnOptions::proxy`]). Otherwise as [`Host::exit`].
    pub fn exit_from(&self, from: Pid, to: Pid, reason: Reason) -> Result<bool, NoMemory> {
        exit_signal::send(&self.kernel_cx(), Some(from), to, reason)
    }

    /// Returns the process that has the name. Wait-free.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.kernel_cx().whereis(name)
    }

    /// Returns `true` if the process has not yet died. Wait-free. A signal sent to it earlier may
    /// not have reached it: see [`Host::query_alive`].
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.kernel_cx().find(pid).is_some_and(|process| !process.mailbox.is_closed())
    }

    /// Queries whether the process is alive after it has handled everything that this thread has
    /// sent to it before.
    pub fn query_alive(&self, pid: Pid) -> Result<MaybeReady<bool>, NoMemory> {
        match self.kernel_cx().find(pid) {
            None => Ok(MaybeReady::Ready(false)),
            Some(process) => ask(&self.kernel_cx(), process, IsAlive),
        }
    }

    /// Queries the state of a process as the process itself sees it; `None` if it is dead.
    pub fn info(&self, pid: Pid) -> MaybeReady<Result<Option<Box<ProcessInfo>>, NoMemory>> {
        match self.kernel_cx().find(pid) {
            None => MaybeReady::Ready(Ok(None)),
            Some(process) => ask(&self.kernel_cx(), process, GetInfo).unwrap_or(MaybeReady::Ready(Err(NoMemory))),
        }
    }

    /// Cancels the timer of this kernel that the reference names. Returns its remaining time, or
    /// `None` if there is no such timer: it has fired, was cancelled, or ended with its target. No
    /// process is involved, and the starter of the timer may be dead. Lock-free.
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        timer::cancel_named(&self.kernel_cx(), timer)
    }

    /// Returns the remaining time of the timer of this kernel that the reference names, or `None`
    /// if there is no such timer. Lock-free.
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        timer::read_named(&self.kernel_cx(), timer)
    }

    /// Suspends a process. Once the process has handled this signal, in order with its other
    /// signals, its body is not resumed until [`Host::resume`] has been called as often as this
    /// method. A slice in progress runs to its end. Exit signals act as usual, messages wait. The
    /// answer is the number of suspensions after this one; `None` if the process is dead.
    pub fn suspend(&self, pid: Pid) -> Result<MaybeReady<Option<u32>>, NoMemory> {
        self.change_suspension(pid, ChangeSuspension::Suspend)
    }

    /// Undoes one [`Host::suspend`]. Has no effect on a process that is not suspended.
    pub fn resume(&self, pid: Pid) -> Result<MaybeReady<Option<u32>>, NoMemory> {
        self.change_suspension(pid, ChangeSuspension::Resume)
    }

    fn change_suspension(&self, pid: Pid, query: ChangeSuspension) -> Result<MaybeReady<Option<u32>>, NoMemory> {
        match self.kernel_cx().find(pid) {
            None => Ok(MaybeReady::Ready(None)),
            Some(process) => ask(&self.kernel_cx(), process, query),
        }
    }

    /// Runs `act` once when the process has ended, in the place that the platform provides for it:
    /// not on a core if the platform has other threads. Runs it at once if the process has already
    /// ended. Lock-free.
    pub fn watch_exit(&self, pid: Pid, act: impl FnOnce(ExitInfo) + Send + 'static) -> Result<ExitWatch, WatchError> {
        let prepared = PreparedWatch::try_new(act).map_err(|NoMemory| WatchError::NoMemory(pid))?;
        self.install_watch(pid, prepared)
    }

    /// Installs a watch that was prepared before, like [`Host::watch_exit`]. It needs no further
    /// memory.
    pub fn install_watch(&self, pid: Pid, watch: PreparedWatch) -> Result<ExitWatch, WatchError> {
        watch.install(&self.kernel_cx(), pid)
    }

    /// Cancels a watch of this kernel. Returns `true` if the watch was in force, and so will never
    /// fire. The callback is dropped here. Amortised O(1).
    pub fn cancel_watch(&self, watch: &ExitWatch) -> bool {
        watch.cancel(&self.kernel_cx())
    }

    /// Returns the exit reason that the slot of a dead process keeps.
    pub fn tombstone(&self, pid: Pid) -> Tombstone {
        self.kernel.tombstone(pid, &self.guard)
    }

    /// Returns the type of the messages that a process takes, or `None` if it is dead. Wait-free.
    pub fn takes(&self, pid: Pid) -> Option<TypeId> {
        self.kernel_cx().find(pid).map(|process| process.vtable.takes)
    }

    /// Returns an iterator over all processes that have not yet died. A process that lives
    /// throughout the iteration is included. Others may be.
    pub fn processes(&self) -> impl Iterator<Item = Pid> + '_ {
        (0..self.kernel.table.extent())
            .filter_map(|index| self.kernel.table.at(index, &self.guard))
            .filter(|process| !process.mailbox.is_closed())
            .map(|process| process.pid)
    }

    /// Returns the number of the slice that a core runs now, and its process. A hint.
    pub fn running(&self, core: usize) -> Option<(usize, Pid)> {
        let (slice, slot) = self.kernel.cores.get(core)?.mark.read()?;
        Some((slice, self.kernel.table.at(slot, &self.guard)?.pid))
    }

    /// Returns the process of a slot, if there is one, until its end.
    pub(crate) fn process_at(&self, index: u32) -> Option<ProcessRef<'_>> {
        self.kernel.table.at(index, &self.guard)
    }

    /// Returns the handle of the kernel.
    pub fn kernel(&self) -> &'a handle::Kernel {
        self.handle
    }

    pub(crate) fn inner(&self) -> &'a Kernel {
        self.kernel
    }
}
