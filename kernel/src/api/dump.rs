//! [`Dump`]: a snapshot of a kernel, read from outside while its cores keep running.
//!
//! It is for a program that hangs. The dump sends nothing to a process, because a process that
//! hangs does not answer, and it stops nothing. It reads words that the owners write anyway, each
//! at a different moment. The parts of a dump therefore need not be consistent while the cores run.
//! They are consistent as soon as the cores stand still, which is when a dump is needed.
//!
//! - **D1.** A dump reads only fields that are constant from before `Table::publish`, or atomic
//!   (`process::header`, P2), under the guard of a [`Host`]. It never reads fields of the owner.
//! - **D2.** It writes nothing: a process or core that is dumped executes no instruction more or
//!   less because of the dump.

use alloc::vec::Vec;
use core::fmt;

use crate::api::host::Host;
use crate::kernel::handle::Kernel;
use crate::mailbox::State;
use crate::memory::{self, NoMemory};
use crate::pid::Pid;
use crate::process::header::ANY_CORE;
use crate::process::name::{self, Name};
use crate::runq::QueueLengths;
use crate::sync::Ordering;

/// A snapshot of a kernel, see [`Kernel::dump`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dump {
    /// The cores, in the order of their numbers.
    pub cores: Vec<CoreDump>,
    /// The processes in the table, in the order of their slots. A dying process is included until
    /// its end.
    pub processes: Vec<ProcessDump>,
    /// The value of [`Kernel::process_count`].
    pub process_count: usize,
    /// Number of processes that are runnable and that no core runs: the length of all run queues
    /// together.
    pub queued: usize,
    /// Number of nodes in use, if they are limited ([`crate::Limits::nodes`]).
    pub nodes_used: usize,
    /// `true` if [`Kernel::close`] was called.
    pub is_closing: bool,
}

/// The state of a core.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreDump {
    /// The number of the core.
    pub core: usize,
    /// `true` if the core has announced that it is idle, and no thread has claimed it since
    /// ([`Kernel::is_idle`]).
    pub is_idle: bool,
    /// The number of the running slice, and the process to which the slice belongs.
    pub running: Option<(usize, Pid)>,
    /// The lengths of the core's queues, without processes that are pinned or not yet fetched.
    pub queues: QueueLengths,
    /// `true` if a process is queued at the core, as far as other cores can see its queues.
    pub has_work: bool,
    /// `true` if a process that another core could steal is queued at the core.
    pub has_stealable: bool,
    /// `true` if the core has not yet fetched a process that another thread has woken.
    pub has_woken: bool,
    /// Number of queued processes that are pinned to the core.
    pub pinned: usize,
}

/// What a process waits for, according to its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoreActivity {
    /// The body waits, and no signal has arrived.
    Waits,
    /// The process is queued or running, and has fetched all signals that arrived.
    Runnable,
    /// The process is queued or running, and a signal waits to be fetched.
    RunnableWithSignals,
    /// The process is dying or dead.
    Dies,
}

/// The state of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessDump {
    /// The pid of the process.
    pub pid: Pid,
    /// The registered name of the process.
    pub name: Option<Name>,
    /// What the process waits for, according to its mailbox.
    pub doing: CoreActivity,
    /// The core whose current slice belongs to this process.
    pub runs_on: Option<usize>,
    /// The core to which the process is pinned.
    pub core: Option<usize>,
    /// Number of wakers of the process that are in use: by a request that has no reply yet, by a
    /// blocking job, or by a future of another library. A process that waits with 0 wakers waits
    /// for a signal: a message, an exit signal or a timer.
    pub wakers: usize,
    /// Number of signals that waited to be received when the process fetched last; 0 while it
    /// waits. A hint.
    pub waiting: usize,
    /// Number of messages that wait in a bounded mailbox, and the limit.
    pub room: Option<(u32, u32)>,
    /// `true` if EXITs arrive as messages.
    pub trap_exit: bool,
    /// `true` if the process was killed without memory for a signal, and has not yet handled the
    /// kill.
    pub is_killed: bool,
}

impl ProcessDump {
    /// Returns `true` if the process is runnable and no core runs it.
    fn is_queued(&self) -> bool {
        self.runs_on.is_none() && matches!(self.doing, CoreActivity::Runnable | CoreActivity::RunnableWithSignals)
    }
}

impl Kernel {
    /// Reads the state of the cores and processes without stopping or querying them, for a program
    /// that hangs. The time is proportional to the largest number of processes that ever existed at
    /// once. Wait-free, except for the allocations.
    ///
    /// # Errors
    /// Returns [`NoMemory`] when there is no memory for the lists.
    pub fn dump(&self) -> Result<Dump, NoMemory> {
        let participant = self.register();
        Host::new(self, &participant).dump()
    }
}

impl Host<'_> {
    /// Reads the state of the cores and processes, see [`Kernel::dump`].
    ///
    /// # Errors
    /// Returns [`NoMemory`] when there is no memory for the lists.
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
        let is_queued = |process: &&ProcessDump| process.is_queued();
        for core in &mut cores {
            core.pinned = processes.iter().filter(is_queued).filter(|process| process.core == Some(core.core)).count();
        }
        Ok(Dump {
            queued: processes.iter().filter(is_queued).count(),
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
            queues: queues.lengths(),
            has_work: queues.has_local(),
            has_stealable: queues.has_stealable(),
            has_woken: !queues.inbox.is_empty() || !queues.pinned.is_empty(),
            pinned: 0,
        }
    }

    fn dump_process(&self, index: u32, cores: &[CoreDump]) -> Option<ProcessDump> {
        let process = self.process_at(index)?;
        let runs = |core: &&CoreDump| core.running.is_some_and(|(_, pid)| pid == process.pid);
        Some(ProcessDump {
            pid: process.pid,
            name: name::name_of(&process).map(|entry| entry.name.clone()),
            doing: match process.mailbox.state() {
                State::Idle => CoreActivity::Waits,
                State::Active => CoreActivity::Runnable,
                State::Pending => CoreActivity::RunnableWithSignals,
                State::Closed => CoreActivity::Dies,
            },
            runs_on: cores.iter().find(runs).map(|core| core.core),
            core: (process.core != ANY_CORE).then_some(usize::from(process.core)),
            wakers: process.shares.wakers(),
            waiting: process.mailbox.noted(),
            room: process.bound().map(|bound| (bound.room.messages(), bound.room.limit())),
            // Relaxed, both loads: hints.
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
            (true, true) => f.write_str(", has work that other cores could steal"),
            (true, false) => f.write_str(", has only work of its own"),
            _ => Ok(()),
        }?;
        if self.queues.total() > 0 {
            let QueueLengths { next, newborns, ready: [high, normal, low] } = self.queues;
            write!(f, ", {} queued", self.queues.total())?;
            let lengths = [(next, "next"), (newborns, "newborn"), (high, "high"), (normal, "normal"), (low, "low")];
            let mut lengths = lengths.into_iter().filter(|(len, _)| *len > 0);
            if let Some((len, queue)) = lengths.next() {
                write!(f, " ({len} {queue}")?;
                lengths.try_for_each(|(len, queue)| write!(f, ", {len} {queue}"))?;
                f.write_str(")")?;
            }
        }
        if self.has_woken {
            f.write_str(", has not fetched a process that was woken elsewhere")?;
        }
        if self.pinned > 0 { write!(f, ", {} pinned to it are queued", self.pinned) } else { Ok(()) }
    }
}

impl fmt::Display for ProcessDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        if let Some(name) = &self.name {
            write!(f, " {:?}", name.as_str())?;
        }
        f.write_str(match self.doing {
            CoreActivity::Waits => " waits for a signal",
            CoreActivity::Runnable => " is runnable",
            CoreActivity::RunnableWithSignals => " is runnable, signals have arrived",
            CoreActivity::Dies => " dies",
        })?;
        match (self.doing, self.wakers) {
            (_, 0) => Ok(()),
            (CoreActivity::Waits, wakers) => write!(f, " or one of {wakers} wakers"),
            (_, wakers) => write!(f, ", {wakers} wakers"),
        }?;
        match (self.runs_on, self.core) {
            (Some(core), None) => write!(f, ", runs on core {core}"),
            (Some(core), Some(_)) => write!(f, ", runs on core {core}, pinned"),
            (None, Some(core)) if self.is_queued() => write!(f, ", waits for core {core}, pinned"),
            (None, Some(core)) => write!(f, ", pinned to core {core}"),
            (None, None) if self.is_queued() => f.write_str(", waits for a core"),
            (None, None) => Ok(()),
        }?;
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
    /// Writes a line for each core and for each process. If there are too many processes, it writes
    /// the first 200 that do not wait, and then the first 200 that wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 200;
        let closing = if self.is_closing { ", closed" } else { "" };
        writeln!(f, "{} processes, {} queued, {} nodes{closing}", self.process_count, self.queued, self.nodes_used)?;
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
