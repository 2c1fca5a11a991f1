//! A node of an Erlang cluster, on an [`atropos`] runtime (feature `node`).
//!
//! A [`Node`] listens, dials, and connects the processes of a runtime with those of other nodes.
//! Its processes are processes of the runtime, started by [`Node::spawn`] or by a peer's spawn
//! request, and each has a [`NodeCx`]: what it is to another process of the cluster, wherever that
//! runs. A process of a node is named by a [`ProcessId`], here or there.
//!
//! ```no_run
//! use atropos_dist::node::{Destination, Incoming, Node};
//! use atropos_dist::term::Term;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = atropos::Runtime::builder().build()?;
//! let tokio = tokio::runtime::Runtime::new()?;
//! let handle = runtime.handle();
//! let starting = Node::builder("a@127.0.0.1").cookie("secret").start(&handle);
//! let node = tokio.block_on(starting)?;
//! node.keep("echo", async |mut cx| {
//!     while let Incoming::Message(message) = cx.recv().await {
//!         let [from, what] = message.view().as_array().expect("{From, Message}");
//!         let to = cx.node().destination(from).expect("a pid");
//!         let answer = message.part(what);
//!         cx.send(&to, answer).await;
//!     }
//!     atropos::Reason::NORMAL
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! - **W1.** Everything that has state at both nodes (links, monitors, spawn requests) goes through
//!   the [`Machine`](crate::machine::Machine) under one lock, and its actions are performed under
//!   that lock. So signals to one peer leave in the order of the events. Messages take no lock but
//!   that of their connection's queue.
//! - **W2.** What a process sends to a peer leaves in the order in which it was sent
//!   (`queue`): a small message that follows a large one of the same sender waits for it,
//!   and those of other senders do not.
//! - **W3.** No task waits for a peer while it holds a lock. A process that sends to a busy peer is
//!   held back on its own; signals are queued whatever waits.
//! - **W4.** A pid of this node's own name that is not one of this life names no process.
//!
//! | noun | module |
//! | --- | --- |
//! | a node, its start and its end | `builder`, `inner`, `keeper` |
//! | processes, and what they receive and send | `cx`, `mail`, `identity`, `reason` |
//! | calls in the manner of `gen_server`, and `erpc` | `call`, `rpc` |
//! | functions that peers may call and spawn | `exports`, `functions` |
//! | services that peers expect | `net_kernel`, `rex`, `pg`, `global` |
//! | what waits for a peer | `queue`, `connection` |
//! | names of other nodes' processes for ordinary processes | `proxy` |
//! | sockets, and everything else of Tokio | `net` |
//! | what arrives | `dispatch` |

mod builder;
mod call;
mod connection;
mod cx;
mod dispatch;
mod exports;
mod functions;
mod global;
mod identity;
mod inner;
mod keeper;
mod mail;
mod net;
mod net_kernel;
mod pg;
mod proxy;
mod queue;
mod reason;
mod rex;
mod rpc;

pub use builder::{Builder, StartError};
pub use call::{Call, CallError, Request, unknown_request};
pub use cx::{Destination, MonitorOptions, NodeCx, RelationError, SendOptions, SendOutcome, SpawnOptions};
pub use exports::{Arguments, Exported, Raised, Running};
pub use functions::NodeType;
pub use identity::ProcessId;
pub use inner::{Node, Options};
pub use mail::{Incoming, Mail, MonitorObject};
pub use net::TlsFiles;
pub use proxy::{
    Caller, ConversionErrors, ExportError, InboundRequest, OutboundRequest, RemoteError, RemoteServer, RemoteSpawn,
};
pub use reason::{TermReason, reason_of, term_of};
pub use rpc::RpcError;
