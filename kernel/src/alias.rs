//! Aliases: second names that can be taken back.
//!
//! A message through an alias carries the alias's reference and travels like any other; the
//! owner looks for the reference when it fetches the message, and drops it when the
//! alias has ended. So an alias ends the moment its owner says so, and a late reply finds nobody.

use core::ptr::NonNull;

use crate::memory::{self, NoMemory};
use crate::pid::Reference;
use crate::set::{SetLinks, Member};

/// When an alias ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AliasMode {
    /// Only with `unalias`.
    ExplicitUnalias,
    /// Also with the first message that comes through it.
    Reply,
    /// Also with its monitor: by demonitor, or when the DOWN arrives.
    Demonitor,
    /// With its monitor, or with the first message, which ends the monitor as well.
    ReplyDemonitor,
}

/// An alias in force, in its owner's set.
#[derive(Debug)]
pub struct AliasRecord {
    joint: SetLinks<AliasRecord>,
    reference: Reference,
    /// When it ends.
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
    /// A record in no set.
    pub fn try_new(reference: Reference, mode: AliasMode) -> Result<NonNull<Self>, NoMemory> {
        memory::try_new(Self { joint: SetLinks::new(), reference, mode }).map_err(|_| NoMemory)
    }
}

impl AliasMode {
    /// Whether it ends with its monitor.
    pub fn ends_with_monitor(self) -> bool {
        matches!(self, Self::Demonitor | Self::ReplyDemonitor)
    }

    /// Whether it ends with the first message.
    pub fn ends_with_reply(self) -> bool {
        matches!(self, Self::Reply | Self::ReplyDemonitor)
    }
}
