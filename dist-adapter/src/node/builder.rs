//! [`Builder`]: the settings of a node, its start, and its end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atropos::{Handle, Reason};
use tokio::time::{Instant, sleep};

use crate::term::{Atom, Term};
use crate::wire::Local;

use super::connection::Ending;
use super::exports::{Exported, Exports};
use super::inner::{Inner, Node, Options};
use super::{functions, global, net, net_kernel, pg, rex, rpc};

/// How long the services have to end, and then the queues to empty, when the node ends.
const PATIENCE: Duration = Duration::from_secs(1);
/// The first and the longest pause between two attempts of [`Node::keep_connected`].
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The settings of a node.
pub struct Builder {
    name: String,
    cookie: String,
    options: Options,
    exports: Exports,
}

impl fmt::Debug for Builder {
    /// Leaves out the cookie.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a node does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The name is not `NAME@HOST`.
    Name(String),
    /// The port cannot be listened on.
    Listen(io::Error),
    /// Epmd cannot be reached, or has refused the name.
    Epmd(io::Error),
    /// A file for TLS cannot be read, or is not right.
    Tls(String),
    /// A service cannot be started.
    Service(atropos::SpawnError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "`{name}` is no name of a node: it has to be NAME@HOST, NAME of letters, digits, `_` and `-`, at most 255 bytes"
            ),
            Self::Listen(error) => write!(f, "the port cannot be listened on: {error}"),
            Self::Epmd(error) => {
                write!(f, "epmd has not registered the name: {error}; is epmd running, and the name free?")
            }
            Self::Tls(why) => write!(f, "TLS cannot be set up: {why}"),
            Self::Service(error) => write!(f, "a service cannot be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl Options {
    /// Returns `true` if the text is the name of a node.
    pub fn is_name(text: &str) -> bool {
        is_name(text)
    }
}

fn is_name(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else { return false };
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(is_right) && !host.is_empty() && !host.contains('@') && text.len() <= 255
}

impl Builder {
    /// Sets the cookie that all nodes of the cluster share.
    #[must_use]
    pub fn cookie(mut self, cookie: impl Into<String>) -> Self {
        self.cookie = cookie.into();
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Lets peers call and spawn a function.
    #[must_use]
    pub fn export(
        mut self,
        module: &'static str,
        function: &'static str,
        arity: usize,
        exported: Arc<dyn Exported>,
    ) -> Self {
        self.exports.add(module, function, arity, exported);
        self
    }

    /// Starts the node, within a Tokio runtime. It can be reached when this returns.
    ///
    /// # Errors
    /// [`StartError`] if the name is none or taken, the port is taken, or epmd cannot be reached.
    pub async fn start(self, handle: &Handle) -> Result<Node, StartError> {
        let Self { name, cookie, options, mut exports } = self;
        if !is_name(&name) {
            return Err(StartError::Name(name));
        }
        functions::add(&mut exports);
        global::add(&mut exports);
        pg::add(&mut exports);
        rpc::add(&mut exports);
        let tls = options.tls.as_ref().map(net::Tls::load).transpose().map_err(StartError::Tls)?;
        let listener = net::listen(options.listen, options.port).await.map_err(StartError::Listen)?;
        let port = listener.local_addr().map_err(StartError::Listen)?.port();
        let (registration, creation) = if options.epmd {
            let (stream, creation) = net::register(&options, &name, port).await.map_err(StartError::Epmd)?;
            (Some(stream), creation)
        } else {
            (None, net::random_creation())
        };
        let flags = Node::flags(options.hidden);
        let local = Local { name: name.into(), flags, creation, cookie: cookie.into() };
        let tokio = tokio::runtime::Handle::current();
        let node = Node(Arc::new(Inner::new(options, local, port, tls, handle.clone(), tokio, exports)));
        node.open_gate();
        node.keep("net_kernel", net_kernel::run).map_err(StartError::Service)?;
        node.keep("rex", rex::run).map_err(StartError::Service)?;
        node.start_global().map_err(StartError::Service)?;
        node.start_pg(pg::DEFAULT).map_err(StartError::Service)?;
        for scope in &node.0.options.pg_scopes {
            node.start_pg(scope).map_err(StartError::Service)?;
        }
        node.services_begun().await;
        let accepting = tokio::spawn(net::accept_all(node.clone(), listener));
        node.0.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(accepting.abort_handle());
        if let Some(stream) = registration {
            let keeping = tokio::spawn(net::keep_registered(node.clone(), stream));
            node.0.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(keeping.abort_handle());
        }
        Ok(node)
    }
}

impl Node {
    /// Returns the settings of a node with this name, `NAME@HOST`.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder { name: name.into(), cookie: String::new(), options: Options::default(), exports: Exports::default() }
    }

    /// Connects to a node now, and again whenever the connection is lost, until this node ends.
    pub fn keep_connected(&self, peer: Atom) {
        let node = self.clone();
        self.0.tokio.spawn(async move {
            let mut pause = BACK_OFF.0;
            while !node.is_stopping() {
                if let Some(connection) = node.connect_to(&peer)
                    && connection.decided().await
                {
                    pause = BACK_OFF.0;
                    let mut stage = connection.stage.subscribe();
                    let _ = stage.wait_for(|stage| *stage == super::connection::Stage::Closed).await;
                }
                sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
        });
    }

    /// Asks for the end of the node: [`Node::stop_requested`] returns.
    pub fn request_stop(&self) {
        self.0.stopped.notify_one();
    }

    /// Waits until the end of the node is asked for, here or by a peer (`init:stop`).
    pub async fn stop_requested(&self) {
        self.0.stopped.notified().await;
    }

    /// Ends the node: no new connections, the services stopped, then the connections, and the name
    /// given back.
    pub async fn stop(&self) {
        // Release: pairs with `is_stopping`.
        self.0.stopping.store(true, Ordering::Release);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        // The first is the listener; the registration with epmd goes last.
        if !tasks.is_empty() {
            tasks.remove(0).abort();
        }
        let deadline = Instant::now() + PATIENCE;
        let services = self.0.kept.all();
        for service in &services {
            let _ = self.0.handle.exit(*service, Reason::SHUTDOWN);
        }
        while services.iter().any(|service| self.0.handle.is_alive(*service)) && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        // The ends of the services are told from the runtime's callback thread.
        sleep(Duration::from_millis(20)).await;
        let busy = || self.all_connections().iter().any(|connection| connection.queue().bytes() > 0);
        while busy() && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        for connection in self.all_connections() {
            connection.close(Ending { text: "this node ends".to_owned(), reason: Term::atom("connection_closed") });
        }
        while !self.all_connections().is_empty() && Instant::now() < deadline {
            sleep(Duration::from_millis(1)).await;
        }
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_has_two_parts() {
        for right in ["a@b", "a_b-1@127.0.0.1", "A@host.example"] {
            assert!(is_name(right), "{right}");
        }
        let long = format!("{}@b", "a".repeat(254));
        for wrong in ["", "a", "@b", "a@", "a@b@c", "a b@c", "ä@b", long.as_str()] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
