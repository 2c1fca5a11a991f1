//! Models of the run queues: each process is popped or stolen once, and no core sleeps while there
//! is work (`runq`).
#![cfg(loom)]

use std::ptr::NonNull;

use atropos_kernel::internals::Shipped;
use atropos_kernel::internals::config::RING;
use atropos_kernel::internals::runq::idle::Idle;
use atropos_kernel::internals::runq::inbox::Inbox;
use atropos_kernel::internals::runq::newborn_deque::{self, NewbornDeque, Steal};
use atropos_kernel::internals::runq::node::{HeldRunNode, RunNode};
use atropos_kernel::internals::runq::ring::Ring;
use atropos_kernel::internals::runq::{Local, Queues, Shared, Steps};
use atropos_loom::{model, mutant};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// Nodes that the model keeps to its end, and how often each was run.
struct Nodes(Vec<(RunNode, AtomicUsize)>);

// SAFETY: R1: the thread that holds a node is its only user, which is what the models check.
unsafe impl Send for Nodes {}
// SAFETY: R1: the thread that holds a node is its only user, which is what the models check.
unsafe impl Sync for Nodes {}

impl Nodes {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self((0..count).map(|_| (RunNode::new(1), AtomicUsize::new(0))).collect()))
    }

    /// Takes a node that is in no queue.
    fn get(&self, i: usize) -> HeldRunNode {
        // SAFETY: R1: each model takes each node once, and keeps it to its end.
        unsafe { HeldRunNode::new(NonNull::from(&self.0[i].0)) }
    }

    fn ran(&self, node: HeldRunNode) {
        let node = node.into_raw();
        let found = self.0.iter().find(|(other, _)| std::ptr::eq(other, node.as_ptr()));
        let before = found.expect("a node of this model").1.fetch_add(1, Ordering::Relaxed);
        assert_eq!(before, 0, "a node runs twice");
    }

    fn each_once(&self) {
        for (_, runs) in &self.0 {
            assert_eq!(runs.load(Ordering::Relaxed), 1);
        }
    }
}

/// Returns the queues of the core that this thread is.
fn queues<'q, S: Steps>(local: &'q mut Local<S>, shared: &'q Shared) -> Queues<'q, S> {
    // SAFETY: each model uses the two parts on one thread, and with each other only.
    unsafe { Queues::of(local, shared) }
}

/// The owner pushes and pops while a thief steals.
fn push_pop_steal() {
    let (ring, nodes) = (Arc::new(Ring::new()), Nodes::new(3));
    // SAFETY: this thread is the ring's owner.
    assert!(unsafe { ring.owner() }.push(nodes.get(0)).is_ok() && unsafe { ring.owner() }.push(nodes.get(1)).is_ok());
    let (victim, stolen) = (ring.clone(), nodes.clone());
    let thief = thread::spawn(move || victim.steal(|node| stolen.ran(node)));
    // SAFETY: this thread is the ring's owner.
    if let Some(node) = unsafe { ring.owner() }.pop() {
        nodes.ran(node);
    }
    // SAFETY: this thread is the ring's owner.
    assert!(unsafe { ring.owner() }.push(nodes.get(2)).is_ok());
    thief.join().unwrap();
    // SAFETY: this thread is the ring's owner.
    while let Some(node) = unsafe { ring.owner() }.pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// A full ring, a thief, and an owner that pushes where the thief reads. `steals`: the thief keeps
/// its places until it has read them; otherwise it takes the first node as the owner does.
fn steal_or_overwrite(steals: bool) {
    let (ring, nodes) = (Arc::new(Ring::new()), Nodes::new(RING + 1));
    for i in 0..RING {
        // SAFETY: this thread is the ring's owner.
        assert!(unsafe { ring.owner() }.push(nodes.get(i)).is_ok());
    }
    let (victim, stolen) = (ring.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        if steals {
            victim.steal(|node| stolen.ran(node));
        // SAFETY: none. The mutant pops although it is not the ring's owner.
        } else if let Some(node) = unsafe { victim.owner() }.pop() {
            stolen.ran(node);
        }
    });
    // SAFETY: this thread is the ring's owner.
    if let Err(node) = unsafe { ring.owner() }.push(nodes.get(RING)) {
        // A node that overflows runs elsewhere.
        nodes.ran(node);
    }
    thief.join().unwrap();
    // SAFETY: this thread is the ring's owner.
    while let Some(node) = unsafe { ring.owner() }.pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// Two thieves, and the owner's pop.
fn two_thieves() {
    let (ring, nodes) = (Arc::new(Ring::new()), Nodes::new(2));
    // SAFETY: this thread is the ring's owner.
    assert!(unsafe { ring.owner() }.push(nodes.get(0)).is_ok() && unsafe { ring.owner() }.push(nodes.get(1)).is_ok());
    let thieves: Vec<_> = (0..2)
        .map(|_| {
            let (victim, stolen) = (ring.clone(), nodes.clone());
            thread::spawn(move || victim.steal(|node| stolen.ran(node)))
        })
        .collect();
    // SAFETY: this thread is the ring's owner.
    if let Some(node) = unsafe { ring.owner() }.pop() {
        nodes.ran(node);
    }
    for thief in thieves {
        thief.join().unwrap();
    }
    // SAFETY: this thread is the ring's owner.
    while let Some(node) = unsafe { ring.owner() }.pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// Takes the oldest node of a newborn deque while there is one, at most `most` times.
fn steal_newborns<S: newborn_deque::DequeModel>(newborns: &NewbornDeque<S>, nodes: &Nodes, most: usize) {
    for _ in 0..most {
        match newborns.steal() {
            Steal::One(node) => nodes.ran(node),
            Steal::Retry => {}
            Steal::Empty => return,
        }
    }
}

/// The owner adds `born` newborns and pops the youngest twice, while a thief steals the oldest
/// twice.
fn pop_or_steal_newborns<S: newborn_deque::DequeModel>(born: usize) {
    let (newborns, nodes) = (Arc::new(NewbornDeque::<S>::new()), Nodes::new(born + 1));
    for i in 0..born {
        // SAFETY: this thread is the deque's owner.
        assert!(unsafe { newborns.owner() }.push(nodes.get(i)).is_ok());
    }
    let (victim, stolen) = (newborns.clone(), nodes.clone());
    let thief = thread::spawn(move || steal_newborns(&victim, &stolen, 2));
    for _ in 0..2 {
        // SAFETY: this thread is the deque's owner.
        if let Some(node) = unsafe { newborns.owner() }.pop() {
            nodes.ran(node);
        }
    }
    // SAFETY: this thread is the deque's owner.
    assert!(unsafe { newborns.owner() }.push(nodes.get(born)).is_ok());
    thief.join().unwrap();
    // SAFETY: this thread is the deque's owner.
    while let Some(node) = unsafe { newborns.owner() }.pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// Two thieves, and the owner's pop from the newborn deque.
fn pop_newborns_and_two_thieves() {
    let (newborns, nodes) = (Arc::new(<NewbornDeque>::new()), Nodes::new(2));
    for born in 0..2 {
        // SAFETY: this thread is the deque's owner.
        assert!(unsafe { newborns.owner() }.push(nodes.get(born)).is_ok());
    }
    let thieves: Vec<_> = (0..2)
        .map(|_| {
            let (victim, stolen) = (newborns.clone(), nodes.clone());
            thread::spawn(move || steal_newborns(&victim, &stolen, 1))
        })
        .collect();
    // SAFETY: this thread is the deque's owner.
    if let Some(node) = unsafe { newborns.owner() }.pop() {
        nodes.ran(node);
    }
    for thief in thieves {
        thief.join().unwrap();
    }
    // SAFETY: this thread is the deque's owner.
    while let Some(node) = unsafe { newborns.owner() }.pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// A full newborn deque, a thief, and an owner that adds where the thief reads.
fn push_full_or_steal() {
    let (newborns, nodes) = (Arc::new(<NewbornDeque>::new()), Nodes::new(RING + 1));
    for i in 0..RING {
        // SAFETY: this thread is the deque's owner.
        assert!(unsafe { newborns.owner() }.push(nodes.get(i)).is_ok());
    }
    let (victim, stolen) = (newborns.clone(), nodes.clone());
    let thief = thread::spawn(move || steal_newborns(&victim, &stolen, 1));
    // SAFETY: this thread is the deque's owner.
    if let Err(node) = unsafe { newborns.owner() }.push(nodes.get(RING)) {
        // A node for which the deque has no space runs elsewhere.
        nodes.ran(node);
    }
    thief.join().unwrap();
    // SAFETY: this thread is the deque's owner.
    while let Some(node) = unsafe { newborns.owner() }.pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// Newborns whose budget is used up move behind the queues, while another core steals what it can.
fn grow_up_or_steal() {
    const COUNT: usize = 4;
    let (victim, nodes) = (Arc::new(Shared::new()), Nodes::new(COUNT));
    let mut owner = <Local>::default();
    for i in 0..COUNT {
        let _ = queues(&mut owner, &victim).push_next(nodes.get(i), true);
    }
    queues(&mut owner, &victim).end_slice(0);
    let (other, stolen) = (victim.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        let (shared, mut local) = (Shared::new(), <Local>::default());
        let mut next = queues(&mut local, &shared).steal(&other);
        while let Some(node) = next {
            stolen.ran(node);
            next = queues(&mut local, &shared).pop();
        }
    });
    if let Some(node) = queues(&mut owner, &victim).pop() {
        nodes.ran(node);
    }
    thief.join().unwrap();
    while let Some(node) = queues(&mut owner, &victim).pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// More nodes than the ring holds, while another core steals what it can.
fn overflow_or_steal() {
    const COUNT: usize = 6;
    let (victim, nodes) = (Arc::new(Shared::new()), Nodes::new(COUNT));
    let mut owner = <Local>::default();
    for i in 0..COUNT {
        queues(&mut owner, &victim).push(nodes.get(i));
    }
    queues(&mut owner, &victim).end_slice(0);
    let (other, stolen) = (victim.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        let (shared, mut local) = (Shared::new(), <Local>::default());
        let mut next = queues(&mut local, &shared).steal(&other);
        while let Some(node) = next {
            stolen.ran(node);
            next = queues(&mut local, &shared).pop();
        }
    });
    for _ in 0..2 {
        if let Some(node) = queues(&mut owner, &victim).pop() {
            nodes.ran(node);
        }
    }
    thief.join().unwrap();
    while let Some(node) = queues(&mut owner, &victim).pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// An overflow, while another core steals it, and its own core adds to it or takes from it.
fn add_or_steal<S: Steps>(adds: bool) {
    let (victim, nodes) = (Arc::new(Shared::new()), Nodes::new(if adds { 3 * RING } else { 2 * RING }));
    let mut owner = Local::<S>::default();
    let queue = |owner: &mut Local<S>, nodes: &Nodes, from| {
        for i in from..from + RING {
            queues(owner, &victim).push(nodes.get(i));
        }
    };
    // A full ring, and as many nodes again behind it, so that the overflow is published. Then the
    // ring is emptied, so the overflow is all that is left to steal.
    queue(&mut owner, &nodes, 0);
    queue(&mut owner, &nodes, RING);
    for _ in 0..RING {
        nodes.ran(queues(&mut owner, &victim).pop().unwrap());
    }
    let (other, stolen) = (victim.clone(), nodes.clone());
    let thief = thread::spawn(move || {
        let (shared, mut local) = (Shared::new(), Local::<S>::default());
        let mut next = queues(&mut local, &shared).steal(&other);
        let found = next.is_some();
        while let Some(node) = next {
            stolen.ran(node);
            next = queues(&mut local, &shared).pop();
        }
        found
    });
    if adds {
        queue(&mut owner, &nodes, 2 * RING);
    } else if let Some(node) = queues(&mut owner, &victim).pop() {
        nodes.ran(node);
    }
    if !thief.join().unwrap() {
        // Every node is with its owner. Loom would let the owner miss that: the owner's store, and
        // the thief's earlier exchange of a null for a null, are concurrent to loom, and the owner
        // may see either.
        return;
    }
    while let Some(node) = queues(&mut owner, &victim).pop() {
        nodes.ran(node);
    }
    nodes.each_once();
}

/// A producer's way of searching for a sleeping core.
#[derive(Clone, Copy, PartialEq)]
enum Looks {
    /// With a fence, after it has queued.
    Behind,
    /// With a fence, before it queues.
    Before,
    /// Without a fence immediately, and with one at the end of its slice.
    Twice,
    /// Without a fence.
    Unfenced,
}

/// A core that runs out of work, and a producer that adds some: the core does not sleep while there
/// is work. `announce_first`: the core announces itself before it checks what the producer has
/// done.
fn park_or_push(announce_first: bool, looks: Looks) {
    let (idle, inbox, nodes) = (Arc::new(Idle::new(false)), Arc::new(Inbox::new()), Nodes::new(1));
    let woken = Arc::new(AtomicBool::new(false));
    let producer = {
        let (idle, inbox, nodes, woken) = (idle.clone(), inbox.clone(), nodes.clone(), woken.clone());
        thread::spawn(move || {
            let queue = || inbox.push(nodes.get(0));
            let wake = |claimed| {
                if let Some(core) = claimed {
                    assert_eq!(core, 0);
                    assert!(!woken.swap(true, Ordering::Release), "the core is claimed once");
                }
            };
            if looks != Looks::Before {
                queue();
            }
            if matches!(looks, Looks::Twice | Looks::Unfenced) {
                wake(idle.notify_relaxed());
            }
            if looks != Looks::Unfenced {
                wake(idle.notify());
            }
            if looks == Looks::Before {
                queue();
            }
        })
    };
    // The core's steps: a search, then the announcement, then the last check.
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
        assert!(!pending || woken.load(Ordering::Acquire), "the core sleeps although it has work");
    }
    let _ = inbox.take();
}

/// Two producers, and two sleeping cores: each sleeping core is claimed once.
fn one_wake_each() {
    let idle = Arc::new(Idle::new(false));
    idle.announce(0);
    idle.announce(1);
    let other = idle.clone();
    let producer = thread::spawn(move || other.notify());
    let (mine, theirs) = (idle.notify(), producer.join().unwrap());
    assert!(mine.is_some() && theirs.is_some() && mine != theirs);
}

#[test]
fn protocol() {
    model("run queue: push, pop, steal", None, push_pop_steal);
    model("run queue: pop, steal, steal", Some(3), two_thieves);
    model("run queue: push on a full ring, steal", None, || steal_or_overwrite(true));
    model("newborns: pop the last, steal", Some(4), || pop_or_steal_newborns::<Shipped>(1));
    model("newborns: pop, steal", Some(3), || pop_or_steal_newborns::<Shipped>(2));
    model("newborns: pop, steal, one more", Some(3), || pop_or_steal_newborns::<Shipped>(3));
    model("newborns: pop, steal, steal", Some(3), pop_newborns_and_two_thieves);
    model("newborns: push on a full one, steal", None, push_full_or_steal);
    model("run queue: newborns are demoted, steal", Some(2), grow_up_or_steal);
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
impl newborn_deque::DequeModel for Unfenced {
    const FENCES: bool = false;
}

#[test]
fn mutants() {
    mutant("newborns, the owner reads the top before its step is seen", Some(3), || {
        pop_or_steal_newborns::<Unfenced>(2)
    });
    mutant("run queue, an overflow read, then taken; more", Some(2), || add_or_steal::<LooksFirst>(true));
    mutant("run queue, an overflow read, then taken; refill", Some(2), || add_or_steal::<LooksFirst>(false));
    mutant("park, the last check before the announcement", Some(2), || park_or_push(false, Looks::Behind));
    mutant("park, queued after the search for a sleeper", Some(2), || park_or_push(true, Looks::Before));
    mutant("park, no fence when the slice ends", Some(2), || park_or_push(true, Looks::Unfenced));
    mutant("run queue, a thief takes as the owner does", Some(2), || steal_or_overwrite(false));
}
