//! Erlang/OTP processes for Rust, on operating-system threads.
//!
//! ```
//! use atropos::prelude::*;
//!
//! let runtime = Runtime::builder().cores(2).build()?;
//! let answer = runtime.block_on(async |cx: Context<u32>| {
//!     let me = cx.address();
//!     // The child crashes: its parent gets a DOWN, and survives.
//!     let (child, monitor) = cx.spawn_monitor(async move |cx: Context<()>| {
//!         cx.send(me, 42).unwrap();
//!         assert_eq!(me.pid(), cx.pid(), "a bad day");
//!     }).unwrap();
//!     let Received::Message(answer) = cx.recv().await else { unreachable!() };
//!     let Received::Down(down) = cx.recv().await else { unreachable!() };
//!     assert_eq!((down.reference, down.target), (monitor, MonitorTarget::Pid(child.pid())));
//!     assert!(down.reason.to_string().contains("a bad day"));
//!     answer
//! })?;
//! assert_eq!(answer, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The mechanism is in [`kernel`]; this crate binds it to threads. [`Runtime`] drives one core on
//! each of its `worker` threads, which park when they have no work. `platform` supplies the clock,
//! the wake-ups and the panic handling. [`blocking`] runs work that would block a core.
//! [`watchdog`] reports bodies that block one anyway. [`Handle::dump`] shows a runtime that hangs.
//! Code outside any process waits for an exit with [`exit_watch`], [`wait`] and [`exit_stream`].

mod alarm;
pub mod block_on;
pub mod blocking;
pub mod builder;
pub mod callbacks;
mod clock;
mod deadline;
mod dump;
mod epoch_participant;
mod exit_ring;
pub mod exit_stream;
pub mod exit_watch;
mod fork;
pub mod forward;
pub mod handle;
mod lease;
mod membarrier;
mod otp_host;
mod panics;
mod platform;
mod requests;
mod role;
mod roots;
pub mod runtime;
mod scoped;
mod shutdown;
mod subscribers;
#[cfg(feature = "tracing")]
mod tracing_hook;
mod trees;
pub mod wait;
pub mod watchdog;
mod worker;

pub use atropos_facility as facility;
pub use atropos_kernel as kernel;
pub use atropos_kernel::{
    Address, Alias, AliasMode, AnyMessage, Body, BodyPoll, Context, Cursor, Cx, Down, Dump, Exit, ExitCause, Forwarded,
    LinkError, MonitorError, MonitorTarget, Name, NoMemory, NoReply, Overflow, Peek, Pid, Priority, ProcessInfo,
    QueryFuture, Reason, ReasonKind, ReasonValue, Received, Recipient, Reference, RegisterError, Reply, ReplyFuture,
    SendError, SendReservation, SendTarget, SendWait, SpawnError, SpawnOptions, Spawned, TimerError, WatchStatus,
    reply, task::WithResult,
};
pub use atropos_otp as otp;
pub use builder::{BuildError, Builder};
pub use callbacks::CallbackPanic;
pub use exit_stream::{ExitEvent, ExitStream};
pub use exit_watch::{ExitWatch, Outcome, PrepareError, PreparedExit, ResultUnavailable, TypedOutcome, WatchError};
pub use forward::Forward;
pub use handle::Handle;
pub use otp_host::HostRequest;
pub use panics::panic_value;
pub use requests::SendAfter;
pub use runtime::Runtime;
pub use shutdown::ShutdownError;
#[cfg(feature = "tracing")]
pub use tracing_hook::tracing_hook;
pub use wait::{Wait, WaitError};

/// The items that most programs use.
pub mod prelude {
    pub use crate::{
        Address, Context, Down, Exit, MonitorTarget, Pid, Reason, Received, Reference, Runtime, SendError, SpawnError,
        SpawnOptions,
    };
    pub use atropos_otp::{
        ChildSpec, ChildStarter, DynamicSupervisor, InitError, Intensity, Next, Reply, Restart, Server, ServerCx,
        ServerName, ServerRef, Shutdown, StartedChild, Supervisor, SupervisorRef,
    };
}

/// The program in the README, compiled and run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
