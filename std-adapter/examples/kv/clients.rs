//! The client list: a process that monitors the process of every connection.

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
use super::store::Answer;

/// The registered name of the client list.
pub const NAME: &str = "clients";

/// The properties that a client has set.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ClientInfo {
    /// The name, set by `CLIENT SETNAME`.
    pub name: String,
    /// The library's name, set by `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// The library's version, set by `CLIENT SETINFO LIB-VER`.
    pub version: String,
    /// The version of the protocol.
    pub protocol: u8,
}

/// A filter that selects clients.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Which {
    /// The numbers of the clients, sorted and without repetition; empty for all.
    pub ids: Vec<u64>,
    /// The address of the client.
    pub address: Option<String>,
    /// The number of a client that is not selected.
    pub but: Option<u64>,
}

impl Which {
    /// Sorts the numbers, and removes repetitions.
    pub fn sort(&mut self) {
        self.ids.sort_unstable();
        self.ids.dedup();
    }
}

/// A message to the client list.
pub enum ToClients {
    /// A connection has started.
    Enter {
        /// The client's number.
        id: u64,
        /// The remote address.
        peer: SocketAddr,
        /// The local address.
        local: SocketAddr,
        /// The connection's process.
        pid: Pid,
    },
    /// A client has set its properties.
    Says(u64, ClientInfo),
    /// A connection asks for the list of these clients.
    List(Address<ToConnection>, u64, Which),
    /// A connection asks to kill these clients; the answer is their number.
    Kill(Address<ToConnection>, u64, Which),
}

struct Client {
    peer: SocketAddr,
    local: SocketAddr,
    pid: Pid,
    since: Instant,
    said: ClientInfo,
}

impl Client {
    fn line(&self, id: u64) -> String {
        let Self { peer, local, pid, since, said } = self;
        let ClientInfo { name, library, version, protocol } = said;
        let age = since.elapsed().as_secs();
        format!(
            "id={id} addr={peer} laddr={local} name={name} age={age} idle=0 flags=N db=0 sub=0 psub=0 multi=-1 cmd=client user=default \
             lib-name={library} lib-ver={version} resp={protocol} process={pid}"
        )
    }

    fn is_of(&self, id: u64, which: &Which) -> bool {
        which.but != Some(id) && which.address.as_ref().is_none_or(|address| *address == self.peer.to_string())
    }
}

/// The clients, by number.
type Clients = BTreeMap<u64, Client>;

/// Returns the numbers of the selected clients. It yields while it looks: a client may give more
/// numbers than there are clients.
async fn selected(cx: &Context<ToClients>, clients: &Clients, which: &Which) -> Vec<u64> {
    let mut found = Vec::new();
    let mut all = clients.keys();
    let mut named = which.ids.iter();
    let wanted = std::iter::from_fn(|| if which.ids.is_empty() { all.next() } else { named.next() });
    for (at, id) in wanted.enumerate() {
        if clients.get(id).is_some_and(|client| client.is_of(*id, which)) {
            found.push(*id);
        }
        if at % 256 == 255 {
            cx.yield_now().await;
        }
    }
    found
}

/// Runs the client list until it is killed.
pub async fn run(cx: Context<ToClients>, shared: Arc<Shared>) {
    let mut clients = Clients::new();
    let mut monitors = BTreeMap::new();
    loop {
        match cx.recv().await {
            Received::Message(ToClients::Enter { id, peer, local, pid }) => {
                // Without memory for a monitor the client is not listed, since no DOWN would remove
                // it.
                if let Ok(monitor) = cx.monitor(pid) {
                    monitors.insert(monitor, id);
                    let said = ClientInfo { protocol: 2, ..ClientInfo::default() };
                    clients.insert(id, Client { peer, local, pid, since: Instant::now(), said });
                }
            }
            Received::Message(ToClients::Says(id, said)) => {
                if let Some(client) = clients.get_mut(&id) {
                    client.said = said;
                }
            }
            Received::Message(ToClients::List(to, ticket, which)) => {
                let mut list = String::new();
                for (at, id) in selected(&cx, &clients, &which).await.into_iter().enumerate() {
                    let _ = writeln!(list, "{}", clients[&id].line(id));
                    if at % 256 == 255 {
                        cx.yield_now().await;
                    }
                }
                let answer = Answer::Reply(Reply::Text(list));
                let _ = cx.send(to, ToConnection::Answers(vec![(ticket, answer)]));
            }
            Received::Message(ToClients::Kill(to, ticket, which)) => {
                let killed = selected(&cx, &clients, &which).await;
                // Without memory for an exit signal the client lives on, and is not counted.
                let killed = killed.iter().filter(|id| cx.exit(clients[*id].pid, Reason::KILL).is_ok()).count();
                let answer = Answer::Reply(Reply::Integer(killed as i64));
                let _ = cx.send(to, ToConnection::Answers(vec![(ticket, answer)]));
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
