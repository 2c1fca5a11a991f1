//! A whole kernel inside a model: its platform, values whose uses and drops are checked, and memory
//! that reveals a use after free.
//!
//! The platform is that of `atropos-sim`: time advances only when the model moves it, a wake is
//! counted, and panics propagate. Participants of the reclamation are *warmed*: the first pin of
//! each collects, which is crossbeam's business and costs a model most of its interleavings.
//!
//! Freed memory is overwritten and kept for a while ([`Poison`]), in every test of this crate. The
//! kernel's atomics lead loom to its own objects by an index, so a thread that uses an atomic in
//! freed memory panics. A use after free therefore fails the model reliably.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use atropos_kernel::reclaim::return_queue::ReturnQueue;
use atropos_kernel::reclaim::{Domain, Limbo, Participant, Pool, Retired, RetiredObject};
use atropos_kernel::{BodyPoll, Core, Cx, Host, Kernel, Limits, Options, Pid, SpawnOptions};
use atropos_sim::{VirtualEnvironment, VirtualPlatform};
use loom::cell::UnsafeCell;

pub use atropos_sim::{LeakOnPanic, body};

/// Creates a kernel of `cores` cores and `processes` processes, and its platform.
pub fn kernel(cores: usize, processes: u32) -> (Arc<Kernel>, Arc<VirtualPlatform>) {
    with(Options {
        cores,
        limits: Limits { processes, names: 2, timers: 4, ..Limits::default() },
        ..Options::default()
    })
}

/// Creates a kernel whose cores rescue one another when a slice has lasted `after` nanoseconds, and
/// its platform.
pub fn rescuing(options: Options, after: u64) -> (Arc<Kernel>, Arc<VirtualPlatform>) {
    in_environment(options, VirtualEnvironment::new().rescuing_after(after))
}

/// Creates a kernel with options, and its platform.
pub fn with(options: Options) -> (Arc<Kernel>, Arc<VirtualPlatform>) {
    in_environment(options, VirtualEnvironment::new())
}

/// Creates a kernel in an environment that lets panics through, so that they fail the model.
fn in_environment(options: Options, environment: VirtualEnvironment) -> (Arc<Kernel>, Arc<VirtualPlatform>) {
    let platform = Arc::new(VirtualPlatform::new(environment.propagating_panics()));
    (Kernel::new(options, Domain::new(), platform.clone()), platform)
}

/// Registers a warmed participant of the kernel's reclamation.
pub fn member(kernel: &Kernel) -> Participant {
    let member = kernel.register();
    drop(member.pin());
    member
}

/// Creates a warmed core of a kernel.
pub fn core(kernel: &Arc<Kernel>, id: usize) -> Core {
    let mut core = Core::new(kernel.clone(), id);
    let _ = core.run(1);
    core
}

/// The outcomes of a race, over the whole search. A race that always ends the same way is no race,
/// and checks nothing.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(Arc<Mutex<BTreeSet<usize>>>);

impl Outcomes {
    /// Records the outcome of one execution.
    pub fn saw(&self, outcome: usize) {
        self.0.lock().expect("no panic while the lock is held").insert(outcome);
    }

    /// Searches `f` as [`crate::model`] does, and checks that it finds every outcome below `count`,
    /// and no other.
    ///
    /// # Panics
    /// Panics when the model fails, or when its outcomes differ.
    pub fn model(name: &str, bound: Option<usize>, count: usize, f: impl Fn(&Self) + Sync + Send + 'static) {
        let outcomes = Self::default();
        let seen = outcomes.clone();
        crate::model(name, bound, move || f(&seen));
        assert_eq!(
            *outcomes.0.lock().expect("no panic while the lock is held"),
            (0..count).collect(),
            "{name}: its outcomes"
        );
    }
}

/// Starts a process that runs `act`, on core `on`.
pub fn spawn<M, F>(kernel: &Kernel, member: &Participant, on: usize, act: F) -> Pid
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static,
{
    Host::new(kernel, member).spawn(&SpawnOptions::new().core(on), body(act)).expect("the table has a free slot").pid
}

/// A value whose drops are counted. Loom reports a use after its drop.
#[derive(Debug)]
pub struct Canary {
    alive: UnsafeCell<bool>,
    ends: Arc<AtomicUsize>,
}

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Canary {}
// SAFETY: loom checks every access to the cell, also through shared references.
unsafe impl Sync for Canary {}

impl Canary {
    /// Creates a canary, and the count of its drops.
    pub fn new() -> (Self, Arc<AtomicUsize>) {
        let ends = Arc::new(AtomicUsize::new(0));
        (Self { alive: UnsafeCell::new(true), ends: ends.clone() }, ends)
    }

    /// Returns `true` if it has not been dropped. Used where a panic would unwind through the
    /// kernel.
    pub fn is_alive(&self) -> bool {
        // SAFETY: loom's cell checks the read, which lasts as long as the closure.
        self.alive.with(|alive| unsafe { *alive })
    }

    /// Uses the canary.
    ///
    /// # Panics
    /// Panics when it was dropped before.
    pub fn sing(&self) {
        assert!(self.is_alive(), "used after its drop");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The model has failed: a second panic would abort the whole search.
            return;
        }
        // SAFETY: loom's cell checks the write, which lasts as long as the closure.
        self.alive.with_mut(|alive| unsafe { *alive = false });
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker that counts its calls, and panics when it is used after its drop.
#[derive(Debug)]
pub struct Woken {
    calls: AtomicUsize,
    canary: Canary,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.canary.sing();
        // Relaxed: it must not order what the kernel does not order.
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    /// Creates a waker, and the count of its drops.
    pub fn new() -> (Arc<Self>, Arc<AtomicUsize>) {
        let (canary, ends) = Canary::new();
        (Arc::new(Self { calls: AtomicUsize::new(0), canary }), ends)
    }

    /// Resets the count of calls.
    pub fn count_anew(&self) {
        self.calls.store(0, Ordering::Relaxed);
    }

    /// Returns the number of calls since the last reset.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// An object that a death retires, by the kernel's own reclamation. Its canary is dropped when the
/// object is freed. Its memory lives as long as the model.
#[repr(C)]
#[derive(Debug)]
pub struct Mortal {
    retired: Retired,
    canary: ManuallyDrop<Canary>,
}

// SAFETY: only the thread that retires it uses `retired`, and loom checks the canary.
unsafe impl Send for Mortal {}
// SAFETY: only the thread that retires it uses `retired`, and loom checks the canary.
unsafe impl Sync for Mortal {}

impl Mortal {
    /// Creates an object, and the count of its drops: 1 once it was freed.
    pub fn new() -> (Arc<Self>, Arc<AtomicUsize>) {
        unsafe fn free(retired: NonNull<Retired>, _: Option<&Pool>) {
            let mortal = retired.cast::<Mortal>().as_ptr();
            // SAFETY: the model keeps the memory, and the reclamation frees it once, when no guard
            // can reach it.
            let canary = unsafe { &mut (*mortal).canary };
            // SAFETY: the reclamation calls `free` once, so the canary is dropped once.
            unsafe { ManuallyDrop::drop(canary) };
        }
        let (canary, ends) = Canary::new();
        (Arc::new(Self { retired: Retired::new(free), canary: ManuallyDrop::new(canary) }), ends)
    }

    /// Uses the object.
    pub fn sing(&self) {
        self.canary.sing();
    }

    /// Retires the object and flushes the limbo.
    pub fn retire(self: &Arc<Self>, participant: &Participant) {
        Self::retire_all(core::slice::from_ref(self), participant, None);
    }

    /// Retires the objects and flushes the limbo. With a return queue (`ReturnQueue`), they come
    /// back in it.
    pub fn retire_all(mortals: &[Arc<Self>], participant: &Participant, return_queue: Option<&Arc<ReturnQueue>>) {
        let mut limbo = Limbo::new();
        for mortal in mortals {
            // SAFETY: retired once, when no thread that pins afterwards can reach it: this is what
            // the model checks.
            limbo.retire(unsafe { RetiredObject::new(NonNull::from(&mortal.retired)) });
        }
        limbo.hand_on(participant, return_queue);
    }
}

/// Lets three epochs pass, if no thread is pinned.
pub fn flush(participant: &Participant) {
    for _ in 0..3 {
        participant.flush();
    }
}

/// Number of freed blocks that are kept.
const KEPT: usize = 512;
/// Largest block that is kept. Larger ones are not the kernel's.
const LARGEST: usize = 4096;

/// An allocator that overwrites freed memory and keeps it for a while.
#[derive(Debug)]
pub struct Poison {
    busy: AtomicBool,
    next: AtomicUsize,
    blocks: [AtomicPtr<u8>; KEPT],
    layouts: [(AtomicUsize, AtomicUsize); KEPT],
}

#[global_allocator]
static MEMORY: Poison = Poison {
    busy: AtomicBool::new(false),
    next: AtomicUsize::new(0),
    blocks: [const { AtomicPtr::new(std::ptr::null_mut()) }; KEPT],
    layouts: [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; KEPT],
};

impl Poison {
    /// Keeps a block, and returns the one that was kept longest.
    fn exchange(&self, memory: *mut u8, layout: Layout) -> Option<(*mut u8, Layout)> {
        while self.busy.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed) % KEPT;
        let oldest = self.blocks[at].swap(memory, Ordering::Relaxed);
        let (size, align) = &self.layouts[at];
        let (size, align) =
            (size.swap(layout.size(), Ordering::Relaxed), align.swap(layout.align(), Ordering::Relaxed));
        self.busy.store(false, Ordering::Release);
        // Size and alignment are those of a kept block, so they form a layout.
        let layout = Layout::from_size_align(size, align).ok()?;
        (!oldest.is_null()).then_some((oldest, layout))
    }
}

// SAFETY: all memory comes from the system's allocator, and each block is returned to it once,
// later.
unsafe impl GlobalAlloc for Poison {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.size() > LARGEST {
            // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
            return unsafe { System.dealloc(memory, layout) };
        }
        // SAFETY: the caller has given up the block, so no other thread uses it.
        unsafe { memory.write_bytes(0xDE, layout.size()) };
        if let Some((oldest, layout)) = self.exchange(memory, layout) {
            // SAFETY: an earlier caller passed the block to `dealloc` with this layout, and it is
            // freed once.
            unsafe { System.dealloc(oldest, layout) };
        }
    }
}
