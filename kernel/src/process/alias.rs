//! Aliases: second names of a process that its owner can revoke.
//!
//! A message through an alias carries the alias's reference and otherwise travels like any other
//! message. The owner looks the reference up when it fetches the message, and drops the message if
//! the alias has ended. An alias therefore ends the moment its owner ends it, and a late reply
//! reaches no process.

use core::ptr::NonNull;

use crate::intrusive::record_set::{Member, SetLinks};
use crate::memory::{self, NoMemory};
use crate::pid::Reference;

/// When an alias ends without a call to `unalias`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AliasMode {
    /// The alias ends only with `unalias`.
    ExplicitUnalias,
    /// The alias also ends with the first message that comes through it.
    Reply,
    /// The alias also ends with its monitor: by `demonitor`, or when the DOWN arrives.
    Demonitor,
    /// The alias ends with its monitor, or with the first message, which ends the monitor as well.
    ReplyDemonitor,
}

/// An alias in force, in the set of its owner.
#[derive(Debug)]
pub struct AliasRecord {
    joint: SetLinks<AliasRecord>,
    reference: Reference,
    /// When the alias ends by itself.
    pub mode: AliasMode,
}

impl Member for AliasRecord {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        self.reference.to_raw()
    }
}

impl AliasRecord {
    /// Creates a record that is in no set.
    pub fn try_new(reference: Reference, mode: AliasMode) -> Result<NonNull<Self>, NoMemory> {
        memory::try_new(Self { joint: SetLinks::new(), reference, mode }).map_err(|_| NoMemory)
    }
}

impl AliasMode {
    /// Returns `true` if the alias ends with its monitor.
    pub fn ends_with_monitor(self) -> bool {
        matches!(self, Self::Demonitor | Self::ReplyDemonitor)
    }

    /// Returns `true` if the alias ends with the first message.
    pub fn ends_with_reply(self) -> bool {
        matches!(self, Self::Reply | Self::ReplyDemonitor)
    }
}
