//! Monitors and links to a process that lives and waits, made and undone. Not for: ties that fire.

use super::{Operation, of_process};

/// Monitor, demonitor.
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

/// Link, unlink.
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
