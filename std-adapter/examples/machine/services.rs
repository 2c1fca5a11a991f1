//! [`Services`]: what the machine's instructions may ask of the runtime, made once and handed to each process for each slice.

use std::sync::{Arc, Weak};

use atropos::facility::{
    CodeError, CodeFacility, Entry, Facilities, KernelFacilities, OutputFacility, CodeResolver as Resolves, Spawner,
};
use atropos::{Handle, Pid, SpawnError, SpawnOptions};

use super::process::Machine;
use super::program::Program;
use super::value::Value;

/// The module that all functions are in.
pub(crate) const MODULE: &str = "main";

/// See the module.
pub(crate) struct Services {
    handle: Handle,
    native: KernelFacilities<Handle>,
    spawner: Spawner<Handle, Loader>,
    output: Box<dyn OutputFacility>,
    code: Labels,
    /// Instructions that a process may run before the next one has its turn.
    pub(crate) quantum: u32,
}

/// Makes processes of entries: a label, and the values that its stack begins with.
pub(crate) struct Loader {
    program: Arc<Program>,
    services: Weak<Services>,
}

impl Resolves for Loader {
    type Body = Machine;

    fn resolve(&self, entry: Entry<'_>) -> Option<Machine> {
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
    /// For a program on a runtime.
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

    /// What a process is handed.
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

    /// Starts a process from outside; `None` when there is no such label.
    pub(crate) fn start(&self, function: &str, arguments: Vec<Value>) -> Option<Result<Pid, SpawnError>> {
        let entry = Entry { module: MODULE, function, arguments: Box::new(arguments) };
        let body = self.spawner.program().resolve(entry)?;
        Some(self.handle.spawn_body(&SpawnOptions::new(), body).map(|spawned| spawned.pid))
    }
}
