//! The clock: SysTick at 1 kHz.

use core::cell::Cell;

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;

/// Frequency of the board's core clock in cycles per second.
const HERTZ: u32 = 25_000_000;
const CYCLES_A_TICK: u32 = HERTZ / 1000;
const NANOS_A_TICK: u64 = 1_000_000;

static TICKS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

#[exception]
fn SysTick() {
    interrupt::free(|section| {
        let ticks = TICKS.borrow(section);
        ticks.set(ticks.get() + 1);
    });
}

/// Starts the clock.
pub fn start(mut timer: SYST) {
    timer.set_clock_source(SystClkSource::Core);
    timer.set_reload(CYCLES_A_TICK - 1);
    timer.clear_current();
    timer.enable_interrupt();
    timer.enable_counter();
}

/// Returns the nanoseconds since the start, in whole ticks. A pending interrupt is not yet counted,
/// so that the clock never goes back.
pub fn now() -> u64 {
    interrupt::free(|section| TICKS.borrow(section).get()) * NANOS_A_TICK
}
