//! [`Ledger`], the accounts of a round, which must balance when the round is over.
//!
//! - Each [`Token`] is a message: it ends as received, returned to its sender, or dropped unread.
//! - Each [`Tracked`] is a value that the library must destroy exactly once: a body's local, an
//!   answer, a server's state, a callback's capture. A mark in it reveals a value that was
//!   destroyed before, or never made.
//! - Each monitor of an actor ends by its one DOWN, by its demonitor, or with the actor.
//! - Each watch of a thread runs its callback once, or is cancelled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Declares the counters by their names.
macro_rules! counters {
    ($($name:ident,)*) => {
        /// The counters of a round, and the faults found so far.
        #[derive(Debug, Default)]
        pub(crate) struct Ledger {
            $(pub(crate) $name: AtomicUsize,)*
            pub(crate) tracked: [AtomicUsize; KINDS.len()],
            pub(crate) destroyed: [AtomicUsize; KINDS.len()],
            faults: Mutex<Vec<String>>,
        }

        impl Ledger {
            /// Returns all counters, for a report.
            pub(crate) fn all(&self) -> Vec<(&'static str, usize)> {
                vec![$((stringify!($name), n(&self.$name)),)*]
            }
        }
    };
}

counters! {
    acts, tokens_made, tokens_received, tokens_returned, tokens_dropped,
    monitors_made, monitors_answered, monitors_withdrawn, monitors_ended_with_watcher,
    watches_made, watches_fired, watches_withdrawn,
    spawned, not_spawned, exits_seen, exits_missed, lost_panics, callback_panics,
    answered, unanswered, waits_over, given_up, checks_made, checks_over,
}

/// The role of a [`Tracked`] value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Body,
    Answer,
    State,
    Callback,
    Handler,
    Job,
    Argument,
}

/// All kinds.
const KINDS: [Kind; 7] =
    [Kind::Body, Kind::Answer, Kind::State, Kind::Callback, Kind::Handler, Kind::Job, Kind::Argument];

/// Reads a counter.
pub(crate) fn n(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Ledger {
    /// Records a fault. The first hundred are kept.
    pub(crate) fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < 100 {
            faults.push(what);
        }
    }

    /// Returns the faults so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns every account that does not balance. Meant for when everything has ended.
    pub(crate) fn balance(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut equal = |what: &str, made: usize, ended: usize| {
            if made != ended {
                wrong.push(format!("{what}: {made} made, {ended} ended"));
            }
        };
        let ended = n(&self.tokens_received) + n(&self.tokens_returned) + n(&self.tokens_dropped);
        equal("messages", n(&self.tokens_made), ended);
        let ended = n(&self.monitors_answered) + n(&self.monitors_withdrawn) + n(&self.monitors_ended_with_watcher);
        equal("monitors", n(&self.monitors_made), ended);
        equal("watches", n(&self.watches_made), n(&self.watches_fired) + n(&self.watches_withdrawn));
        for kind in KINDS {
            let (made, ended) = (n(&self.tracked[kind as usize]), n(&self.destroyed[kind as usize]));
            equal(&format!("values of kind {kind:?}"), made, ended);
        }
        wrong
    }
}

/// The account of a message, which ends in exactly one of three ways.
pub(crate) struct Token {
    ledger: Arc<Ledger>,
    accounted: bool,
    bomb: bool,
}

impl Token {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        count(&ledger.tokens_made);
        Self { ledger: ledger.clone(), accounted: false, bomb: false }
    }

    /// Makes its destructor panic if the message is dropped unread.
    pub(crate) fn bomb(mut self, bomb: bool) -> Self {
        self.bomb = bomb;
        self
    }

    pub(crate) fn received(mut self) {
        self.accounted = true;
        count(&self.ledger.tokens_received);
    }

    pub(crate) fn returned(mut self) {
        self.accounted = true;
        count(&self.ledger.tokens_returned);
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.accounted {
            count(&self.ledger.tokens_dropped);
            explode(self.bomb);
        }
    }
}

const ALIVE: u64 = 0xA11F_E000_A11F_E000;

/// A value that must be destroyed exactly once.
#[derive(Debug)]
pub(crate) struct Tracked {
    mark: u64,
    kind: Kind,
    bomb: bool,
    ledger: Arc<Ledger>,
}

impl Tracked {
    pub(crate) fn new(ledger: &Arc<Ledger>, kind: Kind) -> Self {
        count(&ledger.tracked[kind as usize]);
        Self { mark: ALIVE, kind, bomb: false, ledger: ledger.clone() }
    }

    /// Makes its destructor panic.
    pub(crate) fn bomb(mut self, bomb: bool) -> Self {
        self.bomb = bomb;
        self
    }

    /// Checks that the value is intact.
    pub(crate) fn check(&self) {
        if self.mark != ALIVE {
            self.ledger.fault(format!("a value of kind {:?} has the mark {:#x}", self.kind, self.mark));
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.check();
        self.mark = 0xDEAD;
        count(&self.ledger.destroyed[self.kind as usize]);
        explode(self.bomb);
    }
}

/// The prefix of every planned panic's text.
pub(crate) const PLANNED: &str = "chaos: ";

fn explode(bomb: bool) {
    // A second panic while another one unwinds aborts any Rust program.
    if bomb && !std::thread::panicking() {
        panic!("{PLANNED}a destructor");
    }
}
