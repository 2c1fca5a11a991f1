//! Proxies: ordinary processes name, watch, link, call and supervise processes of other nodes.
//!
//! For each process of another node that ordinary processes refer to, this node has one *proxy*: an
//! ordinary process of the runtime, whose pid names the other one. It takes messages of all types,
//! encodes them, and sends them on. It monitors the other process, and ends when that one does,
//! with its reason, or with `noproc` or `noconnection`. So the kernel's monitors, links, requests
//! and exit watches, and everything that is built on them (supervisors, registries, groups,
//! servers), work with it like with any process.
//!
//! | here | at the other node |
//! | --- | --- |
//! | a message to the proxy | SEND or REG_SEND from the proxy, in the order of the mailbox |
//! | a call of a [`ServerRef`](atropos::otp::ServerRef) | `$gen_call` from the proxy; the answer completes the caller's own request |
//! | `exit(proxy, Reason)`, `kill` included | EXIT2 from the process that called it |
//! | a process links with the proxy, unlinks, ends | LINK, UNLINK_ID, EXIT from that process |
//! | DOWN of the proxy, or EXIT from it | the process has ended, or is out of reach |
//!
//! The other way, a process that is [exported](crate::node::Node::export) gets what remote
//! processes send to it in its own type of messages. Signals of remote processes to ordinary
//! processes come from their proxies.
//!
//! # Invariants
//!
//! - **P1.** A process of another node has at most one proxy in the table. The proxy leaves the
//!   table, under its lock, before the signal that ends it is sent: after that the process gets a
//!   new one.
//! - **P2.** A proxy ends after what it stands for: no DOWN of it comes earlier. The exceptions are
//!   an exit signal of the host, which ends the proxy alone (so does the runtime's shutdown), and a
//!   lack of memory.
//! - **P3.** What a process sends to a proxy, its exit signals to it, its links with it, and the
//!   EXITs and DOWNs of its own end go out in this order. A message goes into the queue of the
//!   connection in the thread that sends it, unless something waits in the proxy's mailbox
//!   (`forward`).
//! - **P4.** The proxy mirrors the links of others with it: `linked` contains a process exactly as
//!   long as the proxy takes the two to be linked. When the proxy ends alone, it unlinks them.
//! - **P5.** The proxies of one peer's processes are counted, also those that the peer causes. The
//!   host is refused one too many; a peer that needs one too many loses its connection.
//! - **P6.** Nothing waits under the table's lock, and the machine is not called under it.
//!
//! | noun | module |
//! | --- | --- |
//! | all proxies of a node, and what they share | `table` |
//! | the process | `process` |
//! | names for processes of other nodes, of ordinary types | `remote` |
//! | messages that go out, in order | `forward` |
//! | their terms, by their types | `encode` |
//! | processes that take terms in their own types | `export` |
//! | servers on both sides | `server` |
//! | answers that are awaited | `answers` |
//! | supervised processes at other nodes | `child` |

mod answers;
mod child;
mod encode;
mod export;
mod forward;
mod process;
mod remote;
mod server;
mod table;

pub use child::RemoteSpawn;
pub use export::{ConversionErrors, ExportError};
pub(super) use process::Notice;
pub use remote::RemoteError;
pub use server::{Caller, InboundRequest, OutboundRequest, RemoteServer};
pub(super) use table::Proxies;
