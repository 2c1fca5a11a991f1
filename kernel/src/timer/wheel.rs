//! [`Wheel`]: a core's timers, in a hierarchy of wheels.
//!
//! Time is counted in ticks of 2^16 ns (66 µs), rounded up, so a timer is never early. Eight
//! levels of 64 slots cover the 48 bits of ticks that 64 bits of nanoseconds have. A
//! timer due at tick `d`, seen from tick `now`, lies on the level of the highest group of
//! six bits in which `d` and `now` differ, in the slot that those bits of `d` name:
//!
//! ```text
//! level 7 … level 1          level 0
//! [6 bits]…[d: 6 bits] . . . [d: 6 bits]
//! ```
//!
//! So all of a level comes due before the next slot of the level above, and the next
//! slot to come due is the first occupied one of the lowest occupied level (a bitmap a
//! level finds it). When a slot above level 0 comes due its timers move down: at most
//! seven times in a timer's life. Start and cancel are O(1), and a jump of the clock
//! costs what it makes due, not what it passes.
//!
//! One core's own; no atomics, and no memory beyond the wheel itself.

use alloc::boxed::Box;
use core::ptr::{self, NonNull};

use crate::sync::Cell;

const TICK_BITS: u32 = 16;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 8;
const _: () = assert!(TICK_BITS + LEVEL_BITS * LEVELS as u32 == u64::BITS);
/// The last tick there is: what is due later is due then.
const LAST_TICK: u64 = u64::MAX >> TICK_BITS;
/// The place of a timer that is due.
const READY: u16 = (LEVELS * SLOTS) as u16;
/// The place of a timer that is on no wheel.
const NOWHERE: u16 = READY + 1;

/// A timer's place on a wheel.
#[derive(Debug)]
pub struct TimerNode {
    next: Cell<*mut TimerNode>,
    prev: Cell<*mut TimerNode>,
    due: Cell<u64>,
    place: Cell<u16>,
}

impl TimerNode {
    /// On no wheel.
    pub fn new() -> Self {
        Self {
            next: Cell::new(ptr::null_mut()),
            prev: Cell::new(ptr::null_mut()),
            due: Cell::new(0),
            place: Cell::new(NOWHERE),
        }
    }
}

impl TimerNode {
    /// Whether it is on a wheel. For the wheel's owner.
    pub fn is_on_wheel(&self) -> bool {
        self.place.get() != NOWHERE
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

/// See the module.
#[derive(Debug)]
pub struct Wheel {
    now: u64,
    len: usize,
    occupied: [u64; LEVELS],
    /// `LEVELS` times `SLOTS`, and the slot of what is due.
    slots: Box<[Slot]>,
}

// SAFETY: the nodes are the wheel's, which one core has to itself.
unsafe impl Send for Wheel {}

impl Wheel {
    /// An empty wheel at the time `now`, in nanoseconds.
    pub fn new(now: u64) -> Self {
        let empty = Slot { head: ptr::null_mut(), tail: ptr::null_mut() };
        Self {
            now: now >> TICK_BITS,
            len: 0,
            occupied: [0; LEVELS],
            slots: alloc::vec![empty; LEVELS * SLOTS + 1].into_boxed_slice(),
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

    /// Starts a timer that is due at `due` nanoseconds (in the last 66 µs of the 584 years that a
    /// clock counts, it may be that much early). O(1).
    ///
    /// # Safety
    /// `node` is on no wheel and lives until it is removed or handed out.
    pub unsafe fn insert(&mut self, node: NonNull<TimerNode>, due: u64) {
        let tick = due.div_ceil(1 << TICK_BITS).min(LAST_TICK);
        // SAFETY: by contract.
        let inner = unsafe { node.as_ref() };
        debug_assert_eq!(inner.place.get(), NOWHERE, "a timer is on one wheel");
        inner.due.set(tick);
        self.len += 1;
        self.put(node);
    }

    fn put(&mut self, node: NonNull<TimerNode>) {
        // SAFETY: on this wheel, so live.
        let inner = unsafe { node.as_ref() };
        let due = inner.due.get();
        let place = if due <= self.now {
            READY
        } else {
            let level = (u64::BITS - 1 - (due ^ self.now).leading_zeros()) / LEVEL_BITS;
            let slot = (due >> (LEVEL_BITS * level)) as usize % SLOTS;
            self.occupied[level as usize] |= 1 << slot;
            (level as usize * SLOTS + slot) as u16
        };
        let slot = &mut self.slots[place as usize];
        inner.place.set(place);
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
        let place = inner.place.replace(NOWHERE);
        let (next, prev) = (inner.next.get(), inner.prev.get());
        let slot = &mut self.slots[place as usize];
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
        if slot.head.is_null() && place != READY {
            self.occupied[place as usize / SLOTS] &= !(1 << (place as usize % SLOTS));
        }
        self.len -= 1;
    }

    /// The slot that comes due next, and the tick when it does.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let (level, occupied) = self.occupied.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        let slot = occupied.trailing_zeros() as u64;
        let shift = LEVEL_BITS * level as u32;
        let above = self.now >> shift >> LEVEL_BITS << LEVEL_BITS << shift;
        Some((level * SLOTS + slot as usize, above | slot << shift))
    }

    /// Takes off a timer whose time has come at `now` nanoseconds: `while let Some(t) = …`.
    /// Timers may be started and removed in between. Amortised O(1).
    pub fn pop_due(&mut self, now: u64) -> Option<NonNull<TimerNode>> {
        let target = now >> TICK_BITS;
        loop {
            if let Some(node) = NonNull::new(self.slots[READY as usize].head) {
                // SAFETY: on this wheel.
                unsafe { self.remove(node) };
                return Some(node);
            }
            match self.next_slot() {
                Some((place, due)) if due <= target => {
                    self.now = due;
                    self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
                    let empty = Slot { head: ptr::null_mut(), tail: ptr::null_mut() };
                    let slot = core::mem::replace(&mut self.slots[place], empty);
                    let mut next = slot.head;
                    while let Some(node) = NonNull::new(next) {
                        // SAFETY: on this wheel.
                        next = unsafe { node.as_ref() }.next.get();
                        self.put(node);
                    }
                }
                _ => {
                    self.now = self.now.max(target);
                    return None;
                }
            }
        }
    }

    /// When to look again, in nanoseconds: no timer is due earlier. Exact for what is due
    /// within 64 ticks, the start of its slot for what is further.
    pub fn next_due(&self) -> Option<u64> {
        if !self.slots[READY as usize].head.is_null() {
            return Some(self.now << TICK_BITS);
        }
        self.next_slot().map(|(_, tick)| tick.saturating_mul(1 << TICK_BITS))
    }

    /// Takes off any timer, due or not.
    pub fn pop_any(&mut self) -> Option<NonNull<TimerNode>> {
        let place = match NonNull::new(self.slots[READY as usize].head) {
            Some(_) => READY as usize,
            None => self.next_slot()?.0,
        };
        let node = NonNull::new(self.slots[place].head)?;
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

    #[test]
    fn a_tick_keeps_the_order_in_which_timers_were_started() {
        let mut wheel = Wheel::new(0);
        let nodes: Vec<TimerNode> = (0..5).map(|_| TimerNode::new()).collect();
        for node in &nodes {
            // SAFETY: on no wheel.
            unsafe { wheel.insert(NonNull::from(node), 5000 * TICK) };
        }
        for node in &nodes {
            assert_eq!(wheel.pop_due(5000 * TICK), Some(NonNull::from(node)));
        }
        assert!(wheel.is_empty());
    }
}
