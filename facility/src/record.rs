//! What was asked of a facility, as a mock writes it down.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use atropos_kernel::Reason;

use crate::alias::AliasMode;
use crate::spawn::SpawnFlags;

/// Asked of a [`crate::SupervisionFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SupervisionRecord {
    /// `monitor`.
    Monitor {
        /// Who asked.
        caller: u64,
        /// Of whom.
        target: u64,
    },
    /// `demonitor`, of either kind.
    Demonitor {
        /// Who asked.
        caller: u64,
        /// Which.
        reference: u64,
    },
    /// `exit_signal`.
    ExitSignal {
        /// Who asked.
        caller: u64,
        /// To whom.
        target: u64,
        /// Why.
        reason: Reason,
    },
}

/// Asked of a [`crate::LinkFacility`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkRecord {
    /// `link`, of either kind.
    Link {
        /// Who asked.
        caller: u64,
        /// With whom.
        target: u64,
    },
    /// `unlink`.
    Unlink {
        /// Who asked.
        caller: u64,
        /// From whom.
        target: u64,
    },
    /// `set_trap_exit`.
    TrapExit {
        /// Who asked.
        caller: u64,
        /// The new value.
        trap: bool,
    },
}

/// Asked of a [`crate::SpawnFacility`]. The arguments went with the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpawnRecord {
    /// Who asked.
    pub caller: u64,
    /// The module.
    pub module: String,
    /// The function in it.
    pub function: String,
    /// What holds from the start.
    pub flags: SpawnFlags,
}

/// Asked of a [`crate::TimerFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimerRecord<M> {
    /// `start`.
    Start {
        /// Who asked.
        caller: u64,
        /// For whom.
        target: u64,
        /// After how long.
        after: Duration,
        /// What it brings.
        message: M,
    },
    /// `cancel`.
    Cancel {
        /// Who asked.
        caller: u64,
        /// Which.
        timer: u64,
    },
    /// `read`.
    Read {
        /// Who asked.
        caller: u64,
        /// Which.
        timer: u64,
    },
}

/// Asked of a [`crate::NameFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameRecord {
    /// `register`.
    Register {
        /// Who asked.
        caller: u64,
        /// Which name.
        name: String,
        /// For whom.
        pid: u64,
    },
    /// `unregister`.
    Unregister {
        /// Who asked.
        caller: u64,
        /// Which name.
        name: String,
    },
    /// `monitor_name`.
    Monitor {
        /// Who asked.
        caller: u64,
        /// Of which name.
        name: String,
    },
}

/// Asked of an [`crate::AliasFacility`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AliasRecord {
    /// `alias`.
    Alias {
        /// Who asked.
        caller: u64,
        /// Whether a message ends it.
        reply: bool,
    },
    /// `unalias`.
    Unalias {
        /// Who asked.
        caller: u64,
        /// Which.
        alias: u64,
    },
    /// `monitor_alias`.
    Monitor {
        /// Who asked.
        caller: u64,
        /// Of whom.
        target: u64,
        /// When the alias ends.
        mode: AliasMode,
    },
}

/// Printed to an [`crate::OutputFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputRecord {
    /// Who printed.
    pub caller: u64,
    /// What.
    pub bytes: Vec<u8>,
}
