//! The process table: slots in segments that grow and never move.
//!
//! A pid's index finds its [`Slot`]. The slot leads to the process of the slot's current
//! generation. After that process dies, the slot keeps its exit reason (the tombstone) until the
//! slot is reused. Tombstones therefore need no map, and their number never exceeds the number of
//! slots.
//!
//! # The life of a slot
//!
//! ```text
//!        claim (1)                publish (2)              vacate (3)
//!  free ───────────▶ generation+1 ───────────▶ process set ───────────▶ process null,
//!   ▲                tombstone out                                      tombstone in
//!   └─────────────────────────────── release (4) ◀──────────────────────────┘
//! ```
//!
//! The spawner takes steps (1) and (2), the dying process's core takes steps (3) and (4). A slot
//! has one holder between (1) and (4). It passes to another holder through the free lists.
//!
//! - **T1.** A reader pins, loads `process` and compares the *process's own* pid, which never
//!   changes. A stale pid therefore cannot reach the slot's next process.
//! - **T2.** A process is retired (`reclaim`) after (3), so a process that a pinned reader found
//!   stays allocated.
//! - **T3.** A tombstone taken out at (1) is kept by the new process and dropped when that process
//!   is reclaimed. This is later than the end of every guard of a reader that may have found the
//!   tombstone. A reader compares the generation before and after it loads the word.
//! - **T4.** A slot that has reached the kernel's last generation is not released. It is retired,
//!   and the table may have one slot more.
//!
//! Free slots: each core keeps a queue. It takes the oldest slot of the queue when the queue holds
//! more slots than the core holds back for the sake of tombstones. Slots beyond the core's limit go
//! as a chain to a common pool. The pool is only ever taken whole, so it has no ABA problem.
//! Finding a process is wait-free and claiming a slot is lock-free. Growing allocates a segment and
//! is the only cold step.

mod free_slots;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};

pub use self::free_slots::FreeSlots;
use crate::config::{FIRST_SEGMENT, FREE_CACHE};
use crate::memory::NoMemory;
use crate::pid::{MAX_SLOTS, Pid};
use crate::process::header::Header;
use crate::process::owned::{Owned, Vacated};
use crate::process::process_ref::ProcessRef;
use crate::reason::Reason;
use crate::reclaim::Guard;
use crate::sync::{AtomicPtr, AtomicU32, Ordering};

const SEGMENTS: usize = (u32::BITS - (MAX_SLOTS / FIRST_SEGMENT).leading_zeros()) as usize;
const NONE: u32 = u32::MAX;
/// Number of slots that a core takes from the pool at a time.
const ADOPTED: usize = 64;

/// One slot of the process table, see the module documentation.
#[derive(Debug)]
pub struct Slot {
    process: AtomicPtr<Header>,
    tombstone: AtomicPtr<()>,
    generation: AtomicU32,
    /// The next free slot's index, while this one is free.
    next_free: AtomicU32,
}

impl Slot {
    /// Creates a slot that was never claimed and whose next generation is `first`.
    fn new(first: u32) -> Self {
        Self {
            process: AtomicPtr::new(ptr::null_mut()),
            tombstone: AtomicPtr::new(ptr::null_mut()),
            generation: AtomicU32::new(first - 1),
            next_free: AtomicU32::new(NONE),
        }
    }

    /// Puts the tombstone in, and no longer leads to a process.
    #[inline(always)]
    fn vacate(&self, reason: Reason) {
        // Release: pairs with `tombstone`, which reads the reason behind the word.
        self.tombstone.store(reason.into_raw(), Ordering::Release);
        self.process.store(ptr::null_mut(), Ordering::Release);
    }

    /// Takes the tombstone out. No exchange: only the slot's holder calls this.
    #[inline(always)]
    fn take_tombstone(&self, order: Ordering) -> Option<Reason> {
        let word = self.tombstone.load(order);
        // Relaxed: no reader follows a null.
        self.tombstone.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: `vacate` stored the word, and only the slot's holder takes it out, once.
        unsafe { Reason::from_raw(word) }
    }
}

/// The process table: all slots.
#[derive(Debug)]
pub struct Table {
    segments: [AtomicPtr<Slot>; SEGMENTS],
    /// Every slot that was ever claimed has an index below this one (the high-water mark).
    fresh: AtomicU32,
    /// Maximum number of slots: the limit of processes, the slots that cores keep, and the retired
    /// slots.
    limit: AtomicU32,
    /// The first and the last generation that this table gives out (`pid`, I1).
    first: u32,
    last: u32,
    /// Number of free slots that a core keeps: [`FREE_CACHE`], or the limit of processes if that is
    /// smaller.
    keep: u32,
    /// The first slot of the common pool, a chain by `next_free`.
    pool: AtomicU32,
}

/// The right to a slot that leads to no process, after (1) and after (3): to publish a process in
/// it, or to return it, once. A slot that is lost stays taken.
#[derive(Debug)]
#[must_use = "a slot must be used or returned"]
pub struct HeldSlot(Pid);

impl HeldSlot {
    /// Returns the pid of the slot's process, which is to come, or was there.
    #[inline(always)]
    pub fn pid(&self) -> Pid {
        self.0
    }
}

/// The result of a claim.
#[derive(Debug)]
pub struct Claim {
    /// The slot of the future process.
    pub slot: HeldSlot,
    /// The tombstone that the slot held. The claimer keeps it until the new process is reclaimed
    /// (T3).
    pub tombstone: Option<Reason>,
}

/// The reason why a slot could not be claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableFull {
    /// The limit is reached.
    Full,
    /// No memory for another segment.
    NoMemory,
}

/// What is known about a pid that is not alive.
#[derive(Debug, PartialEq)]
pub enum Tombstone {
    /// The slot was not reused: the reason of the process's exit.
    Known(Reason),
    /// The slot was reused, so the reason is lost.
    Recycled,
    /// No process has had this pid.
    NeverAllocated,
}

/// Returns a slot's segment, its offset in the segment, and the length of the segment.
fn locate(index: u32) -> (usize, usize, usize) {
    // Segment s holds FIRST << s slots and starts at FIRST * (2^s - 1).
    let shifted = index / FIRST_SEGMENT + 1;
    let segment = shifted.ilog2();
    let start = FIRST_SEGMENT * ((1 << segment) - 1);
    (segment as usize, (index - start) as usize, (FIRST_SEGMENT as usize) << segment)
}

impl Table {
    /// Creates a table for at most `limit` live processes. `cores` cores keep free slots.
    pub fn new(limit: u32, cores: usize) -> Self {
        Self::with_generations(limit, cores, 1, u32::MAX)
    }

    /// Creates a table like [`Table::new`] whose generations run from `first`, which is not 0, to
    /// `last`.
    pub fn with_generations(limit: u32, cores: usize, first: u32, last: u32) -> Self {
        let keep = FREE_CACHE.min(limit);
        let kept = (cores as u32).saturating_mul(2 * keep + 1);
        Self {
            segments: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            fresh: AtomicU32::new(0),
            limit: AtomicU32::new(limit.saturating_add(kept).min(MAX_SLOTS)),
            first,
            last,
            keep,
            pool: AtomicU32::new(NONE),
        }
    }

    /// Returns the number of slots claimed so far. The index of every process is below it.
    pub fn extent(&self) -> u32 {
        self.fresh.load(Ordering::Acquire)
    }

    /// Returns the last generation that any slot has had. No pid of a later generation was given
    /// out.
    pub fn last_generation(&self) -> u32 {
        // Relaxed: the caller asks when no thread claims slots any longer.
        let generations = (0..self.extent()).map(|index| self.claimed(index).generation.load(Ordering::Relaxed));
        generations.max().unwrap_or(self.first - 1)
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        if index >= MAX_SLOTS {
            return None;
        }
        let (segment, offset, _) = locate(index);
        // Acquire: pairs with the Release that published the segment, so its slots are initialised.
        let slots = NonNull::new(self.segments.get(segment)?.load(Ordering::Acquire))?;
        // SAFETY: a published segment has `len` slots (`grow_to`), and `locate` returns an offset
        // below `len`.
        let slot = unsafe { slots.add(offset) };
        // SAFETY: the Acquire load above pairs with `grow_to`: the slot is initialised, and it
        // lives as long as the table.
        Some(unsafe { slot.as_ref() })
    }

    /// Returns the slot of an index that has been claimed.
    fn claimed(&self, index: u32) -> &Slot {
        self.slot(index).expect("the segment of a claimed slot exists")
    }

    fn grow_to(&self, index: u32) -> Result<(), NoMemory> {
        let (segment, _, len) = locate(index);
        let place = &self.segments[segment];
        if !place.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let mut slots = Vec::new();
        slots.try_reserve_exact(len).map_err(|_| NoMemory)?;
        slots.extend((0..len).map(|_| Slot::new(self.first)));
        let slots = Box::into_raw(slots.into_boxed_slice());
        // Release: pairs with `slot`. Acquire on failure: another core grew the table, and this
        // core uses that segment.
        let put = place.compare_exchange(ptr::null_mut(), slots.cast(), Ordering::Release, Ordering::Acquire);
        if put.is_err() {
            // SAFETY: the exchange failed, so only this call has the segment, which was a box
            // above.
            drop(unsafe { Box::from_raw(slots) });
        }
        Ok(())
    }

    /// (1) Claims a slot: from `cache` if the cache can spare one, else from the pool, else a fresh
    /// slot, else the last slots of the cache. Lock-free, except for the allocation of a segment.
    pub fn claim(&self, cache: &mut FreeSlots) -> Result<Claim, TableFull> {
        let index = if cache.len > self.keep / 4 { cache.pop(self) } else { None };
        let index = match index {
            Some(index) => index,
            None => self.claim_elsewhere(cache)?,
        };
        let slot = self.claimed(index);
        // Relaxed: the claimer owns the slot, and `publish` publishes it.
        let generation = slot.generation.load(Ordering::Relaxed) + 1;
        // Release: pairs with the second load of the generation in `tombstone`. A reader that
        // loaded the word taken out below sees that the generation has moved on, or loaded the word
        // before this store.
        slot.generation.store(generation, Ordering::Release);
        // Relaxed: earlier writes arrived together with the slot, and no reader follows a null.
        let tombstone = slot.take_tombstone(Ordering::Relaxed);
        let pid = Pid::new(index, generation).expect("a released slot has a generation left (T4)");
        Ok(Claim { slot: HeldSlot(pid), tombstone })
    }

    fn claim_elsewhere(&self, cache: &mut FreeSlots) -> Result<u32, TableFull> {
        // Acquire: pairs with the Release of `give_to_pool`.
        if self.pool.load(Ordering::Relaxed) != NONE {
            let first = self.pool.swap(NONE, Ordering::Acquire);
            if first != NONE {
                // The first slot of the pool, not the oldest slot of the cache: on a core where few
                // processes have died, the oldest slot may be that of the latest death.
                let rest = cache.adopt(self, self.claimed(first).next_free.load(Ordering::Relaxed));
                self.give_back(rest);
                return Ok(first);
            }
        }
        self.claim_fresh().or_else(|why| cache.pop(self).ok_or(why))
    }

    fn claim_fresh(&self) -> Result<u32, TableFull> {
        // Relaxed: the counter orders nothing else; the segment pointer has its own ordering.
        let mut fresh = self.fresh.load(Ordering::Relaxed);
        loop {
            // Relaxed: a count of slots that no thread uses any longer, it orders nothing.
            if fresh >= self.limit.load(Ordering::Relaxed).min(MAX_SLOTS) {
                return Err(TableFull::Full);
            }
            self.grow_to(fresh).map_err(|NoMemory| TableFull::NoMemory)?;
            // Release: pairs with `extent`, whose readers look at the slots below it.
            match self.fresh.compare_exchange_weak(fresh, fresh + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(fresh),
                Err(now) => fresh = now,
            }
        }
    }

    /// (2) Publishes the process: from now on the slot's pid leads to it.
    pub fn publish(&self, slot: HeldSlot, process: ProcessRef<'_>) {
        // Release: pairs with `find`, whose reader must see the process initialised.
        self.claimed(slot.0.index()).process.store(process.as_ptr().as_ptr(), Ordering::Release);
    }

    /// Puts a tombstone into a slot in which no process was published.
    pub fn put_tombstone(&self, slot: &HeldSlot, reason: Reason) {
        self.claimed(slot.0.index()).vacate(reason);
    }

    /// (3) Takes a dead process out of its slot: from now on the pid leads nowhere, and the slot
    /// keeps `reason`.
    ///
    /// # Panics
    /// If the slot does not lead to the process.
    #[inline(always)]
    pub fn vacate(&self, owned: Owned<'_>, reason: Reason) -> (Vacated, HeldSlot) {
        let process = owned.process();
        let held = HeldSlot(process.pid);
        let slot = self.claimed(process.pid.index());
        // Relaxed: only the slot's holder writes it, which is the owner.
        let published = slot.process.load(Ordering::Relaxed);
        assert!(published == process.as_ptr().as_ptr(), "the slot leads to the process");
        slot.vacate(reason);
        // SAFETY: P1, T2: the caller was the owner, and the slot, which led to the process, no
        // longer does. No other slot does: a process is published once.
        (unsafe { Vacated::new(owned) }, held)
    }

    /// (4) Returns a slot that was vacated, or that was claimed without a process being published.
    pub fn release(&self, slot: HeldSlot, cache: &mut FreeSlots) {
        let pid = slot.0;
        if pid.generation() == self.last {
            // Relaxed: a count that orders nothing (see `claim_fresh`). There are fewer retired
            // slots than indices, so the count does not wrap.
            self.limit.fetch_add(1, Ordering::Relaxed);
            return;
        }
        cache.push(self, pid.index());
        if cache.len > self.keep + self.keep / 2 {
            self.spill(cache);
        }
    }

    /// Moves the older part of a full cache to the pool.
    fn spill(&self, cache: &mut FreeSlots) {
        let mut chain = NONE;
        let last = cache.head;
        for _ in 0..(self.keep / 2).max(1) {
            let Some(index) = cache.pop(self) else { break };
            self.claimed(index).next_free.store(chain, Ordering::Relaxed);
            chain = index;
        }
        self.give_to_pool(chain, last);
    }

    /// Moves all slots of a cache to the pool.
    pub fn flush_cache(&self, cache: &mut FreeSlots) {
        let (first, last) = (cache.head, cache.tail);
        *cache = FreeSlots::new();
        self.give_to_pool(first, last);
    }

    /// Returns the rest of the pool, which was taken whole. Searches for the end of the chain only
    /// if another core put slots into the pool in between.
    fn give_back(&self, first: u32) {
        // Release: pairs with the Acquire swap in `claim_elsewhere`, as in `give_to_pool`.
        let put = self.pool.compare_exchange(NONE, first, Ordering::Release, Ordering::Relaxed);
        if first == NONE || put.is_ok() {
            return;
        }
        let mut last = first;
        loop {
            let next = self.claimed(last).next_free.load(Ordering::Relaxed);
            if next == NONE {
                return self.give_to_pool(first, last);
            }
            last = next;
        }
    }

    fn give_to_pool(&self, first: u32, last: u32) {
        if first == NONE {
            return;
        }
        let mut pool = self.pool.load(Ordering::Relaxed);
        loop {
            self.claimed(last).next_free.store(pool, Ordering::Relaxed);
            // Release: pairs with the Acquire swap in `claim_elsewhere`, which takes the pool.
            match self.pool.compare_exchange_weak(pool, first, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => pool = now,
            }
        }
    }

    /// Returns the live or dying process that `pid` names. Wait-free.
    pub fn find<'g>(&'g self, pid: Pid, guard: &'g Guard<'_>) -> Option<ProcessRef<'g>> {
        let process = self.at(pid.index(), guard)?;
        (process.pid == pid).then_some(process)
    }

    /// Returns the process that is in a slot now. Wait-free.
    pub fn at<'g>(&'g self, index: u32, _guard: &'g Guard<'_>) -> Option<ProcessRef<'g>> {
        // Acquire: pairs with `publish`.
        let process = NonNull::new(self.slot(index)?.process.load(Ordering::Acquire))?;
        // SAFETY: T2 — the process was published by a pointer to the whole of it, and is retired
        // only after `vacate`. The guard is older than every retirement that could free it.
        Some(unsafe { ProcessRef::new(process) })
    }

    /// Returns what is known about a pid that `find` did not find. Wait-free.
    pub fn tombstone(&self, pid: Pid, _guard: &Guard<'_>) -> Tombstone {
        let Some(slot) = self.slot(pid.index()) else { return Tombstone::NeverAllocated };
        let generation = slot.generation.load(Ordering::Acquire);
        if pid.generation() > generation || pid.generation() < self.first || pid.index() >= self.extent() {
            return Tombstone::NeverAllocated;
        }
        if pid.generation() < generation {
            return Tombstone::Recycled;
        }
        // Acquire: pairs with `vacate`.
        let word = slot.tombstone.load(Ordering::Acquire);
        // T3: the word belongs to this generation if the generation has not changed since.
        if slot.generation.load(Ordering::Acquire) != generation {
            return Tombstone::Recycled;
        }
        // SAFETY: T3 — the slot, or the process that took the word out, keeps the word longer than
        // the guard lives.
        unsafe { Reason::clone_raw(word) }.map_or(Tombstone::Recycled, Tombstone::Known)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for index in 0..self.extent() {
            drop(self.claimed(index).take_tombstone(Ordering::Acquire));
        }
        for (number, segment) in self.segments.iter().enumerate() {
            let Some(slots) = NonNull::new(segment.load(Ordering::Acquire)) else { continue };
            let slots = NonNull::slice_from_raw_parts(slots, (FIRST_SEGMENT as usize) << number);
            // SAFETY: `grow_to` made the segment of a box of that length, and the table is its last
            // user.
            drop(unsafe { Box::from_raw(slots.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests;
