//! A process that starts, stops and restarts its child processes: [`Supervisor`] (OTP's
//! `supervisor`).
//!
//! ```
//! use atropos_otp::{ChildSpec, Intensity, StartedChild, StartError, ChildStarter, Supervisor, SupervisorRef};
//! use atropos_kernel::Context;
//! use core::time::Duration;
//!
//! async fn ticker(_: Context<()>) { /* … */ }
//!
//! async fn tree(cx: &Context<()>) -> Result<SupervisorRef, StartError> {
//!     Supervisor::one_for_one()
//!         .intensity(Intensity::within(3, Duration::from_secs(5)))
//!         .child(ChildSpec::worker("ticker", |starter: &mut ChildStarter<'_>| starter.spawn(ticker)))
//!         .child(ChildSpec::supervisor("rest", |starter: &mut ChildStarter<'_>| {
//!             starter.supervisor(Supervisor::one_for_all().child(ChildSpec::of("another", ticker)))
//!         }))
//!         .start_link(cx)
//!         .await
//! }
//! ```
//!
//! # How it works
//!
//! A supervisor is an async body that traps exits. It is linked with each child and monitors it
//! from before the child's first instruction. The link terminates the child when the supervisor is
//! killed. The monitor reports the child's exit, whatever the child does about the link. The
//! supervisor acts on the DOWN and drops the EXIT that comes with it.
//!
//! It does one thing at a time: an exit, a request, a stop. While it waits for a child to start or
//! to stop, it takes only the signals that it waits for out of its mailbox (`wait`). The exits of
//! siblings, the requests and the parent's exit that arrive during the wait are handled afterwards,
//! in their order.
//!
//! If a restart fails, the supervisor sends itself a message to try again, so that it first handles
//! the requests and exits that have arrived. Each attempt counts as a restart, so this cannot go on
//! for ever.
//!
//! # Guarantees
//!
//! - S1. It starts the children in order, each after the one before is up, and stops them in
//!   reverse order, each after the one before is dead. Dynamic children are stopped together.
//! - S2. When it has terminated, none of its children is left, with two exceptions. If it was
//!   killed, children that do not trap exits die of the link, and servers and supervisors of their
//!   parent's exit. A child whose body never yields its core is left behind
//!   ([`crate::Report::Stuck`]).
//! - S3. A child that unlinks itself, ignores `shutdown` or dies at any moment cannot hang the
//!   supervisor.
//! - S4. It allows at most the restarts of its [`Intensity`] in any period. One more, and it stops
//!   its children and exits with `shutdown`, which its own supervisor sees.
//! - S5. It exits when its parent exits (for any reason), or on the host's exit signal. It drops
//!   the exit signals of all other processes.
//! - S6. A start function that panics is a failed start.
//!
//! | topic | file |
//! | --- | --- |
//! | specification of a child, messages and replies, options | `child_spec`, `protocol`, `config` |
//! | back-off of restarts | `backoff` |
//! | table of the children; state of the process | `children`, `state` |
//! | what the process does | `start_children`, `restart`, `stop`, `requests`, `run` |
//! | builders; context of a start function | `builder`, `dynamic`, `starter` |
//! | client handle | `handle` |

mod backoff;
mod builder;
mod child_spec;
mod children;
mod config;
mod dynamic;
mod handle;
mod protocol;
mod requests;
mod restart;
mod run;
mod start_children;
mod starter;
mod state;
mod stop;

pub use backoff::Backoff;
pub use builder::Supervisor;
pub use child_spec::{ChildSpec, StartedChild};
pub use dynamic::{DynamicRef, DynamicSupervisor};
pub use handle::SupervisorRef;
pub use protocol::{ChildCounts, ChildInfo, ChildState, ControlError, StartChildError};
pub use start_children::FailedToStart;
pub use starter::ChildStarter;

pub use crate::error::SpecError;
pub use crate::restart_intensity::{Intensity, RestartHistory};
pub use crate::spec::{AutoShutdown, ChildId, ChildKind, Restart, Shutdown, Strategy};
