//! [`Cx`], a body's interface to the kernel while it runs.
//!
//! A [`Slice`] is one turn of one process on one core. While the body runs, the slice is stored in
//! the platform's [`CurrentSlot`](crate::platform::CurrentSlot), where code that runs inside it (an
//! async body's [`Context`], a waker) finds it. No other code finds it, so the process's owned
//! state has one user at a time.
//!
//! Once the process is dying, every operation does nothing and reports that: operations of a dead
//! process have no effect.
//!
//! | topic | module |
//! | --- | --- |
//! | the turn, and which code runs in it | `kernel::slice` |
//! | receiving, inspecting, sending, exits | `mail` |
//! | links and monitors | `relation` |
//! | names and aliases | `name` |
//! | timers | `timer` |
//! | queries and requests to other processes | `query` |

pub(crate) mod mail;
pub(crate) mod name;
pub(crate) mod query;
pub(crate) mod relation;
pub(crate) mod timer;

use core::marker::PhantomData;
use core::task::Waker;

pub use crate::api::cx::mail::SearchResult;
pub use crate::api::cx::query::MaybeReady;
pub(crate) use crate::api::cx::query::ask;
pub(crate) use crate::kernel::slice::Slice;

use crate::api::body::Body;
use crate::api::task::context::Context;
use crate::api::task::future::{FutureBody, LargeBody, is_large};
use crate::catch_drop::{CatchDrop, DropCatcher};
use crate::ops::spawn::{self, Parent, ParentProcess, SlotSource, SpawnError, SpawnOptions, Spawned};
use crate::ops::waker;
use crate::pid::{Pid, Reference};
use crate::process::owned::OwnerState;
use crate::process::process_ref::ProcessRef;
use crate::reason::Reason;

/// The kernel, as seen by a running body with messages `M`.
///
/// Invariant in `M`: a body both receives `M`s through it and sends them to itself. So a process of
/// one function type cannot pass for a process of another:
///
/// ```compile_fail,E0308
/// use atropos_kernel::Cx;
/// fn lax<'a, 's>(cx: &'s Cx<'a, fn(&'static str)>) -> &'s Cx<'a, for<'b> fn(&'b str)> {
///     cx
/// }
/// ```
///
/// ```compile_fail,E0308
/// use atropos_kernel::Cx;
/// fn strict<'a, 's>(cx: &'s Cx<'a, for<'b> fn(&'b str)>) -> &'s Cx<'a, fn(&'static str)> {
///     cx
/// }
/// ```
///
/// It stays in its slice, on its thread:
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<&atropos_kernel::Cx<'static, ()>>();
/// ```
#[repr(transparent)]
#[derive(Debug)]
pub struct Cx<'a, M> {
    slice: Slice<'a>,
    takes: PhantomData<fn(M) -> M>,
}

impl<'a, M: Send + 'static> Cx<'a, M> {
    pub(crate) fn of<'s>(slice: &'s Slice<'a>) -> &'s Self {
        // SAFETY: `Cx` is repr(transparent) over the slice.
        unsafe { &*core::ptr::from_ref(slice).cast::<Self>() }
    }

    /// Runs `f` with the process's owned state. `f` calls no foreign code.
    #[inline(always)]
    fn private<R>(&self, f: impl FnOnce(&mut OwnerState) -> R) -> R {
        self.slice.state(f)
    }

    pub(crate) fn process(&self) -> ProcessRef<'a> {
        self.slice.process()
    }

    /// Returns `true` if the body, a future, wants another slice soon, and resets the flag.
    pub(crate) fn take_yield(&self) -> bool {
        self.slice.yields.replace(false)
    }

    /// Returns the number of slices that the process has run, which differs for each slice.
    pub(crate) fn slices(&self) -> u64 {
        self.private(|private| private.slices)
    }

    pub(crate) fn slice(&self) -> &Slice<'a> {
        &self.slice
    }

    /// Returns `true` if the slice has no reductions left.
    pub fn is_exhausted(&self) -> bool {
        self.slice.is_exhausted()
    }

    /// Ends the process as if its body had returned [`crate::BodyPoll::Exit`]. The body should
    /// return: its further operations have no effect.
    pub fn stop(&self, reason: Reason) {
        reason.come_into(self.slice.kernel_cx.kernel.world());
        // A reason may contain foreign values, so a second one is not dropped while the state is
        // borrowed.
        if !self.is_dying() {
            self.private(|private| private.dying = Some(reason));
        }
    }

    fn alive<E>(&self, dying: E) -> Result<(), E> {
        if self.is_dying() { Err(dying) } else { Ok(()) }
    }

    /// Returns the pid of this process.
    pub fn pid(&self) -> Pid {
        self.slice.process().pid
    }

    /// Returns the number of the core that runs the process now.
    pub fn core(&self) -> usize {
        self.slice.core.id()
    }

    /// Returns the time of the platform's clock, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.slice.kernel_cx.kernel.now()
    }

    /// Returns `true` if the process is bound to die: the body should return.
    pub fn is_dying(&self) -> bool {
        self.slice.is_dying()
    }

    /// Spends reductions. Returns `false` if the slice has none left and the body should yield.
    pub fn spend(&self, reductions: u32) -> bool {
        self.pay(reductions);
        !self.slice.is_exhausted()
    }

    /// Spends reductions for an operation. Unlike [`Cx::spend`] it does not check what is left, so
    /// it never reads the clock.
    #[inline(always)]
    pub(crate) fn pay(&self, reductions: u32) {
        self.slice.pay(reductions);
    }

    /// Spends reductions for a signal to `process`: one for the signal, and more if the process has
    /// a backlog (`mailbox`).
    #[inline(always)]
    pub(crate) fn pay_for_signal_to(&self, process: ProcessRef<'_>) {
        self.pay(1);
        let backlog = process.mailbox.backlog_cost();
        if backlog > 0 {
            self.slice.surcharge(backlog);
        }
    }

    /// Returns a new reference, for this process's futures.
    pub(crate) fn new_reference(&self) -> Option<Reference> {
        self.reference()
    }

    /// Returns `true` if wakers other than the process's own wait for something of this process.
    pub(crate) fn has_waiters(&self) -> bool {
        self.slice.has_waiters()
    }

    /// Returns a reference that no other object has, or `None` if no reference is left.
    fn reference(&self) -> Option<Reference> {
        self.slice.core.reference(self.slice.kernel_cx.kernel)
    }

    /// Starts a process. Lock-free, except while the process table grows.
    ///
    /// # Errors
    /// A [`SpawnError`] if the process was not started.
    pub fn spawn<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        self.alive(SpawnError::Dying)?;
        self.pay(10);
        let wanted = options.monitor || options.supervised;
        let reference = if wanted { Some(self.reference().ok_or(SpawnError::NoMemory)?) } else { None };
        let parent = Parent { process: ParentProcess::Running(&self.slice), reference };
        spawn::spawn(&self.slice.kernel_cx, SlotSource::Core(self.slice.core), Some(parent), options, body)
    }

    /// Starts a process that runs the future returned by `start`.
    ///
    /// # Errors
    /// A [`SpawnError`] if the process was not started.
    pub fn spawn_async<N, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Spawned, SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: crate::api::task::IntoReason> + Send + 'static,
    {
        match const { is_large::<F>() } {
            true => self.spawn(options, LargeBody::new(start)),
            false => self.spawn(options, FutureBody::new(start)),
        }
    }

    /// Runs foreign code inside the slice, and the body goes on after it.
    ///
    /// # Errors
    /// If the code panics, and the platform can catch panics, a crash reason with the panic's text.
    /// The caller must deal with anything that the code left half done.
    pub fn catch_panic<R>(&self, code: impl FnOnce() -> R) -> Result<R, Reason> {
        self.slice.kernel_cx.kernel.contained(code)
    }

    /// Drops a foreign value. A panic of its destructor is caught and reported to the platform
    /// ([`crate::Platform::on_unhandled_panic`]).
    pub fn drop_caught<T>(&self, what: T) {
        if core::mem::needs_drop::<T>() {
            let mut what = Some(what);
            self.slice.kernel_cx.catch_panic(|| drop(what.take()));
        }
    }

    /// Wraps a foreign value that this process keeps. A panic of its destructor is caught, wherever
    /// the value is dropped.
    pub fn catch_drop<T>(&self, value: T) -> CatchDrop<T> {
        self.drop_catcher().catch_drop(value)
    }

    /// Returns the platform's way to catch the panics of destructors, for several values.
    pub fn drop_catcher(&self) -> DropCatcher {
        DropCatcher::new(self.slice.kernel_cx.kernel.world().panic_catcher())
    }

    /// Returns a waker of the body. Any thread may use it, also after the process has died.
    pub fn waker(&self) -> Waker {
        self.slice.with_owned(|owned| waker::of(owned))
    }
}
