//! The command line: [`Arguments`], and what it amounts to, [`Settings`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use atropos_dist::node::{Options, TlsFiles};
use atropos_dist::term::{Atom, Limits};
use atropos_dist::wire::WireLimits;
use clap::Parser;

/// The least depth of terms that works, in levels.
const LEAST_DEPTH: usize = 100_000;

/// A node of an Erlang cluster.
#[derive(Parser, Debug)]
#[command(name = "atropos-node")]
pub(crate) struct Arguments {
    /// The node's name, NAME@HOST.
    #[arg(long, value_name = "NAME@HOST")]
    name: String,
    /// The cookie. Each user who lists processes sees it: for tests.
    #[arg(long, value_name = "TEXT")]
    cookie: Option<String>,
    /// The cookie is this file's first line. Default: $HOME/.erlang.cookie.
    #[arg(long, value_name = "PATH")]
    cookie_file: Option<PathBuf>,
    /// The port to listen on. Default: any free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// The address to listen on. Default: all.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<IpAddr>,
    /// Does not announce that the node is visible.
    #[arg(long)]
    hidden: bool,
    /// Neither registers with epmd nor asks it.
    #[arg(long)]
    no_epmd: bool,
    /// Where a peer is; may be repeated, and is looked at before epmd.
    #[arg(long, value_name = "NAME@HOST=ADDRESS:PORT")]
    peer: Vec<String>,
    /// Connects at once, and again whenever the connection is lost; may be repeated.
    #[arg(long, value_name = "NAME@HOST")]
    connect: Vec<String>,
    /// Seconds without a sign of life after which a peer is given up.
    #[arg(long, value_name = "S", default_value_t = 60)]
    ticktime: u64,
    /// Seconds that a handshake may take.
    #[arg(long, value_name = "S", default_value_t = 7)]
    setuptime: u64,
    /// Kilobytes queued for a peer from which on its senders are held back.
    #[arg(long, value_name = "KB", default_value_t = 1024)]
    busy_limit: usize,
    /// A larger frame ends its connection.
    #[arg(long, value_name = "BYTES", default_value_t = 134_217_728)]
    max_frame: usize,
    /// More bytes in fragments that are held for a connection end it.
    #[arg(long, value_name = "BYTES", default_value_t = 536_870_912)]
    max_message: usize,
    /// A term that is nested deeper ends its connection.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    max_depth: usize,
    /// Monitors and links that one peer may have here.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    peer_quota: usize,
    /// A scope of `pg` besides `pg`; may be repeated.
    #[arg(long, value_name = "NAME")]
    pg_scope: Vec<String>,
    /// The certificate for TLS, PEM.
    #[arg(long, value_name = "PATH")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM.
    #[arg(long, value_name = "PATH")]
    tls_key: Option<PathBuf>,
    /// The authority that has signed the certificates of all nodes, PEM.
    #[arg(long, value_name = "PATH")]
    tls_ca: Option<PathBuf>,
    /// Ends when the standard input ends.
    #[arg(long)]
    until_eof: bool,
    /// Writes nothing to standard error but errors.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// What the command line amounts to.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) cookie: String,
    pub(crate) options: Options,
    pub(crate) connect: Vec<Atom>,
    pub(crate) until_eof: bool,
}

impl Arguments {
    pub(crate) fn settings(self) -> Result<Settings, String> {
        if !Options::is_name(&self.name) {
            return Err(format!("--name `{}` is not NAME@HOST, for example a@127.0.0.1", self.name));
        }
        let tls = match (self.tls_cert, self.tls_key, self.tls_ca) {
            (None, None, None) => None,
            (Some(certificate), Some(key), Some(authority)) => Some(TlsFiles { certificate, key, authority }),
            _ => return Err("TLS needs all of --tls-cert, --tls-key and --tls-ca".to_owned()),
        };
        if let Some(scope) = self.pg_scope.iter().find(|scope| scope.is_empty() || Atom::new(scope).is_err()) {
            return Err(format!("--pg-scope `{scope}` is no atom"));
        }
        let mut peers = BTreeMap::new();
        for peer in &self.peer {
            let place = peer.split_once('=').and_then(|(name, place)| Some((name, place.rsplit_once(':')?)));
            let place = place.and_then(|(name, (address, port))| Some((name, (address, port.parse::<u16>().ok()?))));
            let Some((name, (address, port))) = place.filter(|(name, _)| Options::is_name(name)) else {
                return Err(format!("--peer `{peer}` is not NAME@HOST=ADDRESS:PORT"));
            };
            let address = address.trim_start_matches('[').trim_end_matches(']');
            peers.insert(name.to_owned(), (address.to_owned(), port));
        }
        let connect = self.connect.iter().map(|name| match Options::is_name(name) {
            true => Atom::new(name).map_err(|_| name),
            false => Err(name),
        });
        let connect = connect.collect::<Result<_, _>>();
        let defaults = Options::default();
        let epmd_address = match std::env::var("ERL_EPMD_ADDRESS") {
            // A list for epmd itself; the first one is as good as any.
            Ok(addresses) => addresses.split(',').next().and_then(|address| address.trim().parse().ok()),
            Err(_) => None,
        };
        let epmd_port = std::env::var("ERL_EPMD_PORT").ok().and_then(|port| port.parse().ok());
        Ok(Settings {
            cookie: cookie(self.cookie, self.cookie_file)?,
            connect: connect.map_err(|name| format!("--connect `{name}` is not NAME@HOST"))?,
            until_eof: self.until_eof,
            options: Options {
                listen: self.listen.unwrap_or(defaults.listen),
                port: self.port,
                hidden: self.hidden,
                epmd: !self.no_epmd,
                epmd_address: epmd_address.unwrap_or(defaults.epmd_address),
                epmd_port: epmd_port.unwrap_or(defaults.epmd_port),
                peers,
                tick_time: Duration::from_secs(self.ticktime.max(1)),
                setup_time: Duration::from_secs(self.setuptime.max(1)),
                busy_limit: self.busy_limit.saturating_mul(1024),
                limits: WireLimits {
                    frame: self.max_frame,
                    message: self.max_message,
                    terms: Limits { depth: self.max_depth.max(LEAST_DEPTH) },
                },
                peer_quota: self.peer_quota,
                pg_scopes: self.pg_scope,
                tls,
                ..defaults
            },
            name: self.name,
        })
    }
}

fn cookie(text: Option<String>, file: Option<PathBuf>) -> Result<String, String> {
    if let Some(text) = text {
        return Ok(text);
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".erlang.cookie"));
    let Some(path) = file.or_else(home) else {
        return Err("there is no cookie: give --cookie or --cookie-file".to_owned());
    };
    let text = std::fs::read_to_string(&path).map_err(|why| {
        format!("the cookie cannot be read from {}: {why}; give --cookie or --cookie-file", path.display())
    })?;
    match text.lines().next().map(str::trim_end).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(format!("{} has no cookie in its first line", path.display())),
    }
}
