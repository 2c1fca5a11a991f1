//! [`Services`]: the runtime's facilities for the machine's instructions, made once and lent to
//! each process for each slice.

use std::sync::{Arc, Weak};

use atropos::facility::{
    CodeError, CodeFacility, CodeResolver as Resolves, EntryPoint, Facilities, KernelFacilities, OutputFacility,
    Spawner,
};
use atropos::{Handle, Pid, SpawnError, SpawnOptions};

use super::process::Machine;
use super::program::Program;
use super::value::Value;

/// The module that contains all functions.
pub(crate) const MODULE: &str = "main";

/// The facilities of a program.
pub(crate) struct Services {
    handle: Handle,
    native: KernelFacilities<Handle>,
    spawner: Spawner<Handle, Loader>,
    output: Box<dyn OutputFacility>,
    code: Labels,
    /// The number of instructions that a process may run before the next one runs.
    pub(crate) quantum: u32,
}

/// Makes processes from entries: a label, and the initial values of the stack.
pub(crate) struct Loader {
    program: Arc<Program>,
    services: Weak<Services>,
}

impl Resolves for Loader {
    type Body = Machine;

    fn resolve(&self, entry: EntryPoint<'_>) -> Option<Machine> {
        let at = (entry.module == MODULE).then(|| self.program.labels.get(entry.function).copied())??;
        let stack = entry.arguments.downcast::<Vec<Value>>().ok()?;
        Some(Machine::new(self.program.clone(), self.services.upgrade()?, at, *stack))
    }
}

struct Labels(Arc<Program>);

impl CodeFacility for Labels {
    fn resolve(&self, module: &str, function: &str) -> Result<u64, CodeError> {
        let at = self.0.labels.get(function).filter(|_| module == MODULE).ok_or(CodeError)?;
        Ok(*at as u64)
    }
}

impl Services {
    /// Returns the services for a program on a runtime.
    pub(crate) fn new(
        handle: Handle,
        program: Program,
        quantum: u32,
        output: impl OutputFacility + 'static,
    ) -> Arc<Self> {
        let program = Arc::new(program);
        Arc::new_cyclic(|services| Self {
            native: KernelFacilities::new(handle.clone()),
            spawner: Spawner::new(handle.clone(), Loader { program: program.clone(), services: services.clone() }),
            output: Box::new(output),
            code: Labels(program),
            handle,
            quantum,
        })
    }

    /// Returns the facilities for a process.
    pub(crate) fn bundle(&self) -> Facilities<'_, Value> {
        Facilities {
            spawn: Some(&self.spawner),
            link: Some(&self.native),
            supervision: Some(&self.native),
            timers: Some(&self.native),
            output: Some(&*self.output),
            code: Some(&self.code),
            ..Facilities::default()
        }
    }

    /// Starts a process from outside; `None` if the label does not exist.
    pub(crate) fn start(&self, function: &str, arguments: Vec<Value>) -> Option<Result<Pid, SpawnError>> {
        let entry = EntryPoint { module: MODULE, function, arguments: Box::new(arguments) };
        let body = self.spawner.program().resolve(entry)?;
        Some(self.handle.spawn_body(&SpawnOptions::new(), body).map(|spawned| spawned.pid))
    }
}
