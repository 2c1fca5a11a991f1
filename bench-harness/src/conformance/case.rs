//! What a line of the cases says; see `cases/FORMAT.md`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One case, whose ops are `O`s: of processes, or of supervisors.
#[derive(Clone, Debug, Deserialize)]
pub struct Case<O = Op> {
    /// Its name.
    pub id: String,
    /// What is done, in order.
    pub ops: Vec<O>,
}

/// Fields that any op may have; which it has depends on `op`.
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

/// What a receive waits for: all that is given must agree.
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
    /// Whether an entry of a mailbox is one of these.
    pub fn takes(&self, entry: &Value) -> bool {
        let agrees = |wanted: &Option<String>, key: &str| {
            wanted.as_ref().is_none_or(|wanted| entry.get(key).and_then(Value::as_str) == Some(wanted))
        };
        agrees(&self.k, "k") && agrees(&self.from, "from") && agrees(&self.tag, "tag") && agrees(&self.reference, "ref")
    }
}

/// A case of a line.
pub fn parse<O: DeserializeOwned>(line: &str) -> serde_json::Result<Case<O>> {
    serde_json::from_str(line)
}
