//! [`Shared`]: what the controller and a scripted process leave for each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use serde_json::{Value, json};

use super::super::case::Op;
use super::super::through::Through;
use super::names::Names;

/// What the controller and a process share.
#[derive(Debug)]
pub struct Shared {
    /// The case's names.
    pub names: Arc<Mutex<Names>>,
    /// What it asks instead of the kernel itself.
    pub(super) through: Option<Arc<Through>>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) command: Option<Op>,
    pub(super) result: Option<Value>,
    pub(super) blocked: Option<Value>,
    pub(super) waker: Option<Waker>,
}

/// Locks; a scripted process that panicked has left whole data.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// For a process of the case.
    pub fn new(names: Arc<Mutex<Names>>, through: Option<Arc<Through>>) -> Arc<Self> {
        Arc::new(Self { names, through, state: Mutex::default() })
    }

    /// Leaves a command and wakes the process.
    pub fn tell(&self, op: Op) {
        let mut state = lock(&self.state);
        state.command = Some(op);
        state.result = None;
        if let Some(waker) = state.waker.clone() {
            drop(state);
            waker.wake();
        }
    }

    /// What the last command returned, once it has.
    pub fn take_result(&self) -> Option<Value> {
        lock(&self.state).result.take()
    }

    /// What the blocked receive returned, once it has.
    pub fn blocked_result(&self) -> Value {
        lock(&self.state).blocked.clone().unwrap_or_else(|| json!("pending"))
    }
}
