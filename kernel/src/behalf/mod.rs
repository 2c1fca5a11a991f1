//! [`Caller`]: what a process does, done for it by whoever knows its pid.
//!
//! A runtime that brings its own interpreter gives its built-in functions raw pids, and cannot know whether the process that
//! they are called for runs right here, sleeps, or runs on another core. There are three cases, told apart once,
//! by the note that the world keeps of what runs here:
//!
//! - *here*: the caller is the process whose slice this is. What is done is what [`crate::Cx`] does, exactly, and what it
//!   returns is known.
//! - *there*: it lives, and is not the one that runs here; or it is, but the kernel is at work in it, or a closure of
//!   its looks at its mailbox. Then it is done by proxy (`proxy`). In force for others at once; the process
//!   itself finds it when it next fetches.
//! - *gone*: it is dead, or dying. The dead do nothing: a monitor of theirs is never answered, and nobody notices.
//!
//! Exits are signals like any other, and the flag that traps them is an atomic of the process's: both are the same in
//! the first two cases, but that a process's exit signal to itself is acted on before the call returns when it is here.
//!
//! Lock-free throughout; nobody waits. Monitors and aliases are in `watch`, timers in `timer`.

mod timer;
mod watch;

use crate::cx::{MaybeReady, Cx, Slice, ask};
use crate::hand::KernelCx;
use crate::host::Host;
use crate::link::Link;
use crate::memory::NoMemory;
use crate::name::RegisterError;
use crate::pid::{Pid, Reference};
use crate::process::body::Body;
use crate::process::header::Header;
use crate::process::spawn::{self, Parent, SlotSource, SpawnError, SpawnOptions, Spawned};
use crate::process::ties;
use crate::proxy::{OpKind, OwnerOp};
use crate::reason::Reason;
use crate::signal::ask::QueryKind;
use crate::signal::exit_signal;
use crate::sync::Ordering;
use crate::table::{Tombstone, FreeSlots};
use crate::task::context::{Address, Context};
use crate::task::future::{IntoReason, FutureBody, LargeBody, is_large};
use crate::task::waker;

/// How the process stands to whoever acts for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallerState {
    /// It runs right here.
    Running,
    /// It lives.
    Elsewhere,
    /// It is dead, or dying.
    Dead,
    /// No process has had this pid.
    NeverAllocated,
}

/// Why something was not done for a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ActAsError {
    /// The process that it was to be done for is gone, or never was.
    NoCaller,
    /// The other one never was; for a link, or is dead.
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

/// A monitor that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MonitorOutcome {
    /// Its name.
    pub reference: Reference,
    /// The target was dead, and the DOWN waits in the watcher's mailbox already.
    pub immediate_down: bool,
}

enum CallerRoute<'a> {
    Running(&'a Cx<'a, ()>),
    Elsewhere(&'a Header),
    Dead,
    NeverAllocated,
}

/// See the module.
pub struct Caller<'a> {
    hand: KernelCx<'a>,
    caller: Pid,
    way: CallerRoute<'a>,
}

impl core::fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Behalf").field("caller", &self.caller).field("standing", &self.standing()).finish()
    }
}

impl Host<'_> {
    /// Acts for `caller`, as long as `act` runs. A thread that is a core may do this as well, from inside a slice.
    pub fn act_as<R>(&self, caller: Pid, act: impl FnOnce(&Caller<'_>) -> R) -> R {
        let (kernel, hand) = (self.inner(), self.hand());
        // SAFETY: the place of this thread of execution, by World's contract.
        let slice = unsafe { (*(kernel.here)()).get() }.cast::<Slice<'_>>();
        // SAFETY: null, or noted for as long as the slice lasts, which is longer than this call.
        let slice = unsafe { slice.as_ref() }.filter(|slice| core::ptr::eq(slice.hand.kernel, kernel));
        let own = slice.filter(|slice| slice.process().pid == caller);
        if let Some(slice) = own
            && !slice.inside.get()
            && !slice.looking.get()
        {
            // Nothing that depends on the type of its messages is asked of it.
            let cx = Cx::<()>::of(slice);
            let way = if cx.is_dying() { CallerRoute::Dead } else { CallerRoute::Running(cx) };
            return act(&Caller { hand: slice.hand, caller, way });
        }
        // From inside a slice whom it wakes is queued on that slice's core.
        let hand = slice.map_or(hand, |slice| slice.hand);
        let way = match hand.find(caller) {
            Some(process) if !process.mailbox.is_closed() => CallerRoute::Elsewhere(process),
            Some(_) => CallerRoute::Dead,
            None if kernel.of_the_dead(caller, hand.guard) == Tombstone::NeverAllocated => CallerRoute::NeverAllocated,
            None => CallerRoute::Dead,
        };
        act(&Caller { hand, caller, way })
    }
}

impl Caller<'_> {
    /// How the caller stands.
    pub fn standing(&self) -> CallerState {
        match self.way {
            CallerRoute::Running(_) => CallerState::Running,
            CallerRoute::Elsewhere(_) => CallerState::Elsewhere,
            CallerRoute::Dead => CallerState::Dead,
            CallerRoute::NeverAllocated => CallerState::NeverAllocated,
        }
    }

    fn reference(&self) -> Result<Reference, ActAsError> {
        let kernel = self.hand.kernel;
        let reference = match self.hand.core {
            Some(core) => core.reference(kernel),
            None => kernel.references.next_of_all(),
        };
        reference.ok_or(ActAsError::NoMemory)
    }

    /// Whether a process has, or has had, this pid.
    pub fn was_given_out(&self, pid: Pid) -> bool {
        let hand = &self.hand;
        hand.find(pid).is_some() || hand.kernel.of_the_dead(pid, hand.guard) != Tombstone::NeverAllocated
    }

    /// Pushes an order, or opens it again: X2.
    fn order(&self, process: &Header, order: OpKind) -> Result<bool, NoMemory> {
        let node = OwnerOp::try_new(&self.hand.kernel.nodes, order)?;
        // SAFETY: new, so ours.
        let pushed = unsafe { self.hand.push(process, node) };
        if !pushed {
            // SAFETY: still ours; the share in it is the caller's, as it was.
            unsafe { OwnerOp::open(node) };
        }
        Ok(pushed)
    }

    /// Ends a monitor of the caller's; another's stays as it is. `Some` is OTP's `info`, which only a caller that is
    /// here can be told.
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

    /// Registers a process under a name. The dead register none: [`RegisterError::NoProc`].
    pub fn register(&self, name: &str, pid: Pid) -> Result<(), RegisterError> {
        if matches!(self.way, CallerRoute::Dead | CallerRoute::NeverAllocated) {
            return Err(RegisterError::NoProc);
        }
        self.hand.register(name, pid)
    }

    /// Takes a name from whoever has it; false when nobody did, or the caller is gone.
    pub fn unregister(&self, name: &str) -> bool {
        !matches!(self.way, CallerRoute::Dead | CallerRoute::NeverAllocated) && self.hand.unregister(name)
    }

    /// Sends an exit signal from the caller. The dead send none, and nobody gets any.
    pub fn exit(&self, to: Pid, reason: Reason) -> Result<(), ActAsError> {
        let sent = match self.way {
            CallerRoute::Running(cx) => cx.exit(to, reason),
            CallerRoute::Elsewhere(_) => exit_signal::send(&self.hand, Some(self.caller), to, reason).map(drop),
            CallerRoute::Dead => Ok(()),
            CallerRoute::NeverAllocated => return Err(ActAsError::NoCaller),
        };
        sent.map_err(|NoMemory| ActAsError::NoMemory)
    }

    /// Links with another process. With the dead: [`ActAsError::NoProc`]; or, if `as_otp` and the caller traps exits, an
    /// EXIT `noproc`.
    pub fn link(&self, to: Pid, as_otp: bool) -> Result<(), ActAsError> {
        let process = match self.way {
            CallerRoute::Running(cx) => return cx.link_as(to, as_otp),
            CallerRoute::Elsewhere(process) => process,
            CallerRoute::Dead | CallerRoute::NeverAllocated => return Err(ActAsError::NoCaller),
        };
        if to == self.caller {
            return Ok(());
        }
        let hand = &self.hand;
        let other = hand.find(to);
        let told = as_otp && process.trap_exit.load(Ordering::Relaxed);
        if other.is_none() && !told {
            return Err(ActAsError::NoProc);
        }
        let link = Link::try_new(hand, self.caller, to, None).map_err(|NoMemory| ActAsError::NoMemory)?;
        let pushed = self.order(process, OpKind::Link(link));
        if pushed != Ok(true) {
            for _share in 0..2 {
                // SAFETY: both shares are ours still (X2).
                unsafe { Link::give_up(link, hand.pool()) };
            }
            return Err(if pushed.is_ok() { ActAsError::NoCaller } else { ActAsError::NoMemory });
        }
        // SAFETY: the other side's share is ours.
        if unsafe { ties::place_link(link, hand, other) } {
            return Ok(());
        }
        if told {
            // SAFETY: the other half's share, which nobody took.
            unsafe { Link::fire(link, to, hand, &Reason::NOPROC) };
            return Ok(());
        }
        // SAFETY: shared, so live. Who meets the proxy finds it cut.
        unsafe { link.as_ref() }.cut();
        // SAFETY: the other half's share, which nobody took.
        unsafe { Link::give_up(link, hand.pool()) };
        Err(ActAsError::NoProc)
    }

    /// Ends a link: no EXIT of it that is not in the mailbox yet is received, by either side.
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

    /// Sets whether EXITs come as messages: the old value. In force for what is fetched from now on.
    pub fn set_trap_exit(&self, trap: bool) -> Result<bool, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(cx.trap_exit(trap)),
            // Relaxed: as in `Header::trap_exit`.
            CallerRoute::Elsewhere(process) => Ok(process.trap_exit.swap(trap, Ordering::Relaxed)),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Whether EXITs come as messages.
    pub fn trap_exit(&self) -> Result<bool, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(cx.process().trap_exit.load(Ordering::Relaxed)),
            CallerRoute::Elsewhere(process) => Ok(process.trap_exit.load(Ordering::Relaxed)),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Whether it is linked with `other`. A caller that is not here has to be asked.
    pub fn is_linked(&self, other: Pid) -> Result<MaybeReady<bool>, ActAsError> {
        match self.way {
            CallerRoute::Running(cx) => Ok(MaybeReady::Ready(ties::is_linked(cx.process(), &self.hand, other))),
            CallerRoute::Elsewhere(process) => ask(&self.hand, process, QueryKind::Linked(other))
                .map(|later| later.map_or(MaybeReady::Ready(false), MaybeReady::Pending))
                .map_err(|NoMemory| ActAsError::NoMemory),
            CallerRoute::Dead | CallerRoute::NeverAllocated => Err(ActAsError::NoCaller),
        }
    }

    /// Starts a process, whose parent the caller is.
    pub fn spawn<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        let process = match self.way {
            CallerRoute::Running(cx) => return cx.spawn(options, body),
            CallerRoute::Elsewhere(process) => process,
            CallerRoute::Dead => return Err(SpawnError::Dying),
            CallerRoute::NeverAllocated => return Err(SpawnError::NoParent),
        };
        let wanted = options.monitor || options.supervised;
        let reference = if wanted { Some(self.reference().map_err(|_| SpawnError::NoMemory)?) } else { None };
        let parent = Parent { process, reference, by_proxy: true };
        let hand = &self.hand;
        if let Some(core) = hand.core {
            return spawn::spawn(hand, SlotSource::Core(core), Some(parent), options, body);
        }
        let mut slots = FreeSlots::new();
        let spawned = spawn::spawn(hand, SlotSource::Host(&mut slots), Some(parent), options, body);
        hand.kernel.table.give_up(&mut slots);
        spawned
    }

    /// Starts a process that runs `start`'s future, whose parent the caller is: its address, and the monitor if one was asked for.
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

    /// Ends the caller, which has asked for what there is no memory for: dead of `killed`, as one that has used up its heap.
    /// Needs no memory.
    pub fn end_for_want_of_memory(&self) {
        match self.way {
            CallerRoute::Running(cx) => cx.stop(Reason::KILLED),
            CallerRoute::Elsewhere(process) => {
                waker::kill(process, &self.hand);
            }
            CallerRoute::Dead | CallerRoute::NeverAllocated => {}
        }
    }
}
