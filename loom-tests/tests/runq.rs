//! Run queues: each process is popped or stolen once, and no core sleeps on work (`runq`).
#![cfg(loom)]

use std::ptr::NonNull;

use atropos_kernel::internals::config::RING;
use atropos_kernel::internals::runq::brood::{self, NewbornDeque, Steal};
use atropos_kernel::internals::runq::idle::Idle;
use atropos_kernel::internals::runq::inbox::Inbox;
use atropos_kernel::internals::runq::node::RunNode;
use atropos_kernel::internals::runq::ring::Ring;
use atropos_kernel::internals::runq::{Local, Shipped, Shared, Steps};
use atropos_loom::{model, mutant};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// Nodes that the model keeps to its end, and how often each was run.
struct Nodes(Vec<(RunNode, AtomicUsize)>);

// SAFETY: a node is used by whoever has it (R1), which is what the models check.
unsafe impl Send for Nodes {}
// SAFETY: as above.
unsafe impl Sync for Nodes {}

impl Nodes {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self((0..count).map(|_| (RunNode::new(1), AtomicUsize::new(0))).collect()))
    }

    fn get(&self, i: usize) -> NonNull<RunNode> {
        NonNull::from(&self.0[i].0)
    }

    fn ran(&self, node: NonNull<RunNode>) {
        let found = self.0.iter().find(|(other, _)| std::ptr::eq(other, node.as_ptr()));
        let before = found.expect("a node of ours").1.fetch_add(1, Ordering::Relaxed);
        assert_eq!(before, 0, "it has run");
    }

    fn each_once(&self) {
        for (_, runs) in &self.0 {
            assert_eq!(runs.load(Ordering::Relaxed), 1);
        }
    }
}

/// The owner pushes and pops while a thief steals.
fn push_pop_steal() {
    let (ring, nodes) = (Arc::new(Ring::new()), Nodes::new(3));
    // SAFETY: this thread is the owner.
    assert!(unsafe { ring.push(nodes.get(0)) } && unsafe { ring.push(nodes.get(1)) });
    let (victim, stolen) = (ring.clone(), nodes.clone());
    let thief = thread::spawn(move || victim.steal(|node| stolen.ran(node)));
    // SAFETY: this thread is the owner.
    if let Some(node) = unsafe { ring.pop() } {
        nodes.ran(node);
    }
    // SAFETY: likewise.
    assert!(unsafe { ring.push(nodes.get(2)) });
    thief.join().unwrap();
    // SAFETY: likewise.
    while let Some(node) = unsafe { ring.pop() } {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// A full ring, a thief, and an owner that pushes where the thief reads. `steals`: the thief keeps its places until
/// it has read them; otherwise it takes the first as the owner does.
fn steal_or_overwrite(steals: bool) {
    let (ring, nodes) = (Arc::new(Ring::new()), Nodes::new(RING + 1));
    for i in 0..RING {
        // SAFETY: this thread is the owner.
        assert!(unsafe { ring.push(nodes.get(i)) });
    }
    let (victim, stolen) = (ring.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        if steals {
            victim.steal(|node| stolen.ran(node));
        // SAFETY: none: it is not the owner, which is what the mutant is about.
        } else if let Some(node) = unsafe { victim.pop() } {
            stolen.ran(node);
        }
    });
    // SAFETY: this thread is the owner.
    if !unsafe { ring.push(nodes.get(RING)) } {
        // What overflows is run from elsewhere.
        nodes.ran(nodes.get(RING));
    }
    thief.join().unwrap();
    // SAFETY: likewise.
    while let Some(node) = unsafe { ring.pop() } {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// Two thieves and the owner's pop.
fn two_thieves() {
    let (ring, nodes) = (Arc::new(Ring::new()), Nodes::new(2));
    // SAFETY: this thread is the owner.
    assert!(unsafe { ring.push(nodes.get(0)) } && unsafe { ring.push(nodes.get(1)) });
    let thieves: Vec<_> = (0..2)
        .map(|_| {
            let (victim, stolen) = (ring.clone(), nodes.clone());
            thread::spawn(move || victim.steal(|node| stolen.ran(node)))
        })
        .collect();
    // SAFETY: likewise.
    if let Some(node) = unsafe { ring.pop() } {
        nodes.ran(node);
    }
    for thief in thieves {
        thief.join().unwrap();
    }
    // SAFETY: likewise.
    while let Some(node) = unsafe { ring.pop() } {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// Takes the oldest of a brood as often as it is there, at most so many.
fn steal_brood<S: brood::BroodModel>(brood: &NewbornDeque<S>, nodes: &Nodes, most: usize) {
    for _ in 0..most {
        match brood.steal() {
            Steal::One(node) => nodes.ran(node),
            Steal::Retry => {}
            Steal::Empty => return,
        }
    }
}

/// The owner adds `born` newborn and takes the youngest twice, while a thief takes the oldest twice.
fn brood_or_steal<S: brood::BroodModel>(born: usize) {
    let (brood, nodes) = (Arc::new(NewbornDeque::<S>::new()), Nodes::new(born + 1));
    for i in 0..born {
        // SAFETY: this thread is the owner.
        assert!(unsafe { brood.push(nodes.get(i)) });
    }
    let (victim, stolen) = (brood.clone(), nodes.clone());
    let thief = thread::spawn(move || steal_brood(&victim, &stolen, 2));
    for _ in 0..2 {
        // SAFETY: this thread is the owner.
        if let Some(node) = unsafe { brood.pop() } {
            nodes.ran(node);
        }
    }
    // SAFETY: likewise.
    assert!(unsafe { brood.push(nodes.get(born)) });
    thief.join().unwrap();
    // SAFETY: likewise.
    while let Some(node) = unsafe { brood.pop() } {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// Two thieves, and the owner's pop.
fn brood_and_two_thieves() {
    let (brood, nodes) = (Arc::new(<NewbornDeque>::new()), Nodes::new(2));
    // SAFETY: this thread is the owner.
    assert!(unsafe { brood.push(nodes.get(0)) } && unsafe { brood.push(nodes.get(1)) });
    let thieves: Vec<_> = (0..2)
        .map(|_| {
            let (victim, stolen) = (brood.clone(), nodes.clone());
            thread::spawn(move || steal_brood(&victim, &stolen, 1))
        })
        .collect();
    // SAFETY: likewise.
    if let Some(node) = unsafe { brood.pop() } {
        nodes.ran(node);
    }
    for thief in thieves {
        thief.join().unwrap();
    }
    // SAFETY: likewise.
    while let Some(node) = unsafe { brood.pop() } {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// A full brood, a thief, and an owner that adds where the thief reads.
fn brood_steal_or_overwrite() {
    let (brood, nodes) = (Arc::new(<NewbornDeque>::new()), Nodes::new(RING + 1));
    for i in 0..RING {
        // SAFETY: this thread is the owner.
        assert!(unsafe { brood.push(nodes.get(i)) });
    }
    let (victim, stolen) = (brood.clone(), nodes.clone());
    let thief = thread::spawn(move || steal_brood(&victim, &stolen, 1));
    // SAFETY: this thread is the owner.
    if !unsafe { brood.push(nodes.get(RING)) } {
        // For which there is no room is run from elsewhere.
        nodes.ran(nodes.get(RING));
    }
    thief.join().unwrap();
    // SAFETY: likewise.
    while let Some(node) = unsafe { brood.pop() } {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// A brood whose budget is used up goes behind the others, while another core takes what it can get.
fn grow_up_or_steal() {
    const COUNT: usize = 4;
    let (victim, nodes) = (Arc::new(Shared::new()), Nodes::new(COUNT));
    let mut owner = <Local>::default();
    for i in 0..COUNT {
        // SAFETY: this thread is the core.
        let _ = unsafe { owner.push_next(&victim, nodes.get(i), true) };
    }
    owner.end_slice(&victim, 0);
    let (other, stolen) = (victim.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        let (shared, mut local) = (Shared::new(), <Local>::default());
        let mut next = local.steal(&shared, &other);
        while let Some(node) = next {
            stolen.ran(node);
            next = local.pop(&shared);
        }
    });
    if let Some(node) = owner.pop(&victim) {
        nodes.ran(node);
    }
    thief.join().unwrap();
    while let Some(node) = owner.pop(&victim) {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// More than the ring holds, while another core takes what it can get.
fn overflow_or_steal() {
    const COUNT: usize = 6;
    let (victim, nodes) = (Arc::new(Shared::new()), Nodes::new(COUNT));
    let mut owner = <Local>::default();
    for i in 0..COUNT {
        // SAFETY: this thread is the core.
        unsafe { owner.push(&victim, nodes.get(i)) };
    }
    owner.end_slice(&victim, 0);
    let (other, stolen) = (victim.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        let (shared, mut local) = (Shared::new(), <Local>::default());
        let mut next = local.steal(&shared, &other);
        while let Some(node) = next {
            stolen.ran(node);
            next = local.pop(&shared);
        }
    });
    for _ in 0..2 {
        if let Some(node) = owner.pop(&victim) {
            nodes.ran(node);
        }
    }
    thief.join().unwrap();
    while let Some(node) = owner.pop(&victim) {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// What has overflowed, while another core takes it, and its own adds to it or takes from it.
fn add_or_steal<S: Steps>(adds: bool) {
    let (victim, nodes) = (Arc::new(Shared::new()), Nodes::new(if adds { 3 * RING } else { 2 * RING }));
    let mut owner = Local::<S>::default();
    let queue = |owner: &mut Local<S>, nodes: &Nodes, from| {
        for i in from..from + RING {
            // SAFETY: this thread is the core.
            unsafe { owner.push(&victim, nodes.get(i)) };
        }
    };
    // A ring, and as much behind it, which has it checked in. Then the ring is emptied: there is only that to steal.
    queue(&mut owner, &nodes, 0);
    queue(&mut owner, &nodes, RING);
    for _ in 0..RING {
        nodes.ran(owner.pop(&victim).unwrap());
    }
    let (other, stolen) = (victim.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        let (shared, mut local) = (Shared::new(), Local::<S>::default());
        let mut next = local.steal(&shared, &other);
        let found = next.is_some();
        while let Some(node) = next {
            stolen.ran(node);
            next = local.pop(&shared);
        }
        found
    });
    if adds {
        queue(&mut owner, &nodes, 2 * RING);
    } else if let Some(node) = owner.pop(&victim) {
        nodes.ran(node);
    }
    if !thief.join().unwrap() {
        // All is with its owner. Loom would have it miss that: its store, and the null that a thief has exchanged for a
        // null before, are concurrent to loom, and it may see either.
        return;
    }
    while let Some(node) = owner.pop(&victim) {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// How a producer looks for who sleeps.
#[derive(Clone, Copy, PartialEq)]
enum Looks {
    /// With a fence, behind what it has queued.
    Behind,
    /// With a fence, before it queues.
    Before,
    /// Without one at once, and with one at the end of its slice.
    Twice,
    /// Without one.
    Unfenced,
}

/// A core that runs out of work, and a producer that adds some: the core does not sleep on it. `announce_first`: it does its
/// first step before it looks at what the other has done.
fn park_or_push(announce_first: bool, looks: Looks) {
    let (idle, inbox, nodes) = (Arc::new(Idle::new(false)), Arc::new(Inbox::new()), Nodes::new(1));
    let woken = Arc::new(AtomicBool::new(false));
    let producer = {
        let (idle, inbox, nodes, woken) = (idle.clone(), inbox.clone(), nodes.clone(), woken.clone());
        thread::spawn(move || {
            let queue = || {
                // SAFETY: the node is ours until it is pushed.
                unsafe { inbox.push(nodes.get(0)) };
            };
            let wake = |claimed| {
                if let Some(core) = claimed {
                    assert_eq!(core, 0);
                    assert!(!woken.swap(true, Ordering::Release), "it is claimed once");
                }
            };
            if looks != Looks::Before {
                queue();
            }
            if matches!(looks, Looks::Twice | Looks::Unfenced) {
                wake(idle.work_adding());
            }
            if looks != Looks::Unfenced {
                wake(idle.work_added());
            }
            if looks == Looks::Before {
                queue();
            }
        })
    };
    // The core: a search, then the announcement, then the last look.
    let searching = idle.start_search(2, false);
    let found = !inbox.is_empty();
    if searching {
        assert_eq!(idle.end_search(false), None);
    }
    let asleep = if announce_first {
        idle.announce(0);
        found || inbox.is_empty()
    } else {
        let empty = inbox.is_empty();
        idle.announce(0);
        empty
    };
    producer.join().unwrap();
    if asleep && !found {
        let pending = !inbox.is_empty();
        assert!(!pending || woken.load(Ordering::Acquire), "asleep, with work, and nobody wakes it");
    }
    let _ = inbox.take();
}

/// Two producers, two sleepers: a sleeper is claimed once.
fn one_wake_each() {
    let idle = Arc::new(Idle::new(false));
    idle.announce(0);
    idle.announce(1);
    let other = idle.clone();
    let producer = thread::spawn(move || other.work_added());
    let (mine, theirs) = (idle.work_added(), producer.join().unwrap());
    assert!(mine.is_some() && theirs.is_some() && mine != theirs);
}

#[test]
fn protocol() {
    model("run queue: push, pop, steal", None, push_pop_steal);
    model("run queue: pop, steal, steal", Some(3), two_thieves);
    model("run queue: push on a full ring, steal", None, || steal_or_overwrite(true));
    model("brood: pop the last, steal", Some(4), || brood_or_steal::<brood::Shipped>(1));
    model("brood: pop, steal", Some(3), || brood_or_steal::<brood::Shipped>(2));
    model("brood: pop, steal, one more", Some(3), || brood_or_steal::<brood::Shipped>(3));
    model("brood: pop, steal, steal", Some(3), brood_and_two_thieves);
    model("brood: push on a full one, steal", None, brood_steal_or_overwrite);
    model("run queue: a brood grows up, steal", Some(2), grow_up_or_steal);
    model("run queue: overflow, steal", Some(2), overflow_or_steal);
    model("run queue: overflow, more of it, steal", None, || add_or_steal::<Shipped>(true));
    model("run queue: overflow, refill, steal", Some(3), || add_or_steal::<Shipped>(false));
    model("park: announce, look, push, wake", None, || park_or_push(true, Looks::Behind));
    model("park: announce, look, push, look, wake", Some(4), || park_or_push(true, Looks::Twice));
    model("park: two producers, two sleepers", None, one_wake_each);
}

#[derive(Default)]
struct LooksFirst;
impl Steps for LooksFirst {
    const SWAPS: bool = false;
}

struct Unfenced;
impl brood::BroodModel for Unfenced {
    const FENCES: bool = false;
}

#[test]
fn mutants() {
    mutant("brood, the owner looks at the top before its step is seen", Some(3), || brood_or_steal::<Unfenced>(2));
    mutant("run queue, an overflow looked at, then taken; more", Some(2), || add_or_steal::<LooksFirst>(true));
    mutant("run queue, an overflow looked at, then taken; refill", Some(2), || add_or_steal::<LooksFirst>(false));
    mutant("park, the last look before the announcement", Some(2), || park_or_push(false, Looks::Behind));
    mutant("park, queued after the look at who sleeps", Some(2), || park_or_push(true, Looks::Before));
    mutant("park, no fence when the slice ends", Some(2), || park_or_push(true, Looks::Unfenced));
    mutant("run queue, a thief takes as the owner does", Some(2), || steal_or_overwrite(false));
}
