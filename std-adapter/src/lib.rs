//! Erlang/OTP's processes for Rust, on OS threads.
//!
//! ```
//! use atropos::prelude::*;
//!
//! let runtime = Runtime::builder().cores(2).build()?;
//! let answer = runtime.block_on(async |cx: Context<u32>| {
//!     let me = cx.address();
//!     // A child that crashes: its parent is told, and lives.
//!     let (child, monitor) = cx.spawn_monitor(async move |cx: Context<()>| {
//!         cx.send(me, 42).unwrap();
//!         assert_eq!(me.pid(), cx.pid(), "a bad day");
//!     }).unwrap();
//!     let Received::Message(answer) = cx.recv().await else { unreachable!() };
//!     let Received::Down(down) = cx.recv().await else { unreachable!() };
//!     assert_eq!((down.reference, down.object), (monitor, MonitorTarget::Pid(child.pid())));
//!     assert!(down.reason.to_string().contains("a bad day"));
//!     answer
//! })?;
//! assert_eq!(answer, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The mechanism is the [`kernel`]'s; this crate binds it to threads: [`Runtime`] drives a core on each of
//! its [`worker`] threads, which sleep when there is nothing to do; [`world`] is the clock, the wake-ups and
//! the panics; [`blocking`] is where work goes that would keep a core; [`watch`] reports bodies that keep one. Who is no
//! process waits for one's end by [`exits`], [`wait`] and [`stream`].

mod alarm;
mod barrier;
mod behaviours;
pub mod blocking;
pub mod builder;
pub mod callbacks;
mod clock;
mod ending;
pub mod exits;
mod fork;
pub mod join;
mod lease;
mod panics;
mod participant;
mod requests;
mod role;
mod roots;
pub mod runtime;
mod scoped;
pub mod stream;
#[cfg(feature = "tracing")]
mod traced;
mod trees;
pub mod wait;
pub mod watch;
mod worker;
mod world;

pub use atropos_facility as facility;
pub use atropos_kernel as kernel;
pub use atropos_kernel::{
    Address, Alias, AliasMode, Body, Context, Cursor, Cx, SendTarget, Down, Exit, SendReservation, LinkError, MonitorError, Name,
    NoMemory, NoReply, MonitorTarget, Overflow, Peek, Pid, Priority, ProcessInfo, Reason, ReasonValue, Received, Recipient,
    Reference, RegisterError, ReplyFuture, Reply, Resumed, SendError, SendWait, SpawnError, SpawnOptions, Spawned,
    TimerError, ReasonKind, QueryFuture, WatchStatus, reply, task::Returned,
};
pub use atropos_otp as otp;
pub use behaviours::Ask;
pub use builder::{BuildError, Builder};
pub use callbacks::CallbackPanic;
pub use ending::ShutdownError;
pub use exits::{ExitWatch, TypedOutcome, Outcome, PrepareError, PreparedExit, ResultUnavailable, WatchError};
pub use panics::panic_value;
pub use requests::SendAfter;
pub use runtime::{Handle, Runtime};
pub use stream::{ExitEvent, ExitStream};
#[cfg(feature = "tracing")]
pub use traced::tracing_hook;
pub use wait::{Wait, WaitError};

/// What most programs use.
pub mod prelude {
    pub use crate::{
        Address, Context, Down, Exit, MonitorTarget, Pid, Reason, Received, Reference, Runtime, SendError, SpawnError,
        SpawnOptions,
    };
    pub use atropos_otp::{
        ChildSpec, DynamicSupervisor, Intensity, Next, InitError, Reply, Restart, Server, ServerName, ServerRef, ServerCx,
        Shutdown, StartedChild, ChildStarter, Supervisor, SupervisorRef,
    };
}

/// The README's program is a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
