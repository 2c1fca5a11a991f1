//! [`Answers`]: the calls that have gone out through proxies and have no answer yet.
//!
//! A call has the reference of an alias, which the answer comes to. The proxy does not see the
//! answer: it completes the caller's request in the thread that reads it from the wire.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atropos::{Pid, Reply};
use serde::de::DeserializeOwned;

use crate::term::{SerdeError, Term, from_term};

/// How many answers may wait before those are looked for whose callers have given up.
const MANY: usize = 1024;

/// A caller that waits for an answer.
pub(super) trait Answer: Send {
    /// Returns `true` if the caller still waits.
    fn is_wanted(&self) -> bool;

    /// Completes the call.
    fn complete(self: Box<Self>, reply: &Term) -> Result<(), SerdeError>;
}

impl<T: DeserializeOwned + Send> Answer for Reply<T> {
    fn is_wanted(&self) -> bool {
        Reply::is_wanted(self)
    }

    fn complete(self: Box<Self>, reply: &Term) -> Result<(), SerdeError> {
        self.send(from_term(reply)?);
        Ok(())
    }
}

/// The callers that wait, by the number of the call's reference.
#[derive(Default)]
pub(super) struct Answers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    calls: HashMap<u64, (Pid, Box<dyn Answer>)>,
    of: BTreeSet<(Pid, u64)>,
    /// How many waited after the last search for those that are not wanted.
    kept: usize,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call of a proxy.
    pub(super) fn insert(&self, number: u64, proxy: Pid, answer: Box<dyn Answer>) {
        let mut unwanted = Vec::new();
        let mut waiting = self.lock();
        waiting.calls.insert(number, (proxy, answer));
        waiting.of.insert((proxy, number));
        // A caller that has given up says nothing: the search costs what was added since the last.
        if waiting.calls.len() > 2 * waiting.kept + MANY {
            let Waiting { calls, of, kept } = &mut *waiting;
            unwanted.extend(calls.extract_if(|_, (_, answer)| !answer.is_wanted()));
            for (number, (proxy, _)) in &unwanted {
                of.remove(&(*proxy, *number));
            }
            *kept = calls.len();
        }
        // Dropped outside the lock: a reply that is dropped wakes its caller.
        drop(waiting);
        drop(unwanted);
    }

    /// Takes a call out.
    pub(super) fn take(&self, number: u64) -> Option<Box<dyn Answer>> {
        let mut waiting = self.lock();
        let (proxy, answer) = waiting.calls.remove(&number)?;
        waiting.of.remove(&(proxy, number));
        Some(answer)
    }

    /// Drops the calls of a proxy that has ended: their callers learn that from its DOWN.
    pub(super) fn forget(&self, proxy: Pid) {
        let mut dropped = Vec::new();
        let mut waiting = self.lock();
        let numbers: Vec<u64> = waiting.of.range((proxy, 0)..=(proxy, u64::MAX)).map(|(_, number)| *number).collect();
        for number in numbers {
            waiting.of.remove(&(proxy, number));
            dropped.extend(waiting.calls.remove(&number));
        }
        drop(waiting);
        drop(dropped);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().calls.len()
    }
}
