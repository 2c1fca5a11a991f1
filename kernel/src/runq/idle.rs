//! [`Idle`]: which cores sleep, and which thread wakes them.
//!
//! ```text
//!  running ── no work: start_search ──▶ searching ── none found: end_search, announce ──▶ idle
//!     ▲                                     │                                              │
//!     └──────────── found: end_search ──────┘◀── retract (found on the last look, timer) ──┤
//!     └──────────────────────────── woken: a producer claimed its bit ◀────────────────────┘
//! ```
//!
//! **I1, no core sleeps while work is queued.** A core that falls asleep sets its bit (`announce`),
//! then checks all queues again. A producer queues work, then checks the bits (`notify`). A
//! SeqCst fence separates the two steps on each side, so one of the two sees the other.
//!
//! A core that queues work in the middle of a slice checks the bits without a fence
//! (`notify_relaxed`). When the slice ends, it checks them once with a fence, for all work that the
//! slice has queued (`notify`). A core that falls asleep in between is noticed at the end of
//! the slice at the latest. Most slices that wake many processes find all cores awake, and would
//! pay for a fence at each wake.
//!
//! **I2, one wake for one sleeper.** A thread wakes a core by clearing its bit. The thread that
//! cleared the bit must call the platform's `wake`, and no other thread does.
//!
//! **I3, no thundering herd.** While a core searches, producers wake no core: the searcher will
//! find the work. The last searcher that finds work wakes another core, because more work may be
//! left. A searcher gives up its role *before* it announces and checks for the last time. So that
//! last check sees work that a producer queued while it relied on the searcher.
//!
//! **I4, a claimed core passes the wake-up on.** A producer that claims a core, or sees one
//! searching, relies on that core to find the work and wakes no other. But the core may first find
//! work of its own (a pinned process, a timer, an arrival between its last check and `retract`) and
//! run it for a long time. So if the core was claimed, or its last check found anything, it calls
//! `notify` for the work that is still visible before it runs its own.
//!
//! **I5, one idle core has the watch.** Where cores monitor one another (`sched::stall`), one
//! idle core at a time has the *watch*: it sleeps for a bounded time only.
//! - A core that falls asleep while other cores are awake takes the watch if no core has it.
//! - A core that has the watch and begins to work, or ends, gives the watch up and wakes another
//!   idle core if there is one. A core that begins to work and finds that no core has the watch
//!   does the same.
//! - A core that falls asleep announces itself before it checks which cores are awake. A core that
//!   begins to work retracts its bit before it checks for a watch. A SeqCst fence separates the two
//!   steps on each side, so one of the two sees the other.
//! - Wakers prefer any other idle core, so that the watch stays where it is.

use crate::config::CORE_WORDS;
use crate::sync::{AtomicUsize, Ordering, fence};

const BITS: usize = usize::BITS as usize;

/// The set of idle cores, the number of searching cores and the watch; see the module.
#[derive(Debug)]
pub struct Idle {
    words: [AtomicUsize; CORE_WORDS],
    searching: AtomicUsize,
    /// `true` if cores monitor one another (I5).
    watched: bool,
    /// The number of the core that has the watch, plus one; 0 if no core has it (I5).
    watch: AtomicUsize,
}

impl Idle {
    /// Creates the set with all cores running. `watched`: cores monitor one another (I5).
    pub fn new(watched: bool) -> Self {
        Self {
            words: core::array::from_fn(|_| AtomicUsize::new(0)),
            searching: AtomicUsize::new(0),
            watched,
            watch: AtomicUsize::new(0),
        }
    }

    /// Marks the core as idle: it sleeps unless its next check of the queues finds work. Wait-free.
    pub fn announce(&self, core: usize) {
        self.words[core / BITS].fetch_or(1 << (core % BITS), Ordering::AcqRel);
        // Pairs with the fence of `notify` (I1).
        fence(Ordering::SeqCst);
    }

    /// Marks the core as running again. Returns `false` if a waker had already claimed it.
    /// Wait-free.
    pub fn retract(&self, core: usize) -> bool {
        let bit = 1 << (core % BITS);
        self.words[core / BITS].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Returns the core that the caller must wake, if any, after it queued work that every core can
    /// see. Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn notify(&self) -> Option<usize> {
        // Pairs with the fence of `announce` (I1).
        fence(Ordering::SeqCst);
        if self.searching.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.claim_any()
    }

    /// Does the same as [`Idle::notify`] without a fence, for a core that calls `notify`
    /// when its slice ends. It may miss a core that falls asleep at this moment. Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn notify_relaxed(&self) -> Option<usize> {
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
                // AcqRel: pairs with `announce`. Each iteration clears a bit, so the number of
                // cores bounds the loop.
                let before = word.fetch_and(!bit, Ordering::AcqRel);
                if before & bit != 0 {
                    return Some(number * BITS + bit.trailing_zeros() as usize);
                }
                set &= before & !bit;
            }
        }
        None
    }

    /// Returns `true` if the caller must wake `core`, after it queued work that only `core` can
    /// run. Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn notify_core(&self, core: usize) -> bool {
        fence(Ordering::SeqCst);
        let bit = 1 << (core % BITS);
        let word = &self.words[core / BITS];
        word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Registers the core as a searcher. Returns `false` if half of the cores already search,
    /// unless the core's last check has `seen` work: otherwise it would wait for a searcher that
    /// may not be running. Wait-free.
    pub fn start_search(&self, cores: usize, seen: bool) -> bool {
        // Relaxed: a few searchers over the limit do no harm.
        if !seen && 2 * self.searching.load(Ordering::Relaxed) >= cores.max(2) {
            return false;
        }
        self.searching.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Ends the search. Returns the core that the caller must wake, if any, when work was `found`
    /// (I3). Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn end_search(&self, found: bool) -> Option<usize> {
        // AcqRel: ordered before `announce` (I3).
        let last = self.searching.fetch_sub(1, Ordering::AcqRel) == 1;
        if found && last { self.notify() } else { None }
    }

    /// Returns `true` if the core has announced itself and no thread has claimed it. Wait-free.
    pub fn contains(&self, core: usize) -> bool {
        // Acquire: pairs with the claim in `claim_other`. Without it the work for which the core
        // was claimed could be invisible.
        self.words[core / BITS].load(Ordering::Acquire) & 1 << (core % BITS) != 0
    }

    /// Returns `true` if the core has the watch (I5).
    pub fn has_watch(&self, core: usize) -> bool {
        self.watched && self.watch.load(Ordering::Relaxed) == core + 1
    }

    /// Returns `true` if no other core has the watch. A hint.
    pub fn may_watch(&self, core: usize) -> bool {
        matches!(self.watch.load(Ordering::Relaxed), watch if watch == 0 || watch == core + 1)
    }

    /// Takes the watch for an announced core if other cores are awake and no core has it. Returns
    /// `true` if the core has the watch now. Wait-free.
    pub fn takes_watch(&self, core: usize, cores: usize) -> bool {
        let awake = || (0..cores).any(|other| other != core && !self.contains(other));
        self.has_watch(core)
            || awake() && self.watch.compare_exchange(0, core + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Gives the watch up for an announced core, unless other cores are awake. Returns `true` if
    /// the core still has the watch. Wait-free.
    pub fn resigns(&self, core: usize, cores: usize) -> bool {
        self.watch.store(0, Ordering::Release);
        // Pairs with the fence of `begins` (I5).
        fence(Ordering::SeqCst);
        self.takes_watch(core, cores)
    }

    /// Returns the core that the caller must wake so that an idle core has the watch. Called by a
    /// core that has retracted and begins to work. Wait-free.
    #[must_use = "the core is claimed and sleeps until it is woken"]
    pub fn begins(&self, core: usize) -> Option<usize> {
        if self.has_watch(core) {
            self.watch.store(0, Ordering::Release);
        }
        // Pairs with the fences of `announce` and `resigns` (I5).
        fence(Ordering::SeqCst);
        if self.watch.load(Ordering::Relaxed) == 0 { self.claim_any() } else { None }
    }

    /// Returns the core that the caller must wake so that an idle core has the watch. Called by a
    /// core that ends and is no longer idle. Wait-free.
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

    /// Returns `true` if all `cores` cores are idle.
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
