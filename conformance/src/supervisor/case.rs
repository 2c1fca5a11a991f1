//! The format of a case of supervisors; see `cases/FORMAT.md`.

use serde::Deserialize;

/// One case.
pub type Case = crate::case::Case<Op>;

/// The fields of all ops. The fields that an op uses depend on `op`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "cases/FORMAT.md documents them")]
pub struct Op {
    pub op: String,
    pub sup: Option<String>,
    pub spec: Option<Spec>,
    pub id: Option<String>,
    pub inst: Option<String>,
    pub child: Option<Child>,
    pub reason: Option<String>,
    pub how: Option<String>,
    pub any_order: bool,
    pub ms: u64,
}

/// A supervisor's specification.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "cases/FORMAT.md documents them")]
pub struct Spec {
    pub strategy: String,
    pub intensity: u32,
    pub period: u64,
    pub auto_shutdown: String,
    pub children: Vec<Child>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            strategy: "one_for_one".into(),
            intensity: 1,
            period: 5,
            auto_shutdown: "never".into(),
            children: Vec::new(),
        }
    }
}

/// A child's specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "cases/FORMAT.md documents them")]
pub struct Child {
    pub id: String,
    pub restart: Option<String>,
    pub shutdown: Option<Shutdown>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub significant: bool,
    pub start: Vec<String>,
    pub trap: bool,
    pub on_stop: OnStop,
    pub sup: Option<Spec>,
}

/// The shutdown type of a child.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Shutdown {
    /// The word `brutal_kill` or `infinity`.
    Word(String),
    /// A timeout in milliseconds.
    Within(u64),
}

/// A trapping worker's reaction to its supervisor's exit signal.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// The worker ends with the signal's reason.
    #[default]
    Obey,
    /// The worker ignores the signal.
    Ignore,
    /// The worker ends with another reason.
    Exit(String),
    /// The worker ends with the signal's reason, this many milliseconds later.
    Delay(u64),
}
