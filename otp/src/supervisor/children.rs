//! The table of a supervisor's children, found by slot, id and process: [`Children`].
//!
//! The children are in slots that form a doubly linked list in start order. Adding, removing and
//! stepping to the next child take constant time. A child's [`ChildKey`] is its slot, which another
//! child may reuse later; so whatever outlives a child (a pending restart attempt) carries the
//! number of the attempt. A child is down, up or restarting. `processes` maps the pid of each child
//! that is up, and the last pid of each child that is restarting, because a dynamic child has no
//! other name. Space in this map is reserved before the process is started, so recording a started
//! child cannot fail.
//!
//! The numbers of children that are up, that are supervisors and that are significant are counters.
//! They change with a child and are never computed by a walk. The cost of 100,000 exits is
//! therefore 100,000 times the cost of one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::{BuildHasherDefault, Hasher};

use atropos_kernel::{CatchDrop, NoMemory, Pid, Reason, Reference};
use hashbrown::HashMap;

use super::child_spec::{ChildProps, StartFn};
use crate::report::Offender;
use crate::spec::{ChildId, ChildKind, Restart};

/// The slot of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChildKey(u32);

/// The index that stands for no slot.
const NONE: u32 = u32::MAX;

/// The state of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It has no process: it was stopped, has terminated or was never started.
    Down,
    /// It has a process.
    Up { pid: Pid, monitor: Reference, since: u64 },
    /// It waits for a restart, which a message with this attempt number triggers.
    Restarting { attempt: u64 },
}

/// A child of the supervisor.
pub(super) struct Child {
    pub(super) id: Option<ChildId>,
    pub(super) traits: ChildProps,
    /// The start function; `None` for a temporary child that was started. It is never restarted, so
    /// its arguments are not kept.
    pub(super) factory: Option<CatchDrop<StartFn>>,
    pub(super) state: State,
    /// Consecutive exits, for the back-off.
    pub(super) deaths: u32,
    /// The progress of its stop.
    pub(super) ending: Ending,
    /// The process that it has, or had last.
    was: Option<Pid>,
    /// The pid under which `processes` maps to this child.
    key: Option<Pid>,
}

/// The progress of a child's stop (`stop`).
#[derive(Debug)]
pub(super) enum Ending {
    /// The child is not being stopped.
    No,
    /// The stop in progress takes its DOWN.
    Awaited,
    /// Its DOWN was received, and the stop has not reached this child yet.
    Ended(Reason),
}

impl Child {
    pub(super) fn new(id: Option<ChildId>, traits: ChildProps, factory: CatchDrop<StartFn>) -> Self {
        let (state, ending) = (State::Down, Ending::No);
        Self { id, traits, factory: Some(factory), state, deaths: 0, ending, was: None, key: None }
    }

    /// Returns `true` if it keeps a supervisor alive that shuts down after its significant
    /// children.
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

    /// Returns the child as a report shows it.
    pub(super) fn offender(&self, pid: Option<Pid>) -> Offender {
        let ChildProps { restart, kind, significant, .. } = self.traits;
        Offender { pid, id: self.id.clone(), restart, shutdown: self.traits.shutdown(), kind, significant }
    }
}

/// A hasher for pids, which are numbers that differ in their lower bits.
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

/// The map from a process to its child.
pub(super) type Processes = HashMap<Pid, ChildKey, BuildHasherDefault<PidHasher>>;

struct Slot {
    /// The child; `None` if the slot is free.
    child: Option<Child>,
    /// The neighbours in start order, or `NONE`. In a free slot, `behind` is the next free slot.
    before: u32,
    behind: u32,
}

/// The children of a supervisor, in start order, found by slot, id and process.
pub(super) struct Children {
    slots: Vec<Slot>,
    first: u32,
    last: u32,
    free: u32,
    len: usize,
    up: usize,
    supervisors: usize,
    /// Significant children that are up or restarting.
    keeping: usize,
    ids: BTreeMap<ChildId, ChildKey>,
    processes: Processes,
}

fn place(slot: u32) -> Option<ChildKey> {
    (slot != NONE).then_some(ChildKey(slot))
}

impl Children {
    pub(super) fn new() -> Self {
        let (ids, processes) = (BTreeMap::new(), Processes::default());
        let (len, up, supervisors, keeping) = (0, 0, 0, 0);
        Self { slots: Vec::new(), first: NONE, last: NONE, free: NONE, len, up, supervisors, keeping, ids, processes }
    }

    /// Adds a child at the end. The caller ensures that its id, if it has one, is not in use.
    pub(super) fn add(&mut self, child: Child) -> ChildKey {
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
            self.ids.insert(id, ChildKey(new));
        }
        ChildKey(new)
    }

    /// Links `behind` after `before`; either may be `NONE`.
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

    /// Removes a child.
    #[must_use = "it holds user values: drop them inside `catch_panic`"]
    pub(super) fn remove(&mut self, place: ChildKey) -> Option<Child> {
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
    pub(super) fn get(&self, place: ChildKey) -> Option<&Child> {
        self.slots.get(place.0 as usize)?.child.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: ChildKey) -> Option<&mut Child> {
        self.slots.get_mut(place.0 as usize)?.child.as_mut()
    }

    pub(super) fn by_id(&self, id: &ChildId) -> Option<ChildKey> {
        self.ids.get(id).copied()
    }

    /// Returns the child that has this process, or that is restarting and had it last.
    pub(super) fn by_pid(&self, pid: Pid) -> Option<ChildKey> {
        self.processes.get(&pid).copied()
    }

    /// Returns the child whose DOWN by this monitor the stop in progress takes; without a monitor,
    /// the child whose EXIT it takes.
    pub(super) fn awaited(&self, pid: Pid, by: Option<Reference>) -> Option<ChildKey> {
        let place = self.by_pid(pid)?;
        let child = self.get(place)?;
        let State::Up { monitor, .. } = child.state else { return None };
        (by.is_none_or(|by| by == monitor) && !matches!(child.ending, Ending::No)).then_some(place)
    }

    /// Stores the exit reason with the child that had this process, after a stop has taken its
    /// DOWN.
    pub(super) fn ended(&mut self, pid: Pid, reason: Reason) -> Option<ChildKey> {
        let place = self.by_pid(pid)?;
        self.get_mut(place)?.ending = Ending::Ended(reason);
        Some(place)
    }

    /// Takes the exit reason of a child whose DOWN a stop has taken.
    pub(super) fn take_end(&mut self, place: ChildKey) -> Option<Reason> {
        match core::mem::replace(&mut self.get_mut(place)?.ending, Ending::Awaited) {
            Ending::Ended(reason) => Some(reason),
            Ending::No | Ending::Awaited => None,
        }
    }

    /// Returns the number of children that are up.
    pub(super) fn up(&self) -> usize {
        self.up
    }

    /// Returns the number of children that are supervisors.
    pub(super) fn supervisors(&self) -> usize {
        self.supervisors
    }

    /// Returns `true` if a significant child is up or restarting.
    pub(super) fn any_significant(&self) -> bool {
        self.keeping > 0
    }

    /// Returns the number of children.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Iterates over the children in start order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ChildKey, &Child)> {
        let mut next = self.first();
        core::iter::from_fn(move || {
            let place = next?;
            next = self.after(place);
            Some((place, self.get(place)?))
        })
    }

    /// Returns the first child.
    pub(super) fn first(&self) -> Option<ChildKey> {
        place(self.first)
    }

    /// Returns the last child.
    pub(super) fn last(&self) -> Option<ChildKey> {
        place(self.last)
    }

    /// Returns the child after `child`.
    #[inline]
    pub(super) fn after(&self, child: ChildKey) -> Option<ChildKey> {
        place(self.slots.get(child.0 as usize)?.behind)
    }

    /// Returns the child before `child`.
    #[inline]
    pub(super) fn before(&self, child: ChildKey) -> Option<ChildKey> {
        place(self.slots.get(child.0 as usize)?.before)
    }

    /// Reserves space for one more process.
    pub(super) fn reserve(&mut self) -> Result<(), NoMemory> {
        self.processes.try_reserve(1).map_err(|_| NoMemory)
    }

    /// Changes the state of a child; returns the start function if it is no longer needed.
    #[inline(always)]
    #[must_use = "it is a user value: drop it while nothing is borrowed"]
    pub(super) fn set(&mut self, place: ChildKey, state: State) -> Option<CatchDrop<StartFn>> {
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
            // Without space the child cannot be found by pid until it is up again.
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
