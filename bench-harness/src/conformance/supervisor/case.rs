//! What a case of supervisors says; see `cases/FORMAT.md`.

use serde::Deserialize;

/// One case.
pub type Case = super::super::case::Case<Op>;

/// Fields that any op may have; which it has depends on `op`.
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

/// A supervisor.
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

/// A child.
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

/// How a child is stopped.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Shutdown {
    /// `brutal_kill` or `infinity`.
    Word(String),
    /// Within so many milliseconds.
    Within(u64),
}

/// What a trapping worker does with the exit signal of its supervisor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// It ends with that reason.
    #[default]
    Obey,
    /// Nothing.
    Ignore,
    /// It ends with another.
    Exit(String),
    /// It obeys, so many milliseconds later.
    Delay(u64),
}
