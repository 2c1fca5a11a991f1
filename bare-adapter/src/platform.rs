//! The kernel's platform on one hart, and the loop that drives its core.

use core::cell::Cell;

use atropos_kernel::platform::{CurrentSlot, Platform};
use atropos_kernel::{Core, RunOutcome};

use crate::clock;

struct OneHart(CurrentSlot);

// SAFETY: there is one hart, and no interrupt handler runs a process.
unsafe impl Sync for OneHart {}

static HERE: OneHart = OneHart(Cell::new(core::ptr::null()));

fn current_slot() -> *const CurrentSlot {
    &raw const HERE.0
}

/// The platform of one hart.
pub struct Bare;

// SAFETY: one thread of execution runs processes, and `current_slot` always returns the one place
// for it.
unsafe impl Platform for Bare {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn wake(&self, _core: usize) {
        // The hart is awake when this is called, or an interrupt is about to end its sleep.
    }

    fn current_slot(&self) -> fn() -> *const CurrentSlot {
        current_slot
    }
}

/// Runs the core until it has no work and no timer to wait for.
pub fn run_until_idle(core: &mut Core) {
    loop {
        match core.run(256) {
            RunOutcome::Worked => {}
            RunOutcome::Idle { until: None } => return,
            RunOutcome::Idle { until: Some(until) } => {
                while clock::now() < until {
                    cortex_m::asm::wfi();
                }
            }
        }
    }
}
