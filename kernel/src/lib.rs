//! The process kernel of Atropos: lightweight processes with the semantics of Erlang/OTP, lock-free, without an
//! operating system.
//!
//! The kernel is stepped, not started: a [`Kernel`] is what all cores share, a [`Core`] is one
//! scheduler's private half, and whoever drives it calls [`Core::run`]. What the kernel needs
//! from where it runs is a [`Platform`] of a few methods.
//!
//! A process runs a [`Body`]; a future is one ([`task`]), an interpreter another. While it runs it asks the
//! kernel through a [`Cx`]; a thread that is no core asks through a [`Host`].
//!
//! # Where things are
//!
//! | noun | module |
//! | --- | --- |
//! | names that outlive what they name | `pid`, `reason`, `name`, `alias` |
//! | what travels: nodes, messages, exits, questions | `signal`, `mailbox`, `send`, `received`, `reply` |
//! | bounded mailboxes | `bound`, `room`, `in_line` |
//! | what ties processes: lists, records, sets | `link`, `monitor`, `watch`, `list`, `roll`, `set`, `shares` |
//! | who is no process and waits for one's end | `watcher`, `exit_queue` |
//! | a look at all of it from outside | `dump` |
//! | where processes are | `table`, `reclaim` |
//! | birth, life and death of one | `process`, `cx`, `task` |
//! | acting for one | `act_as`, `proxy` |
//! | when they run | `runq`, `sched`, `timer` |
//! | all of it | `kernel`, `handle` |
//! | the ground | `sync`, `config`, `memory`, `mutate`, `world` |
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub(crate) mod alias;
pub(crate) mod behalf;
pub(crate) mod bound;
pub(crate) mod config;
pub(crate) mod cx;
pub(crate) mod dump;
pub(crate) mod exit_queue;
pub(crate) mod hand;
pub(crate) mod handle;
pub(crate) mod held;
pub(crate) mod host;
pub(crate) mod in_line;
pub(crate) mod info;
pub(crate) mod kernel;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod mailbox;
pub(crate) mod memory;
pub(crate) mod monitor;
pub(crate) mod mutate;
pub(crate) mod name;
pub(crate) mod pid;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod reason;
pub(crate) mod received;
pub mod reclaim;
pub(crate) mod reply;
pub(crate) mod roll;
pub(crate) mod room;
pub(crate) mod runq;
pub(crate) mod sched;
pub(crate) mod send;
pub(crate) mod set;
pub(crate) mod shares;
pub(crate) mod signal;
pub(crate) mod sync;
pub(crate) mod table;
pub mod task;
pub(crate) mod timer;
pub(crate) mod watch;
pub(crate) mod watcher;
pub mod world;

pub use alias::AliasMode;
pub use behalf::{Caller, ActAsError, MonitorOutcome, CallerState};
pub use bound::Overflow;
pub use config::MAX_CORES;
pub use cx::{MaybeReady, Cx, SendTarget, Search};
pub use dump::{CoreDump, CoreActivity, Dump, ProcessDump};
pub use exit_queue::{FiredWatches, ExitQueue};
pub use handle::Kernel;
pub use held::CatchDrop;
pub use host::Host;
pub use in_line::SendReservation;
pub use info::ProcessInfo;
pub use kernel::{Limits, Options};
pub use memory::NoMemory;
pub use monitor::MonitorTarget;
pub use name::{Name, RegisterError};
pub use pid::{Alias, Pid, Reference, References};
pub use process::body::{Body, Resumed};
pub use process::spawn::{Priority, SpawnError, SpawnOptions, Spawned};
pub use process::ties::{LinkError, MonitorError};
pub use reason::{Reason, ReasonValue, ReasonKind};
pub use received::{Down, Exit, Peek, Received};
pub use reply::{CompletionTicket, CompletionOrder, RequestError, NoReply, ReplyFuture, Reply, RequestFuture, reply};
pub use sched::core::{Core, RunOutcome};
pub use send::SendError;
pub use signal::ask::{QueryReply, QueryFuture};
pub use signal::queue::Cursor;
pub use table::Tombstone;
pub use task::context::{Address, PanicScope, Context, Recipient};
pub use task::coop::{Checkpoint, Listener};
pub use task::waiting::SendWait;
pub use timer::record::TimerError;
pub use watcher::{ExitInfo, ExitWatch, FiredWatch, PreparedWatch, WatchError, WatchStatus};
pub use world::{CatchPanic, Platform};

/// The kernel's own modules, for the models of `loom-tests` and the benches. Not a part of the interface:
/// anything in here may change with any version.
#[doc(hidden)]
pub mod internals {
    macro_rules! open {
        ($($module:ident),* $(,)?) => {$(
            #[allow(missing_docs, reason = "the module has its own essay")]
            pub mod $module {
                pub use crate::$module::*;
            }
        )*};
    }
    open!(config, link, list, mailbox, memory, monitor, mutate, reply, roll, room, set, shares, sync, table, watch);
    /// Signals.
    pub mod signal {
        pub use crate::signal::{message, node, queue};
    }
    /// Run queues.
    pub mod runq {
        pub use crate::runq::{Local, Queued, Shipped, Shared, Steps, brood, idle, inbox, node, ring};
    }
    /// Timers.
    pub mod timer {
        pub use crate::timer::{arrivals, wheel};
        /// The record of a timer.
        pub mod record {
            pub use crate::timer::record::*;
        }
    }
    /// Who has the private half of a core.
    pub mod custody {
        pub use crate::sched::custody::*;
    }
    /// Wakers.
    pub mod waker {
        pub use crate::task::waker::*;
    }
    /// Reasons as words.
    pub mod reason {
        use crate::reason::Reason;

        /// The reason that a claim took out of a slot.
        ///
        /// # Safety
        /// It is given back once.
        pub unsafe fn of_claim(claim: &crate::table::Claim) -> Option<Reason> {
            // SAFETY: by contract.
            unsafe { Reason::from_word(claim.tombstone) }
        }
    }
    /// The host's way to a process.
    pub mod hand {
        pub use crate::hand::KernelCx;
        use crate::handle::Kernel;
        use crate::reclaim::Guard;

        /// A hand of the host's.
        pub fn of<'a>(kernel: &'a Kernel, guard: &'a Guard<'a>) -> KernelCx<'a> {
            kernel.inner().hand(guard, None)
        }
    }
    /// The kernel's own end.
    pub mod life {
        use crate::handle::Kernel;

        /// Whether the kernel is still there, to be asked when all handles are gone.
        pub fn of(kernel: &Kernel) -> impl Fn() -> bool + use<> {
            let kernel = alloc::sync::Arc::downgrade(kernel.inner());
            move || kernel.strong_count() > 0
        }
    }
    /// Names.
    pub mod name {
        use crate::handle::Kernel;
        pub use crate::name::*;
        use crate::pid::Pid;
        use crate::process::header::Header;
        use crate::reclaim::Guard;

        /// The entry of a name.
        pub fn intern<'k>(kernel: &'k Kernel, text: &str) -> Result<&'k NameEntry, RegisterError> {
            kernel.inner().names.intern(text)
        }

        /// Who it is.
        pub fn pid(process: &Header) -> Pid {
            process.pid
        }

        /// The death's part of a process.
        pub fn die<S: Steps>(process: &Header) {
            crate::name::release_by::<S>(process);
        }

        /// The live or dying process that `pid` names.
        pub fn find<'g>(kernel: &Kernel, pid: Pid, guard: &'g Guard<'_>) -> Option<&'g Header> {
            kernel.inner().table.find(pid, guard)
        }
    }
}
