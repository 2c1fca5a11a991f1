//! The facilities on a kernel: [`KernelFacilities`].
//!
//! Every call goes through a [`KernelAccess`], which has access to the kernel and to this thread's
//! registration with it, and then through [`atropos_kernel::Caller`], which determines the state of
//! the caller. Timers, names and aliases have modules of their own.

mod alias;
mod name;
mod timer;

use atropos_kernel::{
    ActAsError, Body, Caller, CallerState, Host, MaybeReady, MonitorOutcome, Pid, Reason, Reference,
    SpawnError as KernelSpawnError, SpawnOptions,
};

use crate::link::{LinkError, LinkFacility, LinkQuery};
use crate::spawn::{EntryPoint, SpawnError, SpawnFacility, SpawnFlags, SpawnResult};
use crate::supervision::{MonitorResult, SupervisionError, SupervisionFacility};

/// Access to a kernel, from any thread.
pub trait KernelAccess: Send + Sync {
    /// Calls `act` exactly once, before it returns, with this thread's host handle.
    fn enter(&self, act: &mut dyn FnMut(&Host<'_>));
}

impl<G: KernelAccess + ?Sized> KernelAccess for &G {
    fn enter(&self, act: &mut dyn FnMut(&Host<'_>)) {
        (**self).enter(act);
    }
}

impl<G: KernelAccess + ?Sized> KernelAccess for alloc::sync::Arc<G> {
    fn enter(&self, act: &mut dyn FnMut(&Host<'_>)) {
        (**self).enter(act);
    }
}

/// Acts for a caller; returns `None` if its pid is not a valid number, or the gate did not call
/// back.
fn act<R>(gate: &impl KernelAccess, caller: u64, act: impl FnOnce(&Caller<'_>) -> R) -> Option<R> {
    let caller = Pid::from_raw(caller)?;
    let (mut act, mut result) = (Some(act), None);
    gate.enter(&mut |host| {
        if let Some(act) = act.take() {
            result = Some(host.act_as(caller, act));
        }
    });
    result
}

/// Supervision, links, timers, names and aliases on a kernel.
#[derive(Clone, Debug)]
pub struct KernelFacilities<G>(G);

impl<G: KernelAccess> KernelFacilities<G> {
    /// Creates the facilities on the kernel behind a gate.
    pub const fn new(gate: G) -> Self {
        Self(gate)
    }

    fn supervise<R>(
        &self,
        caller: u64,
        what: impl FnOnce(&Caller<'_>) -> Result<R, ActAsError>,
    ) -> Result<R, SupervisionError> {
        let done = act(&self.0, caller, |acting| what(acting).inspect_err(|error| ends(acting, *error)));
        done.ok_or(SupervisionError::NoCaller)?.map_err(|error| match error {
            ActAsError::NoProc => SupervisionError::NoProc,
            _ => SupervisionError::NoCaller,
        })
    }

    fn tie<R>(&self, caller: u64, what: impl FnOnce(&Caller<'_>) -> Result<R, ActAsError>) -> Result<R, LinkError> {
        self.supervise(caller, what).map_err(|error| match error {
            SupervisionError::NoProc => LinkError::NoProc,
            SupervisionError::NoCaller => LinkError::NoCaller,
        })
    }

    fn link_as(&self, caller: u64, target: u64, as_otp: bool) -> Result<(), LinkError> {
        self.tie(caller, |acting| match Pid::from_raw(target) {
            Some(target) => acting.link(target, as_otp),
            None if matches!(acting.state(), CallerState::Running | CallerState::Elsewhere) => Err(ActAsError::NoProc),
            None => Err(ActAsError::NoCaller),
        })
    }
}

/// Kills a caller whose operation ran out of memory (F4).
fn ends(acting: &Caller<'_>, error: ActAsError) {
    if error == ActAsError::NoMemory {
        acting.kill_out_of_memory();
    }
}

fn was_born(acting: &Caller<'_>) -> Result<(), ActAsError> {
    if acting.state() == CallerState::NeverAllocated { Err(ActAsError::NoCaller) } else { Ok(()) }
}

fn result(placed: MonitorOutcome) -> MonitorResult {
    MonitorResult { reference: placed.reference.to_raw(), immediate_down: placed.immediate_down }
}

impl<G: KernelAccess> SupervisionFacility for KernelFacilities<G> {
    fn monitor(&self, caller: u64, target: u64) -> Result<MonitorResult, SupervisionError> {
        self.supervise(caller, |acting| {
            was_born(acting)?;
            let placed = acting.monitor(Pid::from_raw(target).ok_or(ActAsError::NoProc)?)?;
            Ok(result(placed))
        })
    }

    fn demonitor_with(&self, caller: u64, reference: u64, flush: bool) -> Result<Option<bool>, SupervisionError> {
        self.supervise(caller, |acting| {
            was_born(acting)?;
            // A number that is no valid reference is no monitor of the caller.
            Reference::from_raw(reference).map_or(Ok(Some(false)), |reference| acting.demonitor(reference, flush))
        })
    }

    fn exit_signal(&self, caller: u64, target: u64, reason: Reason) -> Result<(), SupervisionError> {
        self.supervise(caller, |acting| {
            was_born(acting)?;
            Pid::from_raw(target).map_or(Ok(()), |target| acting.exit(target, reason))
        })
    }
}

impl<G: KernelAccess> LinkFacility for KernelFacilities<G> {
    fn link(&self, caller: u64, target: u64) -> Result<(), LinkError> {
        self.link_as(caller, target, false)
    }

    fn link_as_otp(&self, caller: u64, target: u64) -> Result<(), LinkError> {
        self.link_as(caller, target, true)
    }

    fn unlink(&self, caller: u64, target: u64) -> Result<(), LinkError> {
        let (Some(_), Some(target)) = (Pid::from_raw(caller), Pid::from_raw(target)) else { return Ok(()) };
        self.tie(caller, |acting| acting.unlink(target))
    }

    fn set_trap_exit(&self, caller: u64, trap: bool) -> Result<bool, LinkError> {
        self.tie(caller, |acting| acting.set_trap_exit(trap))
    }

    fn trap_exit(&self, caller: u64) -> Result<bool, LinkError> {
        self.tie(caller, |acting| acting.trap_exit())
    }

    fn is_linked(&self, caller: u64, other: u64) -> Result<LinkQuery, LinkError> {
        self.tie(caller, |acting| match Pid::from_raw(other) {
            Some(other) => acting.is_linked(other).map(|asked| match asked {
                MaybeReady::Ready(linked) => LinkQuery::Known(linked),
                MaybeReady::Pending(waiting) => LinkQuery::Later(waiting),
            }),
            None => acting.trap_exit().map(|_| LinkQuery::Known(false)),
        })
    }
}

/// The translation of entry points into bodies.
pub trait CodeResolver: Send + Sync {
    /// The body type of its processes.
    type Body: Body;

    /// Returns the body of an entry point; `None` if there is no such entry point, or it does not
    /// take these arguments. No pid has been allocated at this point, so nothing has to be undone.
    fn resolve(&self, entry: EntryPoint<'_>) -> Option<Self::Body>;
}

/// Spawning on a kernel: a gate and a program.
#[derive(Clone, Debug)]
pub struct Spawner<G, P>(G, P);

impl<G: KernelAccess, P: CodeResolver> Spawner<G, P> {
    /// Creates a facility that spawns the processes of `program` behind a gate.
    pub const fn new(gate: G, program: P) -> Self {
        Self(gate, program)
    }

    /// Returns the program.
    pub const fn program(&self) -> &P {
        &self.1
    }
}

impl<G: KernelAccess, P: CodeResolver> SpawnFacility for Spawner<G, P> {
    fn spawn(&self, caller: u64, entry: EntryPoint<'_>, flags: SpawnFlags) -> Result<SpawnResult, SpawnError> {
        let body = self.1.resolve(entry).ok_or(SpawnError::Unresolved)?;
        let mut options = SpawnOptions::new().trap_exit(flags.trap_exit);
        if flags.link {
            options = options.link();
        }
        if flags.monitor {
            options = options.monitor();
        }
        let spawned = act(&self.0, caller, |acting| acting.spawn(&options, body)).ok_or(SpawnError::NoCaller)?;
        let spawned = spawned.map_err(|error| match error {
            KernelSpawnError::TooMany => SpawnError::TooMany,
            KernelSpawnError::Dying | KernelSpawnError::NoParent => SpawnError::NoCaller,
            KernelSpawnError::Closing => SpawnError::Closing,
            _ => SpawnError::NoMemory,
        })?;
        Ok(SpawnResult { pid: spawned.pid.to_raw(), monitor: spawned.monitor.map(Reference::to_raw) })
    }
}
