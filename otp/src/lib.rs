//! OTP's behaviours, built on the Atropos kernel's public interface: `no_std` + `alloc`, without a
//! thread, clock or global of their own.
//!
//! # Modules
//!
//! | topic | module |
//! | --- | --- |
//! | supervisors: processes that restart their children | [`supervisor`] |
//! | servers: processes that handle calls and casts | [`server`] |
//! | state machines | [`statem`] |
//! | tasks: processes that compute one value | [`task`] |
//! | registries of processes by key; named process groups | [`registry`], [`group`] |
//! | event managers and their handlers | [`event`] |
//! | applications: named supervision trees with dependencies | [`application`] |
//! | calls between processes, and collections of open requests | [`call`] |
//! | starting a process and waiting for its acknowledgement | [`start`] |
//! | reports of supervisors and servers | [`report`] |
//! | words of a child specification; limits of restarts | `spec`, `restart_intensity` |
//! | errors of starts | `error` |
//! | selective receive; panics of callbacks | `wait`, `catch_unwind` |
//!
//! Everything here is an ordinary process that waits in its own mailbox. Whatever a callback does
//! (panic, block, never reply), the process that called it keeps its guarantees to all others, or
//! exits with a reason.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod application;
pub mod call;
mod catch_unwind;
mod error;
pub mod event;
pub mod group;
pub mod registry;
pub mod report;
mod restart_intensity;
pub mod server;
mod spec;
pub mod start;
pub mod statem;
pub mod supervisor;
pub mod task;
mod wait;

pub use atropos_kernel::{NoReply, Reply, ReplyFuture};
pub use call::{CallError, PendingCall, RequestSet};
pub use report::{Offender, Report, ReportHook};
pub use server::{InitError, Next, Server, ServerCx, ServerName, ServerRef};
pub use start::{InitSender, StartError, StartFuture};
pub use statem::{EnterActions, Event, MachineCx, StateMachine, Transition};
pub use supervisor::{
    AutoShutdown, Backoff, ChildCounts, ChildId, ChildInfo, ChildKind, ChildSpec, ChildStarter, ChildState,
    ControlError, DynamicRef, DynamicSupervisor, FailedToStart, Intensity, Restart, RestartHistory, Shutdown,
    SpecError, StartChildError, StartedChild, Strategy, Supervisor, SupervisorRef,
};
pub use task::{Task, TaskSupervisor};
