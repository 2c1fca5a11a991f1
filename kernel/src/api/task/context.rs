//! [`Context`], an async body's interface to the kernel.
//!
//! A context belongs to one process. It finds the running slice where the platform stores it
//! ([`crate::kernel::platform::CurrentSlot`]), and checks that it is a slice of its own process.
//! Used anywhere else (moved to another thread, kept after the process or its kernel has ended), it
//! panics there and does no other harm.
//!
//! The check compares the process's address. The context has a reference to that memory (`header`,
//! P5), so while it exists, no other process of any kernel can have this address. The same address
//! is therefore the same process, which takes the same message type.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;

use crate::api::body::Body;
use crate::api::cx::{Cx, MaybeReady};
use crate::api::task::address::{Address, Recipient};
use crate::api::task::future::{FutureBody, IntoReason, LargeBody, is_large};
use crate::api::task::panic_scope::PanicScope;
use crate::api::task::receive::{
    Alive, Info, Receive, ReceiveMatch, ReceiveTimeout, ReceiveWith, Sleep, Stop, YieldNow,
};
use crate::api::task::send_wait::SendWait;
use crate::kernel_ptr::CurrentSlotFn;
use crate::mailbox::queue::Cursor;
use crate::memory::NoMemory;
use crate::ops::info::ProcessInfo;
use crate::ops::received::{Peek, Received};
use crate::ops::relations::{LinkError, MonitorError};
use crate::ops::send::SendError;
use crate::ops::spawn::{SpawnError, SpawnOptions, Spawned};
use crate::pid::{Alias, Pid, Reference};
use crate::process::alias::AliasMode;
use crate::process::counted_ref::ContextRef;
use crate::process::header::Header;
use crate::process::name::RegisterError;
use crate::process::timer_record::TimerError;
use crate::reason::Reason;
use crate::signal::target::SendTarget;

/// An async body's interface to the kernel; see the module.
///
/// Invariant in `M`, because messages are both sent to the process's mailbox and received here:
///
/// ```compile_fail,E0308
/// use atropos_kernel::Context;
/// fn lax(cx: Context<fn(&'static str)>) -> Context<for<'a> fn(&'a str)> {
///     cx
/// }
/// ```
///
/// ```compile_fail,E0308
/// use atropos_kernel::Context;
/// fn strict(cx: Context<for<'a> fn(&'a str)>) -> Context<fn(&'static str)> {
///     cx
/// }
/// ```
///
/// A process has only one context:
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<atropos_kernel::Context<()>>();
/// ```
pub struct Context<M> {
    pid: Pid,
    /// The process, with the context's reference to its memory; `None` while it is dropped.
    process: Option<ContextRef>,
    current_slot: CurrentSlotFn,
    takes: PhantomData<fn(M) -> M>,
}

#[cold]
pub(super) fn is_elsewhere(pid: Pid) -> ! {
    panic!("the Context of {pid} was used outside its process")
}

// SAFETY: P5, every use checks that it happens inside the process's own slice, except the drop,
// which any thread may do.
unsafe impl<M> Send for Context<M> {}
// SAFETY: every use checks that it happens inside the process's own slice, which one thread at a
// time runs.
unsafe impl<M> Sync for Context<M> {}

impl<M> Drop for Context<M> {
    #[inline]
    fn drop(&mut self) {
        let Some(process) = self.process.take() else { return };
        let address = process.address();
        if self.current_slot.with_slice(|slice| slice.is_some_and(|slice| slice.is_of(address))) {
            process.end_in_slice();
        } else {
            drop(process);
        }
    }
}

impl<M> fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl<M: Send + 'static> Context<M> {
    /// Creates the context of a process whose body runs for the first time, and which therefore has
    /// none yet.
    pub(crate) fn new(cx: &Cx<'_, M>) -> Self {
        let slice = cx.slice();
        let current_slot = slice.kernel_cx.kernel.current_slot;
        let process = Some(slice.with_owned(ContextRef::new));
        Self { pid: cx.pid(), process, current_slot, takes: PhantomData }
    }

    /// Runs `f` with the running slice's [`Cx`], which has all kernel operations.
    ///
    /// # Panics
    /// Outside the process's own slice.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(&Cx<'_, M>) -> R) -> R {
        // SAFETY: the result is used only while `f` runs, and the slice lasts longer.
        match unsafe { self.view() } {
            Some(cx) => f(cx),
            None => self.is_elsewhere(),
        }
    }

    #[inline(always)]
    fn address_of_process(&self) -> *const Header {
        self.process.as_ref().map_or(core::ptr::null(), ContextRef::address)
    }

    #[cold]
    pub(crate) fn is_elsewhere(&self) -> ! {
        is_elsewhere(self.pid)
    }

    /// Does the same as [`Context::with`], but returns `None` outside the process's own slice, and
    /// while the kernel runs in it. For destructors: a body's destructor may run when the slice has
    /// ended, a message's when the kernel drops the message.
    #[inline(always)]
    pub fn try_with<R>(&self, f: impl FnOnce(&Cx<'_, M>) -> R) -> Option<R> {
        // SAFETY: the result is used only while `f` runs, and the slice lasts longer.
        unsafe { self.view() }.map(f)
    }

    /// Returns the running slice's [`Cx`] if it is the process's own slice; see
    /// [`Context::try_with`].
    ///
    /// # Safety
    /// The caller uses the result no longer than its own caller's call lasts.
    #[inline(always)]
    pub(crate) unsafe fn view<'h>(&self) -> Option<&'h Cx<'h, M>> {
        // SAFETY: the caller uses the result only during its own caller's call (this function's
        // contract), and the slice lasts longer.
        let slice = unsafe { self.current_slot.slice() }?;
        // The same address is the same process (`header`, P5), and its messages are of the type
        // that its context was made with.
        if !slice.is_of(self.address_of_process()) || slice.is_inside() {
            return None;
        }
        Some(Cx::of(slice))
    }

    /// Returns a [`PanicScope`], to run foreign code while other code has the context.
    pub fn panic_catcher(&self) -> PanicScope<M> {
        PanicScope {
            pid: self.pid,
            process: self.address_of_process(),
            current_slot: self.current_slot,
            takes: PhantomData,
        }
    }

    /// Returns the pid of this process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns the address of this process.
    pub fn address(&self) -> Address<M> {
        Address::new(self.pid)
    }

    /// Receives the oldest message, EXIT, DOWN or timer, and waits if none is there. Cancel safe.
    pub fn recv(&self) -> Receive<'_, M> {
        Receive::new(self)
    }

    /// Receives like [`Context::recv`], and returns what `take` makes of the signal, in place:
    /// copying a signal as a whole right after it was written stalls on store forwarding at each
    /// copy. `take` is called once, and should only classify.
    pub fn recv_with<R, F>(&self, take: F) -> ReceiveWith<'_, M, F>
    where
        F: FnMut(Received<M>) -> R,
    {
        ReceiveWith::new(self, take)
    }

    /// Receives like [`Context::recv`], but returns `None` after the time `patience`. Cancel safe.
    pub fn recv_timeout(&self, patience: Duration) -> ReceiveTimeout<'_, M> {
        ReceiveTimeout::new(self, patience)
    }

    /// Receives the oldest signal that `wanted` accepts, and waits for one. Inspects each signal
    /// once.
    pub fn recv_match<F>(&self, wanted: F) -> ReceiveMatch<'_, M, F>
    where
        F: FnMut(Peek<'_, M>) -> bool,
    {
        ReceiveMatch::new(self, Cursor::new(), None, wanted)
    }

    /// Receives like [`Context::recv_match`], from the cursor on ([`Context::cursor_at_end`]).
    /// Returns `None` after the time `patience`, if there is one.
    pub fn recv_match_from<F>(&self, from: Cursor, patience: Option<Duration>, wanted: F) -> ReceiveMatch<'_, M, F>
    where
        F: FnMut(Peek<'_, M>) -> bool,
    {
        ReceiveMatch::new(self, from, patience, wanted)
    }

    /// Returns a cursor behind all waiting signals; see [`Cx::cursor_at_end`].
    pub fn cursor_at_end(&self) -> Cursor {
        self.with(|cx| cx.cursor_at_end())
    }

    /// Receives the oldest waiting signal, without waiting for one.
    pub fn try_recv(&self) -> Option<Received<M>> {
        self.with(|cx| cx.receive())
    }

    /// Sleeps for `time`.
    pub fn sleep(&self, time: Duration) -> Sleep<'_, M> {
        Sleep::new(self, time)
    }

    /// Lets other processes run.
    pub fn yield_now(&self) -> YieldNow<'_, M> {
        YieldNow::new(self)
    }

    /// Ends the process with a reason, from anywhere in the body.
    pub fn stop(&self, reason: Reason) -> Stop<'_, M> {
        Stop::new(self, reason)
    }

    /// Returns `true` if a process is alive after handling all signals that this process has sent
    /// it before.
    pub fn is_alive(&self, pid: impl Into<Pid>) -> Alive<'_, M> {
        Alive::new(self, pid.into())
    }

    /// Returns `true` if a process is known to be dead; see [`Cx::is_gone`].
    pub fn is_gone(&self, pid: impl Into<Pid>) -> bool {
        self.with(|cx| cx.is_gone(pid.into()))
    }

    /// Returns a process's information about itself; `None` if it is dead. See [`Cx::info`].
    pub fn info(&self, pid: impl Into<Pid>) -> Info<'_, M> {
        Info::new(self, pid.into())
    }

    /// Sends a message; see [`Cx::send`].
    ///
    /// # Errors
    /// A [`SendError`] with the message, if it was not sent.
    pub fn send<N: Send + 'static>(&self, to: impl Recipient<N>, message: N) -> Result<(), SendError<N>> {
        self.with(|cx| cx.send(to.recipient(), message))
    }

    /// Sends a message like [`Context::send`], but at a full mailbox it waits for a free slot, in
    /// order with other waiting senders, and is woken when it is its turn. If that takes longer
    /// than `patience` (`None`: no limit), the message is returned as an error. Messages that one
    /// sender sends one after the other keep their order. If the future is dropped, the message is
    /// not sent. See [`Cx::send_or_enqueue`].
    pub fn send_wait<N: Send + 'static>(
        &self,
        to: impl Recipient<N>,
        message: N,
        patience: Option<Duration>,
    ) -> SendWait<'_, M, N> {
        SendWait::new(self, to.recipient(), message, patience)
    }

    /// Sends a message to the process that has the name; see [`Cx::send_name`].
    ///
    /// # Errors
    /// A [`SendError`] with the message, if it was not sent.
    pub fn send_name<N: Send + 'static>(&self, to: &str, message: N) -> Result<(), SendError<N>> {
        self.with(|cx| cx.send_name(to, message))
    }

    /// Sends a message through an alias; see [`Cx::send_alias`].
    ///
    /// # Errors
    /// A [`SendError`] with the message, if it was not sent.
    pub fn send_alias<N: Send + 'static>(&self, to: Alias, message: N) -> Result<(), SendError<N>> {
        self.with(|cx| cx.send_alias(to, message))
    }

    /// Sends an exit signal; see [`Cx::exit`]. After an exit of this process itself, the body runs
    /// on to its next await, and its operations have no effect.
    ///
    /// # Errors
    /// [`NoMemory`] if no memory is left for the signal.
    pub fn exit(&self, to: impl Into<Pid>, reason: Reason) -> Result<(), NoMemory> {
        self.with(|cx| cx.exit(to.into(), reason))
    }

    /// Sends an exit signal, and ends a sleeping target inside this call where possible; see
    /// [`Cx::exit_inline`].
    ///
    /// # Errors
    /// [`NoMemory`] if a signal is needed and no memory is left for it.
    pub fn exit_inline(&self, to: impl Into<Pid>, reason: Reason) -> Result<(), NoMemory> {
        self.with(|cx| cx.exit_inline(to.into(), reason))
    }

    /// Links with another process; see [`Cx::link`].
    ///
    /// # Errors
    /// A [`LinkError`] if no link was made.
    pub fn link(&self, to: impl Into<Pid>) -> Result<(), LinkError> {
        self.with(|cx| cx.link(to.into()))
    }

    /// Ends a link; see [`Cx::unlink`].
    pub fn unlink(&self, from: impl Into<Pid>) {
        self.with(|cx| cx.unlink(from.into()));
    }

    /// Monitors a process; see [`Cx::monitor`].
    ///
    /// # Errors
    /// A [`MonitorError`] if no monitor was made.
    pub fn monitor(&self, target: impl Into<Pid>) -> Result<Reference, MonitorError> {
        self.with(|cx| cx.monitor(target.into()))
    }

    /// Monitors the process that has the name now; see [`Cx::monitor_name`].
    ///
    /// # Errors
    /// A [`MonitorError`] if no monitor was made.
    pub fn monitor_name(&self, name: &str) -> Result<Reference, MonitorError> {
        self.with(|cx| cx.monitor_name(name))
    }

    /// Monitors a process and returns the monitor as an alias; see [`Cx::monitor_with`].
    ///
    /// # Errors
    /// A [`MonitorError`] if no monitor was made.
    pub fn monitor_alias(&self, target: impl Into<Pid>, alias: AliasMode) -> Result<Alias, MonitorError> {
        let reference = self.with(|cx| cx.monitor_with(SendTarget::Pid(target.into()), Some(alias)))?;
        Ok(Alias { pid: self.pid, reference })
    }

    /// Ends a monitor and returns `true` if it was still active; see [`Cx::demonitor`].
    pub fn demonitor(&self, monitor: Reference, flush: bool) -> bool {
        self.with(|cx| cx.demonitor(monitor, flush))
    }

    /// Sets whether EXITs arrive as messages, and returns the old value; see [`Cx::trap_exit`].
    pub fn trap_exit(&self, trap: bool) -> bool {
        self.with(|cx| cx.trap_exit(trap))
    }

    /// Starts a process that runs the future returned by `start`.
    ///
    /// # Errors
    /// A [`SpawnError`] if the process was not started.
    pub fn spawn<N, S, F>(&self, start: S) -> Result<Address<N>, SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new(), start).map(|(address, _)| address)
    }

    /// Starts a process like [`Context::spawn`], linked to this one.
    ///
    /// # Errors
    /// A [`SpawnError`] if the process was not started.
    pub fn spawn_link<N, S, F>(&self, start: S) -> Result<Address<N>, SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new().link(), start).map(|(address, _)| address)
    }

    /// Starts a process like [`Context::spawn`], monitored by this one.
    ///
    /// # Errors
    /// A [`SpawnError`] if the process was not started.
    pub fn spawn_monitor<N, S, F>(&self, start: S) -> Result<(Address<N>, Reference), SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        let (address, monitor) = self.spawn_with(&SpawnOptions::new().monitor(), start)?;
        Ok((address, monitor.ok_or(SpawnError::NoMemory)?))
    }

    /// Starts a process with options. Returns its address, and the monitor if the options contain
    /// one.
    ///
    /// # Errors
    /// A [`SpawnError`] if the process was not started.
    pub fn spawn_with<N, S, F>(
        &self,
        options: &SpawnOptions<'_>,
        start: S,
    ) -> Result<(Address<N>, Option<Reference>), SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        let spawned = match const { is_large::<F>() } {
            true => self.spawn_body(options, LargeBody::new(start))?,
            false => self.spawn_body(options, FutureBody::new(start))?,
        };
        Ok((Address::new(spawned.pid), spawned.monitor))
    }

    /// Starts a process that runs any body.
    ///
    /// # Errors
    /// A [`SpawnError`] if the process was not started.
    pub fn spawn_body<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        self.with(|cx| cx.spawn(options, body))
    }

    /// Registers a process under a name; see [`Cx::register`].
    ///
    /// # Errors
    /// A [`RegisterError`] if the name was not registered.
    pub fn register(&self, name: &str, pid: impl Into<Pid>) -> Result<(), RegisterError> {
        self.with(|cx| cx.register(name, pid.into()))
    }

    /// Takes a name from the process that has it; see [`Cx::unregister`].
    pub fn unregister(&self, name: &str) -> bool {
        self.with(|cx| cx.unregister(name))
    }

    /// Returns the process that has the name; see [`Cx::whereis`].
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.with(|cx| cx.whereis(name))
    }

    /// Creates an alias of this process; see [`Cx::alias`].
    ///
    /// # Errors
    /// [`NoMemory`] if no memory or no reference is left, or this process is dying.
    pub fn alias(&self, reply: bool) -> Result<Alias, NoMemory> {
        self.with(|cx| cx.alias(reply))
    }

    /// Ends an alias of this process; see [`Cx::unalias`].
    pub fn unalias(&self, alias: Alias) -> bool {
        self.with(|cx| cx.unalias(alias))
    }

    /// Sends `message` after the time `after`; see [`Cx::send_after`].
    ///
    /// # Errors
    /// A [`TimerError`] if the timer was not started; the message is dropped.
    pub fn send_after<'d, N: Send + 'static>(
        &self,
        to: impl Into<SendTarget<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.with(|cx| cx.send_after(to, after, message))
    }

    /// Starts a timer whose message arrives with the timer's reference; see [`Cx::start_timer`].
    ///
    /// # Errors
    /// A [`TimerError`] if the timer was not started; the message is dropped.
    pub fn start_timer<'d, N: Send + 'static>(
        &self,
        to: impl Into<SendTarget<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.with(|cx| cx.start_timer(to, after, message))
    }

    /// Cancels a timer and returns the time that it had left; see [`Cx::cancel_timer`].
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.with(|cx| cx.cancel_timer(timer))
    }

    /// Returns the time that a timer has left; see [`Cx::read_timer`].
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.with(|cx| cx.read_timer(timer))
    }

    /// Returns this process's information about itself; `None` if it is dying.
    ///
    /// # Errors
    /// [`NoMemory`] if no memory is left.
    pub fn own_info(&self) -> Result<Option<ProcessInfo>, NoMemory> {
        match self.with(|cx| cx.info(cx.pid())) {
            MaybeReady::Ready(info) => Ok(info?.map(|info| *info)),
            MaybeReady::Pending(_) => unreachable!("a process answers a query about itself immediately"),
        }
    }
}
