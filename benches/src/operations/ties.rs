//! Monitors and links to a live, waiting process, made and removed. Not for: monitors and links
//! that fire.

use super::{Operation, of_process};

/// Monitor and demonitor.
pub const MONITORS: &[Operation] = &[Operation {
    name: "monitor, demonitor",
    make: || {
        of_process(
            |_| {},
            |cx, target| {
                let monitor = cx.monitor(target).expect("memory");
                assert!(cx.demonitor(monitor, true));
            },
        )
    },
}];

/// Link and unlink.
pub const LINKS: &[Operation] = &[Operation {
    name: "link, unlink",
    make: || {
        of_process(
            |_| {},
            |cx, target| {
                cx.link(target).expect("alive");
                cx.unlink(target);
            },
        )
    },
}];
