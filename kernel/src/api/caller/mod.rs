//! Acting for a process, [`Caller`]: code that knows a process's pid performs the process's
//! operations.
//!
//! A runtime that brings its own interpreter passes raw pids to its built-in functions. It cannot
//! know whether the process that they are called for runs right here, sleeps, or runs on another
//! core. The kernel tells three cases apart, once per call, by the current slice that the platform
//! records:
//!
//! - *running*: the caller is the process whose slice this is. The operation does exactly what
//!   [`crate::Cx`] does, and its result is known.
//! - *elsewhere*: the caller lives, and does not run here; or it does, but the kernel is at work in
//!   it, or one of its closures is scanning its mailbox. Then the operation is queued for its owner
//!   (`owner_op`). It is in force for other processes immediately; the process itself finds it when
//!   it next fetches.
//! - *dead*: the caller is dead, or dying. The dead do nothing: a monitor of theirs never sends a
//!   DOWN, and no process notices.
//!
//! Exits are ordinary signals, and the flag that traps them is an atomic of the process. Both work
//! the same way in the first two cases, except that an exit signal of a process to itself is acted
//! on before the call returns if the process runs here.
//!
//! Every operation is lock-free, and no thread waits. Monitors and aliases are in `monitor`,
//! timers in `timer`.

pub(crate) mod monitor;
pub(crate) mod timer;

use crate::api::body::Body;
use crate::api::cx::{Cx, MaybeReady, ask};
use crate::api::host::Host;
use crate::api::task::address::Address;
use crate::api::task::context::Context;
use crate::api::task::future::{FutureBody, IntoReason, LargeBody, is_large};
use crate::kernel::kernel_cx::KernelCx;
use crate::kernel_ptr::KernelPtr;
use crate::memory::NoMemory;
use crate::ops::exit_signal;
use crate::ops::owner_op::{OpKind, OwnerOp};
use crate::ops::query::IsLinked;
use crate::ops::relations::link;
use crate::ops::spawn::{self, Parent, ParentProcess, SlotSource, SpawnError, SpawnOptions, Spawned};
use crate::ops::waker;
use crate::pid::{Pid, Reference};
use crate::process::name::RegisterError;
use crate::process::process_ref::ProcessRef;
use crate::process::table::{FreeSlots, Tombstone};
use crate::reason::Reason;
use crate::sync::Ordering;

/// The state of the process that code acts for, as seen from the calling thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallerState {
    /// It runs right here.
    Running,
    /// It lives, but does not run here.
    Elsewhere,
    /// It is dead, or dying.
    Dead,
    /// No process has had this pid.
    NeverAllocated,
}

/// The reason why an operation for a process was not performed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ActAsError {
    /// The process that it was meant for is dead, or never existed.
    NoCaller,
    /// The other process never existed, or, for a link, is dead.
    NoProc,
    /// There is no memory for it, or no reference is left.
    NoMemory,
    /// The name is new, and the limit of names is reached.
    TableFull,
}

impl core::fmt::Display for ActAsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoCaller => "there is no such caller",
            Self::NoProc => "there is no such process",
            Self::NoMemory => "out of memory",
            Self::TableFull => "the limit of names is reached",
        })
    }
}

impl core::error::Error for ActAsError {}

/// The result of creating a monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonitorOutcome {
    /// The monitor's reference.
    pub reference: Reference,
    /// `true` if the target was dead, and the DOWN waits in the watcher's mailbox already.
    pub immediate_down: bool,
}

enum CallerRoute<'a> {
    Running(&'a Cx<'a, ()>),
    Elsewhere(ProcessRef<'a>),
    Dead,
    NeverAllocated,
}

/// Access to the operations of one process, for code that is not that process (see the module).
pub struct Caller<'a> {
    kernel_cx: KernelCx<'a>,
    caller: Pid,
    way: CallerRoute<'a>,
}

impl core::fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Caller").field("caller", &self.caller).field("state", &self.state()).finish()
    }
}

impl Host<'_> {
    /// Runs `act`, which acts for `caller`. A thread that is a core may call this too, from inside
    /// a slice.
    pub fn act_as<R>(&self, caller: Pid, act: impl FnOnce(&Caller<'_>) -> R) -> R {
        let (kernel, kernel_cx) = (self.inner(), self.kernel_cx());
        kernel.current_slot.with_slice_of(KernelPtr::of(kernel), |slice| {
            if let Some(slice) = slice
                && slice.process().pid == caller
                && !slice.is_inside()
                && !slice.looking.get()
            {
                // No operation here depends on the type of its messages.
                let cx = Cx::<()>::of(slice);
                let way = if cx.is_dying() { CallerRoute::Dead } else { CallerRoute::Running(cx) };
                return act(&Caller { kernel_cx: slice.kernel_cx, caller, way });
            }
            // Inside a slice, a process that this call wakes is queued on that slice's core.
            self.act_elsewhere(slice.map_or(kernel_cx, |slice| slice.kernel_cx), caller, act)
        })
    }

    fn act_elsewhere<R>(&self, kernel_cx: KernelCx<'_>, caller: Pid, act: impl FnOnce(&Caller<'_>) -> R) -> R {
        let kernel = self.inner();
        let way = match kernel_cx.find(caller) {
            Some(process) if !process.mailbox.is_closed() => CallerRoute::Elsewhere(process),
            Some(_) => CallerRoute::Dead,
            None if kernel.tombstone(caller, kernel_cx.guard) == Tombstone::NeverAllocated => {
                CallerRoute::NeverAllocated
            }
            None => CallerRoute::Dead,
        };
        act(&Caller { kernel_cx, caller, way })
    }
}

impl Caller<'_> {
    /// Returns the state of the caller.
    pub fn state(&self) -> CallerState {
        match self.way {
            CallerRoute::Running(_) => CallerState::Running,
            CallerRoute::Elsewhere(_) => CallerState::Elsewhere,
            CallerRoute::Dead => CallerState::Dead,
            CallerRoute::NeverAllocated => CallerState::NeverAllocated,
        }
    }

    fn reference(&self) -> Result<Reference, ActAsError> {
        let kernel = self.kernel_cx.kernel;
        let reference = match self.kernel_cx.core {
            Some(core) => core.reference(kernel),
            None => kernel.references.next_of_all(),
        };
        reference.ok_or(ActAsError::NoMemory)
    }

    /// Returns `true` if a process has, or has had, this pid.
    pub fn was_allocated(&self, pid: Pid) -> bool {
        let kernel_cx = &self.kernel_cx;
        kernel_cx.find(pid).is_some() || kernel_cx.kernel.tombstone(pid, kernel_cx.guard) != Tombstone::NeverAllocated
    }

    /// Queues an operation. Returns `false` if the process refuses it. What the operation has is
    /// then released, also without memory (X2).
    fn order(&self, process: ProcessRef<'_>, order: OpKind) -> Result<bool, NoMemory> {
        let operation = OwnerOp::try_new(&self.kernel_cx.kernel.nodes, order)?;
        let Err(refused) = self.kernel_cx.push_box(process, operation) else { return Ok(true) };
        self.kernel_cx.catch_panic(|| OwnerOp::open(refused).release(self.kernel_cx.pool()));
        Ok(false)
    }

    /// Ends a monitor of the caller; another process's monitor is left alone. `Some` is OTP's
    /// `info`, which is known only for a caller that runs here.
    pub fn demonitor(&self, reference: Reference, flush: bool) -> Result<Option<bool>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(Some(cx.demonitor(reference, flush))),
            CallerRoute::Elsewhere(process) => {
                let order = OpKind::Demonitor { reference, flush };
                self.order(process, order).map(|_| None).map_err(|NoMemory| ActAsError::NoMemory)
            }
            CallerRoute::Dead => Ok(Some(false)),
            CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Registers a process under a name. A dead caller registers none: [`RegisterError::NoProc`].
    pub fn register(&self, name: &str, pid: Pid) -> Result<(), RegisterError> {
        if matches!(self.way, CallerRoute::Dead | CallerRoute::NeverAllocated) {
            return Err(RegisterError::NoProc);
        }
        self.kernel_cx.register(name, pid)
    }

    /// Removes a name from its holder. Returns `false` if it had none, or if the caller is dead.
    pub fn unregister(&self, name: &str) -> bool {
        !matches!(self.way, CallerRoute::Dead | CallerRoute::NeverAllocated) && self.kernel_cx.unregister(name)
    }

    /// Sends an exit signal from the caller. A dead caller sends none: the call has no effect.
    pub fn exit(&self, to: Pid, reason: Reason) -> Result<(), ActAsError> {
        let sent = match self.way {
            CallerRoute::Running(cx) => cx.exit(to, reason),
            CallerRoute::Elsewhere(_) => exit_signal::send(&self.kernel_cx, Some(self.caller), to, reason).map(drop),
            CallerRoute::Dead => Ok(()),
            CallerRoute::NeverAllocated => return Err(ActAsError::NoCaller),
        };
        sent.map_err(|NoMemory| ActAsError::NoMemory)
    }

    /// Links with another process. If that one is dead: [`ActAsError::NoProc`]; or, with `as_otp`,
    /// a caller that traps exits gets an EXIT `noproc`.
    pub fn link(&self, to: Pid, as_otp: bool) -> Result<(), ActAsError> {
        let process = match self.way {
            CallerRoute::Running(cx) => return cx.link_as(to, as_otp),
            CallerRoute::Elsewhere(process) => process,
            CallerRoute::Dead | CallerRoute::NeverAllocated => return Err(ActAsError::NoCaller),
        };
        if to == self.caller {
            return Ok(());
        }
        let kernel_cx = &self.kernel_cx;
        let other = kernel_cx.find(to);
        let told = as_otp && process.trap_exit.load(Ordering::Relaxed);
        if other.is_none() && !told {
            return Err(ActAsError::NoProc);
        }
        let (end, peer) = link::try_new(kernel_cx, self.caller, to, None).map_err(|NoMemory| ActAsError::NoMemory)?;
        let pushed = self.order(process, OpKind::Link(end));
        if pushed != Ok(true) {
            peer.release(kernel_cx.pool());
            return Err(if pushed.is_ok() { ActAsError::NoCaller } else { ActAsError::NoMemory });
        }
        let Err(peer) = link::place_link(peer, kernel_cx, other) else { return Ok(()) };
        if told {
            link::fire(peer.into_end(), kernel_cx, &Reason::NOPROC);
            return Ok(());
        }
        // The owner that handles the operation finds it unlinked.
        peer.unlink();
        peer.release(kernel_cx.pool());
        Err(ActAsError::NoProc)
    }

    /// Ends a link: neither side receives an EXIT of it that is not in its mailbox yet.
    pub fn unlink(&self, to: Pid) -> Result<(), ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => {
                cx.unlink(to);
                Ok(())
            }
            CallerRoute::Elsewhere(process) => {
                self.order(process, OpKind::Unlink(to)).map(drop).map_err(|NoMemory| ActAsError::NoMemory)
            }
            CallerRoute::Dead | CallerRoute::NeverAllocated => Ok(()),
        }
    }

    /// Sets whether EXITs arrive as messages. Returns the old value. In force for signals that are
    /// fetched from now on.
    pub fn set_trap_exit(&self, trap: bool) -> Result<bool, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(cx.trap_exit(trap)),
            // Relaxed: see `Header::trap_exit`.
            CallerRoute::Elsewhere(process) => Ok(process.trap_exit.swap(trap, Ordering::Relaxed)),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Returns `true` if EXITs arrive as messages.
    pub fn trap_exit(&self) -> Result<bool, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(cx.process().trap_exit.load(Ordering::Relaxed)),
            CallerRoute::Elsewhere(process) => Ok(process.trap_exit.load(Ordering::Relaxed)),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Returns `true` if the caller is linked with `other`. A caller that does not run here must be
    /// queried.
    pub fn is_linked(&self, other: Pid) -> Result<MaybeReady<bool>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => {
                let is_linked = cx.slice().with_owned(|owned| link::is_linked(owned, &self.kernel_cx, other));
                Ok(MaybeReady::Ready(is_linked))
            }
            CallerRoute::Elsewhere(process) => {
                ask(&self.kernel_cx, process, IsLinked(other)).map_err(|NoMemory| ActAsError::NoMemory)
            }
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Starts a process whose parent is the caller.
    pub fn spawn<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        let process = match self.way {
            CallerRoute::Running(cx) => return cx.spawn(options, body),
            CallerRoute::Elsewhere(process) => process,
            CallerRoute::Dead => return Err(SpawnError::Dying),
            CallerRoute::NeverAllocated => return Err(SpawnError::NoParent),
        };
        let wanted = options.monitor || options.supervised;
        let reference = if wanted { Some(self.reference().map_err(|_| SpawnError::NoMemory)?) } else { None };
        let parent = Parent { process: ParentProcess::ByProxy(process), reference };
        let kernel_cx = &self.kernel_cx;
        if let Some(core) = kernel_cx.core {
            return spawn::spawn(kernel_cx, SlotSource::Core(core), Some(parent), options, body);
        }
        let mut slots = FreeSlots::new();
        let spawned = spawn::spawn(kernel_cx, SlotSource::Host(&mut slots), Some(parent), options, body);
        kernel_cx.kernel.table.flush_cache(&mut slots);
        spawned
    }

    /// Starts a process that runs `start`'s future and whose parent is the caller. Returns its
    /// address, and the monitor if one was requested.
    pub fn spawn_async<M, S, F>(
        &self,
        options: &SpawnOptions<'_>,
        start: S,
    ) -> Result<(Address<M>, Option<Reference>), SpawnError>
    where
        M: Send + 'static,
        S: FnOnce(Context<M>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        let spawned = match const { is_large::<F>() } {
            true => self.spawn(options, LargeBody::new(start))?,
            false => self.spawn(options, FutureBody::new(start))?,
        };
        Ok((Address::new(spawned.pid), spawned.monitor))
    }

    /// Kills the caller because there is no memory for what it requested. It dies of `killed`, like
    /// a process that has used up its heap. Needs no memory.
    pub fn kill_out_of_memory(&self) {
        match self.way {
            CallerRoute::Running(cx) => cx.stop(Reason::KILLED),
            CallerRoute::Elsewhere(process) => {
                waker::kill(process, &self.kernel_cx);
            }
            CallerRoute::Dead | CallerRoute::NeverAllocated => {}
        }
    }
}
