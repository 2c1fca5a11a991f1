//! The facilities in place of the kernel's own interface, for replays through them.
//!
//! A script's links, monitors, exits, trap flags, spawns, names, aliases and timers to pids go
//! through trait objects over raw pids. Two ops do not, because no call exists for them: a monitor
//! by name that is an alias as well, and a timer to a name. An answer that no case can have is a
//! panic in the script, and therefore a failed case.

use std::sync::Arc;
use std::time::Duration;

use atropos::facility::{
    AliasFacility, AliasMode, CodeResolver, EntryPoint, KernelAccess, KernelFacilities, LinkError, LinkFacility,
    NameFacility, SpawnFacility, SpawnFlags, Spawner, SupervisionFacility, TimerFacility,
};
use atropos::kernel::Host;
use atropos::kernel::Kernel;
use atropos::{Alias, Pid, Reason, Reference};

use super::{Letter, Scripted};

/// The facilities of a replay.
pub struct Through {
    supervision: Box<dyn SupervisionFacility>,
    link: Box<dyn LinkFacility>,
    spawn: Box<dyn SpawnFacility>,
    names: Box<dyn NameFacility>,
    aliases: Box<dyn AliasFacility>,
    timers: Box<dyn TimerFacility<Letter>>,
}

impl std::fmt::Debug for Through {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Through")
    }
}

/// The code resolver: a scripted process is itself the argument of its entry.
struct Script;

impl CodeResolver for Script {
    type Body = Scripted;

    fn resolve(&self, entry: EntryPoint<'_>) -> Option<Scripted> {
        entry.arguments.downcast().ok().map(|body| *body)
    }
}

impl Through {
    /// Creates the facilities behind a gate.
    pub fn new(gate: impl KernelAccess + Clone + 'static) -> Arc<Self> {
        Arc::new(Self {
            supervision: Box::new(KernelFacilities::new(gate.clone())),
            link: Box::new(KernelFacilities::new(gate.clone())),
            names: Box::new(KernelFacilities::new(gate.clone())),
            aliases: Box::new(KernelFacilities::new(gate.clone())),
            timers: Box::new(KernelFacilities::new(gate.clone())),
            spawn: Box::new(Spawner::new(gate, Script)),
        })
    }

    pub(super) fn spawn(&self, caller: Pid, body: Scripted, flags: SpawnFlags) -> (Pid, Option<Reference>) {
        let entry = EntryPoint { module: "script", function: "start", arguments: Box::new(body) };
        let spawned = self.spawn.spawn(caller.to_raw(), entry, flags).expect("a process");
        let monitor = spawned.monitor.map(|monitor| Reference::from_raw(monitor).expect("a reference"));
        (Pid::from_raw(spawned.pid).expect("a pid"), monitor)
    }

    pub(super) fn monitor(&self, caller: Pid, target: Pid) -> Reference {
        let made = self.supervision.monitor(caller.to_raw(), target.to_raw()).expect("a monitor");
        Reference::from_raw(made.reference).expect("a reference")
    }

    pub(super) fn monitor_name(&self, caller: Pid, name: &str) -> Reference {
        let made = self.names.monitor_name(caller.to_raw(), name).expect("a monitor");
        Reference::from_raw(made.reference).expect("a reference")
    }

    pub(super) fn monitor_alias(&self, caller: Pid, target: Pid, mode: AliasMode) -> Reference {
        let made = self.aliases.monitor_alias(caller.to_raw(), target.to_raw(), mode).expect("a monitor");
        Reference::from_raw(made.reference).expect("a reference")
    }

    pub(super) fn alias(&self, caller: Pid, reply: bool) -> Alias {
        let alias = self.aliases.alias(caller.to_raw(), reply).expect("alive");
        Alias::new(caller, Reference::from_raw(alias).expect("a reference"))
    }

    pub(super) fn unalias(&self, caller: Pid, alias: Alias) -> bool {
        let ended = self.aliases.unalias(caller.to_raw(), alias.reference().to_raw());
        ended.expect("alive").expect("running here")
    }

    pub(super) fn register(&self, caller: Pid, name: &str, pid: Pid) -> bool {
        self.names.register(caller.to_raw(), name, pid.to_raw()).is_ok()
    }

    pub(super) fn unregister(&self, caller: Pid, name: &str) -> bool {
        self.names.unregister(caller.to_raw(), name).expect("alive")
    }

    pub(super) fn whereis(&self, name: &str) -> Option<Pid> {
        self.names.whereis(name).and_then(Pid::from_raw)
    }

    pub(super) fn send_after(&self, caller: Pid, to: Pid, after: Duration, letter: Letter) -> Reference {
        let timer = self.timers.start(caller.to_raw(), to.to_raw(), after, letter).expect("a timer");
        Reference::from_raw(timer).expect("a reference")
    }

    /// Returns a timer's remaining time, or the time that it had when it was cancelled.
    pub(super) fn time_left(&self, caller: Pid, timer: Reference, cancel: bool) -> Option<Duration> {
        let (caller, timer) = (caller.to_raw(), timer.to_raw());
        let left = if cancel { self.timers.cancel(caller, timer) } else { self.timers.read(caller, timer) };
        left.expect("alive").known().expect("running here")
    }

    pub(super) fn demonitor(&self, caller: Pid, reference: Reference, flush: bool) -> bool {
        let info = self.supervision.demonitor_with(caller.to_raw(), reference.to_raw(), flush);
        info.expect("alive").expect("running here")
    }

    pub(super) fn exit(&self, caller: Pid, to: Pid, reason: Reason) {
        self.supervision.exit_signal(caller.to_raw(), to.to_raw(), reason).expect("alive");
    }

    /// Returns `true` if the link failed because the target does not exist.
    pub(super) fn link(&self, caller: Pid, to: Pid) -> bool {
        let linked = self.link.link_as_otp(caller.to_raw(), to.to_raw());
        linked.is_err_and(|error| {
            assert_eq!(error, LinkError::NoProc, "the caller is alive");
            true
        })
    }

    pub(super) fn unlink(&self, caller: Pid, from: Pid) {
        self.link.unlink(caller.to_raw(), from.to_raw()).expect("unlink cannot fail");
    }

    pub(super) fn trap_exit(&self, caller: Pid, trap: bool) -> bool {
        self.link.set_trap_exit(caller.to_raw(), trap).expect("alive")
    }
}

/// Access to a kernel for any thread: each call registers with the kernel's reclamation.
#[derive(Clone)]
pub struct Joins(pub Arc<Kernel>);

impl std::fmt::Debug for Joins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joins")
    }
}

impl KernelAccess for Joins {
    fn enter(&self, act: &mut dyn FnMut(&Host<'_>)) {
        let participant = self.0.register();
        act(&Host::new(&self.0, &participant));
    }
}
