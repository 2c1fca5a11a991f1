//! [`Shared`]: commands and results, passed between the controller and a scripted process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use serde_json::{Value, json};

use super::names::Names;
use super::through::Through;
use crate::case::Op;

/// The state that the controller and a process share.
#[derive(Debug)]
pub struct Shared {
    /// The case's names.
    pub names: Arc<Mutex<Names>>,
    /// The facilities that the process calls in place of the kernel, if any.
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

/// Locks a mutex. A scripted process that panics leaves its data consistent.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Creates the shared state for one process of the case.
    pub fn new(names: Arc<Mutex<Names>>, through: Option<Arc<Through>>) -> Arc<Self> {
        Arc::new(Self { names, through, state: Mutex::default() })
    }

    /// Stores a command and wakes the process.
    pub fn tell(&self, op: Op) {
        let mut state = lock(&self.state);
        state.command = Some(op);
        state.result = None;
        if let Some(waker) = state.waker.clone() {
            drop(state);
            waker.wake();
        }
    }

    /// Takes the result of the last command, if it is complete.
    pub fn take_result(&self) -> Option<Value> {
        lock(&self.state).result.take()
    }

    /// Returns the result of the blocked receive, or `pending`.
    pub fn blocked_result(&self) -> Value {
        lock(&self.state).blocked.clone().unwrap_or_else(|| json!("pending"))
    }
}
