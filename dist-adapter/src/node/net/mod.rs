//! Sockets: everything of a node that needs Tokio.
//!
//! A connection is one task with a reading and a writing half. The half that ends first ends both.
//! No task holds a lock while it waits.
//!
//! A peer that has not proved the cookie makes nothing wait: its handshake is a task of its own,
//! with a time limit. If both nodes dial each other at once, the table of section 4 of the protocol
//! decides; an attempt of ours that fails while the peer's handshake is under way waits for that,
//! and is made again if that fails.

mod epmd;
mod packets;
mod run;
mod tls;
mod under_way;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use crate::machine::Abilities;
use crate::term::Term;
use crate::wire::epmd::PortResponse;
use crate::wire::{Accepting, Acceptor, Dialler, Dialling, Flags, HandshakeError, Peer};

use super::connection::{Connection, Stage};
use super::identity::atom;
use super::inner::Node;
pub(super) use epmd::{keep_registered, register};
use packets::Packets;
use run::{Receiving, Sending, run};
pub(super) use tls::Tls;
pub use tls::TlsFiles;
pub(super) use under_way::UnderWay;

/// How long an attempt waits for a handshake of the same peer that is under way (`under_way`, M1).
/// It has a limit, so that an impostor does not keep this node from dialling.
const COURTESY: Duration = Duration::from_secs(2);

/// How long an attempt that the peer has answered with `nok` waits for the peer's own.
const PEERS_TURN: Duration = Duration::from_secs(1);

/// The reading half of a socket, with TLS or without.
type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The writing half of a socket, with TLS or without.
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

fn plain(stream: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (Box::new(reader), Box::new(writer))
}

/// Listens on an address and a port; 0 is any free one.
pub(super) async fn listen(address: std::net::IpAddr, port: u16) -> io::Result<TcpListener> {
    // Tokio sets `SO_REUSEADDR` on Unix.
    TcpListener::bind((address, port)).await
}

/// Accepts connections until the node ends.
pub(super) async fn accept_all(node: Node, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                let node = node.clone();
                tokio::spawn(async move { accept(&node, stream, &address.to_string()).await });
            }
            Err(why) => {
                // For example, no file descriptor is left: other descriptors may be closed in
                // between.
                warn!(node = node.name().as_str(), "no connection can be accepted: {why}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Why no connection was made.
#[derive(Debug)]
enum Failure {
    Handshake(HandshakeError),
    Io(io::Error),
    Closed,
    Time,
    NoSuchNode,
    Epmd(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Handshake(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("the peer closed the connection during the handshake"),
            Self::Time => f.write_str("the handshake took too long"),
            Self::NoSuchNode => f.write_str("epmd knows no such node"),
            Self::Epmd(why) => write!(f, "epmd cannot be asked: {why}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness of the system a challenge would be a constant: the node ends instead.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    u32::from_ne_bytes(bytes)
}

/// Returns a creation for a node without epmd: random, and above 3.
pub(super) fn random_creation() -> u32 {
    loop {
        let creation = random();
        if creation > 3 {
            return creation;
        }
    }
}

/// Serves a connection that a peer has made.
async fn accept(node: &Node, stream: TcpStream, address: &str) {
    let _ = stream.set_nodelay(true);
    let deadline = Instant::now() + node.0.options.setup_time;
    let (mut reader, mut writer) = match &node.0.tls {
        None => plain(stream),
        Some(tls) => match timeout_at(deadline, tls.accept(stream)).await {
            Ok(Ok(halves)) => halves,
            Ok(Err(why)) => return node.log(address, "a connection was refused", &format!("TLS: {why}")),
            Err(_) => return node.log(address, "a connection was refused", &Failure::Time.to_string()),
        },
    };
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut packets = Packets::new(node.0.tls.is_some());
    let mut acceptor = Acceptor::new(node.0.local.clone());
    let (mut under_way, mut replaces) = (None, None);
    let handshake = async {
        loop {
            let step = acceptor.receive(&mut input, &mut output);
            match step {
                Ok(Accepting::NeedsBytes) => {
                    packets.write(&mut writer, &mut output).await?;
                    packets.read(&mut reader, &mut input).await?;
                }
                Ok(Accepting::Asks) => {
                    let name = acceptor.peer_name().unwrap_or_default().to_owned();
                    let answer = node.answer(&name);
                    (under_way, replaces) = (answer.entered, answer.replaces);
                    if let Err(error) = acceptor.answer(answer.status, random(), &mut output) {
                        let _ = packets.write(&mut writer, &mut output).await;
                        return Err(error.into());
                    }
                }
                Ok(Accepting::Done(peer)) => return Ok(peer),
                Err(error) => {
                    let _ = packets.write(&mut writer, &mut output).await;
                    return Err(Failure::from(error));
                }
            }
        }
    };
    let done = timeout_at(deadline, handshake).await.unwrap_or(Err(Failure::Time));
    let peer = match done {
        Ok(peer) => peer,
        Err(why) => {
            let name = acceptor.peer_name().map_or_else(|| address.to_owned(), |name| format!("{name} ({address})"));
            node.log(&name, "a connection was refused", &why.to_string());
            return;
        }
    };
    let connection = node.adopt(&atom(&peer.name), replaces).and_then(|connection| node.establish(&peer, &connection));
    drop(under_way);
    let Some(connection) = connection else {
        return node.log(&peer.name, "a connection was refused", "another one was made at the same time");
    };
    let receiving = Receiving { reader, input: packets.end(input, &mut output) };
    run(node, connection, peer.agreed, receiving, Sending { writer, output }).await;
}

/// Makes a connection, in a task of its own.
pub(super) fn dial(node: &Node, connection: Arc<Connection>) {
    let dialler = node.clone();
    node.0.tokio.spawn(async move { dial_until(&dialler, connection).await });
}

async fn dial_until(node: &Node, connection: Arc<Connection>) {
    let name = connection.node.as_str();
    let deadline = Instant::now() + node.0.options.setup_time;
    let _ = timeout(COURTESY, node.0.accepting.none(name)).await;
    let mut stage = connection.stage.subscribe();
    let mut has_given_way = false;
    let why = loop {
        if *connection.stage.borrow() != Stage::Pending {
            return;
        }
        let attempt = timeout_at(deadline, attempt(node, &connection));
        let attempt = tokio::select! {
            attempt = attempt => attempt.unwrap_or(Err(Failure::Time)),
            // The peer was answered `ok_simultaneous`: its attempt counts, and this one is given
            // up. Only once: an impostor must not keep this node from dialling.
            () = node.0.accepting.some(name), if !has_given_way => {
                has_given_way = true;
                let _ = timeout_at(deadline, node.0.accepting.none(name)).await;
                continue;
            }
            // The peer's attempt has succeeded. If this one went on, the peer could take it for a
            // new connection, and would end the one that this node has.
            () = decided(&mut stage) => return,
        };
        match attempt {
            Ok(Some((peer, receiving, sending))) => {
                if let Some(connection) = node.establish(&peer, &connection) {
                    run(node, connection, peer.agreed, receiving, sending).await;
                }
                return;
            }
            // The peer dials: the connection waits for that. The peer may fail to reach this node,
            // so the wait for its handshake has a limit.
            Ok(None) => {
                let awaited = async {
                    decided(&mut stage).await;
                };
                if timeout_at(deadline.min(Instant::now() + PEERS_TURN), awaited).await.is_ok() {
                    return;
                }
                let _ = timeout_at(deadline, node.0.accepting.none(name)).await;
                if Instant::now() >= deadline {
                    break Failure::Time;
                }
            }
            Err(_) if node.0.accepting.is_under_way(name) && Instant::now() < deadline => {
                let _ = timeout_at(deadline, node.0.accepting.none(name)).await;
            }
            Err(why) => break why,
        }
    };
    if node.event(|_| connection.becomes(Stage::Closed)) {
        node.log(name, "a connection could not be made", &why.to_string());
        node.lose(&connection, Term::atom("noconnection"));
    }
}

/// A socket whose peer has proved the cookie.
type Reached = (Peer, Receiving<Reader>, Sending<Writer>);

/// Waits until the connection has a socket, or has ended.
async fn decided(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage != Stage::Pending).await;
}

/// Dials the node of a connection once. `None` if the peer dials this node, or has just done so, or
/// if the connection is decided (`under_way`, M3).
async fn attempt(node: &Node, connection: &Connection) -> Result<Option<Reached>, Failure> {
    let name = connection.node.as_str();
    let stream = reach(node, name).await?;
    let _ = stream.set_nodelay(true);
    let host = name.split_once('@').map_or(name, |(_, host)| host);
    let (mut reader, mut writer) = match &node.0.tls {
        None => plain(stream),
        Some(tls) => tls.connect(stream, host).await?,
    };
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut packets = Packets::new(node.0.tls.is_some());
    let mut dialler = Dialler::new(node.0.local.clone(), name, random(), &mut output);
    loop {
        if !output.is_empty() && *connection.stage.borrow() != Stage::Pending {
            return Ok(None);
        }
        packets.write(&mut writer, &mut output).await?;
        match dialler.receive(&mut input, &mut output)? {
            Dialling::NeedsBytes if output.is_empty() => packets.read(&mut reader, &mut input).await?,
            Dialling::NeedsBytes => {}
            Dialling::PeerDials => return Ok(None),
            // The peer has not noticed the end of an old connection, or its own attempt has just
            // succeeded. The stage is set before the last packet of that attempt is written: if the
            // peer means that connection, it is up here.
            Dialling::Alive if *connection.stage.borrow() == Stage::Pending => dialler.answer_alive(&mut output),
            Dialling::Alive => return Ok(None),
            Dialling::Done(peer) => {
                let receiving = Receiving { reader, input: packets.end(input, &mut output) };
                return Ok(Some((peer, receiving, Sending { writer, output })));
            }
        }
    }
}

/// Connects to the port of a node.
async fn reach(node: &Node, name: &str) -> Result<TcpStream, Failure> {
    let options = &node.0.options;
    if let Some((address, port)) = options.peers.get(name) {
        return Ok(TcpStream::connect((address.as_str(), *port)).await?);
    }
    let (short, host) = name.split_once('@').ok_or(Failure::NoSuchNode)?;
    if !options.epmd {
        return Err(Failure::NoSuchNode);
    }
    match epmd::ask(host, options.epmd_port, short).await {
        Ok(PortResponse::Found(found)) => Ok(TcpStream::connect((host, found.port)).await?),
        Ok(PortResponse::NotFound(_)) => Err(Failure::NoSuchNode),
        Err(error) => Err(Failure::Epmd(error.to_string())),
    }
}

impl Node {
    /// Brings the connection up for a socket whose peer has proved the cookie. `None` if the socket
    /// is not needed: another one was quicker, or the node ends.
    fn establish(&self, peer: &Peer, connection: &Arc<Connection>) -> Option<Arc<Connection>> {
        let has = |flag| peer.agreed.contains(flag);
        let abilities = Abilities {
            monitors: has(Flags::DIST_MONITOR) && has(Flags::DIST_MONITOR_NAME),
            unlink_ids: has(Flags::UNLINK_ID),
            spawns: has(Flags::SPAWN),
            hidden: !peer.announced.contains(Flags::PUBLISHED),
        };
        // In one event: a process that learns of the connection finds the node among the nodes, and
        // an attempt that fails at the same time does not end it.
        let adopted = self.event(|machine| {
            let adopted = connection.becomes(Stage::Up);
            if adopted {
                machine.up(connection.id, abilities);
            }
            adopted
        });
        if !adopted {
            return None;
        }
        info!(node = self.name().as_str(), peer = &*peer.name, "connected");
        Some(connection.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::machine::ConnectionId;
    use crate::node::Options;
    use crate::wire::{Local, Status};

    const PEER: &str = "peer@127.0.0.1";

    /// Runs an attempt whose connection is decided before the attempt writes its name or, if
    /// `has_name`, before it answers the peer's challenge. Returns the number of bytes that the
    /// peer gets after that.
    async fn late_bytes(node: &Node, listener: &TcpListener, has_name: bool) -> usize {
        let connection = Connection::new(ConnectionId(u64::MAX), atom(PEER), 1 << 20);
        let peer = async {
            let (mut stream, _) = listener.accept().await.expect("the node dials");
            if has_name {
                let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
                let local = Local { name: PEER.into(), ..Local::clone(&node.0.local) };
                let mut acceptor = Acceptor::new(Arc::new(local));
                while !matches!(acceptor.receive(&mut input, &mut output), Ok(Accepting::Asks)) {
                    stream.read_buf(&mut input).await.expect("the name");
                }
                assert!(connection.becomes(Stage::Up));
                acceptor.answer(Status::Ok, 1, &mut output).expect("a challenge");
                stream.write_all(&output).await.expect("the node reads");
            }
            // A node that goes on waits for the peer then: the peer closes the socket.
            stream.read(&mut [0; 64]).await.unwrap_or(0)
        };
        if !has_name {
            assert!(connection.becomes(Stage::Up));
        }
        let (attempted, late) = tokio::join!(attempt(node, &connection), peer);
        assert!(matches!(attempted, Ok(None)) || late > 0);
        late
    }

    /// An attempt that was late completed its handshake at the peer, and then closed the socket:
    /// the peer lost its new connection.
    #[test]
    fn an_attempt_writes_nothing_once_its_connection_is_decided() {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let runtime = atropos::Runtime::builder().cores(1).build().expect("a thread");
        tokio.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let port = listener.local_addr().expect("bound").port();
            let peers = BTreeMap::from([(PEER.to_owned(), ("127.0.0.1".to_owned(), port))]);
            let options = Options { listen: Ipv4Addr::LOCALHOST.into(), epmd: false, peers, ..Options::default() };
            let node = Node::builder("node@127.0.0.1").cookie("c").options(options);
            let node = node.start(&runtime.handle()).await.expect("a free port");
            for has_name in [false, true] {
                assert_eq!(late_bytes(&node, &listener, has_name).await, 0, "has the name: {has_name}");
            }
            node.stop().await;
        });
    }
}
