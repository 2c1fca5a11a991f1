//! Tests of the table and of its slots.

use super::*;

/// Issue 14, item 2: a slot that has used all its generations is retired and takes no capacity
/// from processes. A pid that was never given out, or that another kernel gave out, is not
/// reported as dead.
#[test]
#[cfg(not(any(loom, shuttle)))]
fn n02_retired_slots_take_no_room() {
    let table = Table::with_generations(2, 1, 7, 8);
    let mut slots = FreeSlots::new();
    assert_eq!(table.last_generation(), 6);
    let mut seen = alloc::collections::BTreeSet::new();
    for round in 0..100 {
        let two = [(); 2].map(|()| table.claim(&mut slots).unwrap_or_else(|why| panic!("{why:?} in {round}")));
        for claim in two {
            let pid = claim.slot.pid();
            assert!((7..=8).contains(&pid.generation()), "{pid}");
            assert!(seen.insert(pid), "{pid} was given out before");
            drop(claim.tombstone);
            table.put_tombstone(&claim.slot, Reason::NORMAL);
            table.release(claim.slot, &mut slots);
        }
    }
    assert_eq!(table.last_generation(), 8);
    let domain = crate::reclaim::Domain::new();
    let participant = domain.register();
    let guard = participant.pin();
    for generation in [1, 6, 9, u32::MAX] {
        let pid = Pid::new(0, generation).expect("in range");
        assert_eq!(table.tombstone(pid, &guard), Tombstone::NeverAllocated, "{pid}");
    }
    let first = *seen.first().expect("some");
    assert_ne!(table.tombstone(first, &guard), Tombstone::NeverAllocated);
}

/// On a core where few processes have died, a claim takes a slot of the pool, not the slot with
/// the youngest tombstone.
#[test]
fn claim_prefers_pool_to_youngest_tombstone() {
    let table = Table::new(1 << 20, 2);
    let (mut elsewhere, mut here) = (FreeSlots::new(), FreeSlots::new());
    let claim = |slots: &mut FreeSlots| table.claim(slots).expect("there is room").slot;
    let others = [(); 3].map(|()| claim(&mut elsewhere));
    let dead = claim(&mut here);
    others.into_iter().for_each(|other| table.release(other, &mut elsewhere));
    table.flush_cache(&mut elsewhere);
    let index = dead.pid().index();
    table.release(dead, &mut here);
    for _ in 0..3 {
        assert_ne!(claim(&mut here).pid().index(), index);
    }
}
