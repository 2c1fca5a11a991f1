//! The handlers of the requests to a supervisor.

use alloc::vec::Vec;

use atropos_kernel::{Pid, Reply};

use super::child_spec::{ChildArgs, ChildSpec};
use super::children::{Child, ChildKey, State};
use super::protocol::{Added, ChildCounts, ChildInfo, ChildState, ControlError, Request, StartChildError, Which};
use super::state::{Flow, SupervisorState};
use crate::spec::{ChildId, Strategy};
use crate::wait::yield_if_exhausted;

impl SupervisorState {
    pub(super) async fn request(&mut self, request: Request) -> Flow {
        match request {
            Request::StartChild(spec, reply) => {
                let started = self.add(*spec).await;
                self.say_started(started, reply).await;
            }
            Request::StartDynamic(arguments, reply) => {
                let started = self.add_dynamic(arguments).await;
                self.say_started(started, reply).await;
            }
            Request::Terminate(which, reply) => {
                let terminated = self.terminate(which).await;
                reply.send(terminated);
            }
            Request::Restart(id, reply) => {
                let restarted = self.start_again(&id).await;
                reply.send(restarted);
            }
            Request::GiveUp(pid) => self.give_up(pid).await,
            Request::Delete(id, reply) => reply.send(self.delete(&id)),
            Request::Which(reply) => {
                let children = self.which().await;
                reply.send(children);
            }
            Request::Count(reply) => reply.send(self.count()),
            Request::History(reply) => {
                let now = self.cx.with(|cx| cx.now());
                reply.send(self.history.snapshot(now));
            }
            Request::Try { place, attempt, counted } => return self.try_again(place, attempt, counted),
        }
        Flow::Go
    }

    async fn add(&mut self, spec: ChildSpec) -> Result<Option<Pid>, StartChildError> {
        self.accepts(&spec)?;
        self.add_child(Child::new(Some(spec.id), spec.traits, spec.factory)).await
    }

    fn accepts(&self, spec: &ChildSpec) -> Result<(), StartChildError> {
        if self.strategy == Strategy::Dynamic {
            return Err(StartChildError::KindMismatch);
        }
        spec.traits.check(Some(&spec.id), self.auto).map_err(StartChildError::Spec)?;
        match self.children.by_id(&spec.id).and_then(|place| self.children.get(place)).map(|child| child.state) {
            None => Ok(()),
            Some(State::Down) => Err(StartChildError::AlreadyPresent),
            Some(State::Up { pid, .. }) => Err(StartChildError::AlreadyStarted(Some(pid))),
            Some(State::Restarting { .. }) => Err(StartChildError::AlreadyStarted(None)),
        }
    }

    async fn add_dynamic(&mut self, arguments: ChildArgs) -> Result<Option<Pid>, StartChildError> {
        let factory = match &self.template {
            Some(template) => template.factory(arguments).map(|factory| (template.traits, factory)),
            None => Err(arguments),
        };
        match factory {
            Ok((traits, factory)) => {
                let factory = self.cx.with(|cx| cx.catch_drop(factory));
                self.add_child(Child::new(None, traits, factory)).await
            }
            Err(arguments) => {
                self.discard(arguments);
                Err(StartChildError::KindMismatch)
            }
        }
    }

    async fn add_child(&mut self, child: Child) -> Result<Option<Pid>, StartChildError> {
        let place = self.children.add(child);
        match self.start(place).await {
            Ok(Some(pid)) => Ok(Some(pid)),
            Ok(None) => {
                self.ignored(place);
                Ok(None)
            }
            Err(error) => {
                self.remove(place);
                Err(StartChildError::Start(error))
            }
        }
    }

    /// Replies to a request to add a child. If its caller no longer waits, the child is stopped and
    /// deleted, because the caller does not know of it.
    async fn say_started(&mut self, started: Added, reply: Reply<Added>) {
        if let Err(Ok(Some(pid))) = reply.try_send(started) {
            self.give_up(pid).await;
        }
    }

    async fn give_up(&mut self, pid: Pid) {
        if let Some(place) = self.children.by_pid(pid) {
            self.stop(place).await;
            self.remove(place);
        }
    }

    async fn terminate(&mut self, which: Which) -> Result<(), ControlError> {
        let place = match which {
            Which::Id(_) if self.strategy == Strategy::Dynamic => return Err(ControlError::Dynamic),
            Which::Id(id) => self.children.by_id(&id).ok_or(ControlError::NotFound)?,
            Which::Process(pid) => match self.children.by_pid(pid) {
                Some(place) => place,
                // A dead process counts as terminated; a process that is not our child is not
                // found. `is_gone` only reads its state, so a busy stranger causes no wait.
                None if self.cx.is_gone(pid) => return Ok(()),
                None => return Err(ControlError::NotFound),
            },
        };
        self.stop(place).await;
        self.forget(place);
        Ok(())
    }

    /// Returns a child without a process, by its id.
    fn without_process(&self, id: &ChildId) -> Result<ChildKey, ControlError> {
        if self.strategy == Strategy::Dynamic {
            return Err(ControlError::Dynamic);
        }
        let place = self.children.by_id(id).ok_or(ControlError::NotFound)?;
        match self.children.get(place).map(|child| child.state) {
            Some(State::Down) => Ok(place),
            Some(State::Up { .. }) => Err(ControlError::Running),
            Some(State::Restarting { .. }) => Err(ControlError::Restarting),
            None => Err(ControlError::NotFound),
        }
    }

    async fn start_again(&mut self, id: &ChildId) -> Result<Option<Pid>, ControlError> {
        let place = self.without_process(id)?;
        self.start(place).await.map_err(ControlError::Start)
    }

    fn delete(&mut self, id: &ChildId) -> Result<(), ControlError> {
        let place = self.without_process(id)?;
        self.remove(place);
        Ok(())
    }

    async fn which(&mut self) -> Vec<ChildInfo> {
        let mut children = Vec::with_capacity(self.children.len());
        let mut next = self.children.first();
        while let Some(place) = next {
            if let Some(child) = self.children.get(place) {
                let state = match child.state {
                    State::Down => ChildState::Down,
                    State::Up { pid, .. } => ChildState::Up(pid),
                    State::Restarting { .. } => ChildState::Restarting,
                };
                children.push(ChildInfo { id: child.id.clone(), state, kind: child.traits.kind });
            }
            next = self.children.after(place);
            yield_if_exhausted(&self.cx).await;
        }
        children
    }

    fn count(&self) -> ChildCounts {
        let (all, supervisors) = (self.children.len(), self.children.supervisors());
        let specs = if self.strategy == Strategy::Dynamic { 1 } else { all };
        ChildCounts { specs, active: self.children.up(), supervisors, workers: all - supervisors }
    }
}
