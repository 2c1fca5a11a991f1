//! [`Facilities`]: what a body is handed for a slice.
//!
//! A process sees only what its bundle has. What is not in it is refused by a value that says what is missing, so a built-in
//! function has one way for "not here" that is no panic and no other error.

use core::fmt;

use crate::alias::AliasFacility;
use crate::code::CodeFacility;
use crate::link::LinkFacility;
use crate::name::NameFacility;
use crate::output::OutputFacility;
use crate::spawn::SpawnFacility;
use crate::supervision::SupervisionFacility;
use crate::timer::TimerFacility;

/// What is not in a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unsupported {
    /// See [`SpawnFacility`].
    Spawn,
    /// See [`LinkFacility`].
    Link,
    /// See [`SupervisionFacility`].
    Supervision,
    /// See [`TimerFacility`].
    Timers,
    /// See [`OutputFacility`].
    Output,
    /// See [`CodeFacility`].
    Code,
    /// See [`NameFacility`].
    Names,
    /// See [`AliasFacility`].
    Aliases,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spawn => "this process may start no others",
            Self::Link => "this process may have no links",
            Self::Supervision => "this process may watch no others, and send no exit signals",
            Self::Timers => "this process may have no timers",
            Self::Output => "this process has nowhere to print",
            Self::Code => "this process cannot look up code",
            Self::Names => "this process knows no names",
            Self::Aliases => "this process may have no aliases",
        })
    }
}

impl core::error::Error for Unsupported {}

/// See the module. `M` is what timers send.
pub struct Facilities<'a, M> {
    /// To start processes.
    pub spawn: Option<&'a dyn SpawnFacility>,
    /// Links and the trap flag.
    pub link: Option<&'a dyn LinkFacility>,
    /// Monitors and exit signals.
    pub supervision: Option<&'a dyn SupervisionFacility>,
    /// Timers.
    pub timers: Option<&'a dyn TimerFacility<M>>,
    /// Where it prints.
    pub output: Option<&'a dyn OutputFacility>,
    /// Code.
    pub code: Option<&'a dyn CodeFacility>,
    /// Registered names.
    pub names: Option<&'a dyn NameFacility>,
    /// Aliases.
    pub aliases: Option<&'a dyn AliasFacility>,
}

impl<M> Clone for Facilities<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Facilities<'_, M> {}

impl<M> Default for Facilities<'_, M> {
    fn default() -> Self {
        Self {
            spawn: None,
            link: None,
            supervision: None,
            timers: None,
            output: None,
            code: None,
            names: None,
            aliases: None,
        }
    }
}

impl<M> fmt::Debug for Facilities<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facilities")
            .field("spawn", &self.spawn.is_some())
            .field("link", &self.link.is_some())
            .field("supervision", &self.supervision.is_some())
            .field("timers", &self.timers.is_some())
            .field("output", &self.output.is_some())
            .field("code", &self.code.is_some())
            .field("names", &self.names.is_some())
            .field("aliases", &self.aliases.is_some())
            .finish()
    }
}

impl<'a, M> Facilities<'a, M> {
    /// To start processes.
    pub fn spawn(&self) -> Result<&'a dyn SpawnFacility, Unsupported> {
        self.spawn.ok_or(Unsupported::Spawn)
    }

    /// Links and the trap flag.
    pub fn link(&self) -> Result<&'a dyn LinkFacility, Unsupported> {
        self.link.ok_or(Unsupported::Link)
    }

    /// Monitors and exit signals.
    pub fn supervision(&self) -> Result<&'a dyn SupervisionFacility, Unsupported> {
        self.supervision.ok_or(Unsupported::Supervision)
    }

    /// Timers.
    pub fn timers(&self) -> Result<&'a dyn TimerFacility<M>, Unsupported> {
        self.timers.ok_or(Unsupported::Timers)
    }

    /// Where it prints.
    pub fn output(&self) -> Result<&'a dyn OutputFacility, Unsupported> {
        self.output.ok_or(Unsupported::Output)
    }

    /// Code.
    pub fn code(&self) -> Result<&'a dyn CodeFacility, Unsupported> {
        self.code.ok_or(Unsupported::Code)
    }

    /// Registered names.
    pub fn names(&self) -> Result<&'a dyn NameFacility, Unsupported> {
        self.names.ok_or(Unsupported::Names)
    }

    /// Aliases.
    pub fn aliases(&self) -> Result<&'a dyn AliasFacility, Unsupported> {
        self.aliases.ok_or(Unsupported::Aliases)
    }
}
