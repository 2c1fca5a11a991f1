//! What the process of a supervisor gets from its builder: [`SupervisorConfig`].

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use atropos_kernel::DropCatcher;

use super::backoff::Backoff;
use super::child_spec::{ChildSpec, Template};
use crate::error::SpecError;
use crate::report::ReportHook;
use crate::restart_intensity::{Intensity, RestartHistory};
use crate::spec::{AutoShutdown, Strategy};

/// The options of a supervisor and its child specifications.
pub(super) struct SupervisorConfig {
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) auto: AutoShutdown,
    pub(super) children: Vec<ChildSpec>,
    /// The template of the children, with [`Strategy::Dynamic`].
    pub(super) template: Option<Template>,
    pub(super) hook: Option<ReportHook>,
    pub(super) backoff: Option<Backoff>,
    /// The restart history that the supervisor continues.
    pub(super) carried: RestartHistory,
}

impl SupervisorConfig {
    pub(super) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: Intensity::DEFAULT,
            auto: AutoShutdown::Never,
            children: Vec::new(),
            template: None,
            hook: None,
            backoff: None,
            carried: RestartHistory::default(),
        }
    }

    /// Sets how the panics of the user values' destructors are caught, before a process gets them
    /// or they are refused.
    pub(super) fn catch_with(&mut self, catcher: DropCatcher) {
        self.children.iter_mut().for_each(|child| child.factory.catch_with(catcher));
        self.template.iter_mut().for_each(|template| template.make.catch_with(catcher));
        self.hook.iter_mut().for_each(|hook| hook.catch_with(catcher));
    }

    /// Checks the child specifications.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        let mut ids = BTreeSet::new();
        for child in &self.children {
            child.traits.check(Some(&child.id), self.auto)?;
            if !ids.insert(&child.id) {
                return Err(SpecError::DuplicateId(child.id.clone()));
            }
        }
        self.template.as_ref().map_or(Ok(()), |template| template.traits.check(None, self.auto))
    }
}
