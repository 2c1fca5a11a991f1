//! [`Wheel`]: a core's timers, in a hierarchy of wheels.
//!
//! Time is counted in ticks of 2^14 ns (16 µs), rounded up, so a timer is never early. On level `l` a slot is 32^`l` ticks,
//! and 32 slots are a block, which is one slot of the level above. Ten levels cover the 50 bits of ticks that 64 bits of
//! nanoseconds have. Each level has two blocks in its 64 slots: the one that the time is in, and the one that comes after it.
//!
//! ```text
//! tick:    [5 bits]…[5 bits][5 bits][5 bits]
//!                          level 1: ──────        of the block, and one bit more that says which of the two blocks
//!                                  level 0: ──────
//! ```
//!
//! - **W1, ahead.** A slot above level 0 is empty when the time enters it: its timers have moved down. They may do so as
//!   soon as theirs is the slot after the present one, since the level below has room for that block already. Whoever turns
//!   the wheel moves some at a time ([`Wheel::tidy`]), so that a hundred thousand timers which lie in one slot delay nobody; what
//!   is left when the time comes there moves at once.
//! - **W2, in turn.** Timers of one tick come in the order in which they were started: one that is started later is put behind those
//!   that have not yet moved down, and moves with them.
//!
//! So the next slot to come due is the first occupied one of the lowest level that has one in its present block (a bitmap a
//! level finds it), and otherwise the earliest of the levels' first. A timer moves down nine times in its life at most. Start and cancel are
//! O(1), and a jump of the clock costs what it makes due, not what it passes.
//!
//! One core's own; no atomics, and no memory beyond the wheel itself.

use alloc::boxed::Box;
use core::ptr::{self, NonNull};

use crate::sync::Cell;

const TICK_BITS: u32 = 14;
const LEVEL_BITS: u32 = 5;
/// Two blocks of them.
const SLOTS: usize = 2 << LEVEL_BITS;
const LEVELS: usize = 10;
const _: () = assert!(TICK_BITS + LEVEL_BITS * LEVELS as u32 == u64::BITS && SLOTS as u32 == u64::BITS);
/// The last tick there is: what is due later is due then.
const LAST_TICK: u64 = u64::MAX >> TICK_BITS;
/// The place of a timer that is on no wheel.
const NOWHERE: u16 = u16::MAX;

/// A timer's place on a wheel.
#[derive(Debug)]
pub struct TimerNode {
    next: Cell<*mut TimerNode>,
    prev: Cell<*mut TimerNode>,
    due: Cell<u64>,
    place: Cell<u16>,
    /// It has been put on a wheel.
    was_put: Cell<bool>,
    /// It is not to be put on a wheel any more.
    refused: Cell<bool>,
}

impl TimerNode {
    /// On no wheel.
    pub fn new() -> Self {
        Self {
            next: Cell::new(ptr::null_mut()),
            prev: Cell::new(ptr::null_mut()),
            due: Cell::new(0),
            place: Cell::new(NOWHERE),
            was_put: Cell::new(false),
            refused: Cell::new(false),
        }
    }
}

impl TimerNode {
    /// Whether it is on a wheel. For the wheel's owner.
    pub fn is_on_wheel(&self) -> bool {
        self.place.get() != NOWHERE
    }

    /// Whether it has been put on a wheel. For the wheel's owner.
    pub(crate) fn was_put(&self) -> bool {
        self.was_put.get()
    }

    /// It is not to be put on the wheel: it was taken off before. For the wheel's owner.
    pub(crate) fn refuse(&self) {
        self.refused.set(true);
    }

    /// Whether it is not to be put on the wheel. For the wheel's owner.
    #[inline]
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.get()
    }

    /// It will be put on a wheel, and is due then; see `arrivals`.
    pub(super) fn arrives(&self, due: u64) {
        debug_assert_eq!(self.place.get(), NOWHERE, "a timer is on one wheel");
        self.due.set(due);
    }

    pub(super) fn arrives_at(&self) -> u64 {
        self.due.get()
    }

    /// What follows it where it lies while it is on no wheel.
    pub(super) fn next(&self) -> *mut Self {
        self.next.get()
    }

    pub(super) fn set_next(&self, to: *mut Self) {
        self.next.set(to);
    }
}

impl Default for TimerNode {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    head: *mut TimerNode,
    tail: *mut TimerNode,
}

impl Slot {
    const EMPTY: Self = Self { head: ptr::null_mut(), tail: ptr::null_mut() };
}

/// See the module.
#[derive(Debug)]
pub struct Wheel {
    /// The tick that the time is in.
    now: u64,
    len: usize,
    /// Somebody may be in a slot after the present one.
    untidy: bool,
    occupied: [u64; LEVELS],
    /// `LEVELS` times `SLOTS`.
    slots: Box<[Slot]>,
    /// Timers moved down when the time had come already.
    #[cfg(test)]
    hurried: usize,
}

// SAFETY: the nodes are the wheel's, which one core has to itself.
unsafe impl Send for Wheel {}

/// The slot of a level, counted from the beginning of time, that a tick is in.
#[inline]
fn slot_of(tick: u64, level: usize) -> u64 {
    tick >> (LEVEL_BITS * level as u32)
}

/// Where that slot is.
#[inline]
fn place_of(level: usize, slot: u64) -> usize {
    level * SLOTS + slot as usize % SLOTS
}

impl Wheel {
    /// An empty wheel at the time `now`, in nanoseconds.
    pub fn new(now: u64) -> Self {
        Self {
            now: now >> TICK_BITS,
            len: 0,
            untidy: false,
            occupied: [0; LEVELS],
            slots: alloc::vec![Slot::EMPTY; LEVELS * SLOTS].into_boxed_slice(),
            #[cfg(test)]
            hurried: 0,
        }
    }

    /// Timers on it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts a timer that is due at `due` nanoseconds (in the last 16 µs of the 584 years that a
    /// clock counts, it may be that much early). O(1).
    ///
    /// # Safety
    /// `node` is on no wheel and lives until it is removed or handed out.
    pub unsafe fn insert(&mut self, node: NonNull<TimerNode>, due: u64) {
        // What is due already is due now.
        let tick = due.div_ceil(1 << TICK_BITS).max(self.now).min(LAST_TICK);
        // SAFETY: by contract.
        let inner = unsafe { node.as_ref() };
        // Checked always: two slots would lead to it, and one of them to freed memory.
        assert_eq!(inner.place.get(), NOWHERE, "a timer is on one wheel");
        inner.was_put.set(true);
        inner.due.set(tick);
        self.len += 1;
        let differ = u64::BITS - (tick ^ self.now).leading_zeros();
        // In the block of this level that the time is in.
        self.put(node, tick, (differ.saturating_sub(1) / LEVEL_BITS) as usize);
    }

    /// Puts a timer into its slot of this level, or, if that is the slot after the present one and has nobody in it (W2), of
    /// one below.
    fn put(&mut self, node: NonNull<TimerNode>, tick: u64, mut level: usize) {
        let mut place = place_of(level, slot_of(tick, level));
        while level > 0 && slot_of(tick, level) - slot_of(self.now, level) <= 1 && self.slots[place].head.is_null() {
            level -= 1;
            place = place_of(level, slot_of(tick, level));
        }
        self.occupied[level] |= 1 << (place % SLOTS);
        let slot = &mut self.slots[place];
        // SAFETY: on this wheel, so live.
        let inner = unsafe { node.as_ref() };
        inner.place.set(place as u16);
        inner.next.set(ptr::null_mut());
        inner.prev.set(slot.tail);
        match NonNull::new(slot.tail) {
            None => slot.head = node.as_ptr(),
            // SAFETY: on this wheel.
            Some(tail) => unsafe { tail.as_ref() }.next.set(node.as_ptr()),
        }
        slot.tail = node.as_ptr();
    }

    /// Takes a timer off. O(1).
    ///
    /// # Safety
    /// `node` is on this wheel.
    pub unsafe fn remove(&mut self, node: NonNull<TimerNode>) {
        // SAFETY: by contract.
        let inner = unsafe { node.as_ref() };
        let place = inner.place.replace(NOWHERE) as usize;
        let (next, prev) = (inner.next.get(), inner.prev.get());
        let slot = &mut self.slots[place];
        match NonNull::new(prev) {
            None => slot.head = next,
            // SAFETY: neighbours are on this wheel.
            Some(prev) => unsafe { prev.as_ref() }.next.set(next),
        }
        match NonNull::new(next) {
            None => slot.tail = prev,
            // SAFETY: likewise.
            Some(next) => unsafe { next.as_ref() }.prev.set(prev),
        }
        if slot.head.is_null() {
            self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
        }
        self.len -= 1;
    }

    /// The level of the slot that comes due next, and the tick when it does.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let mut first: Option<(usize, u64)> = None;
        for (level, occupied) in self.occupied.iter().enumerate() {
            if *occupied == 0 {
                continue;
            }
            let present = slot_of(self.now, level);
            let slot = present + u64::from(occupied.rotate_right(present as u32 % SLOTS as u32).trailing_zeros());
            let due = slot << (LEVEL_BITS * level as u32);
            if first.is_none_or(|(_, first)| due < first) {
                first = Some((level, due));
            }
            // What the levels above have is due after this block.
            if slot >> LEVEL_BITS == present >> LEVEL_BITS {
                break;
            }
        }
        first
    }

    /// Takes off a timer whose time has come at `now` nanoseconds: `while let Some(t) = …`.
    /// Timers may be started and removed in between. Amortised O(1).
    pub fn pop_due(&mut self, now: u64) -> Option<NonNull<TimerNode>> {
        let target = now >> TICK_BITS;
        loop {
            if let Some(node) = NonNull::new(self.slots[place_of(0, self.now)].head) {
                // SAFETY: on this wheel.
                unsafe { self.remove(node) };
                return Some(node);
            }
            match self.next_slot() {
                Some((_, due)) if due <= target => self.enter(due),
                _ => {
                    self.untidy |= target > self.now;
                    self.now = self.now.max(target);
                    return None;
                }
            }
        }
    }

    /// The time enters a tick, and with it the slots that begin there: whoever is in one above level 0 moves down (W1), behind
    /// those who have done so already: the lowest first (W2).
    fn enter(&mut self, tick: u64) {
        self.now = tick;
        self.untidy = true;
        let highest = (tick.trailing_zeros() / LEVEL_BITS) as usize;
        for level in 1..=highest.min(LEVELS - 1) {
            let _moved = self.move_down(level, slot_of(tick, level), usize::MAX);
            #[cfg(test)]
            {
                self.hurried += _moved;
            }
        }
    }

    /// Moves down some of what may (W1), `at_most` so many: whether there was any. What comes due while this returns
    /// true again and again is not delayed.
    #[inline]
    pub fn tidy(&mut self, at_most: usize) -> bool {
        // Only time makes it untidy: who is started for the slot after the present one goes below.
        self.untidy && self.tidy_some(at_most)
    }

    fn tidy_some(&mut self, at_most: usize) -> bool {
        for level in 1..LEVELS {
            let next = slot_of(self.now, level) + 1;
            if self.occupied[level] & (1 << (next % SLOTS as u64)) != 0 {
                return self.move_down(level, next, at_most) > 0;
            }
        }
        self.untidy = false;
        false
    }

    /// Moves the first of a slot to the levels below: how many.
    fn move_down(&mut self, level: usize, slot: u64, at_most: usize) -> usize {
        let place = place_of(level, slot);
        let mut moved = 0;
        while moved < at_most
            && let Some(node) = NonNull::new(self.slots[place].head)
        {
            // SAFETY: on this wheel.
            unsafe { self.remove(node) };
            self.len += 1;
            // SAFETY: likewise.
            let tick = unsafe { node.as_ref() }.due.get();
            self.put(node, tick, level - 1);
            moved += 1;
        }
        moved
    }

    /// When to look again, in nanoseconds: no timer is due earlier. Exact for what is due within 32 ticks, or 64 on a tidy wheel; for
    /// what is further, when its slot may be tidied.
    pub fn next_due(&self) -> Option<u64> {
        let (level, due) = self.next_slot()?;
        let ahead = due.saturating_sub(1 << (LEVEL_BITS * level as u32));
        let tick = if level > 0 && ahead > self.now { ahead } else { due };
        Some(tick << TICK_BITS)
    }

    /// Takes off any timer, due or not.
    pub fn pop_any(&mut self) -> Option<NonNull<TimerNode>> {
        let (level, due) = self.next_slot()?;
        let node = NonNull::new(self.slots[place_of(level, slot_of(due, level))].head)?;
        // SAFETY: on this wheel.
        unsafe { self.remove(node) };
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const TICK: u64 = 1 << TICK_BITS;

    /// A small generator (SplitMix64), so that the run is the same each time.
    struct Random(u64);
    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 7
        }
    }

    /// Against a plain list: nothing early, nothing late, nothing lost, cancels honoured.
    #[test]
    fn fires_what_a_list_would() {
        for seed in 0..200 {
            let mut random = Random(seed);
            let mut now = random.next() >> (random.next() % 40);
            let mut wheel = Wheel::new(now);
            let nodes: Vec<TimerNode> = (0..64).map(|_| TimerNode::new()).collect();
            let mut due: Vec<Option<u64>> = alloc::vec![None; nodes.len()];
            for _ in 0..400 {
                let i = (random.next() % 64) as usize;
                let node = NonNull::from(&nodes[i]);
                match (random.next() % 4, due[i]) {
                    (0 | 1, None) => {
                        let at = now.saturating_add(random.next() >> (random.next() % 57));
                        // SAFETY: on no wheel; `nodes` outlives the wheel.
                        unsafe { wheel.insert(node, at) };
                        due[i] = Some(at);
                    }
                    (0 | 1, Some(_)) => {
                        // SAFETY: on the wheel.
                        unsafe { wheel.remove(node) };
                        due[i] = None;
                    }
                    (what, _) => {
                        now = now.saturating_add(random.next() >> if what == 2 { 40 } else { random.next() % 57 });
                        if what == 2 {
                            wheel.tidy((random.next() % 8) as usize);
                        }
                        while let Some(node) = wheel.pop_due(now) {
                            let i = nodes.iter().position(|n| ptr::eq(n, node.as_ptr())).expect("ours");
                            let at = due[i].take().expect("started and not cancelled");
                            assert!(at <= now, "early by {}", at - now);
                        }
                        for at in due.iter().flatten() {
                            assert!(at + TICK > now || *at > now, "late: due {at}, now {now}");
                        }
                        if let Some(next) = wheel.next_due() {
                            let first = due.iter().flatten().min().expect("it says there is one");
                            assert!(next <= first + TICK, "would sleep over {first}: {next}");
                        }
                    }
                }
                assert_eq!(wheel.len(), due.iter().flatten().count());
            }
        }
    }

    /// Rounded up, the end of time would be a tick that no slot names, and looking for it would not end.
    #[test]
    fn the_end_of_time_comes() {
        let mut wheel = Wheel::new(0);
        let nodes: Vec<TimerNode> = (0..4).map(|_| TimerNode::new()).collect();
        for (node, due) in nodes.iter().zip([u64::MAX, u64::MAX - 1, u64::MAX - TICK, u64::MAX / 2]) {
            // SAFETY: on no wheel.
            unsafe { wheel.insert(NonNull::from(node), due) };
        }
        assert_eq!(wheel.pop_due(TICK * 1000), None);
        assert!(wheel.next_due().expect("four are to come") > TICK * 1000);
        assert_eq!(wheel.pop_due(u64::MAX / 2 + TICK), Some(NonNull::from(&nodes[3])));
        assert_eq!(wheel.pop_due(u64::MAX - 3 * TICK), None);
        let mut left: Vec<_> = core::iter::from_fn(|| wheel.pop_due(u64::MAX)).collect();
        left.sort();
        let mut expected: Vec<_> = nodes[..3].iter().map(NonNull::from).collect();
        expected.sort();
        assert_eq!(left, expected);
        // SAFETY: on no wheel.
        unsafe { wheel.insert(NonNull::from(&nodes[0]), u64::MAX) };
        assert_eq!(wheel.pop_due(u64::MAX), Some(NonNull::from(&nodes[0])), "the clock stands at its end");
        assert!(wheel.is_empty());
    }

    /// Whenever they are started, and whoever has moved down meanwhile.
    #[test]
    fn a_tick_keeps_the_order_in_which_timers_were_started() {
        for seed in 0..500 {
            let mut random = Random(seed);
            // Across blocks of several levels, which begin together.
            let due = [1 << 10, 1 << 15, 3 << 10, 5000, 33][seed as usize % 5];
            let mut wheel = Wheel::new(0);
            let nodes: Vec<TimerNode> = (0..40).map(|_| TimerNode::new()).collect();
            let mut now = 0;
            for (i, node) in nodes.iter().enumerate() {
                // Every other one is for the tick after, so that there are neighbours.
                // SAFETY: on no wheel.
                unsafe { wheel.insert(NonNull::from(node), (due + i as u64 % 2) * TICK) };
                now = (now + random.next() % (due / 16)).min(due - 1);
                if random.next().is_multiple_of(3) {
                    assert_eq!(wheel.pop_due(now * TICK), None);
                }
                wheel.tidy((random.next() % 4) as usize);
            }
            for node in nodes.iter().step_by(2) {
                assert_eq!(wheel.pop_due(due * TICK), Some(NonNull::from(node)), "seed {seed}");
            }
            assert_eq!(wheel.pop_due(due * TICK), None);
            for node in nodes.iter().skip(1).step_by(2) {
                assert_eq!(wheel.pop_due((due + 1) * TICK), Some(NonNull::from(node)), "seed {seed}");
            }
            assert!(wheel.is_empty());
        }
    }

    /// Those of a second move down some at a time, and none when the time has come.
    #[test]
    fn nobody_hurries_on_a_tidy_wheel() {
        let mut random = Random(42);
        let mut wheel = Wheel::new(0);
        let nodes: Vec<TimerNode> = (0..20_000).map(|_| TimerNode::new()).collect();
        for node in &nodes {
            // SAFETY: on no wheel.
            unsafe { wheel.insert(NonNull::from(node), 500_000_000 + random.next() % 1_000_000_000) };
        }
        let (mut now, mut fired) = (0, 0);
        while !wheel.is_empty() {
            now = wheel.next_due().expect("some are left").max(now + TICK);
            fired += core::iter::from_fn(|| wheel.pop_due(now)).count();
            while wheel.tidy(16) {}
        }
        assert_eq!((fired, wheel.hurried), (nodes.len(), 0));
    }
}
