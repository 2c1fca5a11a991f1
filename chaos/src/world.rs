//! [`ChaosWorld`], what all that acts on one runtime shares.

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

/// Names that actors register.
pub(crate) const NAMES: usize = 24;
/// Places for pids that everything knows.
const KNOWN: usize = 128;

/// A place for a few values of which one is taken out, or looked at, at random.
pub(crate) struct Bag<T>(Mutex<Vec<T>>);

impl<T> Bag<T> {
    const MOST: usize = 64;

    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Puts a value in; what falls out, if the bag is full, is the caller's.
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

    /// Looks at all.
    pub(crate) fn look_at_all(&self, look: impl FnMut(&T)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(look);
    }

    /// Everything, to be dropped where no lock is held.
    pub(crate) fn empty(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is left of runtimes that have ended, and of this one, for whatever lives to use.
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

/// See the module.
pub(crate) struct ChaosWorld {
    pub(crate) classes: Classes,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) handle: Handle,
    pub(crate) known: [AtomicU64; KNOWN],
    pub(crate) aliases: Bag<Alias>,
    /// Requests on their way to another thread or task.
    pub(crate) requests: Bag<RequestFuture<Tracked>>,
    /// The thread that takes them, once it runs.
    pub(crate) thief: OnceLock<Thread>,
    pub(crate) graveyard: Arc<Graveyard>,
    /// Whether processes may use Tokio's timers.
    pub(crate) in_tokio: bool,
    /// Nothing begins anything more.
    pub(crate) stop: AtomicBool,
}

impl ChaosWorld {
    pub(crate) fn has(&self, class: Class) -> bool {
        self.classes.has(class)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// A pid that was known a moment ago; in a world beside others, sometimes a pid of another runtime.
    pub(crate) fn any(&self, random: &mut Random) -> Option<Pid> {
        if self.has(Class::Foreign) && random.once_in(16) {
            return self.graveyard.pids.look(random, |pid| *pid);
        }
        Pid::from_raw(self.known[random.below(KNOWN)].load(Ordering::Relaxed))
    }

    pub(crate) fn know(&self, pid: Pid, random: &mut Random) {
        self.known[random.below(KNOWN)].store(pid.to_raw(), Ordering::Relaxed);
    }

    /// Whether a destructor is to panic.
    pub(crate) fn bomb(&self, random: &mut Random) -> bool {
        self.has(Class::Bombs) && random.once_in(24)
    }

    /// Sends to an actor from outside, with a seed of what it is to do.
    pub(crate) fn tell(&self, to: Pid, told: Told) {
        if let Err(error) = self.handle.send(to, told) {
            error.into_message().token.returned();
        }
    }

    /// The name of a number.
    pub(crate) fn name(random: &mut Random) -> String {
        format!("n{}", random.below(NAMES))
    }
}
