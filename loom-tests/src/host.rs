//! A whole kernel inside a model: its world, bodies that are closures, and memory that tells.
//!
//! The world stands still: its clock goes only when the model says so, and a wake is counted. Participants of
//! the reclamation are *warmed*: the first pin of each collects, which is crossbeam's affair and costs a model
//! most of its interleavings.
//!
//! Freed memory is overwritten and kept back for a while ([`Poison`]), in every test of this crate: the kernel's
//! atomics lead loom to its own objects by an index, so who uses one in memory that was freed panics. A
//! use after free is then a failure of the model and no luck.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;

use atropos_kernel::reclaim::basket::ReturnQueue;
use atropos_kernel::reclaim::{Domain, Limbo, Participant, Pool, Retired};
use atropos_kernel::world::{CurrentSlot, Platform};
use atropos_kernel::{Body, Core, Cx, Host, Kernel, Limits, Options, Pid, Resumed, SpawnOptions};
use loom::cell::UnsafeCell;

loom::thread_local! {
    static HERE: CurrentSlot = Cell::new(std::ptr::null());
}

/// Where this thread of the model notes what it runs: loom's thread-local.
pub fn here() -> *const CurrentSlot {
    HERE.with(std::ptr::from_ref)
}

/// See the module.
#[derive(Debug, Default)]
pub struct Still {
    now: AtomicU64,
    wakes: AtomicUsize,
    rescues_after: Option<u64>,
}

// SAFETY: `here` is loom's thread-local.
unsafe impl Platform for Still {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
    fn rescues_after(&self) -> Option<u64> {
        self.rescues_after
    }
    fn wake(&self, _: usize) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }
    fn here(&self) -> fn() -> *const CurrentSlot {
        here
    }
}

impl Still {
    /// The clock goes on.
    pub fn pass(&self, nanos: u64) {
        self.now.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Times that a core was woken.
    pub fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }
}

/// A kernel of so many cores and processes, and its world.
pub fn kernel(cores: usize, processes: u32) -> (Arc<Kernel>, Arc<Still>) {
    with(Options {
        cores,
        limits: Limits { processes, names: 2, timers: 4, ..Limits::default() },
        ..Options::default()
    })
}

/// A kernel whose cores look after each other when a slice has lasted so long, and its world.
pub fn rescuing(options: Options, after: u64) -> (Arc<Kernel>, Arc<Still>) {
    let world = Arc::new(Still { rescues_after: Some(after), ..Still::default() });
    (Kernel::new(options, Domain::new(), world.clone()), world)
}

/// A kernel with options, and its world.
pub fn with(options: Options) -> (Arc<Kernel>, Arc<Still>) {
    let world = Arc::new(Still::default());
    (Kernel::new(options, Domain::new(), world.clone()), world)
}

/// A warmed member of the kernel's reclamation.
pub fn member(kernel: &Kernel) -> Participant {
    let member = kernel.register();
    drop(member.pin());
    member
}

/// The warmed cores of a kernel.
pub fn core(kernel: &Arc<Kernel>, id: usize) -> Core {
    let mut core = Core::new(kernel.clone(), id);
    let _ = core.run(1);
    core
}

/// How a race has ended, over all of a search: one that always ends the same way is no race, and checks nothing.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(Arc<Mutex<BTreeSet<usize>>>);

impl Outcomes {
    /// This time it ended so.
    pub fn saw(&self, outcome: usize) {
        self.0.lock().expect("no panic in here").insert(outcome);
    }

    /// Searches `f` as [`crate::model`] does, and finds every outcome below `count`, and no other.
    ///
    /// # Panics
    /// When the model fails, or its outcomes are others.
    pub fn model(name: &str, bound: Option<usize>, count: usize, f: impl Fn(&Self) + Sync + Send + 'static) {
        let outcomes = Self::default();
        let seen = outcomes.clone();
        crate::model(name, bound, move || f(&seen));
        assert_eq!(*outcomes.0.lock().expect("likewise"), (0..count).collect(), "{name}: its outcomes");
    }
}

/// A body that is a closure.
#[derive(Debug)]
pub struct Acts<M, F>(F, PhantomData<fn(M)>);

impl<M: Send + 'static, F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static> Body for Acts<M, F> {
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> Resumed {
        (self.0)(cx)
    }
}

/// See [`Acts`].
pub fn body<M: Send + 'static, F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static>(act: F) -> Acts<M, F> {
    Acts(act, PhantomData)
}

/// Starts a process that `act`s, on core `on`.
pub fn spawn<M, F>(kernel: &Kernel, member: &Participant, on: usize, act: F) -> Pid
where
    M: Send + 'static,
    F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static,
{
    Host::new(kernel, member).spawn(&SpawnOptions::new().core(on), body(act)).expect("there is room").pid
}

/// A value whose end is counted, and whose use after its end loom reports.
#[derive(Debug)]
pub struct Canary {
    alive: UnsafeCell<bool>,
    ends: Arc<AtomicUsize>,
}

// SAFETY: loom checks every access to the cell.
unsafe impl Send for Canary {}
// SAFETY: as above.
unsafe impl Sync for Canary {}

impl Canary {
    /// One, and the count of its ends.
    pub fn new() -> (Self, Arc<AtomicUsize>) {
        let ends = Arc::new(AtomicUsize::new(0));
        (Self { alive: UnsafeCell::new(true), ends: ends.clone() }, ends)
    }

    /// Whether it has not ended; to be asked where a panic would unwind through the kernel.
    pub fn is_alive(&self) -> bool {
        // SAFETY: loom's cell, read for the length of the closure.
        self.alive.with(|alive| unsafe { *alive })
    }

    /// Uses it.
    pub fn sing(&self) {
        assert!(self.is_alive(), "used after its end");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The model has failed: a second panic would end the search for good.
            return;
        }
        // SAFETY: loom's cell, written for the length of the closure.
        self.alive.with_mut(|alive| unsafe { *alive = false });
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker that counts its calls, and says when it is used after its end.
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
        // Relaxed: it must not order what the kernel does not.
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    /// One, and the count of its ends.
    pub fn new() -> (Arc<Self>, Arc<AtomicUsize>) {
        let (canary, ends) = Canary::new();
        (Arc::new(Self { calls: AtomicUsize::new(0), canary }), ends)
    }

    /// From now on.
    pub fn count_anew(&self) {
        self.calls.store(0, Ordering::Relaxed);
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// What a model that has failed leaves as it is: a panic on top of a panic would end the search for good.
#[derive(Debug)]
pub struct Kept<T>(ManuallyDrop<T>);

impl<T> Kept<T> {
    /// Dropped by a model that goes well.
    pub fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }

    /// The value.
    pub fn take(mut self) -> T {
        // SAFETY: `self` is forgotten below, and not dropped.
        let value = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        value
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: dropped here only.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// What a death retires, by the kernel's own reclamation: its canary ends when it is freed, and its memory goes
/// with the model.
#[repr(C)]
#[derive(Debug)]
pub struct Mortal {
    retired: Retired,
    canary: ManuallyDrop<Canary>,
}

// SAFETY: `retired` is the retirer's, the canary is loom's.
unsafe impl Send for Mortal {}
// SAFETY: as above.
unsafe impl Sync for Mortal {}

impl Mortal {
    /// One, and the count of its ends: 1 once it was freed.
    pub fn new() -> (Arc<Self>, Arc<AtomicUsize>) {
        unsafe fn free(retired: NonNull<Retired>, _: Option<&Pool>) {
            let mortal = retired.cast::<Mortal>().as_ptr();
            // SAFETY: the model keeps the memory; freed once, when nobody looks at it.
            let canary = unsafe { &mut (*mortal).canary };
            // SAFETY: likewise.
            unsafe { ManuallyDrop::drop(canary) };
        }
        let (canary, ends) = Canary::new();
        (Arc::new(Self { retired: Retired::new(free), canary: ManuallyDrop::new(canary) }), ends)
    }

    /// Uses it.
    pub fn sing(&self) {
        self.canary.sing();
    }

    /// Retires it and hands it on.
    pub fn retire(self: &Arc<Self>, participant: &Participant) {
        Self::retire_all(core::slice::from_ref(self), participant, None);
    }

    /// Retires them and hands them on, to come back in a basket if there is one.
    pub fn retire_all(mortals: &[Arc<Self>], participant: &Participant, basket: Option<&Arc<ReturnQueue>>) {
        let mut limbo = Limbo::new();
        for mortal in mortals {
            // SAFETY: once, when nobody who pins from now on can reach it: what the model is about.
            unsafe { limbo.retire(NonNull::from(&mortal.retired)) };
        }
        limbo.hand_on(participant, basket);
    }
}

/// Lets three epochs pass, if nobody is pinned.
pub fn flush(participant: &Participant) {
    for _ in 0..3 {
        participant.flush();
    }
}

/// Blocks that are kept back.
const KEPT: usize = 512;
/// Blocks larger than this are not the kernel's.
const LARGEST: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Poison {
    busy: AtomicBool,
    next: AtomicUsize,
    addresses: [AtomicUsize; KEPT],
    layouts: [(AtomicUsize, AtomicUsize); KEPT],
}

#[global_allocator]
static MEMORY: Poison = Poison {
    busy: AtomicBool::new(false),
    next: AtomicUsize::new(0),
    addresses: [const { AtomicUsize::new(0) }; KEPT],
    layouts: [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; KEPT],
};

impl Poison {
    /// Keeps a block back, and hands over the one that was kept longest.
    fn exchange(&self, memory: *mut u8, layout: Layout) -> Option<(*mut u8, Layout)> {
        while self.busy.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed) % KEPT;
        let oldest = self.addresses[at].swap(memory.expose_provenance(), Ordering::Relaxed);
        let (size, align) = &self.layouts[at];
        let (size, align) =
            (size.swap(layout.size(), Ordering::Relaxed), align.swap(layout.align(), Ordering::Relaxed));
        self.busy.store(false, Ordering::Release);
        // Of a block that was kept: it is a layout.
        let layout = Layout::from_size_align(size, align).ok()?;
        (oldest != 0).then(|| (std::ptr::with_exposed_provenance_mut(oldest), layout))
    }
}

// SAFETY: the system's memory, given back later.
unsafe impl GlobalAlloc for Poison {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if layout.size() > LARGEST {
            // SAFETY: by the caller's contract.
            return unsafe { System.dealloc(memory, layout) };
        }
        // SAFETY: the block is ours now.
        unsafe { memory.write_bytes(0xDE, layout.size()) };
        if let Some((oldest, layout)) = self.exchange(memory, layout) {
            // SAFETY: it was given to us to free, with this layout.
            unsafe { System.dealloc(oldest, layout) };
        }
    }
}
