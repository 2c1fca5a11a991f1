//! Names, and aliases of the running process.

use crate::api::cx::Cx;
use crate::memory::NoMemory;
use crate::pid::{Alias, Pid};
use crate::process::alias::{AliasMode, AliasRecord};
use crate::process::name::RegisterError;

impl<M: Send + 'static> Cx<'_, M> {
    /// Registers a process under a name. Lock-free.
    ///
    /// # Errors
    /// A [`RegisterError`] if the name was not registered.
    pub fn register(&self, name: &str, pid: Pid) -> Result<(), RegisterError> {
        self.alive(RegisterError::NoProc)?;
        self.slice.kernel_cx.register(name, pid)
    }

    /// Takes a name from the process that has it. Returns `false` if no process did. Lock-free.
    pub fn unregister(&self, name: &str) -> bool {
        !self.is_dying() && self.slice.kernel_cx.unregister(name)
    }

    /// Returns the process that has the name. Wait-free.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        let kernel_cx = &self.slice.kernel_cx;
        kernel_cx.whereis(name)
    }

    /// Creates an alias of this process. With `reply`, the first message through the alias ends it.
    ///
    /// # Errors
    /// [`NoMemory`] if no memory or no reference is left, or this process is dying.
    pub fn alias(&self, reply: bool) -> Result<Alias, NoMemory> {
        self.alive(NoMemory)?;
        let reference = self.reference().ok_or(NoMemory)?;
        let mode = if reply { AliasMode::Reply } else { AliasMode::ExplicitUnalias };
        let record = AliasRecord::try_new(reference, mode)?;
        self.private(|private| private.aliases.insert(record));
        Ok(Alias { pid: self.pid(), reference })
    }

    /// Ends an alias of this process. Returns `true` if it was active. An alias of another process
    /// stays as it is.
    pub fn unalias(&self, alias: Alias) -> bool {
        alias.pid == self.pid() && !self.is_dying() && self.private(|private| private.end_alias(alias.reference))
    }
}
