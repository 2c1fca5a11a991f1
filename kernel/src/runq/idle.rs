//! [`Idle`]: which cores sleep, and who wakes them.
//!
//! ```text
//!  running ── no work: start_search ──▶ searching ── none found: end_search, announce ──▶ idle
//!     ▲                                     │                                              │
//!     └──────────── found: end_search ──────┘◀── retract (found on the last look, timer) ──┤
//!     └──────────────────────────── woken: somebody claimed its bit ◀──────────────────────┘
//! ```
//!
//! **I1, no core sleeps on work.** A sleeper sets its bit (`announce`), then looks at all queues
//! again. A producer queues, then looks at the bits (`work_added`). With a SeqCst fence
//! between the two steps on each side, one of them sees the other.
//!
//! A core that queues in the middle of a slice looks at the bits without a fence (`work_adding`), and with one for all that the slice
//! has queued when it ends (`work_added`): who falls asleep just then is missed until then at the latest. Most slices
//! that wake many find everybody awake, and would pay for a fence each time.
//!
//! **I2, one wake for one sleeper.** To wake is to clear the bit; who cleared it must call the
//! world's `wake`, and nobody else does.
//!
//! **I3, no herd.** While somebody searches, producers wake nobody: the searcher will find
//! the work. The last searcher that finds some wakes the next, because there may be more.
//! A searcher gives up its role *before* it announces and looks for the last time, so work
//! that was queued under its promise is seen by that look.
//!
//! **I4, a claim is passed on.** Who claimed a core, or found it searching, counts on it to find work that may lie elsewhere, and
//! wakes nobody else. A core that gets work of its own first (a pinned process's, a timer's, what has come to it between its last
//! look and `retract`) may be at it for ever: if it has been claimed, or its last look has found anything, it calls
//! `work_added` for what is still to be seen before it begins.
//!
//! **I5, one has the watch.** Where cores look after each other (`sched::lookout`), one idle core at a time has the *watch*: it sleeps for a
//! bounded time. A core that falls asleep while others are awake takes it if nobody has it; one that has it and
//! begins to work, or ends, lays it down and wakes another idle core, if there is one, and so does a core that begins to work
//! and finds that nobody has it. Who falls asleep announces itself before it looks who is awake, and who begins has taken its bit back before it looks
//! whether there is a watch, with a SeqCst fence between the two steps on each side: one of them sees the other. Wakers take any
//! other idle core first, so that the watch stays where it is.

use crate::config::CORE_WORDS;
use crate::sync::{AtomicUsize, Ordering, fence};

const BITS: usize = usize::BITS as usize;

/// See the module.
#[derive(Debug)]
pub struct Idle {
    words: [AtomicUsize; CORE_WORDS],
    searching: AtomicUsize,
    /// Cores look after each other.
    watched: bool,
    /// Who has the watch, and one; 0 for nobody (I5).
    watch: AtomicUsize,
}

impl Idle {
    /// Everybody runs. `watched`: cores look after each other (I5).
    pub fn new(watched: bool) -> Self {
        Self {
            words: core::array::from_fn(|_| AtomicUsize::new(0)),
            searching: AtomicUsize::new(0),
            watched,
            watch: AtomicUsize::new(0),
        }
    }

    /// The core sleeps unless its next look at the queues finds work. Wait-free.
    pub fn announce(&self, core: usize) {
        self.words[core / BITS].fetch_or(1 << (core % BITS), Ordering::AcqRel);
        // Pairs with the fence of `work_added` (I1).
        fence(Ordering::SeqCst);
    }

    /// The core runs again; false when a waker had claimed it already. Wait-free.
    pub fn retract(&self, core: usize) -> bool {
        let bit = 1 << (core % BITS);
        self.words[core / BITS].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Work was queued where every core sees it: the core that the caller must wake, if any.
    /// Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn work_added(&self) -> Option<usize> {
        // Pairs with the fence of `announce` (I1).
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.claim_any()
    }

    /// As [`Idle::work_added`], by a core that will call that when its slice ends: it may miss who falls asleep at this moment.
    /// Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn work_adding(&self) -> Option<usize> {
        // Relaxed: a hint.
        if self.searching.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.claim_any()
    }

    fn claim_any(&self) -> Option<usize> {
        // Relaxed: a preference (I5).
        let watch = if self.watched { self.watch.load(Ordering::Relaxed) } else { 0 };
        match watch {
            0 => self.claim_other(usize::MAX),
            watch => self.claim_other(watch - 1).or_else(|| self.claim_other(usize::MAX)),
        }
    }

    fn claim_other(&self, than: usize) -> Option<usize> {
        for (number, word) in self.words.iter().enumerate() {
            let mut set = word.load(Ordering::Relaxed);
            if number == than / BITS {
                set &= !(1 << (than % BITS));
            }
            while set != 0 {
                let bit = set & set.wrapping_neg();
                // AcqRel: pairs with `announce`. Each round clears a bit: at most as many as cores.
                let before = word.fetch_and(!bit, Ordering::AcqRel);
                if before & bit != 0 {
                    return Some(number * BITS + bit.trailing_zeros() as usize);
                }
                set &= before & !bit;
            }
        }
        None
    }

    /// Work was queued that only `core` can do: whether the caller must wake it. Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn work_added_for(&self, core: usize) -> bool {
        fence(Ordering::SeqCst);
        let bit = 1 << (core % BITS);
        let word = &self.words[core / BITS];
        word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// The core looks for work elsewhere; at most half of them at a time do, and those that have `seen` some on their
    /// last look: they would wait for a searcher otherwise, which may not run. Wait-free.
    pub fn start_search(&self, cores: usize, seen: bool) -> bool {
        // Relaxed: a limit that may be overrun by a few does no harm.
        if !seen && 2 * self.searching.load(Ordering::Relaxed) >= cores.max(2) {
            return false;
        }
        self.searching.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// The search is over; after `found` the core that the caller must wake, if any (I3). Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn end_search(&self, found: bool) -> Option<usize> {
        // AcqRel: before `announce`, see I3.
        let last = self.searching.fetch_sub(1, Ordering::AcqRel) == 1;
        if found && last { self.work_added() } else { None }
    }

    /// Whether the core has announced itself and nobody has claimed it. Wait-free.
    pub fn contains(&self, core: usize) -> bool {
        // Acquire: pairs with the claim, whose work is to be seen.
        self.words[core / BITS].load(Ordering::Acquire) & 1 << (core % BITS) != 0
    }

    /// Whether the core has the watch (I5).
    pub fn has_watch(&self, core: usize) -> bool {
        self.watched && self.watch.load(Ordering::Relaxed) == core + 1
    }

    /// Whether no other core has the watch. A hint.
    pub fn may_watch(&self, core: usize) -> bool {
        matches!(self.watch.load(Ordering::Relaxed), watch if watch == 0 || watch == core + 1)
    }

    /// The core, which has announced itself, takes the watch if it is needed: others are awake, and nobody has it. Whether it has it. Wait-free.
    pub fn takes_watch(&self, core: usize, cores: usize) -> bool {
        let awake = || (0..cores).any(|other| other != core && !self.contains(other));
        self.has_watch(core)
            || awake() && self.watch.compare_exchange(0, core + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The core, which has announced itself, gives the watch up, unless others are awake: whether it has it still. Wait-free.
    pub fn resigns(&self, core: usize, cores: usize) -> bool {
        self.watch.store(0, Ordering::Release);
        // Pairs with the fence of `begins` (I5).
        fence(Ordering::SeqCst);
        self.takes_watch(core, cores)
    }

    /// The core, which has retracted, begins to work: the core that the caller must wake, so that one has the watch. Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn begins(&self, core: usize) -> Option<usize> {
        if self.has_watch(core) {
            self.watch.store(0, Ordering::Release);
        }
        // Pairs with the fences of `announce` and `resigns` (I5).
        fence(Ordering::SeqCst);
        if self.watch.load(Ordering::Relaxed) == 0 { self.claim_any() } else { None }
    }

    /// The core has ended, and is no sleeper any more: the core that the caller must wake, so that one has the watch. Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn ends(&self, core: usize) -> Option<usize> {
        if !self.has_watch(core) {
            return None;
        }
        self.watch.store(0, Ordering::Release);
        // Pairs with the fence of `announce` (I5).
        fence(Ordering::SeqCst);
        self.claim_any()
    }

    /// Whether all of so many cores sleep.
    pub fn all(&self, cores: usize) -> bool {
        let idle: u32 = self.words.iter().map(|word| word.load(Ordering::SeqCst).count_ones()).sum();
        idle as usize == cores
    }
}

impl Default for Idle {
    fn default() -> Self {
        Self::new(false)
    }
}
