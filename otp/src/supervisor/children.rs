//! The children as they are: [`Children`], found by place, id and process.
//!
//! They lie in slots, each with its neighbours in the order of start: adding, removing and going from one to the next
//! cost the same however many there are. A child's place is its slot, which another may have when it is gone; what outlives a
//! child (a try of a restart that is on its way) says which try it is. A child is down, up, or to be
//! restarted. `processes` has those that are up, and, by the process that they had last, those that are to be restarted: a
//! dynamic child has no other name. Making room in it comes before the process that will need it, so noting a child that has been
//! started cannot fail.
//!
//! What a supervisor is asked in numbers (how many are up, how many are supervisors, whether a significant child is left) is
//! counted where a child changes, and never by a walk: a hundred thousand ends cost a hundred thousand times one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};

use atropos_kernel::{CatchDrop, NoMemory, Pid, Reason, Reference};
use hashbrown::HashMap;

use super::spec::{ChildId, ChildKind, StartFn, Restart, Traits};
use crate::report::Offender;

/// A child's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u32);

/// No place.
const NONE: u32 = u32::MAX;

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
    pub(super) factory: Option<CatchDrop<StartFn>>,
    pub(super) state: State,
    /// Deaths in a row, for the back-off.
    pub(super) deaths: u32,
    /// How far its stop has come.
    pub(super) ending: Ending,
    /// The process that it has, or had last.
    was: Option<Pid>,
    /// The process by which `processes` leads here.
    key: Option<Pid>,
}

/// How far the stop of a child has come (`stop`).
#[derive(Debug)]
pub(super) enum Ending {
    /// It is not being stopped.
    No,
    /// The stop that is under way takes its DOWN.
    Awaited,
    /// Its DOWN has come, and the stop has not come to it yet.
    Ended(Reason),
}

impl Child {
    pub(super) fn new(id: Option<ChildId>, traits: Traits, factory: CatchDrop<StartFn>) -> Self {
        let (state, ending) = (State::Down, Ending::No);
        Self { id, traits, factory: Some(factory), state, deaths: 0, ending, was: None, key: None }
    }

    /// Whether it keeps a supervisor alive that ends with its significant children.
    fn keeps(&self) -> bool {
        self.traits.significant && self.state != State::Down
    }

    fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
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

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Which child a process is.
pub(super) type Processes = HashMap<Pid, Place, BuildHasherDefault<PidHasher>>;

struct Slot {
    /// `None` when it is free.
    child: Option<Child>,
    /// The neighbours in the order of start, or `NONE`. Of a free one, the next free one is behind.
    before: u32,
    behind: u32,
}

/// See the module.
pub(super) struct Children {
    slots: Vec<Slot>,
    first: u32,
    last: u32,
    free: u32,
    len: usize,
    up: usize,
    supervisors: usize,
    /// Significant ones that are up or to be restarted.
    keeping: usize,
    ids: BTreeMap<ChildId, Place>,
    processes: Processes,
}

fn place(slot: u32) -> Option<Place> {
    (slot != NONE).then_some(Place(slot))
}

impl Children {
    pub(super) fn new() -> Self {
        let (ids, processes) = (BTreeMap::new(), Processes::default());
        let (len, up, supervisors, keeping) = (0, 0, 0, 0);
        Self { slots: Vec::new(), first: NONE, last: NONE, free: NONE, len, up, supervisors, keeping, ids, processes }
    }

    /// Adds one at the end. Its id, if it has one, is not in use.
    pub(super) fn add(&mut self, child: Child) -> Place {
        let id = child.id.clone();
        self.supervisors += usize::from(child.traits.kind == ChildKind::Supervisor);
        let slot = Slot { child: Some(child), before: self.last, behind: NONE };
        let new = self.free;
        let new = match self.slots.get_mut(new as usize) {
            Some(free) => {
                self.free = free.behind;
                *free = slot;
                new
            }
            None => {
                let new = u32::try_from(self.slots.len()).unwrap_or(NONE);
                assert!(new != NONE, "more children than there are pids");
                self.slots.push(slot);
                new
            }
        };
        self.join(self.last, new);
        self.last = new;
        self.len += 1;
        if let Some(id) = id {
            self.ids.insert(id, Place(new));
        }
        Place(new)
    }

    /// `behind` comes behind `before`; either may be `NONE`.
    fn join(&mut self, before: u32, behind: u32) {
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.behind = behind,
            None => self.first = behind,
        }
        match self.slots.get_mut(behind as usize) {
            Some(slot) => slot.before = before,
            None => self.last = before,
        }
    }

    /// Takes one out.
    #[must_use = "it holds what is foreign: drop it contained"]
    pub(super) fn remove(&mut self, place: Place) -> Option<Child> {
        let slot = self.slots.get_mut(place.0 as usize)?;
        let child = slot.child.take()?;
        let (before, behind) = (slot.before, slot.behind);
        slot.behind = self.free;
        self.free = place.0;
        self.join(before, behind);
        self.len -= 1;
        self.up -= usize::from(child.is_up());
        self.supervisors -= usize::from(child.traits.kind == ChildKind::Supervisor);
        self.keeping -= usize::from(child.keeps());
        if let Some(key) = child.key {
            self.processes.remove(&key);
        }
        if let Some(id) = &child.id {
            self.ids.remove(id);
        }
        Some(child)
    }

    #[inline]
    pub(super) fn get(&self, place: Place) -> Option<&Child> {
        self.slots.get(place.0 as usize)?.child.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Child> {
        self.slots.get_mut(place.0 as usize)?.child.as_mut()
    }

    pub(super) fn by_id(&self, id: &ChildId) -> Option<Place> {
        self.ids.get(id).copied()
    }

    /// The child that has this process, or is to be restarted and had it last.
    pub(super) fn by_pid(&self, pid: Pid) -> Option<Place> {
        self.processes.get(&pid).copied()
    }

    /// The child whose DOWN by this monitor the stop under way takes; without a monitor, whose EXIT.
    pub(super) fn awaited(&self, pid: Pid, by: Option<Reference>) -> Option<Place> {
        let place = self.by_pid(pid)?;
        let child = self.get(place)?;
        let State::Up { monitor, .. } = child.state else { return None };
        (by.is_none_or(|by| by == monitor) && !matches!(child.ending, Ending::No)).then_some(place)
    }

    /// The child that had this process, whose DOWN a stop has taken, keeps the reason.
    pub(super) fn ended(&mut self, pid: Pid, reason: Reason) -> Option<Place> {
        let place = self.by_pid(pid)?;
        self.get_mut(place)?.ending = Ending::Ended(reason);
        Some(place)
    }

    /// The reason of a child whose DOWN a stop has taken.
    pub(super) fn take_end(&mut self, place: Place) -> Option<Reason> {
        match core::mem::replace(&mut self.get_mut(place)?.ending, Ending::Awaited) {
            Ending::Ended(reason) => Some(reason),
            Ending::No | Ending::Awaited => None,
        }
    }

    /// Children that are up.
    pub(super) fn up(&self) -> usize {
        self.up
    }

    /// Children that are supervisors.
    pub(super) fn supervisors(&self) -> usize {
        self.supervisors
    }

    /// Whether a significant child is up or to be restarted.
    pub(super) fn any_significant(&self) -> bool {
        self.keeping > 0
    }

    /// Children.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// In the order of start.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Child)> {
        let mut next = self.first();
        core::iter::from_fn(move || {
            let place = next?;
            next = self.after(place);
            Some((place, self.get(place)?))
        })
    }

    /// The first one.
    pub(super) fn first(&self) -> Option<Place> {
        place(self.first)
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<Place> {
        place(self.last)
    }

    /// The one behind a child.
    #[inline]
    pub(super) fn after(&self, child: Place) -> Option<Place> {
        place(self.slots.get(child.0 as usize)?.behind)
    }

    /// The one before a child.
    #[inline]
    pub(super) fn before(&self, child: Place) -> Option<Place> {
        place(self.slots.get(child.0 as usize)?.before)
    }

    /// Makes room for a process.
    pub(super) fn reserve(&mut self) -> Result<(), NoMemory> {
        self.processes.try_reserve(1).map_err(|_| NoMemory)
    }

    /// Changes how one is; the start function, if it is not needed any more.
    #[inline(always)]
    #[must_use = "it is foreign: nothing is borrowed when it is dropped"]
    pub(super) fn set(&mut self, place: Place, state: State) -> Option<CatchDrop<StartFn>> {
        let child = self.slots.get_mut(place.0 as usize)?.child.as_mut()?;
        let mut spent = None;
        self.up -= usize::from(child.is_up());
        self.keeping -= usize::from(child.keeps());
        if let Some(key) = child.key.take() {
            self.processes.remove(&key);
        }
        child.state = state;
        child.ending = Ending::No;
        self.up += usize::from(child.is_up());
        self.keeping += usize::from(child.keeps());
        match state {
            State::Up { pid, .. } => {
                if child.is_temporary() {
                    spent = child.factory.take();
                }
                (child.was, child.key) = (Some(pid), Some(pid));
                self.processes.insert(pid, place);
            }
            // Without room it has no name until it is up again.
            State::Restarting { .. } => {
                if let Some(was) = child.was
                    && self.processes.try_reserve(1).is_ok()
                {
                    child.key = Some(was);
                    self.processes.insert(was, place);
                }
            }
            State::Down => {}
        }
        spent
    }
}
