//! [`Mutation`]: the faults that a model can inject into the kernel, to check that the model
//! notices them.
//!
//! A kernel under `cfg(loom)` has at most one mutation, set by its options and kept in its
//! [`MutationSwitch`]. At the step that would go wrong, [`mutant!`] asks the switch. In all other
//! builds the macro is its right arm alone, and neither the options nor the kernel contain the
//! mutation.
//!
//! Each mutation is a mistake that a change to the real code could make: a result that is not
//! checked, two steps in the wrong order, an ordering that is too weak. A mutant must be
//! memory-safe within its model, since the model must end by its own assertion.

/// A fault that a model injects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Counts a link or monitor as placed although the target's list or mailbox refused it.
    RefusedIsPlaced,
    /// Fires cancelled or unlinked records at an exit, without checking their state.
    FiresAnyway,
    /// Delivers an EXIT although the receiver has unlinked (skips the withdrawn check, K1).
    WithdrawnIsWelcome,
    /// Drops the requests that an exit finds in the mailbox.
    LateIsDropped,
    /// Drops the records held by a sweep that returns to a closed list.
    SweepForgets,
    /// Takes the fast path although signals are pending at the target (skips M4).
    AlwaysShort,
    /// Closes the mailbox at an exit before the reason is written.
    ReasonLast,
    /// Does not release a signal that a dead process refuses.
    RefusedIsKept,
    /// Wakes the target of a kill before the kill flag is set.
    FlagLast,
    /// Clears the flag of the owner's wake node without seeing the writes that precede it.
    WakingRelaxed,
    /// Reports the kill to the links of a process that was already exiting when the kill was
    /// fetched.
    TellsTheKill,
    /// Lets a process go to sleep although signals have arrived in between.
    SleepsAnyway,
    /// Confirms a newborn's name whatever has happened to the newborn.
    ConfirmsAnyway,
    /// Lets the reason `normal` kill like any other reason.
    NormalKills,
    /// Releases the unhandled owner operations at an exit, without applying them.
    ProxiesUnmet,
    /// Places the record of an owner operation at its target before the watcher has the operation.
    PlacedFirst,
    /// Lets a claimed core, on which producers rely to find work elsewhere, begin its own work
    /// without waking another core.
    KeepsTheClaim,
    /// Does not check at the end of a slice for cores that fell asleep while the slice queued
    /// something.
    NeverLooksBack,
    /// Lets a responder that has claimed the sleeping caller treat the request cell as its own: it
    /// stores where it must exchange.
    TakesTheSleepersCell,
    /// Does not report the removal of a timer that was never on its wheel to the thread that is
    /// about to insert it.
    ForgetsTheRefused,
    /// Does not queue a process that was claimed and survives.
    ForgetsTheClaimed,
    /// Reports a process that is certain to die in its own next slice as alive until then.
    DoomedLookAlive,
    /// Releases the unanswered requests at an exit without a reply.
    ForgetsRequests,
    /// Notifies the callers of open requests before the linked processes.
    DownsFirst,
}

/// The mutation of one kernel, if it has one.
#[cfg(loom)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct MutationSwitch {
    mutation: Option<Mutation>,
    kills_without_memory: bool,
}

#[cfg(loom)]
impl MutationSwitch {
    /// Creates the switch of a kernel with this mutation. With `kills_without_memory`, kills get no
    /// memory.
    pub(crate) const fn new(mutation: Option<Mutation>, kills_without_memory: bool) -> Self {
        Self { mutation, kills_without_memory }
    }

    /// Returns `true` if kills get no memory, so that they take the alternative path.
    pub(crate) const fn starves_kills(self) -> bool {
        self.kills_without_memory
    }

    /// Returns `true` if the kernel has this mutation.
    pub(crate) const fn injects(self, mutation: Mutation) -> bool {
        matches!(self.mutation, Some(injected) if injected as u8 == mutation as u8)
    }
}

/// The mutation of one kernel: none.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct MutationSwitch;

#[cfg(not(loom))]
impl MutationSwitch {
    /// Returns `false`: kills get memory.
    #[inline(always)]
    pub(crate) const fn starves_kills(self) -> bool {
        false
    }
}

/// `mutant!(SWITCH, MUTATION, right => .., wrong => ..)` is the right arm, or in a kernel of a
/// model that has the mutation the wrong one. Only builds for loom contain the wrong arm.
#[cfg(loom)]
macro_rules! mutant {
    ($switch:expr, $mutation:ident, right => $right:expr, wrong => $wrong:expr $(,)?) => {
        if $switch.injects($crate::mutation::Mutation::$mutation) { $wrong } else { $right }
    };
}

/// `mutant!(SWITCH, MUTATION, right => .., wrong => ..)` is the right arm; see the same macro of
/// builds for loom.
#[cfg(not(loom))]
macro_rules! mutant {
    ($switch:expr, $mutation:ident, right => $right:expr, wrong => $wrong:expr $(,)?) => {{
        let _: $crate::mutation::MutationSwitch = $switch;
        $right
    }};
}

pub(crate) use mutant;
