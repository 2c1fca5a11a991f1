//! When a future lets the others run: one rule for all awaits ([`Context::poll_proceed`]).
//!
//! Every future of the library asks first whether it may go on. It may not when the slice's reductions
//! are used up: then it is pending, the process yields, and the next slice asks again. It may not when the process
//! dies: then it stays pending, and the body is dropped. And whatever a future brings is paid for with a reduction at
//! least. So a body whose awaits are always ready at once (a sleep of no time, a call to the dead, a
//! name that nobody has) still gives its core to the others after at most [`crate::config::SLICE`] of them, and meets
//! there what was sent to it, a kill as well.
//!
//! A future of somebody else's knows nothing of this. [`Context::coop`] asks for it, and
//! [`Context::checkpoint`] asks between two pieces of work. What asks nowhere cannot be interrupted.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context as TaskContext, Poll, Waker};

use super::waiters::{self, On};
use super::{Context, waker};
use crate::cx::{Cx, Slice};
use crate::memory::NoMemory;
use crate::pid::Reference;
use crate::reason::Reason;
use crate::world::CurrentSlot;

/// Whether a future may go on. Otherwise it is to be pending, and all is done for it to be polled again, if it
/// is to be.
#[inline(always)]
pub(super) fn may_go_on<M: Send + 'static>(cx: &Cx<'_, M>, task: &TaskContext<'_>) -> bool {
    if cx.is_exhausted() {
        rests(cx.slice(), task.waker());
        return false;
    }
    !cx.is_dying()
}

/// Has a process go on in its next slice.
pub(super) fn rests(slice: &Slice<'_>, waker: &Waker) {
    slice.yields.set(true);
    if !is_own(slice, waker) {
        next_slice(slice, waker);
    }
}

/// Whether the waker is the process's own.
#[inline(always)]
pub(super) fn is_own(slice: &Slice<'_>, waker: &Waker) -> bool {
    waker::is_of(waker, slice.process().whole())
}

#[cold]
fn next_slice(slice: &Slice<'_>, waker: &Waker) {
    // The record is called at the next resume, whatever comes: nobody has to take it back.
    let listened = match slice.core.reference(slice.hand.kernel) {
        Some(key) => waiters::listen(slice, key, None, On::Slice, waker),
        None => Err(NoMemory),
    };
    if listened.is_err() {
        no_memory(slice);
    }
}

/// There is no memory for a waker: the process ends, as without memory for a timer.
#[cold]
fn no_memory(slice: &Slice<'_>) {
    // SAFETY: the slice has the process (P1).
    let private = unsafe { slice.process().private() };
    if private.dying.is_none() {
        private.dying = Some(Reason::crash("no memory for a waker"));
    }
}

impl<M: Send + 'static> Context<M> {
    /// Whether a future of this process may go on: the first question of its `poll`. Pending when the slice's
    /// reductions are used up (the process yields, and the task is woken in its next slice), and for ever when the process
    /// dies. Costs nothing: what is ready should [`Cx::spend`] a reduction.
    ///
    /// # Panics
    /// Outside the process's own slice.
    #[inline]
    pub fn poll_proceed(&self, task: &mut TaskContext<'_>) -> Poll<()> {
        self.with(|cx| if may_go_on(cx, task) { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Spends a reduction, and lets the others run if none is left: for a loop whose own awaits are no awaits of this
    /// library. A process that was killed goes no further than this.
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

    /// Runs a future of another library, which may be ready again and again (a channel that is never empty), as one of
    /// this library: each poll of it costs a reduction, and is put off when none is left. The futures within it are its
    /// own affair: one that loops without ever being pending is not interrupted.
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

    /// For a future that waits by polling: see [`Listener::listen`].
    pub fn listener(&self) -> Listener<'_, M> {
        Listener { context: self, key: None }
    }
}

/// [`Context::poll_proceed`] for a future of a world's own that knows no context, and a reduction spent: asked of the process
/// whose body runs here. Where none runs, it is ready.
///
/// # Safety
/// `here` is [`crate::Platform::here`] of the world of whatever runs here.
pub unsafe fn poll_proceed_here(here: fn() -> *const CurrentSlot, task: &mut TaskContext<'_>) -> Poll<()> {
    // SAFETY: by contract the place of this thread of execution.
    let slice = unsafe { (*here()).get() }.cast::<Slice<'_>>();
    // SAFETY: null, or noted for as long as the slice lasts, which is longer than this call.
    let Some(slice) = (unsafe { slice.as_ref() }) else { return Poll::Ready(()) };
    if !slice.resumed.get() || slice.inside.get() {
        return Poll::Ready(());
    }
    if slice.is_exhausted() {
        rests(slice, task.waker());
        return Poll::Pending;
    }
    // SAFETY: its slice, and its body is at work (P1).
    if unsafe { slice.process().private() }.dying.is_some() {
        return Poll::Pending;
    }
    slice.pay(1);
    Poll::Ready(())
}

/// See [`Context::checkpoint`].
#[must_use = "it asks when it is awaited"]
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

/// Has the task that polls a future woken for what it waits for; ends with the future. See [`Context::listener`].
#[derive(Debug)]
pub struct Listener<'c, M: Send + 'static> {
    pub(super) context: &'c Context<M>,
    /// Of the record that it has left, if any.
    key: Option<Reference>,
}

impl<M: Send + 'static> Listener<'_, M> {
    /// Of a future that has looked and is pending: its task is to be woken when mail comes that was not there yet (`mail`),
    /// or when the alarm has rung, whichever comes first. A task that the process polls itself needs nothing, and
    /// is polled whatever comes; so this is cheap then. Replaces what was said before. Without memory the process ends with a
    /// crash that says so.
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

    /// [`Listener::listen`], within a slice.
    #[inline(always)]
    pub(super) fn on(&mut self, cx: &Cx<'_, M>, task: &TaskContext<'_>, on: On, alarm: Option<Reference>) {
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
            // Where there is no slice the record stays (F5).
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
