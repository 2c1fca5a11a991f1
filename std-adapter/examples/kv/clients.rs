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
use super::store::Answer;

/// The registered name.
pub const NAME: &str = "clients";

/// What a client has said of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ClientInfo {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub version: String,
    /// The protocol's version.
    pub protocol: u8,
}

/// Which clients are meant.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Which {
    /// These numbers; all if there is none.
    pub ids: Vec<u64>,
    /// This address.
    pub address: Option<String>,
    /// Not this one.
    pub but: Option<u64>,
}

/// What it is sent.
pub enum ToClients {
    /// A connection has begun.
    Enter {
        /// Its number.
        id: u64,
        /// Where it comes from, and to.
        peer: SocketAddr,
        /// Where it has come to.
        local: SocketAddr,
        /// Its process.
        pid: Pid,
    },
    /// What a connection's client says of itself.
    Says(u64, ClientInfo),
    /// A connection wants the list of these.
    List(Address<ToConnection>, u64, Which),
    /// A connection wants others killed; the answer is how many.
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
        (which.ids.is_empty() || which.ids.contains(&id))
            && which.but != Some(id)
            && which.address.as_ref().is_none_or(|address| *address == self.peer.to_string())
    }
}

/// Runs until it is killed.
pub async fn run(cx: Context<ToClients>, shared: Arc<Shared>) {
    let mut clients: BTreeMap<u64, Client> = BTreeMap::new();
    let mut monitors = BTreeMap::new();
    loop {
        match cx.recv().await {
            Received::Message(ToClients::Enter { id, peer, local, pid }) => {
                // Without memory for a monitor it is not listed: nothing would take it out.
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
                for (at, (id, client)) in clients.iter().filter(|(id, client)| client.is_of(**id, &which)).enumerate() {
                    let _ = writeln!(list, "{}", client.line(*id));
                    if at % 256 == 255 {
                        cx.yield_now().await;
                    }
                }
                let answer = Answer::Reply(Reply::Text(list));
                let _ = cx.send(to, ToConnection::Answers(vec![(ticket, answer)]));
            }
            Received::Message(ToClients::Kill(to, ticket, which)) => {
                let killed = clients.iter().filter(|(id, client)| client.is_of(**id, &which));
                // Without memory for an exit signal it lives, and is not counted.
                let killed = killed.filter(|(_, client)| cx.exit(client.pid, Reason::KILL).is_ok()).count();
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
