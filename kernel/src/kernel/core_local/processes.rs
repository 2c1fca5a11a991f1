//! The table slots and the memory of processes that begin and end on the core.

use crate::kernel::Kernel;
use crate::kernel::core_local::CoreLocal;
use crate::memory::pool::POOLED_BLOCKS;
use crate::process::owned::Vacated;
use crate::process::table::{Claim, FreeSlots, HeldSlot, TableFull};
use crate::reclaim::{Limbo, Participant};

impl CoreLocal {
    fn slots<R>(&self, f: impl FnOnce(&mut FreeSlots) -> R) -> R {
        // SAFETY: one thread drives the core, and borrows do not nest (see the module).
        self.slots.with_mut(|slots| f(unsafe { &mut *slots }))
    }

    fn limbo<R>(&self, f: impl FnOnce(&mut Limbo) -> R) -> R {
        // SAFETY: one thread drives the core, and borrows do not nest (see the module).
        self.limbo.with_mut(|limbo| f(unsafe { &mut *limbo }))
    }

    /// Claims a slot, and counts the process.
    pub(crate) fn claim(&self, kernel: &Kernel) -> Result<Claim, TableFull> {
        if self.credit.get() == 0 {
            self.credit.set(kernel.take_credit()?);
        }
        let claim = self.slots(|slots| kernel.table.claim(slots))?;
        self.credit.set(self.credit.get() - 1);
        Ok(claim)
    }

    /// Gives a slot back, and uncounts the process.
    pub(crate) fn release(&self, kernel: &Kernel, slot: HeldSlot) {
        self.slots(|slots| kernel.table.release(slot, slots));
        self.credit.set(self.credit.get() + 1);
        let block = kernel.credit_block();
        if self.credit.get() >= 2 * block {
            self.credit.set(self.credit.get() - block);
            kernel.return_credit(block);
        }
    }

    /// Returns the credit that the core keeps for future processes, so that the counts are exact.
    pub(crate) fn return_credit_of_slice(&self, kernel: &Kernel) {
        kernel.return_credit(self.credit.replace(0));
    }

    /// Returns the core's free slots to the common table, for good.
    pub(crate) fn give_up_slots(&self, kernel: &Kernel) {
        self.slots(|slots| kernel.table.flush_cache(slots));
        kernel.references.timers.spill(&self.pool.timer_slots, 0);
    }

    /// Retires a dead process.
    pub(crate) fn retire(&self, process: Vacated) {
        let retired = process.into_retired();
        self.limbo(|limbo| limbo.retire(retired));
    }

    /// Passes retired processes on to reclamation, when there are enough of them or `all` is set.
    /// Returns `true` if there were any to pass on. The caller holds no guard.
    pub(crate) fn hand_on(&self, participant: &Participant, all: bool) -> bool {
        self.limbo(|limbo| {
            let due = !limbo.is_empty() && (all || limbo.len() >= 64);
            if due {
                limbo.hand_on(participant, POOLED_BLOCKS.then_some(&self.return_queue));
            }
            due
        })
    }

    /// Takes the memory of the core's dead processes back into its pool.
    #[inline]
    pub(crate) fn reclaim_returned(&self) {
        if !self.return_queue.is_empty() {
            self.return_queue.drain_into(&self.pool);
        }
    }

    /// Stops the return of dead processes' memory to this core.
    pub(crate) fn close_return_queue(&self) {
        self.return_queue.close();
    }
}
