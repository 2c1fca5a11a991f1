//! [`Judge`]: the model, and what was held against it. A [`Stage`] is what all processes of a program share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use atropos::Alias;

use super::claims::Verdict;
use super::model::{Id, Model};
use super::program::Act;

/// What all processes of a program share, and its performer.
#[derive(Debug)]
pub struct Stage {
    judge: Mutex<Judge>,
    /// Letters that are somewhere.
    letters: AtomicUsize,
}

/// The model, and what else must be remembered.
#[derive(Debug)]
pub struct Judge {
    /// The rules.
    pub model: Model,
    /// What they do not allow, if it happened.
    pub failure: Option<String>,
    /// What happened, a line each, if somebody wants to know.
    pub log: Option<Vec<String>>,
    /// A waker of each process that has run.
    pub wakers: Vec<Option<Waker>>,
    /// Every alias ever made.
    pub aliases: Vec<Alias>,
    /// Nobody is picky any more.
    pub finale: bool,
    /// The kernel is being dropped: nothing is compared.
    pub over: bool,
    /// It will be dropped with all that is alive. A question that waits in a mailbox has the asker's waker, which
    /// holds the kernel: none is asked.
    pub abrupt: bool,
    next: u64,
}

impl Stage {
    /// For one program.
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

    /// The judge. A crash leaves it whole: it is never held while a body unwinds.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Letters that nobody has received or dropped.
    pub fn letters(&self) -> usize {
        self.letters.load(Ordering::Relaxed)
    }

    /// A letter, perhaps with orders.
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

    /// Holds a claim against the rules. `says` describes it.
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

    /// The process that a number of the program means: mostly one that is alive, now and then any there ever was.
    pub fn who(&self, number: u8) -> Id {
        let alive: Vec<Id> = self.model.alive().collect();
        match usize::from(number).checked_rem(alive.len()) {
            Some(index) if number < 0xD0 => alive[index],
            _ => usize::from(number) % self.model.count().max(1),
        }
    }

    /// The alias that a number of the program means.
    pub fn alias(&self, number: u8) -> Option<Alias> {
        let index = usize::from(number).checked_rem(self.aliases.len())?;
        Some(self.aliases[index])
    }
}

/// What the processes send each other. It is counted as long as it is somewhere.
#[derive(Debug)]
pub struct Letter {
    /// Which.
    pub id: u64,
    pub(super) acts: Vec<Act>,
    stage: Arc<Stage>,
}

impl Drop for Letter {
    fn drop(&mut self) {
        self.stage.letters.fetch_sub(1, Ordering::Relaxed);
    }
}
