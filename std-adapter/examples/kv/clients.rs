//! The list of clients: a process that monitors every connection's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use atropos::prelude::*;

use super::connection::ToConnection;
use super::resp::Reply;
use super::server::Shared;

/// The registered name.
pub const NAME: &str = "clients";

/// What it is sent.
pub enum ToClients {
    /// A connection has begun.
    Enter {
        /// Its number.
        id: u64,
        /// Where it comes from.
        peer: SocketAddr,
        /// Its process.
        pid: Pid,
    },
    /// Somebody wants the list.
    List(Address<ToConnection>, u64),
    /// Somebody wants a connection killed.
    Kill(Address<ToConnection>, u64, u64),
}

/// Runs until it is killed.
pub async fn run(mut cx: Context<ToClients>, shared: Arc<Shared>) {
    let mut clients = BTreeMap::new();
    let mut monitors = BTreeMap::new();
    loop {
        match cx.recv().await {
            Received::Message(ToClients::Enter { id, peer, pid }) => {
                clients.insert(id, (peer, pid, Instant::now()));
                monitors.insert(cx.monitor(pid).expect("memory"), id);
            }
            Received::Message(ToClients::List(to, ticket)) => {
                let mut list = String::new();
                for (id, (peer, pid, since)) in &clients {
                    let age = since.elapsed().as_secs();
                    writeln!(list, "id={id} addr={peer} age={age} process={pid}").expect("a string takes all");
                }
                let _ = cx.send(to, ToConnection::Answers(vec![(ticket, Reply::text(list))]));
            }
            Received::Message(ToClients::Kill(to, ticket, id)) => {
                let found = clients.get(&id).map(|(_, pid, _)| *pid);
                if let Some(pid) = found {
                    cx.exit(pid, Reason::KILL).expect("memory");
                }
                let _ = cx.send(to, ToConnection::Answers(vec![(ticket, Reply::Integer(i64::from(found.is_some())))]));
            }
            Received::Down(down) => {
                if let Some(id) = monitors.remove(&down.reference) {
                    clients.remove(&id);
                }
            }
            _ => {}
        }
        shared.clients.store(clients.len(), Ordering::Relaxed);
    }
}
