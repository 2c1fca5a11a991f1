//! The facilities in place of the kernel's own interface, for cases that are to be replayed through them.
//!
//! What a script says of links, monitors by pid, exits, the trap flag and spawns goes through trait objects over raw
//! pids. Any other answer than those that a case can have is a panic in the script, and so a failed case.

use std::sync::Arc;

use anyhow::Result;
use atropos::facility::{
    Entry, Gate, LinkError, LinkFacility, Native, Program, SpawnFacility, SpawnFlags, Spawner, SupervisionFacility,
};
use atropos::kernel::Host;
use atropos::kernel::Kernel;
use atropos::{Pid, Reason, Reference};

use super::World;
use super::script::Scripted;

/// The facilities of a replay.
pub struct Through {
    supervision: Box<dyn SupervisionFacility>,
    link: Box<dyn LinkFacility>,
    spawn: Box<dyn SpawnFacility>,
}

impl std::fmt::Debug for Through {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Through")
    }
}

/// Scripted processes come whole, as the arguments of their entry.
struct Script;

impl Program for Script {
    type Body = Scripted;

    fn resolve(&self, entry: Entry<'_>) -> Option<Scripted> {
        entry.arguments.downcast().ok().map(|body| *body)
    }
}

impl Through {
    /// Behind a gate.
    pub fn new(gate: impl Gate + Clone + 'static) -> Arc<Self> {
        Arc::new(Self {
            supervision: Box::new(Native::new(gate.clone())),
            link: Box::new(Native::new(gate.clone())),
            spawn: Box::new(Spawner::new(gate, Script)),
        })
    }

    pub(super) fn spawn(&self, caller: Pid, body: Scripted, flags: SpawnFlags) -> (Pid, Option<Reference>) {
        let entry = Entry { module: "script", function: "start", arguments: Box::new(body) };
        let spawned = self.spawn.spawn(caller.to_raw(), entry, flags).expect("a process");
        let monitor = spawned.monitor.map(|monitor| Reference::from_raw(monitor).expect("a reference"));
        (Pid::from_raw(spawned.pid).expect("a pid"), monitor)
    }

    pub(super) fn monitor(&self, caller: Pid, target: Pid) -> Reference {
        let made = self.supervision.monitor(caller.to_raw(), target.to_raw()).expect("a monitor");
        Reference::from_raw(made.reference).expect("a reference")
    }

    pub(super) fn demonitor(&self, caller: Pid, reference: Reference, flush: bool) -> bool {
        let info = self.supervision.demonitor_with(caller.to_raw(), reference.to_raw(), flush);
        info.expect("it lives").expect("it runs here")
    }

    pub(super) fn exit(&self, caller: Pid, to: Pid, reason: Reason) {
        self.supervision.exit_signal(caller.to_raw(), to.to_raw(), reason).expect("it lives");
    }

    /// Whether there was nobody to link with.
    pub(super) fn link(&self, caller: Pid, to: Pid) -> bool {
        let linked = self.link.link_as_otp(caller.to_raw(), to.to_raw());
        linked.is_err_and(|error| {
            assert_eq!(error, LinkError::NoProc, "it lives");
            true
        })
    }

    pub(super) fn unlink(&self, caller: Pid, from: Pid) {
        self.link.unlink(caller.to_raw(), from.to_raw()).expect("always");
    }

    pub(super) fn trap_exit(&self, caller: Pid, trap: bool) -> bool {
        self.link.set_trap_exit(caller.to_raw(), trap).expect("it lives")
    }
}

/// A way to a kernel that any thread can go: it joins the kernel's reclamation for each call.
#[derive(Clone)]
pub struct Joins(pub Arc<Kernel>);

impl std::fmt::Debug for Joins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joins")
    }
}

impl Gate for Joins {
    fn enter(&self, act: &mut dyn FnMut(&Host<'_>)) {
        let participant = self.0.register();
        act(&Host::new(&self.0, &participant));
    }
}

/// A world whose scripted processes ask the facilities.
#[derive(Debug)]
pub struct Facilitated<W> {
    world: W,
    through: Arc<Through>,
}

impl<W> Facilitated<W> {
    /// `world`, reached through facilities.
    pub fn new(world: W, through: Arc<Through>) -> Self {
        Self { world, through }
    }
}

impl<W: World> World for Facilitated<W> {
    fn kernel(&self) -> &Kernel {
        self.world.kernel()
    }

    fn through(&self) -> Option<Arc<Through>> {
        Some(self.through.clone())
    }

    fn host<R>(&self, f: impl FnOnce(&Host<'_>) -> R) -> R {
        self.world.host(f)
    }

    fn settle(&mut self) -> Result<()> {
        self.world.settle()
    }

    fn sleep(&mut self, time: std::time::Duration) -> Result<()> {
        self.world.sleep(time)
    }

    fn sleep_a_little(&mut self) -> Result<()> {
        self.world.sleep_a_little()
    }
}
