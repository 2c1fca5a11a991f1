//! [`Host`], the kernel as a thread sees it that is not a core.

use core::any::TypeId;
use core::time::Duration;

use crate::cx::{MaybeReady, ask};
use crate::hand::KernelCx;
use crate::handle;
use crate::info::ProcessInfo;
use crate::kernel::Kernel;
use crate::memory::NoMemory;
use crate::pid::{Alias, Pid, Reference};
use crate::process::body::Body;
use crate::process::header::Header;
use crate::process::spawn::{self, SlotSource, SpawnError, SpawnOptions, Spawned};
use crate::reason::Reason;
use crate::reclaim::{Guard, Participant};
use crate::send::{self, SendError};
use crate::signal::ask::QueryKind;
use crate::signal::exit_signal;
use crate::table::{Tombstone, FreeSlots};
use crate::task::context::{Address, Context};
use crate::task::future::{FutureBody, LargeBody, is_large};
use crate::timer::start;
use crate::watcher::{ExitInfo, ExitWatch, PreparedWatch, WatchError};

/// A host thread's way to the processes: pinned for as long as it lives, so keep it for a
/// few calls, not for ever.
#[derive(Debug)]
pub struct Host<'a> {
    kernel: &'a Kernel,
    handle: &'a handle::Kernel,
    guard: Guard<'a>,
}

impl<'a> Host<'a> {
    /// The kernel as `participant`'s thread sees it.
    ///
    /// # Panics
    /// When `participant` is a member of another kernel's domain: it would protect nothing here.
    pub fn new(handle: &'a handle::Kernel, participant: &'a Participant) -> Self {
        let kernel: &Kernel = handle.inner();
        assert!(participant.is_member_of(&kernel.domain), "a participant of another domain");
        Self { kernel, handle, guard: participant.pin() }
    }

    pub(crate) fn hand(&self) -> KernelCx<'_> {
        self.kernel.hand(&self.guard, None)
    }

    /// Starts a process that has no parent. Lock-free, but for growing the table.
    pub fn spawn<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        let mut slots = FreeSlots::new();
        let spawned = spawn::spawn(&self.hand(), SlotSource::Host(&mut slots), None, options, body);
        self.kernel.table.give_up(&mut slots);
        spawned
    }

    /// Starts a process that runs `start`'s future.
    pub fn spawn_async<M, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Address<M>, SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: crate::task::IntoReason> + Send + 'static,
    {
        let spawned = match const { is_large::<F>() } {
            true => self.spawn(options, LargeBody::new(start)),
            false => self.spawn(options, FutureBody::new(start)),
        };
        spawned.map(|spawned| Address::new(spawned.pid))
    }

    /// Sends a message. Lock-free.
    pub fn send<M: Send + 'static>(&self, to: Pid, message: M) -> Result<(), SendError<M>> {
        send::send(&self.hand(), to, message)
    }

    /// Sends to whoever has the name. Lock-free.
    pub fn send_name<M: Send + 'static>(&self, to: &str, message: M) -> Result<(), SendError<M>> {
        match self.kernel.names.find(to).and_then(|entry| entry.holder(&self.guard)) {
            Some(process) => send::send_to(&self.hand(), process, message),
            None => Err(SendError::NoName(message)),
        }
    }

    /// Sends through an alias. Lock-free.
    pub fn send_alias<M: Send + 'static>(&self, to: Alias, message: M) -> Result<(), SendError<M>> {
        send::send_alias(&self.hand(), to, message)
    }

    /// Sends an exit signal that comes from nobody; whether it found a live process. A kill needs no
    /// memory. Lock-free.
    pub fn exit(&self, to: Pid, reason: Reason) -> Result<bool, NoMemory> {
        exit_signal::send(&self.hand(), None, to, reason)
    }

    /// Who has the name. Wait-free.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.hand().whereis(name)
    }

    /// Whether the process has not yet died. Wait-free; a signal that was sent to it before may
    /// not have reached it: see [`Host::ask_alive`].
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.hand().find(pid).is_some_and(|process| !process.mailbox.is_closed())
    }

    /// Whether the process is alive after all that this thread has sent it before.
    pub fn ask_alive(&self, pid: Pid) -> Result<MaybeReady<bool>, NoMemory> {
        match self.hand().find(pid) {
            None => Ok(MaybeReady::Ready(false)),
            Some(process) => {
                ask(&self.hand(), process, QueryKind::Alive).map(|later| later.map_or(MaybeReady::Ready(false), MaybeReady::Pending))
            }
        }
    }

    /// What a process knows of itself.
    pub fn info(&self, pid: Pid) -> Result<MaybeReady<Option<ProcessInfo>>, NoMemory> {
        match self.hand().find(pid) {
            None => Ok(MaybeReady::Ready(None)),
            Some(process) => {
                ask(&self.hand(), process, QueryKind::Info).map(|later| later.map_or(MaybeReady::Ready(None), MaybeReady::Pending))
            }
        }
    }

    /// Cancels whatever timer of this kernel the reference names: the time it had left, or `None` when there is no such timer: it has
    /// fired, was cancelled, or ended with its target. Nobody is asked, and its starter may be dead. Lock-free.
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        start::cancel_named(&self.hand(), timer)
    }

    /// The time that whatever timer of this kernel the reference names has left; `None` when there is no such timer. Lock-free.
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        start::read_named(&self.hand(), timer)
    }

    /// Suspends a process: once it has met this, among its other signals, its body is not resumed until
    /// [`Host::resume`] has been called as often as this has. A slice in progress goes on to its end. Exits act on it
    /// as ever, messages wait. The answer, [`QueryReply::Suspended`], is how often it is suspended then.
    ///
    /// [`QueryReply::Suspended`]: crate::QueryReply::Suspended
    pub fn suspend(&self, pid: Pid) -> Result<MaybeReady<Option<u32>>, NoMemory> {
        self.ask_of_suspension(pid, QueryKind::Suspend)
    }

    /// Takes one [`Host::suspend`] back; nothing happens to a process that is not suspended.
    pub fn resume(&self, pid: Pid) -> Result<MaybeReady<Option<u32>>, NoMemory> {
        self.ask_of_suspension(pid, QueryKind::Resume)
    }

    fn ask_of_suspension(&self, pid: Pid, question: QueryKind) -> Result<MaybeReady<Option<u32>>, NoMemory> {
        match self.hand().find(pid) {
            None => Ok(MaybeReady::Ready(None)),
            Some(process) => {
                ask(&self.hand(), process, question).map(|later| later.map_or(MaybeReady::Ready(None), MaybeReady::Pending))
            }
        }
    }

    /// Has `act` done when the process has ended, once, where the world does such things: not on a core, if it has
    /// other threads. At once when it has ended already. Lock-free.
    pub fn watch_exit(&self, pid: Pid, act: impl FnOnce(ExitInfo) + Send + 'static) -> Result<ExitWatch, WatchError> {
        let prepared = PreparedWatch::try_new(act).map_err(|NoMemory| WatchError::NoMemory(pid))?;
        self.install_watch(pid, prepared)
    }

    /// As [`Host::watch_exit`], for a watch that was made before: it needs no memory any more.
    pub fn install_watch(&self, pid: Pid, watch: PreparedWatch) -> Result<ExitWatch, WatchError> {
        watch.install(&self.hand(), pid)
    }

    /// Withdraws a watch of this kernel's: true when it was in force, and so will never fire. What was to be done is
    /// dropped here. O(1) amortised.
    pub fn withdraw_watch(&self, watch: &ExitWatch) -> bool {
        watch.cancel(&self.hand())
    }

    /// The reason that a dead process's slot remembers.
    pub fn tombstone(&self, pid: Pid) -> Tombstone {
        if let Some(process) = self.hand().find(pid)
            && process.mailbox.is_closed()
        {
            // In the midst of its death.
            // SAFETY: found closed (`header`, P3).
            return Tombstone::Known(unsafe { process.reason() });
        }
        self.kernel.of_the_dead(pid, &self.guard)
    }

    /// The type of the messages that a process takes; `None` when it is dead. Wait-free.
    pub fn takes(&self, pid: Pid) -> Option<TypeId> {
        self.hand().find(pid).map(|process| process.vtable.takes)
    }

    /// All processes that have not yet died: those that live while it is gone through are in it, others may be.
    pub fn processes(&self) -> impl Iterator<Item = Pid> + '_ {
        (0..self.kernel.table.extent())
            .filter_map(|index| self.kernel.table.at(index, &self.guard))
            .filter(|process| !process.mailbox.is_closed())
            .map(|process| process.pid)
    }

    /// What a core runs just now: the number of its slice, and the process. A hint.
    pub fn running(&self, core: usize) -> Option<(usize, Pid)> {
        let (slice, slot) = self.kernel.cores.get(core)?.mark.read()?;
        Some((slice, self.kernel.table.at(slot, &self.guard)?.pid))
    }

    /// The process of a slot, if there is one, until its end.
    pub(crate) fn process_at(&self, index: u32) -> Option<&Header> {
        self.kernel.table.at(index, &self.guard)
    }

    /// The kernel.
    pub fn kernel(&self) -> &'a handle::Kernel {
        self.handle
    }

    pub(crate) fn inner(&self) -> &'a Kernel {
        self.kernel
    }
}
