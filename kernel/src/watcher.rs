//! [`ExitWatch`]: somebody who is no process waits for a death.
//!
//! A record on the target's list of watchers, as a monitor is, that has what is to be done then inside. It is made
//! before anything happens ([`PreparedWatch`]), so that what can fail has not failed once a process is there to be
//! watched. One word decides:
//!
//! ```text
//! PREPARED ── install (1) ──▶ ARMED ── target dies: fire (2) ──▶ FIRED
//!     └── given up, refused       └────── withdraw (3) ────────▶ WITHDRAWN
//!         (WITHDRAWN)
//! ```
//!
//! - **W1.** (2) and (3) are exchanges of the same word: what is to be done is done once, or dropped, by who won.
//!   Before (1) it is the `PreparedWatch`'s.
//! - **W2.** Who wins (2) writes the reason and hands the record, with the list's share, to the world
//!   ([`crate::World::watch_fired`]), which puts it where a thread of its own takes it ([`crate::ExitQueue`]) or runs it; what is *prompt*, and only
//!   wakes somebody, is run there and then. A
//!   record that fires has left the target's list, so its place is free to be in that queue: a death
//!   allocates nothing, and waits for nobody.
//! - **W3.** Watches fire when all else of the death is done: the body is dropped, the names are free, links and
//!   monitors have been told, and the slot has the reason. So who is told finds everything gone; only the memory may
//!   stay for a while (`reclaim`). A watch that is installed, or held by a sweep, in the midst of the death may fire
//!   before links and monitors do.
//!
//! A process that is already dead fires at once, with the reason that its slot remembers, whether or not monitors
//! are told such reasons, or with none when the slot has been used again. A watch is not a signal: it does not wait for what
//! the installer has sent before, and need not, for whatever kills the target fires it.
//!
//! Shares: the list's (or the queue's), and one for each handle. Installing is lock-free, firing wait-free but for
//! the queue, withdrawing O(1) amortised (`roll`).

use core::fmt;
use core::mem::offset_of;
use core::ptr::NonNull;

use crate::hand::Hand;
use crate::memory::pool::Pool;
use crate::memory::{self, NoMemory};
use crate::mutate::Mutation;
use crate::pid::Pid;
use crate::process::ties::watch_was_cancelled;
use crate::reason::Reason;
use crate::sync::{AtomicU8, AtomicUsize, Ordering, UnsafeCell, acquire_by};
use crate::table::Dead;
use crate::watch::{Watch, WatchVtable};

const PREPARED: u8 = 0;
const ARMED: u8 = 1;
const FIRED: u8 = 2;
const WITHDRAWN: u8 = 3;

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Which.
    pub pid: Pid,
    /// Why; `None` when it was dead before it was watched, and its slot has been used again since.
    pub reason: Option<Reason>,
}

/// Where a watch is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchStatus {
    /// Not on any process yet.
    Prepared,
    /// In force: it will fire.
    Installed,
    /// The process has died; what is to be done is done, or on its way.
    Fired,
    /// It will never fire: withdrawn, refused, or given up before it was installed.
    Withdrawn,
}

/// Why nothing is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchError {
    /// This kernel has never given out this pid.
    NoSuchProcess(Pid),
    /// There is no memory for the watch.
    NoMemory(Pid),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchProcess(pid) => write!(f, "{pid} is no process of this runtime, and never was"),
            Self::NoMemory(pid) => write!(f, "out of memory: {pid} is not watched"),
        }
    }
}

impl core::error::Error for WatchError {}

/// What does not depend on what is to be done. `repr(C)`: the watch comes first.
#[repr(C)]
pub(crate) struct Head {
    watch: Watch,
    vtable: &'static ActVtable,
    shares: AtomicUsize,
    /// Written before ARMED.
    pid: UnsafeCell<Option<Pid>>,
    /// Written by who fires, before it hands the record on.
    reason: UnsafeCell<Option<Reason>>,
    state: AtomicU8,
    /// To be done where it fires.
    prompt: bool,
}

/// A record: head, and what is to be done, which is whose the word says (W1).
#[repr(C)]
struct Whole<F> {
    head: Head,
    act: UnsafeCell<Option<F>>,
}

/// How what is to be done is handled.
struct ActVtable {
    /// Takes it out, gives up a share, and does it, if there is something to be told; else drops it.
    take: unsafe fn(NonNull<Head>, Option<Ended>),
    free: unsafe fn(NonNull<Head>),
}

const VTABLE: &WatchVtable = &WatchVtable { live, fire, release, watcher: |_| None, outside: true };

fn of_watch(watch: NonNull<Watch>) -> NonNull<Head> {
    const { assert!(offset_of!(Head, watch) == 0) };
    watch.cast()
}

unsafe fn live(watch: NonNull<Watch>) -> bool {
    // SAFETY: the list has a share. Relaxed: as for a monitor, it decides only what a sweep keeps.
    unsafe { of_watch(watch).as_ref() }.state.load(Ordering::Relaxed) == ARMED
}

unsafe fn fire(watch: NonNull<Watch>, hand: &Hand<'_>, reason: &Reason) {
    // SAFETY: the caller gives the list's share.
    unsafe { Head::fire(of_watch(watch), hand, Some(reason.clone())) }
}

unsafe fn release(watch: NonNull<Watch>, _: Option<&Pool>) {
    // SAFETY: the caller gives the list's share.
    unsafe { Head::give_up(of_watch(watch)) }
}

impl<F: FnOnce(Ended) + Send + 'static> Whole<F> {
    const VTABLE: &'static ActVtable = &ActVtable { take: Self::take, free: Self::free };

    unsafe fn take(head: NonNull<Head>, ended: Option<Ended>) {
        // SAFETY: shared, so live; the head of a `Whole<F>`.
        let whole = unsafe { head.cast::<Self>().as_ref() };
        // SAFETY: the caller's, by the word (W1).
        let act = whole.act.with_mut(|act| unsafe { (*act).take() });
        // SAFETY: the caller's share, not used again.
        unsafe { Head::give_up(head) };
        if let (Some(act), Some(ended)) = (act, ended) {
            act(ended);
        }
    }

    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: the last share; made by `PreparedWatch::try_new::<F>`.
        unsafe { memory::drop_and_free(head.cast::<Self>()) }
    }
}

impl Head {
    /// (2) The target has died. Consumes the list's share.
    ///
    /// # Safety
    /// The caller has that share, and the record is on no list.
    unsafe fn fire(this: NonNull<Self>, hand: &Hand<'_>, reason: Option<Reason>) {
        // SAFETY: shared, so live.
        let head = unsafe { this.as_ref() };
        // AcqRel: pairs with the exchange of `withdraw`, whichever came first.
        let fired = head.state.compare_exchange(ARMED, FIRED, Ordering::AcqRel, Ordering::Acquire);
        if fired.is_err() && !hand.kernel.mutated(Mutation::FiresAnyway) {
            // SAFETY: the share is the caller's.
            return unsafe { Self::give_up(this) };
        }
        // SAFETY: who fires has the record until it is handed on (W2).
        head.reason.with_mut(|place| unsafe { *place = reason });
        let fired = Fired(this);
        if !head.prompt {
            return hand.kernel.world().watch_fired(fired);
        }
        let mut fired = Some(fired);
        hand.kernel.contain(&mut || fired.take().into_iter().for_each(Fired::run));
    }

    /// Gives up a share. Wait-free.
    ///
    /// # Safety
    /// The caller has it and does not use the record again.
    unsafe fn give_up(this: NonNull<Self>) {
        // SAFETY: shared, so live.
        let shares = unsafe { &this.as_ref().shares };
        // Release pairs with the fence of the last one: its free comes after every use.
        if shares.fetch_sub(1, Ordering::Release) == 1 {
            acquire_by(|order| shares.load(order));
            // SAFETY: the last share keeps it until it is freed below.
            let free = unsafe { this.as_ref() }.vtable.free;
            // SAFETY: the last share.
            unsafe { free(this) }
        }
    }

    fn share(this: NonNull<Self>) -> NonNull<Self> {
        // SAFETY: shared, so live. Relaxed: who shares has a share.
        unsafe { this.as_ref() }.shares.fetch_add(1, Ordering::Relaxed);
        this
    }
}

/// A watch that has everything it needs but a process. Dropping it drops what was to be done.
#[must_use = "nothing is watched yet"]
pub struct PreparedWatch(NonNull<Head>);

impl PreparedWatch {
    /// `act` is to be done when the process has ended, where the world does such things.
    pub fn try_new(act: impl FnOnce(Ended) + Send + 'static) -> Result<Self, NoMemory> {
        Self::make(act, false)
    }

    /// `act` is to be done where the watch fires: on the core, in the midst of the death. It must not block; it is
    /// for answering a [`crate::Reply`], or waking somebody.
    pub fn try_prompt(act: impl FnOnce(Ended) + Send + 'static) -> Result<Self, NoMemory> {
        Self::make(act, true)
    }

    fn make(act: impl FnOnce(Ended) + Send + 'static, prompt: bool) -> Result<Self, NoMemory> {
        fn whole<F: FnOnce(Ended) + Send + 'static>(act: F, prompt: bool) -> Whole<F> {
            let head = Head {
                watch: Watch::new(VTABLE),
                vtable: Whole::<F>::VTABLE,
                shares: AtomicUsize::new(1),
                pid: UnsafeCell::new(None),
                reason: UnsafeCell::new(None),
                state: AtomicU8::new(PREPARED),
                prompt,
            };
            Whole { head, act: UnsafeCell::new(Some(act)) }
        }
        memory::try_new(whole(act, prompt)).map(|whole| Self(whole.cast())).map_err(|_| NoMemory)
    }

    /// A handle, which says that it is not installed yet.
    pub fn handle(&self) -> ExitWatch {
        ExitWatch(Head::share(self.0))
    }

    /// (1) Watches a process. What can fail now is that there never was one. Lock-free.
    pub(crate) fn install(self, hand: &Hand<'_>, pid: Pid) -> Result<ExitWatch, WatchError> {
        let process = hand.find(pid);
        let remembered = match process.map_or_else(|| hand.kernel.of_the_dead(pid, hand.guard), |_| Dead::Forgotten) {
            Dead::NeverGivenOut => return Err(WatchError::NoSuchProcess(pid)),
            Dead::Remembered(reason) => Some(reason),
            Dead::Forgotten => None,
        };
        let handle = self.handle();
        // The list's share.
        let this = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: shared, so live.
        let head = unsafe { this.as_ref() };
        // SAFETY: PREPARED: ours alone.
        head.pid.with_mut(|place| unsafe { *place = Some(pid) });
        // Release: who finds it armed knows the pid.
        head.state.store(ARMED, Ordering::Release);
        let Some(process) = process else {
            // SAFETY: the list's share; on no list.
            unsafe { Head::fire(this, hand, remembered) };
            return Ok(handle);
        };
        // SAFETY: on no list; its share goes with it.
        let placed = unsafe { process.watchers.push(this.cast()) }.is_ok();
        if !placed && !hand.kernel.mutated(Mutation::RefusedIsPlaced) {
            // SAFETY: the list is closed, so the reason is written (`header`, P3).
            let reason = unsafe { process.reason() };
            // SAFETY: refused, so the share is ours still.
            unsafe { Head::fire(this, hand, Some(reason)) };
        }
        Ok(handle)
    }
}

impl Drop for PreparedWatch {
    fn drop(&mut self) {
        // SAFETY: shared, so live.
        let head = unsafe { self.0.as_ref() };
        head.state.store(WITHDRAWN, Ordering::Release);
        // SAFETY: it was PREPARED, so what is to be done is ours (W1), and the share.
        unsafe { (head.vtable.take)(self.0, None) };
    }
}

/// A handle of a watch, to be asked and to withdraw it; any number of clones. Dropping it changes nothing.
pub struct ExitWatch(NonNull<Head>);

impl ExitWatch {
    fn head(&self) -> &Head {
        // SAFETY: its share keeps it.
        unsafe { self.0.as_ref() }
    }

    /// Where it is in its life. Wait-free.
    pub fn status(&self) -> WatchStatus {
        // Acquire: what was done before it was installed, or fired, is seen.
        match self.head().state.load(Ordering::Acquire) {
            PREPARED => WatchStatus::Prepared,
            ARMED => WatchStatus::Installed,
            FIRED => WatchStatus::Fired,
            _ => WatchStatus::Withdrawn,
        }
    }

    /// Whether it is in force: the installation was accepted, and it has neither fired nor been withdrawn. Wait-free.
    pub fn is_installed(&self) -> bool {
        self.status() == WatchStatus::Installed
    }

    /// Whom it watches, or watched; `None` before it was installed.
    pub fn pid(&self) -> Option<Pid> {
        if self.status() == WatchStatus::Prepared {
            return None;
        }
        // SAFETY: not PREPARED: written before, and not again.
        self.head().pid.with(|pid| unsafe { *pid })
    }

    /// (3) Withdraws it: true when it was in force, and so will never fire; what was to be done is dropped here. O(1) amortised.
    pub(crate) fn withdraw(&self, hand: &Hand<'_>) -> bool {
        let head = self.head();
        // AcqRel: pairs with the exchange of `fire`, whichever came first, and sees the pid.
        if head.state.compare_exchange(ARMED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        // SAFETY: written before it was armed.
        let pid = head.pid.with(|pid| unsafe { *pid });
        if let Some(process) = pid.and_then(|pid| hand.find(pid)) {
            watch_was_cancelled(process, hand);
        }
        // SAFETY: withdrawn, so what was to be done is ours (W1); the share is made for it.
        unsafe { (head.vtable.take)(Head::share(self.0), None) };
        true
    }
}

impl Clone for ExitWatch {
    fn clone(&self) -> Self {
        Self(Head::share(self.0))
    }
}

impl Drop for ExitWatch {
    fn drop(&mut self) {
        // SAFETY: its share, not used again.
        unsafe { Head::give_up(self.0) };
    }
}

/// A watch that has fired: what is to be done, and what of. Dropping it is not to do it.
#[must_use = "somebody waits for it to be run"]
pub struct Fired(NonNull<Head>);

impl Fired {
    /// Whose death it is of.
    pub fn pid(&self) -> Option<Pid> {
        // SAFETY: its share keeps it.
        let head = unsafe { self.0.as_ref() };
        // SAFETY: written before it was armed.
        head.pid.with(|pid| unsafe { *pid })
    }

    /// Does it. Foreign code, which may panic.
    pub fn run(self) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: its share keeps it.
        let head = unsafe { this.0.as_ref() };
        // SAFETY: fired, so ours (W2).
        let reason = head.reason.with_mut(|reason| unsafe { (*reason).take() });
        let ended = this.pid().map(|pid| Ended { pid, reason });
        // SAFETY: fired, so what is to be done is ours, with the share (W1).
        unsafe { (head.vtable.take)(this.0, ended) };
    }

    /// Its place in a queue, with its share.
    pub(crate) fn into_watch(self) -> NonNull<Watch> {
        core::mem::ManuallyDrop::new(self).0.cast()
    }

    /// # Safety
    /// `watch` came from [`Fired::into_watch`], and is given back once.
    pub(crate) unsafe fn of_watch(watch: NonNull<Watch>) -> Self {
        Self(of_watch(watch))
    }
}

impl Drop for Fired {
    fn drop(&mut self) {
        // SAFETY: its share keeps it.
        let head = unsafe { self.0.as_ref() };
        // SAFETY: fired, so what is to be done is ours, with the share (W1).
        unsafe { (head.vtable.take)(self.0, None) };
    }
}

// SAFETY: what is to be done is Send, and one party's at a time (W1); all else is atomic, or handed over by the word.
unsafe impl Send for PreparedWatch {}
// SAFETY: through `&` only atomics are touched, and the count.
unsafe impl Sync for PreparedWatch {}
// SAFETY: as for `PreparedWatch`; who withdraws drops what is Send.
unsafe impl Send for ExitWatch {}
// SAFETY: as above: through `&` the word decides.
unsafe impl Sync for ExitWatch {}
// SAFETY: what is to be done is Send, and goes with it.
unsafe impl Send for Fired {}
// SAFETY: through `&` only the pid is read.
unsafe impl Sync for Fired {}

impl fmt::Debug for PreparedWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedWatch")
    }
}

impl fmt::Debug for ExitWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitWatch").field("pid", &self.pid()).field("status", &self.status()).finish()
    }
}

impl fmt::Debug for Fired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fired").field(&self.pid()).finish()
    }
}
