//! Cooperative scheduling: one rule for all awaits decides when a future lets other processes run
//! ([`Context::poll_proceed`]).
//!
//! Every future of the library first checks whether it may proceed. If the slice's reductions are
//! used up, it may not: the future is pending, the process yields, and the future checks again in
//! the next slice. If the process is dying, it may not either: the future stays pending, and the
//! body is dropped. Every result of a future costs at least one reduction. So a body whose awaits
//! are always ready (a zero sleep, a call to a dead process, an unregistered name) still yields its
//! core after at most [`crate::config::SLICE`] of them. At that point the process handles the
//! signals sent to it, including a kill.
//!
//! A future of another library does not know this rule. [`Context::coop`] applies the rule to it,
//! and [`Context::checkpoint`] applies it between two pieces of work. Code that never checks cannot
//! be interrupted.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context as TaskContext, Poll, Waker};

use crate::api::cx::{Cx, Slice};
use crate::api::task::Context;
use crate::kernel_ptr::{CurrentSlot, CurrentSlotFn};
use crate::memory::NoMemory;
use crate::ops::waiters;
use crate::ops::waker;
use crate::pid::Reference;
use crate::process::waiters::On;
use crate::reason::Reason;

/// Returns `true` if a future may proceed. Otherwise it must be pending: this call has arranged for
/// it to be polled again, unless the process is dying.
#[inline(always)]
pub(crate) fn may_go_on<M: Send + 'static>(cx: &Cx<'_, M>, task: &TaskContext<'_>) -> bool {
    if cx.is_exhausted() {
        rests(cx.slice(), task.waker());
        return false;
    }
    !cx.is_dying()
}

/// Makes a process continue in its next slice.
pub(crate) fn rests(slice: &Slice<'_>, waker: &Waker) {
    slice.yields.set(true);
    if !is_own(slice, waker) {
        next_slice(slice, waker);
    }
}

/// Returns `true` if the waker is the process's own.
#[inline(always)]
pub(crate) fn is_own(slice: &Slice<'_>, waker: &Waker) -> bool {
    waker::is_of(waker, slice.process().as_ptr())
}

#[cold]
fn next_slice(slice: &Slice<'_>, waker: &Waker) {
    // The next resume calls the record in any case, so no future has to remove it.
    let listened = match slice.core.reference(slice.kernel_cx.kernel) {
        Some(key) => waiters::listen(slice, key, None, On::Slice, waker),
        None => Err(NoMemory),
    };
    if listened.is_err() {
        no_memory(slice);
    }
}

/// Ends the process because no memory is left for a waker, as without memory for a timer.
#[cold]
fn no_memory(slice: &Slice<'_>) {
    if !slice.is_dying() {
        let reason = Reason::crash("no memory for a waker");
        slice.state(|state| state.dying = Some(reason));
    }
}

impl<M: Send + 'static> Context<M> {
    /// Checks whether a future of this process may proceed: the first step of its `poll`. Pending
    /// if the slice's reductions are used up (the process yields, and the task is woken in its next
    /// slice), and for ever if the process is dying. It spends no reduction: a future that is ready
    /// should [`Cx::spend`] one.
    ///
    /// # Panics
    /// Outside the process's own slice.
    #[inline]
    pub fn poll_proceed(&self, task: &mut TaskContext<'_>) -> Poll<()> {
        self.with(|cx| if may_go_on(cx, task) { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Spends a reduction, and lets other processes run if none is left. For a loop whose awaits
    /// are not futures of this library. A process that was killed goes no further than this.
    ///
    /// ```
    /// # async fn of(cx: &atropos_kernel::Context<()>, mut work: impl FnMut() -> bool) {
    /// while work() {
    ///     cx.checkpoint().await;
    /// }
    /// # }
    /// ```
    pub fn checkpoint(&self) -> Checkpoint<'_, M> {
        Checkpoint(self)
    }

    /// Runs a future of another library, which may be ready again and again (a channel that is
    /// never empty), under this library's rule. Each poll of it costs a reduction, and is postponed
    /// when none is left. The futures inside it are not covered: a loop in there that is never
    /// pending is not interrupted.
    pub async fn coop<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|task| {
            if self.poll_proceed(task).is_pending() {
                return Poll::Pending;
            }
            self.with(|cx| cx.pay(1));
            future.as_mut().poll(task)
        })
        .await
    }

    /// Returns a [`Listener`] for a future that waits by polling: see [`Listener::listen`].
    pub fn listener(&self) -> Listener<'_, M> {
        Listener { context: self, key: None }
    }
}

/// Does the same as [`Context::poll_proceed`] for a future of the platform that has no context, and
/// spends a reduction. It checks the process whose body runs on this thread, and is ready if no
/// body runs.
///
/// # Safety
/// `current_slot` is [`crate::Platform::current_slot`] of the platform that runs this thread.
pub unsafe fn poll_proceed_here(current_slot: fn() -> *const CurrentSlot, task: &mut TaskContext<'_>) -> Poll<()> {
    // SAFETY: the caller passes the platform's `current_slot` (this function's contract).
    let current_slot = unsafe { CurrentSlotFn::new(current_slot) };
    current_slot.with_slice(|slice| {
        let Some(slice) = slice.filter(|slice| slice.is_in_body()) else { return Poll::Ready(()) };
        if slice.is_exhausted() {
            rests(slice, task.waker());
            return Poll::Pending;
        }
        if slice.is_dying() {
            return Poll::Pending;
        }
        slice.pay(1);
        Poll::Ready(())
    })
}

/// The future of [`Context::checkpoint`].
#[must_use = "does nothing unless it is awaited"]
#[derive(Debug)]
pub struct Checkpoint<'c, M>(&'c Context<M>);

impl<M: Send + 'static> Future for Checkpoint<'_, M> {
    type Output = ();

    #[inline]
    fn poll(self: core::pin::Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        self.0.with(|cx| {
            if !may_go_on(cx, task) {
                return Poll::Pending;
            }
            cx.pay(1);
            Poll::Ready(())
        })
    }
}

/// Wakes the task that polls a future, when the event that the future waits for happens. It ends
/// with the future. See [`Context::listener`].
#[derive(Debug)]
pub struct Listener<'c, M: Send + 'static> {
    pub(crate) context: &'c Context<M>,
    /// The key of the record that the listener has left, if any.
    key: Option<Reference>,
}

impl<M: Send + 'static> Listener<'_, M> {
    /// Registers the task of a pending future: it is woken when mail arrives that the future has
    /// not seen (`mail`), or when the alarm fires, if that is first. A task that the process polls
    /// itself needs no registration, because it is polled at every resume; the call is cheap then.
    /// A call replaces the previous registration. Without memory the process ends with a crash
    /// reason that reports it.
    ///
    /// # Panics
    /// Outside the process's own slice.
    #[inline]
    pub fn listen(&mut self, task: &TaskContext<'_>, mail: bool, alarm: Option<Reference>) {
        self.context.with(|cx| {
            if !is_own(cx.slice(), task.waker()) {
                let on = if mail { On::Mail(cx.mark()) } else { On::Alarm };
                self.leaves(cx, task, on, alarm);
            }
        });
    }

    /// Registers a task like [`Listener::listen`], within a slice.
    #[inline(always)]
    pub(crate) fn on(&mut self, cx: &Cx<'_, M>, task: &TaskContext<'_>, on: On, alarm: Option<Reference>) {
        if !is_own(cx.slice(), task.waker()) {
            self.leaves(cx, task, on, alarm);
        }
    }

    #[cold]
    #[inline(never)]
    fn leaves(&mut self, cx: &Cx<'_, M>, task: &TaskContext<'_>, on: On, alarm: Option<Reference>) {
        if cx.is_dying() {
            return;
        }
        if alarm.is_some() && self.key != alarm {
            self.forget();
            self.key = alarm;
        }
        if self.key.is_none() {
            self.key = cx.new_reference();
        }
        let listened = match self.key {
            Some(key) => waiters::listen(cx.slice(), key, alarm, on, task.waker()),
            None => Err(NoMemory),
        };
        if listened.is_err() {
            no_memory(cx.slice());
        }
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            // Outside a slice the record stays (F5).
            let _ = self.context.try_with(|cx| waiters::forget(cx.slice(), key));
        }
    }
}

impl<M: Send + 'static> Drop for Listener<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.key.is_some() {
            self.forget();
        }
    }
}
