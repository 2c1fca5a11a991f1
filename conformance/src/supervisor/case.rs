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
    pub intensity: i64,
    pub period: i64,
    pub auto_shutdown: String,
    pub children: Vec<Child>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            strategy: "one_for_one".into(),
            intensity: 1,
            period: 60,
            auto_shutdown: "never".into(),
            children: Vec::new(),
        }
    }
}

impl Spec {
    /// Returns `false` if OTP's supervisors refuse this specification for something that no
    /// specification of Atropos can say: its types do not have it.
    pub fn is_valid(&self) -> bool {
        let template = self.strategy != "simple_one_for_one" || self.children.len() == 1;
        matches!(self.strategy.as_str(), "one_for_one" | "one_for_all" | "rest_for_one" | "simple_one_for_one")
            && matches!(self.auto_shutdown.as_str(), "never" | "any_significant" | "all_significant")
            && self.intensity >= 0
            && self.period > 0
            && template
            && self.children.iter().all(Child::is_valid)
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

impl Child {
    /// Does the same as [`Spec::is_valid`] for a child. The specification of a nested supervisor is
    /// that supervisor's own: its parent does not look at it.
    pub fn is_valid(&self) -> bool {
        matches!(self.restart.as_deref(), None | Some("permanent" | "transient" | "temporary"))
            && matches!(self.kind.as_deref(), None | Some("worker" | "supervisor"))
            && match &self.shutdown {
                None => true,
                Some(Shutdown::Word(word)) => matches!(word.as_str(), "brutal_kill" | "infinity"),
                Some(Shutdown::Within(ms)) => *ms >= 0,
            }
    }
}

/// The shutdown type of a child.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Shutdown {
    /// The word `brutal_kill` or `infinity`.
    Word(String),
    /// A timeout in milliseconds.
    Within(i64),
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
