//! Capacities, each with its shipped value and a small value that a model can explore.

/// `true` under a model checker: full, empty and grown are then a few steps away, and a kernel is
/// created quickly.
const SMALL: bool = cfg!(any(loom, shuttle));

/// Number of processes that the ring of one priority of a core holds before it overflows. A power
/// of two.
pub const RING: usize = if SMALL { 4 } else { 256 };

/// Number of slots of the first segment of the process table. Each further segment is twice as
/// large.
pub const FIRST_SEGMENT: u32 = if SMALL { 2 } else { 1024 };

/// Number of free slots that a core keeps before it moves a chain of them to the common pool.
pub const FREE_CACHE: u32 = if SMALL { 2 } else { 1024 };

/// Number of slots of the first segment of the timer slots. Each further segment is twice as large.
/// A power of two.
pub const FIRST_TIMERS: u32 = if SMALL { 2 } else { 64 };

/// Number of free timer slots that a core keeps after it has given some to the common pool.
pub const TIMER_SLOTS: u32 = if SMALL { 1 } else { 256 };

/// Number of cancelled records on a list from which on the list is swept.
pub const SWEEP_AT_LEAST: usize = if SMALL { 2 } else { 64 };

/// Number of records from which on a set has a hashed index (links, monitors of one process).
/// Below, it searches linearly.
pub const INDEX_FROM: usize = 9;

/// Number of reductions of one slice, as in OTP.
pub const SLICE: u32 = 4000;

/// Number of reductions between two checks of the mailbox within a slice, while there are already
/// signals to receive.
pub const LOOK_EVERY: u32 = 64;

/// Number of signals waiting at a receiver for which each sender is charged one more reduction.
pub const BACKLOG_FREE: u32 = 32;

/// Maximum number of reductions that a sender is charged for one message.
pub const BACKLOG_COST_MAX: u32 = 250;

/// Number of words of the set of idle cores.
pub const CORE_WORDS: usize = if SMALL { 1 } else { 4 };

/// Maximum number of cores of one kernel.
pub const MAX_CORES: usize = CORE_WORDS * usize::BITS as usize;

/// Number of hash chains of the table of names.
pub const NAME_BUCKETS: usize = if SMALL { 2 } else { 1024 };
