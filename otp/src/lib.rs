//! OTP's behaviours on the Atropos kernel's public interface: `no_std` + `alloc`, no thread, clock or global.
//!
//! # Where things are
//!
//! | noun | module |
//! | --- | --- |
//! | a process that starts others again when they die | [`supervisor`] |
//! | a process that answers calls | [`server`] |
//! | a process that is in a state | [`machine`] |
//! | a process that works out one value | [`task`] |
//! | who is there for what; named groups | [`registry`], [`group`] |
//! | handlers of events that come and go | [`event`] |
//! | named trees with dependencies | [`application`] |
//! | questions between processes, and collections of them | [`call`] |
//! | starting a process and hearing that it is up | [`start`] |
//! | what is told to whoever watches over it all | [`report`] |
//! | waiting for one signal among many; panics of callbacks | `wait`, `contained` |
//!
//! Everything here is a process like any other, and waits in its own mailbox. Whatever a callback does (panic, block, never
//! answer), the process that called it keeps its word to the others, or dies and says so.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod application;
pub mod call;
mod contained;
pub mod event;
pub mod group;
pub mod machine;
pub mod registry;
pub mod report;
pub mod server;
pub mod start;
pub mod supervisor;
pub mod task;
mod wait;

pub use atropos_kernel::{NoReply, ReplyFuture, Reply};
pub use call::{CallError, RequestSet, PendingCall};
pub use machine::{EnterActions, Event, StateMachine, MachineCx, Transition};
pub use report::{ReportHook, Offender, Report};
pub use server::{Next, InitError, Server, ServerName, ServerRef, ServerCx, Starting};
pub use start::{Ready, StartError};
pub use supervisor::{
    AutoShutdown, Backoff, RestartHistory, ChildId, ChildInfo, ChildKind, ChildSpec, ChildState, ControlError, Counts,
    DynamicRef, DynamicSupervisor, FailedToStart, Intensity, Restart, Shutdown, SpecError, StartChildError, StartedChild,
    ChildStarter, Strategy, Supervisor, SupervisorRef,
};
pub use task::{Task, TaskSupervisor};
