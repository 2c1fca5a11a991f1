//! [`Judge`]: the model and the comparisons' outcome. [`Stage`]: the state shared by all processes
//! of a program.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use atropos_kernel::Alias;

use crate::model::claims::Verdict;
use crate::model::{Id, Model};
use crate::program::Act;

/// The state shared by all processes of a program and the code that performs the program.
#[derive(Debug)]
pub struct Stage {
    judge: Mutex<Judge>,
    /// The number of letters that exist.
    letters: AtomicUsize,
}

/// The model, and the records that the comparison needs.
#[derive(Debug)]
pub struct Judge {
    /// The rules.
    pub model: Model,
    /// The first claim that the rules do not allow, if any.
    pub failure: Option<String>,
    /// The history, one line for each event, if it was requested.
    pub log: Option<Vec<String>>,
    /// A waker of each process that has run.
    pub wakers: Vec<Option<Waker>>,
    /// Every alias ever created.
    pub aliases: Vec<Alias>,
    /// `true` once every process must receive all its messages: none is picky.
    pub finale: bool,
    /// `true` while the kernel is being dropped: nothing is compared.
    pub over: bool,
    /// `true` if the kernel will be dropped with its live processes. A query that waits in a
    /// mailbox holds the caller's waker, which holds the kernel. So no process sends a query then.
    pub abrupt: bool,
    next: u64,
}

impl Stage {
    /// Creates the shared state for one program.
    pub fn new(model: Model, log: bool, abrupt: bool) -> Arc<Self> {
        let judge = Judge {
            model,
            failure: None,
            log: log.then(Vec::new),
            wakers: Vec::new(),
            aliases: Vec::new(),
            finale: false,
            over: false,
            abrupt,
            next: 1,
        };
        Arc::new(Self { judge: Mutex::new(judge), letters: AtomicUsize::new(0) })
    }

    /// Locks the judge. A crash cannot corrupt it, because no body unwinds while it holds the lock.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of letters that are neither received nor dropped.
    pub fn letters(&self) -> usize {
        self.letters.load(Ordering::Relaxed)
    }

    /// Creates a letter with a (possibly empty) list of orders.
    pub fn letter(self: &Arc<Self>, acts: Vec<Act>) -> Letter {
        self.letters.fetch_add(1, Ordering::Relaxed);
        let mut judge = self.judge();
        let id = judge.number();
        if !acts.is_empty() {
            judge.model.orders(id);
        }
        Letter { id, acts, stage: self.clone() }
    }
}

impl Judge {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Checks a claim against the rules. `says` describes it.
    pub fn check(&mut self, says: impl FnOnce() -> String, claim: impl FnOnce(&mut Model) -> Verdict) {
        if self.over || self.failure.is_some() {
            return;
        }
        if let Some(log) = &mut self.log {
            log.push(says());
        }
        if let Err(why) = claim(&mut self.model) {
            self.failure = Some(why);
        }
    }

    /// Returns the process for a number in the program: usually a live one, sometimes any process
    /// that ever existed.
    pub fn who(&self, number: u8) -> Id {
        let alive: Vec<Id> = self.model.alive().collect();
        match usize::from(number).checked_rem(alive.len()) {
            Some(index) if number < 0xD0 => alive[index],
            _ => usize::from(number) % self.model.count().max(1),
        }
    }

    /// Returns the alias for a number in the program.
    pub fn alias(&self, number: u8) -> Option<Alias> {
        let index = usize::from(number).checked_rem(self.aliases.len())?;
        Some(self.aliases[index])
    }
}

/// The message type of the processes. The stage counts each letter while it exists.
#[derive(Debug)]
pub struct Letter {
    /// The letter's number.
    pub id: u64,
    pub(super) acts: Vec<Act>,
    stage: Arc<Stage>,
}

impl Drop for Letter {
    fn drop(&mut self) {
        self.stage.letters.fetch_sub(1, Ordering::Relaxed);
    }
}
