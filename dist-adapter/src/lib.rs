//! Nodes of an Erlang cluster: Erlang's distribution protocol for Atropos.
//!
//! The crate has a core without I/O, threads or clocks: [`term`] (Erlang's terms), [`wire`] (bytes
//! of the protocol) and [`machine`] (links, monitors and spawn requests between nodes). With the
//! feature `node`, `node::Node` is a node whose processes belong to an `atropos` runtime, on
//! sockets of Tokio.
//!
//! It also has a control plane for monitors only, for embedders that bring a transport of their own
//! and no other relation. Callers report events to a node's [`ControlPlane`]. The plane sends its
//! messages through a [`Sender`] and delivers DOWNs through a [`RuntimeHooks`].
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use atropos_dist::{LoopbackPair, Node, Options, ControlPlane, RemotePid, RemoteReference, RuntimeHooks};
//! use atropos_kernel::{NoMemory, Reason};
//!
//! /// A minimal runtime that records the DOWNs of its processes.
//! #[derive(Default)]
//! struct Downs(Mutex<Vec<(u64, RemoteReference, Reason)>>);
//! impl RuntimeHooks for Downs {
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
//! | terms, the wire, the machine, the node | [`term`], [`wire`], [`machine`], `node` |
//! | names of processes and monitors | `pid`, `reference` |
//! | control messages and their transport | `message`, `sender`, `loopback` |
//! | what the plane requires of a runtime, and an implementation | `hooks`, `relay` (feature `relay`) |
//! | a monitor, and the state word that decides its end | `record`, `state` |
//! | a peer's quota | `quota` |
//! | look-up of monitors | `session` (by connection), `local` (by process), `table` |
//! | events and operations | `control_plane`, `outbound`, `inbound`, `batch` |
//! | the interface for process code | `facility` |
//! | atomics, locks and rules for models | `sync`, `model` |
#![cfg_attr(not(feature = "node"), no_std)]

extern crate alloc;
#[cfg(all(not(feature = "node"), any(test, feature = "relay")))]
extern crate std;

mod batch;
mod control_plane;
mod facility;
mod hooks;
mod inbound;
mod local;
mod loopback;
pub mod machine;
mod message;
#[doc(hidden)]
pub mod model;
#[cfg(feature = "node")]
pub mod node;
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
pub mod term;
pub mod wire;

pub use control_plane::{ControlPlane, Options};
pub use facility::{DistributionMonitorFacility, FacilityCall, MockFacility};
pub use hooks::RuntimeHooks;
pub use inbound::ReceiveError;
pub use loopback::{LoopbackEnd, LoopbackPair};
pub use message::{Connection, MonitorControlMessage, RoutedMessage};
pub use outbound::MonitorError;
pub use pid::{Node, RemotePid};
pub use reference::RemoteReference;
pub use sender::{NoConnection, RecordingSender, Sender};
