//! [`Places`]: which child a process is.
//!
//! Each start and each stop of a child changes it, and each death asks it, so it does no more than it must: a table of pairs, at
//! most half of it taken, where a pair lies at its process's place or as near behind it as it could. Taking one out moves up
//! what follows, so nothing is left behind that would have to be cleared away later. Room is made before a process that
//! will need it.

use alloc::vec::Vec;

use atropos_kernel::{NoMemory, Pid};

use super::children::Place;

/// The smallest table.
const LEAST: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Places {
    /// A power of two of them, or none.
    pairs: Vec<Option<(Pid, Place)>>,
    len: usize,
}

/// Where to look first: pids are numbers that differ in their lower bits (Fibonacci hashing).
fn hash(pid: Pid) -> usize {
    let mixed = pid.to_raw().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)) as usize
}

impl Places {
    /// Processes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Makes room for one more.
    #[inline]
    pub(super) fn reserve(&mut self) -> Result<(), NoMemory> {
        if 2 * self.len < self.pairs.len() { Ok(()) } else { self.grow() }
    }

    #[cold]
    fn grow(&mut self) -> Result<(), NoMemory> {
        let count = LEAST.max(2 * self.pairs.len());
        let mut pairs = Vec::new();
        pairs.try_reserve_exact(count).map_err(|_| NoMemory)?;
        pairs.resize(count, None);
        self.len = 0;
        for (pid, place) in core::mem::replace(&mut self.pairs, pairs).into_iter().flatten() {
            self.insert(pid, place);
        }
        Ok(())
    }

    /// Where the process is, or where it would come.
    fn find(&self, pid: Pid) -> usize {
        let mask = self.pairs.len() - 1;
        let mut at = hash(pid) & mask;
        while self.pairs[at].is_some_and(|(other, _)| other != pid) {
            at = (at + 1) & mask;
        }
        at
    }

    /// Which child it is.
    #[inline]
    pub(super) fn get(&self, pid: Pid) -> Option<Place> {
        if self.len == 0 {
            return None;
        }
        self.pairs[self.find(pid)].map(|(_, place)| place)
    }

    /// Notes which child a new process is. There is room for it ([`Places::reserve`]).
    #[inline]
    pub(super) fn insert(&mut self, pid: Pid, place: Place) {
        let at = self.find(pid);
        self.len += usize::from(self.pairs[at].is_none());
        self.pairs[at] = Some((pid, place));
    }

    /// The process is no child any more.
    #[inline]
    pub(super) fn remove(&mut self, pid: Pid) {
        if self.len == 0 {
            return;
        }
        let mut hole = self.find(pid);
        if self.pairs[hole].take().is_none() {
            return;
        }
        self.len -= 1;
        // Whoever has been pushed aside by it, or by one that was, moves up: no search goes over a hole.
        let mask = self.pairs.len() - 1;
        let mut at = (hole + 1) & mask;
        while let Some(pair) = self.pairs[at] {
            let wanted = hash(pair.0) & mask;
            if at.wrapping_sub(wanted) & mask >= at.wrapping_sub(hole) & mask {
                self.pairs[hole] = self.pairs[at].take();
                hole = at;
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::supervisor::backoff::random;

    #[test]
    fn does_as_a_map_does() {
        let (mut places, mut map, mut state) = (Places::default(), BTreeMap::new(), 7);
        for step in 0..200_000_u32 {
            // Few processes, so that they come and go, and more now and then.
            let among = if step % 5_000 < 4_000 { 40 } else { 1_000 };
            let raw = ((random(&mut state) % among + 1) << 32) | (random(&mut state) % 4);
            let Some(pid) = Pid::from_raw(raw) else { continue };
            if random(&mut state).is_multiple_of(2) {
                places.reserve().expect("there is memory");
                let place = Place::new(step);
                places.insert(pid, place);
                map.insert(pid, place);
            } else {
                places.remove(pid);
                map.remove(&pid);
            }
            assert_eq!(places.len(), map.len());
            assert_eq!(places.get(pid), map.get(&pid).copied());
            if step.is_multiple_of(1_000) {
                assert!(map.iter().all(|(pid, place)| places.get(*pid) == Some(*place)));
            }
        }
        assert!(!map.is_empty());
    }
}
