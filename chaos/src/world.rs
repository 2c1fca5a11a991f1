//! [`ChaosWorld`], the state that all actors on one runtime share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use atropos::kernel::RequestFuture;
use atropos::{Alias, Handle, Pid, Reference};

use crate::actor::Told;
use crate::classes::{Class, Classes};
use crate::ledger::{Ledger, Tracked};
use crate::random::Random;
use crate::strangers::Left;

/// Number of names that actors register.
pub(crate) const NAMES: usize = 24;
/// Number of slots for pids that every actor knows.
const KNOWN: usize = 128;

/// A bag of a few values, from which a random one is taken or inspected.
pub(crate) struct Bag<T>(Mutex<Vec<T>>);

impl<T> Bag<T> {
    const MOST: usize = 64;

    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Puts a value in. If the bag is full, returns the value that falls out.
    pub(crate) fn put(&self, value: T, random: &mut Random) -> Option<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() < Self::MOST {
            values.push(value);
            return None;
        }
        let place = random.below(Self::MOST);
        Some(std::mem::replace(&mut values[place], value))
    }

    pub(crate) fn take(&self, random: &mut Random) -> Option<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = random.below(values.len().max(1));
        (place < values.len()).then(|| values.swap_remove(place))
    }

    pub(crate) fn look<R>(&self, random: &mut Random, look: impl FnOnce(&T) -> R) -> Option<R> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(random.below(values.len().max(1))).map(look)
    }

    /// Inspects all values.
    pub(crate) fn look_at_all(&self, look: impl FnMut(&T)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(look);
    }

    /// Takes all values, so that they are dropped while no lock is held.
    pub(crate) fn empty(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Leftovers of earlier runtimes, and of this one, for live processes to use.
pub(crate) struct Graveyard {
    pub(crate) contexts: Bag<Left>,
    pub(crate) pids: Bag<Pid>,
    pub(crate) aliases: Bag<Alias>,
    pub(crate) references: Bag<Reference>,
}

impl Graveyard {
    pub(crate) fn new() -> Self {
        Self { contexts: Bag::new(), pids: Bag::new(), aliases: Bag::new(), references: Bag::new() }
    }
}

/// The shared state of the actors on one runtime.
pub(crate) struct ChaosWorld {
    pub(crate) classes: Classes,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) handle: Handle,
    pub(crate) known: [AtomicU64; KNOWN],
    pub(crate) aliases: Bag<Alias>,
    /// Requests in transit to another thread or task.
    pub(crate) requests: Bag<RequestFuture<Tracked>>,
    /// The thread that takes them, once it runs.
    pub(crate) thief: OnceLock<Thread>,
    pub(crate) graveyard: Arc<Graveyard>,
    /// `true` if processes may use Tokio's timers.
    pub(crate) in_tokio: bool,
    /// Set when no action may start another.
    pub(crate) stop: AtomicBool,
}

impl ChaosWorld {
    pub(crate) fn has(&self, class: Class) -> bool {
        self.classes.has(class)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Returns a pid that was recently known; with [`Class::Foreign`], sometimes one from the
    /// graveyard, which may belong to an earlier runtime.
    pub(crate) fn any(&self, random: &mut Random) -> Option<Pid> {
        if self.has(Class::Foreign) && random.once_in(16) {
            return self.graveyard.pids.look(random, |pid| *pid);
        }
        Pid::from_raw(self.known[random.below(KNOWN)].load(Ordering::Relaxed))
    }

    pub(crate) fn know(&self, pid: Pid, random: &mut Random) {
        self.known[random.below(KNOWN)].store(pid.to_raw(), Ordering::Relaxed);
    }

    /// Returns `true` if a destructor should panic.
    pub(crate) fn bomb(&self, random: &mut Random) -> bool {
        self.has(Class::Bombs) && random.once_in(24)
    }

    /// Sends a message to an actor from outside, with a seed for its actions.
    pub(crate) fn tell(&self, to: Pid, told: Told) {
        if let Err(error) = self.handle.send(to, told) {
            error.into_message().token.returned();
        }
    }

    /// Returns a random name.
    pub(crate) fn name(random: &mut Random) -> String {
        format!("n{}", random.below(NAMES))
    }
}
