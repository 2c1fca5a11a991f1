//! [`Mutation`]: the ways in which a model may have the kernel be wrong, to see that it notices.
//!
//! A kernel under `cfg(loom)` has at most one, by its options, and asks [`Kernel::mutated`] where the step is that
//! would go wrong. Everywhere else the answer is a constant `false`, and neither the options nor the
//! kernel know of it.
//!
//! Each is a slip that a change to the real code could make: an answer that is not looked at, two steps in the
//! other order, an ordering that is too weak. What a mutant does must be memory-safe as far as its
//! model goes, since the model has to end by its own assertion.

use crate::kernel::Kernel;

/// What is done wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// A link or monitor that its target's list or mailbox refused counts as placed.
    RefusedIsPlaced,
    /// A death fires what was cancelled or cut, and does not look at what it was.
    FiresAnyway,
    /// An EXIT is welcome though the receiver has unlinked.
    WithdrawnIsWelcome,
    /// Requests that a death finds in the mailbox are dropped.
    LateIsDropped,
    /// A sweep that comes back to a closed list drops what it holds.
    SweepForgets,
    /// The short way is taken whatever is pending at the target.
    AlwaysShort,
    /// A death closes the mailbox, and then writes the reason.
    ReasonLast,
    /// A signal that a dead process refuses is not released.
    RefusedIsKept,
    /// A kill nudges, and then says that it was one.
    FlagLast,
    /// The owner clears the flag of its wake node without seeing what came before it.
    WakingRelaxed,
    /// A death that is over before a kill is fetched has its links told of the kill.
    TellsTheKill,
    /// A process goes to sleep on what has come meanwhile.
    SleepsAnyway,
    /// A newborn's name is confirmed whatever has become of the newborn.
    ConfirmsAnyway,
    /// `normal` kills as any other reason does.
    NormalKills,
    /// A death releases the proxies that it has not met.
    ProxiesUnmet,
    /// A proxy's record is placed at its target before the watcher has the proxy.
    PlacedFirst,
    /// A core that others count on for work elsewhere begins its own and wakes nobody in its place.
    KeepsTheClaim,
    /// Who falls asleep while a slice queues something is not looked for when it ends.
    NeverLooksBack,
    /// An answerer that has claimed the sleeping process that asks takes the cell to be its own, and stores where it has to
    /// exchange.
    TakesTheSleepersCell,
    /// Who takes off a timer that was never on its wheel does not say so to who is about to put it there.
    ForgetsTheRefused,
    /// Who has claimed a process that does not die of it forgets to queue it.
    ForgetsTheClaimed,
    /// A process that is doomed to die in a slice of its own looks alive to those who ask until then.
    DoomedLookAlive,
    /// A death lets go of the requests that it has not answered, and says nothing.
    ForgetsRequests,
    /// A death tells those who have asked before those who are linked.
    DownsFirst,
}

#[cfg(loom)]
impl Kernel {
    /// Whether a kill finds no memory: its other way.
    pub(crate) fn starves_kills(&self) -> bool {
        self.options.kills_without_memory
    }

    pub(crate) fn mutated(&self, mutation: Mutation) -> bool {
        self.options.mutation == Some(mutation)
    }
}

#[cfg(not(loom))]
impl Kernel {
    #[inline(always)]
    pub(crate) const fn starves_kills(&self) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) const fn mutated(&self, _: Mutation) -> bool {
        false
    }
}
