//! Names, and aliases of a body's own.

use super::Cx;
use crate::alias::{AliasMode, AliasRecord};
use crate::memory::NoMemory;
use crate::name::RegisterError;
use crate::pid::{Alias, Pid};

impl<M: Send + 'static> Cx<'_, M> {
    /// Registers a process under a name. Lock-free.
    pub fn register(&self, name: &str, pid: Pid) -> Result<(), RegisterError> {
        self.alive(RegisterError::NoProc)?;
        self.slice.hand.register(name, pid)
    }

    /// Takes a name from whoever has it; false when nobody did. Lock-free.
    pub fn unregister(&self, name: &str) -> bool {
        !self.is_dying() && self.slice.hand.unregister(name)
    }

    /// Who has the name. Wait-free.
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        let hand = &self.slice.hand;
        hand.whereis(name)
    }

    /// Makes an alias of itself; with `reply` the first message through it ends it.
    pub fn alias(&self, reply: bool) -> Result<Alias, NoMemory> {
        self.alive(NoMemory)?;
        let reference = self.reference().ok_or(NoMemory)?;
        let mode = if reply { AliasMode::Reply } else { AliasMode::ExplicitUnalias };
        let record = AliasRecord::try_new(reference, mode)?;
        // SAFETY: new, in no set.
        self.private(|private| unsafe { private.aliases.insert(record) });
        Ok(Alias { pid: self.pid(), reference })
    }

    /// Ends an alias of its own; whether it was in force. Another's stays as it is.
    pub fn unalias(&self, alias: Alias) -> bool {
        alias.pid == self.pid() && !self.is_dying() && self.private(|private| private.end_alias(alias.reference))
    }
}
