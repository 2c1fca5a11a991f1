//! A process that starts others again when they die: [`Supervisor`] (OTP's `supervisor`).
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
//!         .link(cx)
//!         .await
//! }
//! ```
//!
//! # How it works
//!
//! A supervisor is an async body that traps exits. Its children are linked with it and monitored by it from before
//! their first instruction: the link takes them along when it is killed, the monitor tells it of their ends, whatever
//! they do about the link. What it acts on is the DOWN; the EXIT that comes with it is dropped.
//!
//! It does one thing at a time: an end, a request, a stop. While it waits, for a child that starts or one that stops, it
//! takes out of its mailbox what it waits for and nothing else (`wait`), so the ends of siblings, requests and the
//! parent's end that come meanwhile are met afterwards, in their order.
//!
//! A restart that fails is tried again by a message to itself, so that the requests and ends which have come are met
//! first; each try counts as a restart, so it cannot go on for ever.
//!
//! # What it promises
//!
//! - S1. It starts children in their order, each after the one before is up; it stops them in reverse, each
//!   after the one before is dead. Dynamic ones stop together.
//! - S2. When it has ended, none of its children is left, unless it was killed (then those that do not trap exits die of
//!   the link, and servers and supervisors of their parent's end), or a body never lets go of its core ([`crate::Report::Stuck`]).
//! - S3. A child that unlinks itself, ignores `shutdown` or dies at any moment cannot hang it.
//! - S4. At most so many restarts in any period ([`Intensity`]); with one more it stops its children and ends with
//!   `shutdown`, which its own supervisor sees.
//! - S5. It ends with its parent (any reason), or on the host's exit signal. Exit signals and messages of others are
//!   dropped.
//! - S6. A start function that panics is a start that failed.
//!
//! | part | file |
//! | --- | --- |
//! | what is said about children and their supervisor | `spec`, `builder`, `dynamic` |
//! | how often | `intensity`, `backoff` |
//! | what a start function does | `starter` |
//! | the children as they are | `children` |
//! | the process | `running`, `starting`, `restart`, `stop`, `requests` |
//! | who asks it | `handle` |

mod backoff;
mod builder;
mod children;
mod dynamic;
mod handle;
mod intensity;
mod requests;
mod restart;
mod running;
mod spec;
mod starter;
mod starting;
mod stop;

pub use backoff::Backoff;
pub use builder::Supervisor;
pub use dynamic::{DynamicRef, DynamicSupervisor};
pub use handle::{ChildInfo, ChildState, ControlError, Counts, StartChildError, SupervisorRef};
pub(crate) use intensity::History;
pub use intensity::{RestartHistory, Intensity};
pub use spec::{AutoShutdown, ChildId, ChildKind, ChildSpec, Restart, Shutdown, SpecError, Strategy};
pub use starter::{StartedChild, ChildStarter};
pub use starting::FailedToStart;
