//! Remote monitors: the messages that Atropos nodes exchange about the ends of processes.
//!
//! The crate is the core of the distribution adapter: a state machine without I/O, threads or
//! clocks. Callers report events to a node's [`ControlPlane`]. The plane sends its messages through
//! a [`Sender`] and delivers DOWNs through a [`Watchers`].
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use atropos_dist::{LoopbackPair, Node, Options, ControlPlane, RemotePid, RemoteReference, Watchers};
//! use atropos_kernel::{NoMemory, Reason};
//!
//! /// A minimal runtime that records the DOWNs of its processes.
//! #[derive(Default)]
//! struct Downs(Mutex<Vec<(u64, RemoteReference, Reason)>>);
//! impl Watchers for Downs {
//!     fn deliver_down(&self, watcher: u64, reference: RemoteReference, _: RemotePid, reason: Reason) {
//!         self.0.lock().unwrap().push((watcher, reference, reason));
//!     }
//!     fn watch(&self, _pid: u64) -> Result<(), NoMemory> {
//!         Ok(()) // `exited` is called explicitly below
//!     }
//! }
//!
//! let cable = LoopbackPair::new();
//! let [left_end, right_end] = cable.ends();
//! let downs = Arc::new(Downs::default());
//! let left = ControlPlane::new(Options::new(Node::new(1), 1), left_end, downs.clone());
//! let right = ControlPlane::new(Options::new(Node::new(2), 1), right_end, Arc::new(Downs::default()));
//! cable.join(&left, &right);
//!
//! let reference = left.monitor_remote(7, right.name_of(42))?;
//! cable.pump(&left, &right, 10); // MONITOR_P
//! right.exited(42, &Reason::SHUTDOWN);
//! cable.pump(&left, &right, 10); // MONITOR_P_EXIT
//! assert_eq!(*downs.0.lock().unwrap(), [(7, reference, Reason::SHUTDOWN)]);
//! # Ok::<(), atropos_dist::MonitorError>(())
//! ```
//!
//! # Where things are
//!
//! | noun | module |
//! | --- | --- |
//! | names of processes and monitors | `pid`, `reference` |
//! | control messages and their transport | `message`, `sender`, `loopback` |
//! | what the plane requires of a runtime, and an implementation | `watchers`, `relay` (feature `relay`) |
//! | a monitor, and the state word that decides its end | `record`, `state` |
//! | a peer's quota | `quota` |
//! | look-up of monitors | `session` (by connection), `local` (by process), `table` |
//! | events and operations | `control_plane`, `outbound`, `inbound`, `batch` |
//! | the interface for process code | `facility` |
//! | atomics, locks and rules for models | `sync`, `model` |
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "relay"))]
extern crate std;

mod batch;
mod control_plane;
mod facility;
mod inbound;
mod local;
mod loopback;
mod message;
#[doc(hidden)]
pub mod model;
mod outbound;
mod pid;
mod quota;
mod record;
mod reference;
#[cfg(feature = "relay")]
pub mod relay;
mod sender;
mod session;
mod state;
mod sync;
mod table;
mod watchers;

pub use control_plane::{ControlPlane, Options};
pub use facility::{DistributionMonitorFacility, FacilityCall, MockFacility};
pub use inbound::ReceiveError;
pub use loopback::{LoopBack, LoopbackPair};
pub use message::{Connection, MonitorControlMessage, Routed};
pub use outbound::MonitorError;
pub use pid::{Node, RemotePid};
pub use reference::RemoteReference;
pub use sender::{NoConnection, RecordingSender, Sender};
pub use watchers::Watchers;
