//! The children as they are: [`Children`], found by place, id and process.
//!
//! A child's place is a number that grows with each that is added: the order of start. A child is down, up, or to be
//! restarted. `processes` has those that are up; making room in it comes before the process that will need it, so noting
//! a child that has been started cannot fail.

use alloc::collections::BTreeMap;
use core::hash::{BuildHasherDefault, Hasher};

use atropos_kernel::{NoMemory, Pid, Reference};
use hashbrown::HashMap;

use super::spec::{ChildId, Factory, Restart, Traits};
use crate::report::Offender;

/// A child's place in the order of start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u64);

/// How a child is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It has no process: stopped, ended or never there.
    Down,
    /// It has one.
    Up { pid: Pid, monitor: Reference, since: u64 },
    /// It is to have one: by a message that names this try.
    Restarting { attempt: u64 },
}

/// A child.
pub(super) struct Child {
    pub(super) id: Option<ChildId>,
    pub(super) traits: Traits,
    /// `None` for a temporary one that has been started: it will not be again, and its arguments are not kept.
    pub(super) factory: Option<Factory>,
    pub(super) state: State,
    /// Deaths in a row, for the back-off.
    pub(super) deaths: u32,
}

impl Child {
    pub(super) fn new(id: Option<ChildId>, traits: Traits, factory: Factory) -> Self {
        Self { id, traits, factory: Some(factory), state: State::Down, deaths: 0 }
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.traits.restart == Restart::Temporary
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        match self.state {
            State::Up { pid, .. } => Some(pid),
            _ => None,
        }
    }

    /// As a report shows it.
    pub(super) fn offender(&self, pid: Option<Pid>) -> Offender {
        let Traits { restart, kind, significant, .. } = self.traits;
        Offender { pid, id: self.id.clone(), restart, shutdown: self.traits.shutdown(), kind, significant }
    }
}

/// Pids are numbers that differ in their lower bits.
#[derive(Default)]
pub(super) struct PidHasher(u64);

impl Hasher for PidHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Places by process.
pub(super) type Processes = HashMap<Pid, Place, BuildHasherDefault<PidHasher>>;

/// See the module.
#[derive(Default)]
pub(super) struct Children {
    places: BTreeMap<Place, Child>,
    ids: BTreeMap<ChildId, Place>,
    processes: Processes,
    next: u64,
}

impl Children {
    /// Adds one at the end. Its id, if it has one, is not in use.
    pub(super) fn add(&mut self, child: Child) -> Place {
        let place = Place(self.next);
        self.next += 1;
        if let Some(id) = &child.id {
            self.ids.insert(id.clone(), place);
        }
        self.places.insert(place, child);
        place
    }

    /// Takes one out.
    #[must_use = "it holds what is foreign: drop it contained"]
    pub(super) fn remove(&mut self, place: Place) -> Option<Child> {
        let child = self.places.remove(&place)?;
        if let Some(pid) = child.pid() {
            self.processes.remove(&pid);
        }
        if let Some(id) = &child.id {
            self.ids.remove(id);
        }
        Some(child)
    }

    pub(super) fn get(&self, place: Place) -> Option<&Child> {
        self.places.get(&place)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Child> {
        self.places.get_mut(&place)
    }

    pub(super) fn by_id(&self, id: &ChildId) -> Option<Place> {
        self.ids.get(id).copied()
    }

    pub(super) fn by_pid(&self, pid: Pid) -> Option<Place> {
        self.processes.get(&pid).copied()
    }

    /// Those that are up. (For who waits: start functions need not be `Sync`.)
    pub(super) fn processes(&self) -> &Processes {
        &self.processes
    }

    /// Children that are up.
    pub(super) fn up(&self) -> usize {
        self.processes.len()
    }

    /// Children.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// In the order of start.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Place, &Child)> {
        self.places.iter().map(|(place, child)| (*place, child))
    }

    /// The first one from `place` on.
    pub(super) fn from(&self, place: Place) -> Option<Place> {
        self.places.range(place..).next().map(|(place, _)| *place)
    }

    /// The one behind `place`.
    pub(super) fn after(&self, place: Place) -> Option<Place> {
        self.from(Place(place.0 + 1))
    }

    /// The first one.
    pub(super) fn first(&self) -> Option<Place> {
        self.places.first_key_value().map(|(place, _)| *place)
    }

    /// The last one before `place`, or of all.
    pub(super) fn before(&self, place: Option<Place>) -> Option<Place> {
        match place {
            None => self.places.last_key_value().map(|(place, _)| *place),
            Some(place) => self.places.range(..place).next_back().map(|(place, _)| *place),
        }
    }

    /// Makes room for a process.
    pub(super) fn reserve(&mut self) -> Result<(), NoMemory> {
        self.processes.try_reserve(1).map_err(|_| NoMemory)
    }

    /// Changes how one is; the start function, if it is not needed any more.
    #[must_use = "it is foreign: drop it contained"]
    pub(super) fn set(&mut self, place: Place, state: State) -> Option<Factory> {
        let child = self.places.get_mut(&place)?;
        let mut spent = None;
        if let Some(pid) = child.pid() {
            self.processes.remove(&pid);
        }
        child.state = state;
        if let State::Up { pid, .. } = state {
            if child.is_temporary() {
                spent = child.factory.take();
            }
            self.processes.insert(pid, place);
        }
        spent
    }
}
