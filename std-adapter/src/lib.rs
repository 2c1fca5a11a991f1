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
//!
//! # Helpers that call a function again and again
//!
//! The future of a body must be `Send`, since cores steal processes. Up to Rust 1.95 at least, the
//! compiler cannot prove that for a future that awaits a helper which takes an `AsyncFn` or
//! `AsyncFnMut` and is given an async closure: "implementation of `Send` is not general enough".
//! This is a limit of the compiler that any executor with a `Send` bound meets, and not one of
//! [`Context`]. A helper that takes a plain closure that returns a future has no such limit:
//!
//! ```
//! use atropos::prelude::*;
//!
//! async fn retry<T, F>(mut attempt: impl FnMut() -> F) -> Option<T>
//! where
//!     F: Future<Output = Option<T>>,
//! {
//!     for _ in 0..3 {
//!         if let Some(value) = attempt().await {
//!             return Some(value);
//!         }
//!     }
//!     None
//! }
//!
//! let runtime = Runtime::builder().cores(1).build()?;
//! let woken = runtime.block_on(async |cx: Context<u32>| {
//!     let mut times = 0;
//!     retry(|| {
//!         times += 1;
//!         // The future borrows the context itself; the closure does not pass it.
//!         let cx = &cx;
//!         async move {
//!             cx.sleep(std::time::Duration::from_millis(1)).await;
//!             (times == 2).then_some(times)
//!         }
//!     })
//!     .await
//! })?;
//! assert_eq!(woken, Some(2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A helper that passes the context takes `impl for<'a> FnMut(&'a Context<M>) -> Pin<Box<dyn
//! Future<Output = T> + Send + 'a>>`.

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
