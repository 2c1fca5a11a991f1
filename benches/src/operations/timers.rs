//! A timer far in the future that is started and cancelled, alone and among others. Not for: timers
//! that fire.

use std::time::Duration;

use super::{Operation, of_process};

const FAR: Duration = Duration::from_secs(1000);

/// A timer alone, and one among 10,000.
pub const TIMERS: &[Operation] = &[
    Operation { name: "timer: start, cancel", make: || churn(0) },
    Operation { name: "timer: start, cancel among 10,000", make: || churn(10_000) },
];

fn churn(others: u64) -> super::Run {
    of_process(
        move |cx| {
            for number in 0..others {
                // Spread over the levels of the timing wheel.
                cx.alarm(Duration::from_secs(1000) + Duration::from_millis(number * 37)).expect("memory");
            }
        },
        |cx, _| {
            let timer = cx.alarm(FAR).expect("memory");
            assert!(cx.cancel_timer(timer).is_some());
        },
    )
}
