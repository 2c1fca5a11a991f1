//! The facilities that a body gets for a slice: [`Facilities`].
//!
//! A process can use only what its bundle contains. A missing facility is refused with a value that
//! names it, so a built-in function has one way to report "not available", which is neither a panic
//! nor another error.

use core::fmt;

use crate::alias::AliasFacility;
use crate::code::CodeFacility;
use crate::link::LinkFacility;
use crate::name::NameFacility;
use crate::output::OutputFacility;
use crate::spawn::SpawnFacility;
use crate::supervision::SupervisionFacility;
use crate::timer::TimerFacility;

/// The facility that a bundle does not contain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unsupported {
    /// No [`SpawnFacility`].
    Spawn,
    /// No [`LinkFacility`].
    Link,
    /// No [`SupervisionFacility`].
    Supervision,
    /// No [`TimerFacility`].
    Timers,
    /// No [`OutputFacility`].
    Output,
    /// No [`CodeFacility`].
    Code,
    /// No [`NameFacility`].
    Names,
    /// No [`AliasFacility`].
    Aliases,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spawn => "this process may not spawn processes",
            Self::Link => "this process may not use links",
            Self::Supervision => "this process may not use monitors or exit signals",
            Self::Timers => "this process may not use timers",
            Self::Output => "this process has no output",
            Self::Code => "this process cannot look up code",
            Self::Names => "this process may not use registered names",
            Self::Aliases => "this process may not use aliases",
        })
    }
}

impl core::error::Error for Unsupported {}

/// A bundle of the facilities that a process may use. `M` is the message type of its timers.
pub struct Facilities<'a, M> {
    /// Spawning of processes.
    pub spawn: Option<&'a dyn SpawnFacility>,
    /// Links and the `trap_exit` flag.
    pub link: Option<&'a dyn LinkFacility>,
    /// Monitors and exit signals.
    pub supervision: Option<&'a dyn SupervisionFacility>,
    /// Timers and their messages.
    pub timers: Option<&'a dyn TimerFacility<M>>,
    /// The output for what the process prints.
    pub output: Option<&'a dyn OutputFacility>,
    /// Lookup of code.
    pub code: Option<&'a dyn CodeFacility>,
    /// Registered names.
    pub names: Option<&'a dyn NameFacility>,
    /// Aliases of the process.
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
    /// Returns the facility that spawns processes.
    pub fn spawn(&self) -> Result<&'a dyn SpawnFacility, Unsupported> {
        self.spawn.ok_or(Unsupported::Spawn)
    }

    /// Returns the facility for links and the `trap_exit` flag.
    pub fn link(&self) -> Result<&'a dyn LinkFacility, Unsupported> {
        self.link.ok_or(Unsupported::Link)
    }

    /// Returns the facility for monitors and exit signals.
    pub fn supervision(&self) -> Result<&'a dyn SupervisionFacility, Unsupported> {
        self.supervision.ok_or(Unsupported::Supervision)
    }

    /// Returns the facility for timers.
    pub fn timers(&self) -> Result<&'a dyn TimerFacility<M>, Unsupported> {
        self.timers.ok_or(Unsupported::Timers)
    }

    /// Returns the facility that prints.
    pub fn output(&self) -> Result<&'a dyn OutputFacility, Unsupported> {
        self.output.ok_or(Unsupported::Output)
    }

    /// Returns the facility that looks up code.
    pub fn code(&self) -> Result<&'a dyn CodeFacility, Unsupported> {
        self.code.ok_or(Unsupported::Code)
    }

    /// Returns the facility for registered names.
    pub fn names(&self) -> Result<&'a dyn NameFacility, Unsupported> {
        self.names.ok_or(Unsupported::Names)
    }

    /// Returns the facility for aliases.
    pub fn aliases(&self) -> Result<&'a dyn AliasFacility, Unsupported> {
        self.aliases.ok_or(Unsupported::Aliases)
    }
}
