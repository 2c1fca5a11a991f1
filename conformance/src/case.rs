//! The format of a line of the cases; see `cases/FORMAT.md`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One case, with ops of type `O`: for processes, or for supervisors.
#[derive(Clone, Debug, Deserialize)]
pub struct Case<O = Op> {
    /// The case's name.
    pub id: String,
    /// The ops, in order.
    pub ops: Vec<O>,
}

/// The fields of all ops. The fields that an op uses depend on `op`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "cases/FORMAT.md documents them")]
pub struct Op {
    pub op: String,
    pub p: Option<String>,
    pub by: Option<String>,
    pub link: bool,
    pub monitor: Option<String>,
    pub trap: bool,
    pub init: Vec<Op>,
    pub to: Option<String>,
    pub name: Option<String>,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    pub alias: Option<String>,
    pub flush: bool,
    pub info: bool,
    pub reason: Option<String>,
    pub how: Option<String>,
    pub on: bool,
    pub tag: Option<String>,
    #[serde(rename = "match")]
    pub wanted: Option<Wanted>,
    pub after: Option<u64>,
    pub who: Option<String>,
    pub of: Option<String>,
    pub item: Option<String>,
    pub reply: bool,
    pub timer: Option<String>,
    pub ms: u64,
    pub ops: Vec<Op>,
}

/// The filter of a receive: all given fields must match.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "cases/FORMAT.md documents them")]
pub struct Wanted {
    pub k: Option<String>,
    pub from: Option<String>,
    pub tag: Option<String>,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
}

impl Wanted {
    /// Returns `true` if a mailbox entry matches.
    pub fn takes(&self, entry: &Value) -> bool {
        let agrees = |wanted: &Option<String>, key: &str| {
            wanted.as_ref().is_none_or(|wanted| entry.get(key).and_then(Value::as_str) == Some(wanted))
        };
        agrees(&self.k, "k") && agrees(&self.from, "from") && agrees(&self.tag, "tag") && agrees(&self.reference, "ref")
    }
}

/// Parses the case of a line.
pub fn parse<O: DeserializeOwned>(line: &str) -> serde_json::Result<Case<O>> {
    serde_json::from_str(line)
}
