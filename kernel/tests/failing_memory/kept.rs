//! A core returns the memory that it keeps for its next messages before an allocation is refused
//! (`memory/pool`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atropos_kernel::{BodyPoll, Cx, Options, SpawnOptions};

use crate::allocator::{Refuse, refuse};
use crate::common::{Stage, does};

/// A message larger than the blocks that the core keeps when it is sent.
type Large = [u64; 20];

#[test]
fn pooled_memory_is_returned_before_an_allocation_is_refused() {
    let mut stage = Stage::new(Options::default());
    let other = stage.host().spawn(&SpawnOptions::new(), does(|_: &Cx<'_, Large>| BodyPoll::Wait)).unwrap().pid;
    let done = Arc::new(AtomicUsize::new(0));
    let tells = done.clone();
    let sends = does(move |cx: &Cx<'_, u64>| {
        for number in 0..8_u64 {
            cx.send(cx.pid(), number).unwrap();
        }
        while cx.receive().is_some() {}
        refuse(Refuse::From(1, 1));
        let kept = cx.send(other, [0_u64; 20]).is_ok();
        let asked = refuse(Refuse::From(1, 1));
        let nothing_kept = cx.send(other, [0_u64; 20]).is_err();
        refuse(Refuse::Nothing);
        assert!(kept, "the kept memory was not returned");
        assert_eq!(asked, 2, "refused, and tried again");
        assert!(nothing_kept, "no memory was left to return, and yet the send was not refused");
        tells.fetch_add(1, Ordering::Relaxed);
        BodyPoll::Wait
    });
    stage.host().spawn(&SpawnOptions::new(), sends).unwrap();
    stage.settle();
    assert_eq!(done.load(Ordering::Relaxed), 1);
}
