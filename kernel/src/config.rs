//! Capacities, each with its real value and the small one that a model can explore.

/// Under a model checker: full, empty and grown are then a few steps away, and a kernel is quick to make.
const SMALL: bool = cfg!(any(loom, shuttle));

/// Processes that one priority's ring of a core holds before it overflows. A power of two.
pub const RING: usize = if SMALL { 4 } else { 256 };

/// Slots of the first segment of the process table; each further one is twice as large.
pub const FIRST_SEGMENT: u32 = if SMALL { 2 } else { 1024 };

/// Free slots that a core keeps before it hands a chain of them to the others.
pub const FREE_CACHE: u32 = if SMALL { 2 } else { 1024 };

/// Slots of the first segment of the timers' slots; each further one is twice as large. A power of two.
pub const FIRST_TIMERS: u32 = if SMALL { 2 } else { 64 };

/// Free timer slots that a core keeps when it has given the others some.
pub const TIMER_SLOTS: u32 = if SMALL { 1 } else { 256 };

/// Cancelled records on a list before anybody sweeps it.
pub const SWEEP_AT_LEAST: usize = if SMALL { 2 } else { 64 };

/// Linear search below, hashed index from here on (links, monitors of one process).
pub const INDEX_FROM: usize = 9;

/// Reductions of one slice, as in OTP.
pub const SLICE: u32 = 4000;

/// Reductions between two looks of a slice into the mailbox, while there is something to receive already.
pub const LOOK_EVERY: u32 = 64;

/// Signals that wait at a receiver for which its senders are charged a reduction more.
pub const CHARGE_FROM: u32 = 32;

/// The most that a sender is charged for one message.
pub const CHARGE_MOST: u32 = 250;

/// Words of the set of idle cores.
pub const CORE_WORDS: usize = if SMALL { 1 } else { 4 };

/// The most cores that one kernel takes.
pub const MAX_CORES: usize = CORE_WORDS * usize::BITS as usize;

/// Chains of the table of names.
pub const NAME_BUCKETS: usize = if SMALL { 2 } else { 1024 };
