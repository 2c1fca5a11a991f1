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
//! # Map
//!
//! Folders are layers: a folder imports only folders below it in this table (`cargo xtask layers`
//! checks that).
//!
//! | folder | contents |
//! | --- | --- |
//! | `api` | what a process or a host thread calls: [`Cx`], [`Context`], [`Host`], [`Caller`], [`Kernel`], [`Dump`] |
//! | `sched` | the loop of a core, its slices, and the rescue of stalled cores |
//! | `ops` | what happens to a process: start, exit, signals, relations, requests, timers |
//! | `kernel` | what all cores share, a core's private half, the running slice, the platform |
//! | `process` | the parts of a process: words and records that decide, and act on nothing else |
//! | `mailbox` | the mailbox word, its batches, its capacity and its limit |
//! | `signal` | what travels: nodes, messages, exit signals |
//! | `runq`, `timer` | run queues and work stealing; timing wheels |
//! | `reclaim` | epoch-based reclamation, and the way of memory back to its core |
//! | `intrusive` | lists, record sets and reference counts of records |
//! | `memory` | pools and depots of blocks; allocation that can fail |
//! | `pid`, `reason`, `catch_drop`, `kernel_ptr`, `sync`, `config`, `mutation`, `shipped` | leaves |
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub(crate) mod api;
pub(crate) mod catch_drop;
pub(crate) mod config;
#[doc(hidden)]
pub mod internals;
pub(crate) mod intrusive;
pub(crate) mod kernel;
pub(crate) mod kernel_ptr;
pub(crate) mod mailbox;
pub(crate) mod memory;
pub(crate) mod mutation;
pub(crate) mod ops;
pub(crate) mod pid;
pub(crate) mod process;
pub(crate) mod reason;
pub mod reclaim;
pub(crate) mod runq;
pub(crate) mod sched;
pub(crate) mod shipped;
pub(crate) mod signal;
pub(crate) mod sync;
pub(crate) mod timer;

pub use api::body::Body;
pub use api::caller::{ActAsError, Caller, CallerState, MonitorOutcome};
pub use api::cx::{Cx, MaybeReady, SearchResult};
pub use api::dump::{CoreActivity, CoreDump, Dump, ProcessDump};
pub use api::host::Host;
pub use api::send_reservation::SendReservation;
pub use api::task;
pub use api::task::address::{Address, Recipient};
pub use api::task::context::Context;
pub use api::task::coop::{Checkpoint, Listener};
pub use api::task::panic_scope::PanicScope;
pub use api::task::send_wait::SendWait;
pub use catch_drop::{CatchDrop, CatchEach, DropCatcher};
pub use config::MAX_CORES;
pub use kernel::handle::Kernel;
pub use kernel::platform;
pub use kernel::platform::{CatchPanic, Forwarded, Platform};
pub use kernel::{Limits, Options};
pub use mailbox::limit::Overflow;
pub use mailbox::queue::Cursor;
pub use memory::NoMemory;
pub use ops::host_watch::{ExitWatch, PreparedWatch};
pub use ops::info::ProcessInfo;
pub use ops::query::QueryFuture;
pub use ops::received::{Down, Exit, Peek, Received};
pub use ops::relations::{LinkError, MonitorError};
pub use ops::request::{
    CompletionOrder, CompletionTicket, NoReply, Reply, ReplyFuture, RequestError, RequestFuture, reply,
};
pub use ops::send::SendError;
pub use ops::spawn::{Priority, SpawnError, SpawnOptions, Spawned};
pub use pid::{Alias, Pid, Reference};
pub use process::alias::AliasMode;
pub use process::name::{Name, RegisterError};
pub use process::references::References;
pub use process::relation::exit_queue::{ExitQueue, FiredWatches};
pub use process::relation::host_watch::FiredWatch;
pub use process::relation::monitor::MonitorTarget;
pub use process::relation::{ExitInfo, WatchError, WatchStatus};
pub use process::table::Tombstone;
pub use process::timer_record::TimerError;
pub use process::vtable::BodyPoll;
pub use reason::{Reason, ReasonKind, ReasonValue};
pub use runq::QueueLengths;
pub use sched::core::{Core, RunOutcome};
pub use signal::exit_signal::ExitCause;
pub use signal::message::AnyMessage;
pub use signal::target::SendTarget;
