//! The process kernel of Atropos: lightweight processes with the semantics of Erlang/OTP,
//! lock-free, without an operating system.
//!
//! The kernel is stepped, not started. A [`Kernel`] is the state that all cores share, a [`Core`]
//! is the private half of one scheduler, and its driver calls [`Core::run`]. The environment in
//! which the kernel runs implements [`Platform`], a platform interface of a few methods.
//!
//! A process runs a [`Body`], for example a future ([`task`]) or an interpreter. While it runs, it
//! calls the kernel through a [`Cx`]. A thread that is not a core calls it through a [`Host`].
//!
//! # Module map
//!
//! | subject | module |
//! | --- | --- |
//! | names that outlive what they name | `pid`, `reason`, `name`, `alias` |
//! | signals: nodes, messages, exits, queries | `signal`, `mailbox`, `send`, `received`, `reply` |
//! | bounded mailboxes | `bound`, `room`, `in_line` |
//! | relations of processes: lists, records, sets | `link`, `monitor`, `watch`, `list`, `roll`, `set`, `shares` |
//! | exit notifications for host threads (code outside any process) | `watcher`, `exit_queue` |
//! | a snapshot of the kernel from outside | `dump` |
//! | where processes are stored | `table`, `reclaim` |
//! | start, life and exit of a process | `process`, `cx`, `task` |
//! | acting for another process | `act_as`, `proxy` |
//! | scheduling and time | `runq`, `sched`, `timer` |
//! | the state that all cores share | `kernel`, `handle` |
//! | foundations | `sync`, `config`, `memory`, `mutate`, `world` |
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
pub use behalf::{ActAsError, Caller, CallerState, MonitorOutcome};
pub use bound::Overflow;
pub use config::MAX_CORES;
pub use cx::{Cx, MaybeReady, Search, SendTarget};
pub use dump::{CoreActivity, CoreDump, Dump, ProcessDump};
pub use exit_queue::{ExitQueue, FiredWatches};
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
pub use reason::{Reason, ReasonKind, ReasonValue};
pub use received::{Down, Exit, Peek, Received};
pub use reply::{CompletionOrder, CompletionTicket, NoReply, Reply, ReplyFuture, RequestError, RequestFuture, reply};
pub use sched::core::{Core, RunOutcome};
pub use send::SendError;
pub use signal::ask::{QueryFuture, QueryReply};
pub use signal::queue::Cursor;
pub use table::Tombstone;
pub use task::context::{Address, Context, PanicScope, Recipient};
pub use task::coop::{Checkpoint, Listener};
pub use task::waiting::SendWait;
pub use timer::record::TimerError;
pub use watcher::{ExitInfo, ExitWatch, FiredWatch, PreparedWatch, WatchError, WatchStatus};
pub use world::{CatchPanic, Platform};

/// The kernel's own modules, for the models of `loom-tests` and for the benches. They are not part
/// of the interface and may change with any version.
#[doc(hidden)]
pub mod internals {
    macro_rules! open {
        ($($module:ident),* $(,)?) => {$(
            #[allow(missing_docs, reason = "the module documents itself")]
            pub mod $module {
                pub use crate::$module::*;
            }
        )*};
    }
    open!(config, link, list, mailbox, memory, monitor, mutate, reply, roll, room, set, shares, sync, table, watch);
    /// The modules of signals.
    pub mod signal {
        pub use crate::signal::{message, node, queue};
    }
    /// The modules of run queues.
    pub mod runq {
        pub use crate::runq::{Local, Queued, Shared, Shipped, Steps, brood, idle, inbox, node, ring};
    }
    /// The modules of timers.
    pub mod timer {
        pub use crate::timer::{arrivals, wheel};
        /// The record of a timer.
        pub mod record {
            pub use crate::timer::record::*;
        }
    }
    /// The module that decides which thread has the private half of a core.
    pub mod custody {
        pub use crate::sched::custody::*;
    }
    /// The module of process wakers.
    pub mod waker {
        pub use crate::task::waker::*;
    }
    /// The conversion of a claimed word to a reason.
    pub mod reason {
        use crate::reason::Reason;

        /// Returns the reason that a claim took out of a slot.
        ///
        /// # Safety
        /// The word of the claim is given back only once.
        pub unsafe fn of_claim(claim: &crate::table::Claim) -> Option<Reason> {
            // SAFETY: the claim took the word out of its slot, and the caller gives it back once
            // (this function's contract).
            unsafe { Reason::from_word(claim.tombstone) }
        }
    }
    /// The kernel context of a host thread.
    pub mod hand {
        pub use crate::hand::KernelCx;
        use crate::handle::Kernel;
        use crate::reclaim::Guard;

        /// Creates a host thread's kernel context.
        pub fn of<'a>(kernel: &'a Kernel, guard: &'a Guard<'a>) -> KernelCx<'a> {
            kernel.inner().hand(guard, None)
        }
    }
    /// The end of the kernel itself.
    pub mod life {
        use crate::handle::Kernel;

        /// Returns a function that reports whether the kernel still exists, for use when all
        /// handles are gone.
        pub fn of(kernel: &Kernel) -> impl Fn() -> bool + use<> {
            let kernel = alloc::sync::Arc::downgrade(kernel.inner());
            move || kernel.strong_count() > 0
        }
    }
    /// The modules of registered names.
    pub mod name {
        use crate::handle::Kernel;
        pub use crate::name::*;
        use crate::pid::Pid;
        use crate::process::header::Header;
        use crate::reclaim::Guard;

        /// Returns the entry of a name, and adds it if it is new.
        pub fn intern<'k>(kernel: &'k Kernel, text: &str) -> Result<&'k NameEntry, RegisterError> {
            kernel.inner().names.intern(text)
        }

        /// Returns the pid of the process.
        pub fn pid(process: &Header) -> Pid {
            process.pid
        }

        /// Releases the name of a dying process.
        pub fn die<S: Steps>(process: &Header) {
            crate::name::release_by::<S>(process);
        }

        /// Returns the live or dying process that `pid` names.
        pub fn find<'g>(kernel: &Kernel, pid: Pid, guard: &'g Guard<'_>) -> Option<&'g Header> {
            kernel.inner().table.find(pid, guard)
        }
    }
}
