//! [`Session`]: the state that a connection keeps between two requests.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::clients::{ClientInfo, Which};
use super::command::{self, Command, unknown_subcommand, wrong_number};
use super::resp::{Reply, Version};
use super::server::REDIS_VERSION;

/// The longest name of a client or a library.
const LONGEST_NAME: usize = 1024;
/// The largest number of keys that a client may watch.
const MOST_WATCHED: usize = 1 << 16;
/// The memory of a queued command, or of a watched key, besides its bytes.
const OVERHEAD: usize = 256;

/// The commands since `MULTI`.
#[derive(Default, Debug)]
pub struct Transaction {
    /// The commands, in order.
    pub commands: Vec<Command>,
    /// About how much memory they take, in bytes.
    pub weight: usize,
    /// `true` if a request was invalid, so that `EXEC` does nothing.
    pub is_spoilt: bool,
}

impl Transaction {
    /// Queues the command of a request with this many bytes.
    pub fn queue(&mut self, command: Command, bytes: usize) {
        self.weight += bytes + OVERHEAD;
        self.commands.push(command);
    }
}

/// The keys that a client watches, with their versions since `WATCH`.
#[derive(Default, Debug)]
pub struct Watched {
    versions: BTreeMap<Bytes, u64>,
    weight: usize,
}

impl Watched {
    /// Returns `true` if a key is watched.
    pub fn contains(&self, key: &Bytes) -> bool {
        self.versions.contains_key(key)
    }

    /// Returns `true` if one more key of this many bytes can be watched: if not too many are, and
    /// if all of them take at most `limit` bytes.
    pub fn has_room(&self, bytes: usize, limit: usize) -> bool {
        self.versions.len() < MOST_WATCHED && self.weight + bytes + OVERHEAD <= limit
    }

    /// Adds a key that is not watched.
    pub fn insert(&mut self, key: Bytes, version: u64) {
        self.weight += key.len() + OVERHEAD;
        self.versions.insert(key, version);
    }
}

impl IntoIterator for Watched {
    type Item = (Bytes, u64);
    type IntoIter = std::collections::btree_map::IntoIter<Bytes, u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.versions.into_iter()
    }
}

/// The state of a session.
#[derive(Debug)]
pub struct Session {
    /// The connection's number.
    pub id: u64,
    /// The protocol version, chosen by `HELLO`.
    pub version: Version,
    /// The properties that the client has set.
    pub said: ClientInfo,
    /// The queued commands, between `MULTI` and `EXEC`.
    pub transaction: Option<Transaction>,
    /// The watched keys.
    pub watched: Watched,
    /// `true` if the client has killed itself.
    pub is_ending: bool,
}

/// A subcommand of `CLIENT`.
#[derive(Debug)]
pub enum Client {
    /// It has its reply already.
    Now(Reply),
    /// It is answered with `OK`, and the client has changed its properties.
    Says,
    /// It lists these clients.
    List(Which),
    /// It kills these clients; the old form answers `OK` or an error.
    Kill {
        /// The clients to kill.
        which: Which,
        /// `true` for the old form.
        is_old: bool,
    },
}

impl Session {
    /// Returns the state of a new connection.
    pub fn new(id: u64) -> Self {
        let said = ClientInfo { protocol: 2, ..ClientInfo::default() };
        Self { id, version: Version::Resp2, said, transaction: None, watched: Watched::default(), is_ending: false }
    }

    /// Runs `RESET`: the state of a new connection, except for the library's name and version.
    pub fn reset(&mut self) {
        let (library, version) = (std::mem::take(&mut self.said.library), std::mem::take(&mut self.said.version));
        *self = Self::new(self.id);
        (self.said.library, self.said.version) = (library, version);
    }

    /// Runs `HELLO` with its arguments. An invalid argument changes nothing.
    pub fn hello(&mut self, arguments: &[Bytes]) -> Reply {
        self.try_hello(arguments).unwrap_or_else(|error| error)
    }

    fn try_hello(&mut self, arguments: &[Bytes]) -> Result<Reply, Reply> {
        let (mut version, mut name) = (self.version, None);
        let mut rest = arguments;
        if let [number, options @ ..] = arguments {
            version = match command::integer(number) {
                Ok(2) => Version::Resp2,
                Ok(3) => Version::Resp3,
                Ok(_) => return Err(Reply::Error("NOPROTO unsupported protocol version".to_owned())),
                Err(_) => return Err(Reply::err("Protocol version is not an integer or out of range")),
            };
            rest = options;
        }
        loop {
            rest = match rest {
                [] => break,
                [what, user, _, after @ ..] if what.eq_ignore_ascii_case(b"auth") => {
                    command::authenticate(user)?;
                    after
                }
                [what, of, after @ ..] if what.eq_ignore_ascii_case(b"setname") => {
                    name = Some(word(of)?);
                    after
                }
                [what, ..] => {
                    let what = String::from_utf8_lossy(&what[..what.len().min(64)]).into_owned();
                    return Err(Reply::err(format_args!("Syntax error in HELLO option '{what}'")));
                }
            };
        }
        self.version = version;
        self.said.protocol = if version == Version::Resp3 { 3 } else { 2 };
        self.said.name = name.unwrap_or_else(|| std::mem::take(&mut self.said.name));
        let facts = [
            ("server", Reply::text("redis")),
            ("version", Reply::text(REDIS_VERSION)),
            ("proto", Reply::Integer(i64::from(self.said.protocol))),
            ("id", Reply::Integer(self.id as i64)),
            ("mode", Reply::text("standalone")),
            ("role", Reply::text("master")),
            ("modules", Reply::Array(Vec::new())),
        ];
        Ok(Reply::Map(facts.into_iter().map(|(name, fact)| (Reply::text(name), fact)).collect()))
    }

    /// Runs `CLIENT` with its arguments.
    pub fn client(&mut self, arguments: &[Bytes]) -> Client {
        self.try_client(arguments).unwrap_or_else(Client::Now)
    }

    fn try_client(&mut self, arguments: &[Bytes]) -> Result<Client, Reply> {
        let Some((what, rest)) = arguments.split_first() else { return Err(wrong_number("client")) };
        let what = what.to_ascii_lowercase();
        let on_or_off = |word: &Bytes| word.eq_ignore_ascii_case(b"on") || word.eq_ignore_ascii_case(b"off");
        Ok(match (&what[..], rest) {
            (b"id", []) => Client::Now(Reply::Integer(self.id as i64)),
            (b"getname", []) if self.said.name.is_empty() => Client::Now(Reply::Nil),
            (b"getname", []) => Client::Now(Reply::text(&self.said.name)),
            (b"setname", [name]) => {
                self.said.name = word(name)?;
                Client::Says
            }
            (b"setinfo", [what, value]) => {
                match &what.to_ascii_lowercase()[..] {
                    b"lib-name" => self.said.library = word(value)?,
                    b"lib-ver" => self.said.version = word(value)?,
                    other => {
                        let other = String::from_utf8_lossy(&other[..other.len().min(64)]).into_owned();
                        return Err(Reply::err(format_args!("Unrecognized option '{other}'")));
                    }
                }
                Client::Says
            }
            (b"info", []) => Client::List(Which { ids: vec![self.id], ..Which::default() }),
            (b"list", []) => Client::List(Which::default()),
            (b"list", [kind, of]) if kind.eq_ignore_ascii_case(b"type") => {
                let none = Which { but: Some(self.id), ids: vec![self.id], ..Which::default() };
                Client::List(if of.eq_ignore_ascii_case(b"normal") { Which::default() } else { none })
            }
            (b"list", [kind, ids @ ..]) if kind.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
                let mut which = Which { ids: ids.iter().map(id).collect::<Result<_, _>>()?, ..Which::default() };
                which.sort();
                Client::List(which)
            }
            (b"kill", [address]) => {
                let address = Some(String::from_utf8_lossy(address).into_owned());
                Client::Kill { which: Which { address, ..Which::default() }, is_old: true }
            }
            (b"kill", [_, _, ..]) if rest.len().is_multiple_of(2) => {
                Client::Kill { which: self.kill(rest)?, is_old: false }
            }
            (b"no-evict" | b"no-touch", [word]) if on_or_off(word) => Client::Now(Reply::OK),
            (b"reply", [word]) if word.eq_ignore_ascii_case(b"on") => Client::Now(Reply::OK),
            (b"unblock", [_] | [_, _]) => Client::Now(Reply::Integer(0)),
            (
                b"id" | b"getname" | b"setname" | b"setinfo" | b"info" | b"list" | b"kill" | b"no-evict" | b"no-touch"
                | b"reply" | b"unblock",
                _,
            ) => return Err(Reply::err("syntax error")),
            (other, _) => return Err(unknown_subcommand("CLIENT", other)),
        })
    }

    fn kill(&self, filters: &[Bytes]) -> Result<Which, Reply> {
        let mut which = Which { but: Some(self.id), ..Which::default() };
        // Redis skips the client itself unless an option says otherwise, or the client gives its
        // own number.
        for filter in filters.chunks(2) {
            let value = &filter[1];
            match &filter[0].to_ascii_lowercase()[..] {
                b"id" => which.ids.push(id(value)?),
                b"addr" => which.address = Some(String::from_utf8_lossy(value).into_owned()),
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => which.but = Some(self.id),
                b"skipme" if value.eq_ignore_ascii_case(b"no") => which.but = None,
                b"type" if value.eq_ignore_ascii_case(b"normal") => {}
                b"user" if &value[..] == b"default" => {}
                _ => return Err(Reply::err("syntax error")),
            }
        }
        which.sort();
        Ok(which)
    }
}

fn id(word: &Bytes) -> Result<u64, Reply> {
    let id = command::integer(word).ok().and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or_else(|| Reply::err("client-id should be greater than 0"))
}

/// Returns the name, if it is valid for the client list.
fn word(name: &Bytes) -> Result<String, Reply> {
    if name.len() > LONGEST_NAME || !name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(Reply::err("Client names cannot contain spaces, newlines or special characters."));
    }
    Ok(String::from_utf8_lossy(name).into_owned())
}
