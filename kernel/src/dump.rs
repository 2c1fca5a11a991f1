//! [`Dump`], what can be read of a kernel from outside while its cores go on.
//!
//! It is for a program that hangs. Nothing is asked of a process, because one that hangs does not answer, and nothing is
//! stopped: a dump takes words that the owners write anyhow, each at its own moment. So the parts of a dump need
//! not fit together while the cores run, and they do as soon as they stand still, which is when a dump is wanted.
//!
//! - **D1.** A dump reads what is constant from before `Table::publish`, or atomic (`process::header`, P2), under the
//!   guard of a [`Host`]. It never reads what is the owner's.
//! - **D2.** It writes nothing: a process or a core that is looked at runs no instruction more or less for it.

use alloc::vec::Vec;
use core::fmt;

use crate::handle::Kernel;
use crate::host::Host;
use crate::mailbox::State;
use crate::memory::{self, NoMemory};
use crate::name::{self, Name};
use crate::pid::Pid;
use crate::sync::Ordering;

/// A kernel as it was seen from outside; see the module.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The cores, in their order.
    pub cores: Vec<CoreDump>,
    /// The processes that are in the table, in the order of their slots. A dying process is in it until its end.
    pub processes: Vec<ProcessDump>,
    /// What [`Kernel::process_count`] says.
    pub process_count: usize,
    /// Nodes in use, if they are limited ([`crate::Limits::nodes`]).
    pub nodes_used: usize,
    /// Whether [`Kernel::close`] was called.
    pub is_closing: bool,
}

/// What a core does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreDump {
    /// The number of the core.
    pub core: usize,
    /// Whether the core has announced that it is idle, and nothing has claimed it since ([`Kernel::is_idle`]).
    pub is_idle: bool,
    /// The number of the running slice, and the process whose slice it is.
    pub running: Option<(usize, Pid)>,
    /// Whether a process is queued at the core, as far as other cores see its queues.
    pub has_work: bool,
    /// Whether a process is queued at the core that another core could take.
    pub has_stealable: bool,
}

/// What a process waits for, as its mailbox says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoreActivity {
    /// The body waits, and no signal has come.
    Waits,
    /// The process is queued, or it runs, and it has fetched all that has come.
    Runnable,
    /// The process is queued, or it runs, and a signal waits to be fetched.
    RunnableWithSignals,
    /// The process is dying or dead.
    Dies,
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessDump {
    /// The pid.
    pub pid: Pid,
    /// Its registered name.
    pub name: Option<Name>,
    /// What its mailbox says.
    pub doing: CoreActivity,
    /// The core whose current slice is this process's.
    pub runs_on: Option<usize>,
    /// The core that it must run on.
    pub core: Option<usize>,
    /// Signals that waited to be received when the process fetched last; 0 while it waits. A hint.
    pub waiting: usize,
    /// Messages that wait in a bounded mailbox, and how many may.
    pub room: Option<(u32, u32)>,
    /// Whether EXITs come as messages.
    pub trap_exit: bool,
    /// Whether it was killed without memory for a signal, and has not met that.
    pub is_killed: bool,
}

impl Kernel {
    /// What can be read of the cores and processes without stopping or asking any of them. For a program that hangs; it
    /// takes time in proportion to the most processes that there have been. Wait-free but for memory.
    ///
    /// # Errors
    /// When there is no memory for the lists.
    pub fn dump(&self) -> Result<Dump, NoMemory> {
        let participant = self.register();
        Host::new(self, &participant).dump()
    }
}

impl Host<'_> {
    /// See [`Kernel::dump`].
    ///
    /// # Errors
    /// When there is no memory for the lists.
    pub fn dump(&self) -> Result<Dump, NoMemory> {
        let kernel = self.kernel();
        let mut cores = Vec::new();
        for core in 0..kernel.cores() {
            memory::try_push(&mut cores, self.dump_core(core))?;
        }
        let mut processes = Vec::new();
        for index in 0..kernel.inner().table.extent() {
            if let Some(process) = self.dump_process(index, &cores) {
                memory::try_push(&mut processes, process)?;
            }
        }
        Ok(Dump {
            cores,
            processes,
            process_count: kernel.process_count(),
            nodes_used: kernel.nodes_used(),
            is_closing: kernel.is_closing(),
        })
    }

    fn dump_core(&self, core: usize) -> CoreDump {
        let queues = &self.kernel().inner().cores[core].queues;
        CoreDump {
            core,
            is_idle: self.kernel().is_idle(core),
            running: self.running(core),
            has_work: queues.has_own(),
            has_stealable: queues.has_stealable(),
        }
    }

    fn dump_process(&self, index: u32, cores: &[CoreDump]) -> Option<ProcessDump> {
        let process = self.process_at(index)?;
        let runs = |core: &&CoreDump| core.running.is_some_and(|(_, pid)| pid == process.pid);
        Some(ProcessDump {
            pid: process.pid,
            name: name::name_of(process).map(|entry| entry.name.clone()),
            doing: match process.mailbox.state() {
                State::Idle => CoreActivity::Waits,
                State::Active => CoreActivity::Runnable,
                State::Pending => CoreActivity::RunnableWithSignals,
                State::Closed => CoreActivity::Dies,
            },
            runs_on: cores.iter().find(runs).map(|core| core.core),
            core: (process.core != u32::MAX).then_some(process.core as usize),
            waiting: process.mailbox.noted(),
            room: process.bound().map(|bound| (bound.room.messages(), bound.room.limit())),
            // Relaxed, both: hints.
            trap_exit: process.trap_exit.load(Ordering::Relaxed),
            is_killed: process.killed.load(Ordering::Relaxed),
        })
    }
}

impl fmt::Display for CoreDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {}: ", self.core)?;
        match self.running {
            Some((slice, pid)) => write!(f, "runs {pid} (slice {slice})")?,
            None if self.is_idle => f.write_str("is idle")?,
            None => f.write_str("runs no process")?,
        }
        match (self.has_work, self.has_stealable) {
            (true, true) => f.write_str(", has work that others could take"),
            (true, false) => f.write_str(", has work that is its own"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ProcessDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        if let Some(name) = &self.name {
            write!(f, " {:?}", name.as_str())?;
        }
        f.write_str(match self.doing {
            CoreActivity::Waits => " waits",
            CoreActivity::Runnable => " is runnable",
            CoreActivity::RunnableWithSignals => " is runnable, signals have come",
            CoreActivity::Dies => " dies",
        })?;
        if let Some(core) = self.runs_on {
            write!(f, ", runs on core {core}")?;
        }
        if let Some(core) = self.core {
            write!(f, ", must run on core {core}")?;
        }
        if self.waiting > 0 {
            write!(f, ", {} not received", self.waiting)?;
        }
        if let Some((messages, limit)) = self.room {
            write!(f, ", {messages} of {limit} messages")?;
        }
        if self.trap_exit {
            f.write_str(", traps exits")?;
        }
        if self.is_killed { f.write_str(", killed without memory") } else { Ok(()) }
    }
}

impl fmt::Display for Dump {
    /// A line for each core, and for each process but those of which there are too many: of these the first 200 that do
    /// not wait, and then the first 200 that do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 200;
        let closing = if self.is_closing { ", closed" } else { "" };
        writeln!(f, "{} processes, {} nodes{closing}", self.process_count, self.nodes_used)?;
        for core in &self.cores {
            writeln!(f, "  {core}")?;
        }
        for waits in [false, true] {
            let all = || self.processes.iter().filter(|process| (process.doing == CoreActivity::Waits) == waits);
            for process in all().take(MOST) {
                writeln!(f, "  {process}")?;
            }
            let rest = all().count().saturating_sub(MOST);
            if rest > 0 {
                writeln!(f, "  and {rest} more that {}", if waits { "wait" } else { "do not wait" })?;
            }
        }
        Ok(())
    }
}
