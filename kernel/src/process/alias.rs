//! Aliases: second names of a process that its owner can revoke.
//!
//! A message through an alias carries the alias's reference and otherwise travels like any other
//! message. The owner looks the reference up when it fetches the message, and drops the message if
//! the alias has ended. An alias therefore ends the moment its owner ends it, and a late reply
//! reaches no process.

use crate::intrusive::record_set::{Member, SetLinks};
use crate::memory::NoMemory;
use crate::memory::pool_box::PoolBox;
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

// SAFETY: the links are a field of the record, and the key is constant.
unsafe impl Member for AliasRecord {
    fn joint(&self) -> &SetLinks<Self> {
        &self.joint
    }

    fn key(&self) -> u64 {
        self.reference.to_raw()
    }
}

impl AliasRecord {
    /// Creates a record that is in no set.
    pub fn try_new(reference: Reference, mode: AliasMode) -> Result<PoolBox<Self>, NoMemory> {
        PoolBox::try_new(Self { joint: SetLinks::new(), reference, mode }, None).map_err(|_| NoMemory)
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
