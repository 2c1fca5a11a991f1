//! Remote monitors: what a node of Atropos tells other nodes, and is told, about the ends of processes.
//!
//! The crate is the core of the distribution adapter: a state machine without I/O, threads or clocks. The [`ControlPlane`] of a
//! node takes what happens and answers by calls: messages go to its [`Sender`], DOWNs to its [`Watchers`].
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use atropos_dist::{LoopbackPair, Node, Options, ControlPlane, RemotePid, RemoteReference, Watchers};
//! use atropos_kernel::{NoMemory, Reason};
//!
//! /// A runtime of the least kind: it writes down its processes' DOWNs.
//! #[derive(Default)]
//! struct Downs(Mutex<Vec<(u64, RemoteReference, Reason)>>);
//! impl Watchers for Downs {
//!     fn deliver_down(&self, watcher: u64, reference: RemoteReference, _: RemotePid, reason: Reason) {
//!         self.0.lock().unwrap().push((watcher, reference, reason));
//!     }
//!     fn watch(&self, _pid: u64) -> Result<(), NoMemory> {
//!         Ok(()) // the calls of `exited` are below
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
//! | names | `pid`, `reference` |
//! | what is said, and how it goes out | `message`, `sender`, `cable` |
//! | what the plane needs of a runtime, and one that gives it | `watchers`, `relay` (feature `relay`) |
//! | a monitor, and the word that decides its end | `record`, `state` |
//! | what a peer has this node keep | `account` |
//! | where monitors are found | `session` (by connection), `local` (by process), `table` |
//! | what happens | `plane`, `outbound`, `inbound`, `work` |
//! | what process code sees | `facility` |
//! | the ground | `sync`, `rules` |
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "relay"))]
extern crate std;

mod account;
mod cable;
mod facility;
mod inbound;
mod local;
mod message;
mod outbound;
mod pid;
mod plane;
mod record;
mod reference;
#[cfg(feature = "relay")]
pub mod relay;
#[doc(hidden)]
pub mod rules;
mod sender;
mod session;
mod state;
mod sync;
mod table;
mod watchers;
mod work;

pub use cable::{LoopBack, LoopbackPair};
pub use facility::{DistributionMonitorFacility, FacilityCall, MockFacility};
pub use inbound::ReceiveError;
pub use message::{Connection, MonitorControlMessage, Routed};
pub use outbound::MonitorError;
pub use pid::{Node, RemotePid};
pub use plane::{ControlPlane, Options};
pub use reference::RemoteReference;
pub use sender::{NoConnection, RecordingSender, Sender};
pub use watchers::Watchers;
