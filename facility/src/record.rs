//! The records of calls to facilities, as a mock keeps them.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use atropos_kernel::Reason;

use crate::alias::AliasMode;
use crate::spawn::SpawnFlags;

/// A call to a [`crate::SupervisionFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SupervisionRecord {
    /// A call of `monitor`.
    Monitor {
        /// The calling process.
        caller: u64,
        /// The process to monitor.
        target: u64,
    },
    /// A call of `demonitor` or `demonitor_with`.
    Demonitor {
        /// The calling process.
        caller: u64,
        /// The monitor.
        reference: u64,
    },
    /// A call of `exit_signal`.
    ExitSignal {
        /// The calling process.
        caller: u64,
        /// The receiver of the signal.
        target: u64,
        /// The exit reason.
        reason: Reason,
    },
}

/// A call to a [`crate::LinkFacility`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkRecord {
    /// A call of `link` or `link_as_otp`.
    Link {
        /// The calling process.
        caller: u64,
        /// The process to link to.
        target: u64,
    },
    /// A call of `unlink`.
    Unlink {
        /// The calling process.
        caller: u64,
        /// The process to unlink from.
        target: u64,
    },
    /// A call of `set_trap_exit`.
    TrapExit {
        /// The calling process.
        caller: u64,
        /// The new value.
        trap: bool,
    },
}

/// A call to a [`crate::SpawnFacility`]. The arguments were consumed by the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpawnRecord {
    /// The calling process.
    pub caller: u64,
    /// The module name.
    pub module: String,
    /// The function name.
    pub function: String,
    /// The options of the new process.
    pub flags: SpawnFlags,
}

/// A call to a [`crate::TimerFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TimerRecord<M> {
    /// A call of `start`.
    Start {
        /// The calling process.
        caller: u64,
        /// The receiver of the message.
        target: u64,
        /// The time until it fires.
        after: Duration,
        /// The message that it sends.
        message: M,
    },
    /// A call of `cancel`.
    Cancel {
        /// The calling process.
        caller: u64,
        /// The timer reference.
        timer: u64,
    },
    /// A call of `read`.
    Read {
        /// The calling process.
        caller: u64,
        /// The timer reference.
        timer: u64,
    },
}

/// A call to a [`crate::NameFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameRecord {
    /// A call of `register`.
    Register {
        /// The calling process.
        caller: u64,
        /// The name to register.
        name: String,
        /// The process to register.
        pid: u64,
    },
    /// A call of `unregister`.
    Unregister {
        /// The calling process.
        caller: u64,
        /// The name to unregister.
        name: String,
    },
    /// A call of `monitor_name`.
    Monitor {
        /// The calling process.
        caller: u64,
        /// The name to monitor.
        name: String,
    },
}

/// A call to an [`crate::AliasFacility`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AliasRecord {
    /// A call of `alias`.
    Alias {
        /// The calling process.
        caller: u64,
        /// `true` if the first message deactivates the alias.
        reply: bool,
    },
    /// A call of `unalias`.
    Unalias {
        /// The calling process.
        caller: u64,
        /// The alias to deactivate.
        alias: u64,
    },
    /// A call of `monitor_alias`.
    Monitor {
        /// The calling process.
        caller: u64,
        /// The process to monitor.
        target: u64,
        /// The event that deactivates the alias.
        mode: AliasMode,
    },
}

/// A call to an [`crate::OutputFacility`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputRecord {
    /// The process that printed.
    pub caller: u64,
    /// The bytes that it printed.
    pub bytes: Vec<u8>,
}
