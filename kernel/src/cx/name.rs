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
        let hand = &self.slice.hand;
        let entry = hand.kernel.names.intern(name)?;
        if entry.holder(hand.guard).is_some() {
            return Err(RegisterError::InUse);
        }
        entry.register(hand.find(pid).ok_or(RegisterError::NoProc)?)
    }

    /// Takes a name from whoever has it; false when nobody did. Lock-free.
    pub fn unregister(&self, name: &str) -> bool {
        let hand = &self.slice.hand;
        !self.is_dying() && hand.kernel.names.find(name).is_some_and(|entry| entry.unregister(hand.guard))
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
