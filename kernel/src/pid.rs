//! Names that outlive what they name: [`Pid`], [`Reference`], [`Alias`].
//!
//! A pid is a slot's index (28 bits) and the slot's generation (32 bits), so it fits the 60 bits of
//! a small integer of the BEAM. A slot that has used the last of its kernel's generations is
//! retired, so a pid names one process of its kernel for ever.
//!
//! No two references of a kernel are equal ([`crate::References`] gives them out), and all are
//! below 2^56: from there on the distribution numbers its own references. References below 2^55
//! belong to monitors, aliases and links. A timer's reference is the name of its slot
//! (`timer_slot`), by which any thread can find the timer.
//!
//! # More than one kernel
//!
//! - **I1.** A kernel gives out the generations that its embedder lends it
//!   ([`crate::Options::generations`]). When the kernel ends, it reports the last generation used
//!   ([`crate::Platform::on_kernel_drop`]). If the embedder lends no generation twice, each pid
//!   names one process of the whole program: to another kernel of the program, the pid was never
//!   given out.
//! - **I2.** Kernels that share their [`crate::References`] ([`crate::Options::references`]) have
//!   references that name one monitor, alias or timer of the whole program.
//! - **I3.** No memory safety rests on I1 or I2. Code that follows an address holds a reference
//!   count on the object at that address (`process/header`, P5; wakers; requests), and a message
//!   has the type that its receiver takes, no matter which process the receiver is.

use core::fmt;
use core::num::NonZeroU64;

/// Number of bits of a pid that hold the slot's index.
pub(crate) const INDEX_BITS: u32 = 28;
/// Maximum number of slots of a table.
pub(crate) const MAX_SLOTS: u32 = 1 << INDEX_BITS;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const _: () = assert!(INDEX_BITS + u32::BITS == 60, "a pid is a small integer");

/// The identifier of one process, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroU64);

impl Pid {
    /// Creates the pid of `generation` of the slot `index`. Returns `None` for generation 0, which
    /// is never given out, and for an index past the table's end.
    pub const fn new(index: u32, generation: u32) -> Option<Self> {
        if generation == 0 || index >= MAX_SLOTS {
            return None;
        }
        match NonZeroU64::new(((generation as u64) << INDEX_BITS) | index as u64) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// Returns the pid as one integer below 2^60, for runtimes that keep it in a term.
    pub const fn to_raw(self) -> u64 {
        self.0.get()
    }

    /// Returns the pid that [`Pid::to_raw`] encoded, or `None` if `to_raw` cannot have returned
    /// `raw`.
    pub const fn from_raw(raw: u64) -> Option<Self> {
        if raw >> 60 != 0 {
            return None;
        }
        Self::new((raw & INDEX_MASK) as u32, (raw >> INDEX_BITS) as u32)
    }

    /// Returns the index of the slot.
    pub const fn index(self) -> u32 {
        (self.0.get() & INDEX_MASK) as u32
    }

    /// Returns the slot's generation, which distinguishes the processes of one slot.
    pub const fn generation(self) -> u32 {
        (self.0.get() >> INDEX_BITS) as u32
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}>", self.index(), self.generation())
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identifier of one monitor, alias or timer, for ever. It is below 2^56.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(NonZeroU64);

impl Reference {
    /// Returns the reference as an integer.
    pub const fn to_raw(self) -> u64 {
        self.0.get()
    }

    /// Returns the reference that [`Reference::to_raw`] encoded, or `None` if `to_raw` cannot have
    /// returned `raw`.
    pub const fn from_raw(raw: u64) -> Option<Self> {
        if raw >> 56 != 0 {
            return None;
        }
        match NonZeroU64::new(raw) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A second name of a process that its owner can revoke. A message to an alias that has ended is
/// dropped, so a late reply reaches no process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Alias {
    pub(crate) pid: Pid,
    pub(crate) reference: Reference,
}

impl Alias {
    /// Returns the alias of `pid` that is named by `reference`, for example a monitor made with an
    /// alias. Sending to an alias that does not exist does nothing.
    pub const fn new(pid: Pid, reference: Reference) -> Self {
        Self { pid, reference }
    }

    /// Returns the process that owns the alias.
    pub const fn pid(self) -> Pid {
        self.pid
    }

    /// Returns the reference that names the alias.
    pub const fn reference(self) -> Reference {
        self.reference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_its_index_and_generation() {
        for (index, generation) in [(0, 1), (5, 9), (MAX_SLOTS - 1, u32::MAX)] {
            let pid = Pid::new(index, generation).expect("in range");
            assert_eq!((pid.index(), pid.generation()), (index, generation));
            assert_eq!(Pid::from_raw(pid.to_raw()), Some(pid));
            assert!(pid.to_raw() < 1 << 60);
        }
        assert_eq!(Pid::new(3, 0), None);
        assert_eq!(Pid::new(MAX_SLOTS, 1), None);
        assert_eq!(Pid::from_raw(0), None);
        assert_eq!(Pid::from_raw(u64::MAX), None);
    }
}
