//! [`Wheel`]: a core's timers, in a hierarchical timing wheel.
//!
//! Time is counted in ticks of 2^14 ns (16 µs), rounded up, so a timer is never early. On level `l`
//! a slot is 32^`l` ticks, and 32 slots are a block, which is one slot of the level above. Ten
//! levels cover the 50 bits of ticks that 64 bits of nanoseconds have. The 64 slots of each level
//! hold two blocks: the present block and the one after it.
//!
//! ```text
//! tick:    [5 bits]…[5 bits][5 bits][5 bits]
//!                          level 1: ────── of the block, and one bit for which of the two blocks
//!                          level 0: ──────
//! ```
//!
//! - **W1, ahead.** A slot above level 0 is empty when the clock enters it: its timers have
//!   cascaded to lower levels. They may cascade as soon as their slot is the one after the present
//!   slot, because the level below already has room for that block. The core cascades them a few at
//!   a time ([`Wheel::cascade_ahead`]), so that 100,000 timers in one slot do not stall it. Timers
//!   still there when the clock reaches the slot are cascaded in one go.
//! - **W2, in order.** Timers of one tick fire in the order in which they were started. A timer
//!   that is started later goes behind those that have not cascaded yet, and cascades with them.
//!
//! So the next slot to come due is the first occupied slot of the lowest level that has one in its
//! present block (one bitmap per level finds it). If no level has one, it is the earliest of the
//! levels' first slots. A timer cascades at most nine times. Start and cancel are O(1). A jump of
//! the clock costs what it makes due, not the ticks that it skips.
//!
//! One core owns the wheel. It uses no atomic exchange, and no memory beyond the wheel itself.

use alloc::boxed::Box;
use core::ops::Deref;
use core::ptr::{self, NonNull};

use crate::sync::{Cell, Ordering, PlainAtomicBool, PlainAtomicU32};

const TICK_BITS: u32 = 14;
const LEVEL_BITS: u32 = 5;
/// The number of slots of a level: two blocks.
const SLOTS: usize = 2 << LEVEL_BITS;
const LEVELS: usize = 10;
const _: () = assert!(TICK_BITS + LEVEL_BITS * LEVELS as u32 == u64::BITS && SLOTS as u32 == u64::BITS);
/// The last tick. A timer with a later due time fires at this tick.
const LAST_TICK: u64 = u64::MAX >> TICK_BITS;
/// The `place` of a timer that is on no wheel.
const OFF_WHEEL: u32 = u32::MAX;

/// A pointer to a node on a wheel, which is live until it is removed ([`Wheel::insert`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct At(NonNull<TimerNode>);

impl Deref for At {
    type Target = TimerNode;

    #[inline(always)]
    fn deref(&self) -> &TimerNode {
        // SAFETY: `Wheel::insert` made the pointer, and its caller keeps the node live until it is
        // removed. `Wheel::remove` removes the pointers to a node together with the node.
        unsafe { self.0.as_ref() }
    }
}

/// The intrusive node of a timer on a wheel.
#[derive(Debug)]
pub struct TimerNode {
    next: Cell<Option<At>>,
    prev: Cell<Option<At>>,
    due: Cell<u64>,
    /// The node's slot, or [`OFF_WHEEL`]. Only the party that has the wheel writes it, as it does
    /// the next two, so Relaxed suffices.
    place: PlainAtomicU32,
    /// `true` if the timer has ever been put on a wheel.
    was_put: PlainAtomicBool,
    /// `true` if the timer must no longer be put on a wheel.
    refused: PlainAtomicBool,
}

impl TimerNode {
    /// Creates a node that is on no wheel.
    #[inline(always)]
    pub fn new() -> Self {
        Self {
            next: Cell::new(None),
            prev: Cell::new(None),
            due: Cell::new(0),
            place: PlainAtomicU32::new(OFF_WHEEL),
            was_put: PlainAtomicBool::new(false),
            refused: PlainAtomicBool::new(false),
        }
    }
}

impl TimerNode {
    /// Returns `true` if the timer is on a wheel. For the wheel's owner.
    pub fn is_on_wheel(&self) -> bool {
        self.place.load(Ordering::Relaxed) != OFF_WHEEL
    }

    /// Returns `true` if the timer has ever been put on a wheel. For the wheel's owner.
    pub(crate) fn was_put(&self) -> bool {
        self.was_put.load(Ordering::Relaxed)
    }

    /// Marks a timer that must not be put on the wheel: it was taken off before it arrived. For the
    /// wheel's owner.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if the timer must not be put on the wheel. For the wheel's owner.
    #[inline]
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns the next node of the stack that the timer is on before it is on a wheel
    /// (`timer::inbox`).
    pub(super) fn next(&self) -> *mut Self {
        self.next.get().map_or(ptr::null_mut(), |next| next.0.as_ptr())
    }

    pub(super) fn set_next(&self, to: *mut Self) {
        self.next.set(NonNull::new(to).map(At));
    }

    pub(super) fn replace_next(&self, to: *mut Self) -> *mut Self {
        let next = self.next();
        self.set_next(to);
        next
    }
}

impl Default for TimerNode {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    head: Option<At>,
    tail: Option<At>,
}

impl Slot {
    const EMPTY: Self = Self { head: None, tail: None };
}

/// A core's hierarchical timing wheel; see the module.
#[derive(Debug)]
pub struct Wheel {
    /// The present tick.
    now: u64,
    len: usize,
    /// `true` if timers may be in a slot after a level's present one, so that they can cascade
    /// ahead of time.
    needs_cascade: bool,
    occupied: [u64; LEVELS],
    /// The slots of all levels: `LEVELS` times `SLOTS`.
    slots: Box<[Slot]>,
    /// The number of timers that cascaded only when the clock had reached their slot.
    #[cfg(test)]
    hurried: usize,
}

// SAFETY: the wheel has its nodes to itself, and one core at a time has the wheel.
unsafe impl Send for Wheel {}

/// Returns the slot of a level that contains a tick, counted from the beginning of time.
#[inline]
fn slot_of(tick: u64, level: usize) -> u64 {
    tick >> (LEVEL_BITS * level as u32)
}

/// Returns the index of that slot in `slots`.
#[inline]
fn place_of(level: usize, slot: u64) -> usize {
    level * SLOTS + slot as usize % SLOTS
}

impl Wheel {
    /// Creates an empty wheel at the time `now`, in nanoseconds.
    pub fn new(now: u64) -> Self {
        Self {
            now: now >> TICK_BITS,
            len: 0,
            needs_cascade: false,
            occupied: [0; LEVELS],
            slots: alloc::vec![Slot::EMPTY; LEVELS * SLOTS].into_boxed_slice(),
            #[cfg(test)]
            hurried: 0,
        }
    }

    /// Returns the number of timers on the wheel.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if the wheel has no timers.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts a timer that is due at `due` nanoseconds. In the last 16 µs of the 584 years that a
    /// clock counts, it may fire up to that much early. O(1).
    ///
    /// # Safety
    /// `node` is on no wheel, and lives until it is removed or returned by a `pop` function.
    pub unsafe fn insert(&mut self, node: NonNull<TimerNode>, due: u64) {
        // A due time in the past means now.
        let tick = due.div_ceil(1 << TICK_BITS).max(self.now).min(LAST_TICK);
        // The caller keeps the node live (this function's contract).
        let node = At(node);
        // Checked in every build: otherwise two slots would lead to the node, one of them to freed
        // memory later.
        assert!(!node.is_on_wheel(), "a timer is on one wheel");
        node.was_put.store(true, Ordering::Relaxed);
        node.due.set(tick);
        self.len += 1;
        // The highest bit in which the tick differs from the present one; the lowest, if none does.
        let differs = ((tick ^ self.now) | 1).ilog2();
        // This is the lowest level with the tick in its present block.
        self.put(node, tick, (differs / LEVEL_BITS) as usize);
    }

    /// Puts a timer into its slot of this level. If that is the slot after the present one and is
    /// empty (W2), the timer goes to a lower level instead.
    #[inline(always)]
    fn put(&mut self, node: At, tick: u64, mut level: usize) {
        let mut place = place_of(level, slot_of(tick, level));
        while level > 0 && slot_of(tick, level) - slot_of(self.now, level) <= 1 && self.slots[place].head.is_none() {
            level -= 1;
            place = place_of(level, slot_of(tick, level));
        }
        self.occupied[level] |= 1 << (place % SLOTS);
        let slot = &mut self.slots[place];
        node.place.store(place as u32, Ordering::Relaxed);
        node.next.set(None);
        node.prev.set(slot.tail);
        match slot.tail {
            None => slot.head = Some(node),
            Some(tail) => tail.next.set(Some(node)),
        }
        slot.tail = Some(node);
    }

    /// Takes a timer off. O(1).
    ///
    /// # Safety
    /// `node` is on this wheel.
    pub unsafe fn remove(&mut self, node: NonNull<TimerNode>) {
        // The node is on this wheel, so it is live (this function's contract).
        self.take_out(At(node));
    }

    fn take_out(&mut self, node: At) -> NonNull<TimerNode> {
        let place = node.place.load(Ordering::Relaxed) as usize;
        node.place.store(OFF_WHEEL, Ordering::Relaxed);
        let (next, prev) = (node.next.get(), node.prev.get());
        let slot = &mut self.slots[place];
        match prev {
            None => slot.head = next,
            Some(prev) => prev.next.set(next),
        }
        match next {
            None => slot.tail = prev,
            Some(next) => next.prev.set(prev),
        }
        if slot.head.is_none() {
            self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
        }
        self.len -= 1;
        node.0
    }

    /// Returns the level of the slot that comes due next, and its first tick.
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
            // Slots of higher levels come due after this block.
            if slot >> LEVEL_BITS == present >> LEVEL_BITS {
                break;
            }
        }
        first
    }

    /// Takes off a timer that is due at `now` nanoseconds: `while let Some(t) = …`. Timers may be
    /// started and removed in between. Amortised O(1).
    pub fn pop_due(&mut self, now: u64) -> Option<NonNull<TimerNode>> {
        let target = now >> TICK_BITS;
        loop {
            if let Some(node) = self.slots[place_of(0, self.now)].head {
                return Some(self.take_out(node));
            }
            match self.next_slot() {
                Some((_, due)) if due <= target => self.enter(due),
                _ => {
                    self.needs_cascade |= target > self.now;
                    self.now = self.now.max(target);
                    return None;
                }
            }
        }
    }

    /// Moves the clock to a tick, and so into the slots that begin there. Their timers cascade (W1)
    /// behind those that have cascaded already: the lowest level first (W2).
    fn enter(&mut self, tick: u64) {
        self.now = tick;
        self.needs_cascade = true;
        let highest = (tick.trailing_zeros() / LEVEL_BITS) as usize;
        for level in 1..=highest.min(LEVELS - 1) {
            let _moved = self.cascade(level, slot_of(tick, level), usize::MAX);
            #[cfg(test)]
            {
                self.hurried += _moved;
            }
        }
    }

    /// Cascades `at_most` timers that may cascade ahead of time (W1). Returns `true` if there were
    /// any. A timer that comes due while some are still left is not delayed.
    #[inline]
    pub fn cascade_ahead(&mut self, at_most: usize) -> bool {
        // Only the clock creates work for this function: a new timer for the slot after the present
        // one goes to a lower level at once.
        self.needs_cascade && self.cascade_some(at_most)
    }

    fn cascade_some(&mut self, at_most: usize) -> bool {
        for level in 1..LEVELS {
            let next = slot_of(self.now, level) + 1;
            if self.occupied[level] & (1 << (next % SLOTS as u64)) != 0 {
                return self.cascade(level, next, at_most) > 0;
            }
        }
        self.needs_cascade = false;
        false
    }

    /// Moves the first `at_most` timers of a slot to lower levels and returns their number.
    fn cascade(&mut self, level: usize, slot: u64, at_most: usize) -> usize {
        let place = place_of(level, slot);
        let mut moved = 0;
        while moved < at_most
            && let Some(node) = self.slots[place].head
        {
            self.take_out(node);
            self.len += 1;
            let tick = node.due.get();
            self.put(node, tick, level - 1);
            moved += 1;
        }
        moved
    }

    /// Returns when to check again, in nanoseconds: no timer is due earlier. The time is exact for
    /// a timer due within 32 ticks, or within 64 ticks if nothing is left to cascade. For a later
    /// timer it is the time when its slot may cascade.
    pub fn next_due(&self) -> Option<u64> {
        let (level, due) = self.next_slot()?;
        let ahead = due.saturating_sub(1 << (LEVEL_BITS * level as u32));
        let tick = if level > 0 && ahead > self.now { ahead } else { due };
        Some(tick << TICK_BITS)
    }

    /// Takes off any timer, due or not.
    pub fn pop_any(&mut self) -> Option<NonNull<TimerNode>> {
        let (level, due) = self.next_slot()?;
        let node = self.slots[place_of(level, slot_of(due, level))].head?;
        Some(self.take_out(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const TICK: u64 = 1 << TICK_BITS;

    /// Starts the timer of a node.
    fn start(wheel: &mut Wheel, node: &TimerNode, due: u64) {
        // SAFETY: the nodes of each test outlive its use of the wheel. `insert` checks that the
        // node is on no wheel.
        unsafe { wheel.insert(NonNull::from(node), due) };
    }

    /// A small generator (SplitMix64), so that every run is the same.
    struct Random(u64);
    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 7
        }
    }

    /// Compares the wheel with a plain list: no timer is early, late or lost, and cancels work.
    #[test]
    fn wheel_agrees_with_a_plain_list() {
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
                        start(&mut wheel, &nodes[i], at);
                        due[i] = Some(at);
                    }
                    (0 | 1, Some(_)) => {
                        // SAFETY: the node is on the wheel.
                        unsafe { wheel.remove(node) };
                        due[i] = None;
                    }
                    (what, _) => {
                        now = now.saturating_add(random.next() >> if what == 2 { 40 } else { random.next() % 57 });
                        if what == 2 {
                            wheel.cascade_ahead((random.next() % 8) as usize);
                        }
                        while let Some(node) = wheel.pop_due(now) {
                            let i = nodes.iter().position(|n| ptr::eq(n, node.as_ptr())).expect("one of the nodes");
                            let at = due[i].take().expect("started and not cancelled");
                            assert!(at <= now, "early by {}", at - now);
                        }
                        for at in due.iter().flatten() {
                            assert!(at + TICK > now || *at > now, "late: due {at}, now {now}");
                        }
                        if let Some(next) = wheel.next_due() {
                            let first = due.iter().flatten().min().expect("next_due returned a time");
                            assert!(next <= first + TICK, "next_due {next} is after the first timer {first}");
                        }
                    }
                }
                assert_eq!(wheel.len(), due.iter().flatten().count());
            }
        }
    }

    /// Rounding up would give the end of time a tick that no slot has, and the search for it would
    /// not end.
    #[test]
    fn timers_at_the_last_tick_fire() {
        let mut wheel = Wheel::new(0);
        let nodes: Vec<TimerNode> = (0..4).map(|_| TimerNode::new()).collect();
        for (node, due) in nodes.iter().zip([u64::MAX, u64::MAX - 1, u64::MAX - TICK, u64::MAX / 2]) {
            start(&mut wheel, node, due);
        }
        assert_eq!(wheel.pop_due(TICK * 1000), None);
        assert!(wheel.next_due().expect("four timers are pending") > TICK * 1000);
        assert_eq!(wheel.pop_due(u64::MAX / 2 + TICK), Some(NonNull::from(&nodes[3])));
        assert_eq!(wheel.pop_due(u64::MAX - 3 * TICK), None);
        let mut left: Vec<_> = core::iter::from_fn(|| wheel.pop_due(u64::MAX)).collect();
        left.sort();
        let mut expected: Vec<_> = nodes[..3].iter().map(NonNull::from).collect();
        expected.sort();
        assert_eq!(left, expected);
        start(&mut wheel, &nodes[0], u64::MAX);
        assert_eq!(wheel.pop_due(u64::MAX), Some(NonNull::from(&nodes[0])), "the clock stays at its last tick");
        assert!(wheel.is_empty());
    }

    /// The order holds for all start times, and however many timers have cascaded in between.
    #[test]
    fn timers_of_one_tick_fire_in_start_order() {
        for seed in 0..500 {
            let mut random = Random(seed);
            // These ticks start blocks of several levels at once.
            let due = [1 << 10, 1 << 15, 3 << 10, 5000, 33][seed as usize % 5];
            let mut wheel = Wheel::new(0);
            let nodes: Vec<TimerNode> = (0..40).map(|_| TimerNode::new()).collect();
            let mut now = 0;
            for (i, node) in nodes.iter().enumerate() {
                // Every second timer is for the next tick, so that both slots are occupied.
                start(&mut wheel, node, (due + i as u64 % 2) * TICK);
                now = (now + random.next() % (due / 16)).min(due - 1);
                if random.next().is_multiple_of(3) {
                    assert_eq!(wheel.pop_due(now * TICK), None);
                }
                wheel.cascade_ahead((random.next() % 4) as usize);
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

    /// The timers of one second cascade a few at a time, and none in a late cascade.
    #[test]
    fn early_cascades_leave_none_for_the_last_moment() {
        let mut random = Random(42);
        let mut wheel = Wheel::new(0);
        let nodes: Vec<TimerNode> = (0..20_000).map(|_| TimerNode::new()).collect();
        for node in &nodes {
            start(&mut wheel, node, 500_000_000 + random.next() % 1_000_000_000);
        }
        let (mut now, mut fired) = (0, 0);
        while !wheel.is_empty() {
            now = wheel.next_due().expect("timers are left").max(now + TICK);
            fired += core::iter::from_fn(|| wheel.pop_due(now)).count();
            while wheel.cascade_ahead(16) {}
        }
        assert_eq!((fired, wheel.hurried), (nodes.len(), 0));
    }
}
