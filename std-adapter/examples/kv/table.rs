//! The table of commands, for `COMMAND` and for checking a request's arity.

use super::resp::Reply;

/// The description of a command.
#[derive(Debug)]
pub struct Spec {
    /// The name, in lower case.
    pub name: &'static str,
    /// The number of words, including the name; negative for a minimum.
    pub arity: i64,
    flags: &'static [&'static str],
    /// The position of the first key, of the last one (from the end if negative), and the step
    /// between two.
    keys: (i64, i64, i64),
    group: &'static str,
    summary: &'static str,
}

const READ: &[&str] = &["readonly", "fast"];
const SLOW: &[&str] = &["readonly"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const REMOVE: &[&str] = &["write"];
const ADMIN: &[&str] = &["admin", "loading", "stale"];
const TALK: &[&str] = &["loading", "stale", "fast"];
const NONE: (i64, i64, i64) = (0, 0, 0);
const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);

const fn spec(
    name: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    keys: (i64, i64, i64),
    group: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { name, arity, flags, keys, group, summary }
}

/// All commands, sorted by name.
pub const COMMANDS: &[Spec] = &[
    spec("auth", -2, TALK, NONE, "connection", "Authenticates the connection."),
    spec("client", -2, ADMIN, NONE, "connection", "Lists, names and kills clients."),
    spec("command", -1, TALK, NONE, "server", "Describes the commands."),
    spec("config", -2, ADMIN, NONE, "server", "Reads and sets parameters."),
    spec("dbsize", 1, READ, NONE, "server", "Counts the keys."),
    spec("decr", 2, WRITE, ONE, "string", "Subtracts one from an integer."),
    spec("decrby", 3, WRITE, ONE, "string", "Subtracts a number from an integer."),
    spec("del", -2, REMOVE, ALL, "generic", "Deletes keys."),
    spec("discard", 1, TALK, NONE, "transactions", "Discards a transaction."),
    spec("echo", 2, TALK, NONE, "connection", "Returns the text."),
    spec("exec", 1, TALK, NONE, "transactions", "Executes the commands queued since MULTI."),
    spec("exists", -2, READ, ALL, "generic", "Counts which of the keys have a value."),
    spec("expire", -3, WRITE, ONE, "generic", "Sets the expiry of a key in seconds."),
    spec("expireat", -3, WRITE, ONE, "generic", "Sets the expiry of a key to a time in seconds."),
    spec("expiretime", 2, READ, ONE, "generic", "Returns the time at which a key expires in seconds."),
    spec("flushall", -1, REMOVE, NONE, "server", "Deletes all keys."),
    spec("flushdb", -1, REMOVE, NONE, "server", "Deletes all keys."),
    spec("get", 2, READ, ONE, "string", "Returns the value of a key."),
    spec("getdel", 2, WRITE, ONE, "string", "Returns the value of a key and deletes it."),
    spec("getex", -2, WRITE, ONE, "string", "Returns the value of a key and sets its expiry."),
    spec("getset", 3, WRITE, ONE, "string", "Sets a key and returns the value that it had."),
    spec("hello", -1, TALK, NONE, "connection", "Chooses the version of the protocol."),
    spec("incr", 2, WRITE, ONE, "string", "Adds one to an integer."),
    spec("incrby", 3, WRITE, ONE, "string", "Adds a number to an integer."),
    spec("info", -1, TALK, NONE, "server", "Returns information about the server."),
    spec("keys", 2, SLOW, NONE, "generic", "Returns the keys that match a pattern."),
    spec("mget", -2, READ, ALL, "string", "Returns the values of keys."),
    spec("mset", -3, WRITE, (1, -1, 2), "string", "Sets keys."),
    spec("multi", 1, TALK, NONE, "transactions", "Begins a transaction."),
    spec("persist", 2, WRITE, ONE, "generic", "Removes the expiry of a key."),
    spec("pexpire", -3, WRITE, ONE, "generic", "Sets the expiry of a key in milliseconds."),
    spec("pexpireat", -3, WRITE, ONE, "generic", "Sets the expiry of a key to a time in milliseconds."),
    spec("pexpiretime", 2, READ, ONE, "generic", "Returns the time at which a key expires in milliseconds."),
    spec("ping", -1, TALK, NONE, "connection", "Answers."),
    spec("psetex", 4, WRITE, ONE, "string", "Sets a key that expires, in milliseconds."),
    spec("pttl", 2, READ, ONE, "generic", "Returns the milliseconds until a key expires."),
    spec("quit", -1, TALK, NONE, "connection", "Closes the connection."),
    spec("reset", 1, TALK, NONE, "connection", "Resets the connection to its initial state."),
    spec("scan", -2, SLOW, NONE, "generic", "Iterates over the keys."),
    spec("select", 2, TALK, NONE, "connection", "Chooses database 0, the only one."),
    spec("set", -3, WRITE, ONE, "string", "Sets a key."),
    spec("setex", 4, WRITE, ONE, "string", "Sets a key that expires, in seconds."),
    spec("setnx", 3, WRITE, ONE, "string", "Sets a key that has no value."),
    spec("shard", 3, ADMIN, NONE, "server", "Crashes a shard's process, as a demonstration."),
    spec("strlen", 2, READ, ONE, "string", "Returns the length of a value."),
    spec("time", 1, TALK, NONE, "server", "Returns the time."),
    spec("touch", -2, READ, ALL, "generic", "Counts which of the keys have a value."),
    spec("ttl", 2, READ, ONE, "generic", "Returns the seconds until a key expires."),
    spec("type", 2, READ, ONE, "generic", "Returns the type of a value."),
    spec("unlink", -2, REMOVE, ALL, "generic", "Deletes keys."),
    spec("unwatch", 1, TALK, NONE, "transactions", "Forgets the watched keys."),
    spec("watch", -2, TALK, ALL, "transactions", "Makes the next EXEC do nothing if the keys have changed."),
];

/// Returns the command with this name in lower case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    let at = COMMANDS.binary_search_by(|spec| spec.name.as_bytes().cmp(name)).ok()?;
    COMMANDS.get(at)
}

impl Spec {
    /// Returns `true` if a request of this many words, including its name, can be valid.
    pub fn takes(&self, words: usize) -> bool {
        let words = words as i64;
        if self.arity >= 0 { words == self.arity } else { words >= -self.arity }
    }

    /// Returns the reply of `COMMAND INFO`.
    pub fn info(&self) -> Reply {
        let (first, last, step) = self.keys;
        let category = if self.flags.contains(&"write") { "@write" } else { "@read" };
        Reply::Array(vec![
            Reply::text(self.name),
            Reply::Integer(self.arity),
            Reply::Set(self.flags.iter().map(|flag| Reply::Simple(flag)).collect()),
            Reply::Integer(first),
            Reply::Integer(last),
            Reply::Integer(step),
            Reply::Set(vec![Reply::Simple(category)]),
            Reply::Array(Vec::new()),
            Reply::Array(Vec::new()),
            Reply::Array(Vec::new()),
        ])
    }

    /// Returns the reply of `COMMAND DOCS`.
    pub fn docs(&self) -> (Reply, Reply) {
        let facts = [("summary", self.summary), ("since", "1.0.0"), ("group", self.group)];
        let facts = facts.into_iter().map(|(name, fact)| (Reply::text(name), Reply::text(fact)));
        (Reply::text(self.name), Reply::Map(facts.collect()))
    }
}
