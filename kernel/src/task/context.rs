//! [`Context`], an async body's way to the kernel.
//!
//! It is the process's own: it finds the running slice where the world keeps it
//! ([`crate::world::CurrentSlot`]) and checks that the slice is its process's. Used anywhere else (moved
//! to another thread, kept after the process, or after its kernel) it panics there and harms nobody.
//!
//! What it compares is the process's address. It has a share of that memory (`header`, P5), so no other process, of this kernel or
//! of another, is ever there while the context exists: the same address is the same process, which takes the same type.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::time::Duration;

use crate::alias::AliasMode;
use crate::cx::{MaybeReady, Cx, SendTarget, Slice};
use crate::info::ProcessInfo;
use crate::memory::NoMemory;
use crate::name::RegisterError;
use crate::pid::{Alias, Pid, Reference};
use crate::process::body::Body;
use crate::process::header::Header;
use crate::process::spawn::{SpawnError, SpawnOptions, Spawned};
use crate::process::ties::{LinkError, MonitorError};
use crate::reason::Reason;
use crate::received::{Peek, Received};
use crate::send::SendError;
use crate::signal::queue::Cursor;
use crate::task::future::{IntoReason, FutureBody, LargeBody, is_large};
use crate::task::receive::{Alive, Info, Receive, ReceiveMatch, ReceiveTimeout, ReceiveWith, Sleep, Stop, YieldNow};
use crate::task::waiting::SendWait;
use crate::timer::record::TimerError;
use crate::world::CurrentSlot;

/// A pid that is known to take `M`.
pub struct Address<M> {
    pid: Pid,
    takes: PhantomData<fn(M)>,
}

impl<M> Address<M> {
    /// The address of a process that the caller knows to take `M`. Sending checks it again.
    pub const fn new(pid: Pid) -> Self {
        Self { pid, takes: PhantomData }
    }

    /// Who.
    pub const fn pid(self) -> Pid {
        self.pid
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Address<M> {}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        self.pid == other.pid
    }
}

impl<M> Eq for Address<M> {}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.pid, f)
    }
}

impl<M> From<Address<M>> for Pid {
    fn from(address: Address<M>) -> Self {
        address.pid
    }
}

impl<M> From<Address<M>> for SendTarget<'_> {
    fn from(address: Address<M>) -> Self {
        Self::Pid(address.pid)
    }
}

/// Whom a message of type `N` can be sent to: a pid takes any (and checks it), an address its own.
pub trait Recipient<N> {
    /// Who.
    fn recipient(self) -> Pid;
}

impl<N> Recipient<N> for Pid {
    fn recipient(self) -> Pid {
        self
    }
}

impl<N> Recipient<N> for Address<N> {
    fn recipient(self) -> Pid {
        self.pid
    }
}

/// An async body's way to the kernel; see the module.
///
/// Invariant in `M`, because messages go into the process's mailbox and come out of here:
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
/// And nobody has two of one process:
///
/// ```compile_fail,E0277
/// fn is_clone<T: Clone>() {}
/// is_clone::<atropos_kernel::Context<()>>();
/// ```
pub struct Context<M> {
    pid: Pid,
    /// With the context's share of its memory.
    process: NonNull<Header>,
    here: fn() -> *const CurrentSlot,
    takes: PhantomData<fn(M) -> M>,
}

/// Runs foreign code contained within a process's slice, whoever has its [`Context`].
///
/// ```compile_fail,E0308
/// use atropos_kernel::PanicScope;
/// fn lax(container: PanicScope<fn(&'static str)>) -> PanicScope<for<'a> fn(&'a str)> {
///     container
/// }
/// ```
pub struct PanicScope<M> {
    pid: Pid,
    /// Compared, never followed. Without a share: nothing of the process is reached by it, so it does no harm where another process
    /// has the memory and the pid.
    process: *const Header,
    here: fn() -> *const CurrentSlot,
    takes: PhantomData<fn(M) -> M>,
}

impl<M: Send + 'static> PanicScope<M> {
    /// See [`Cx::catch_panic`].
    ///
    /// # Panics
    /// Outside the process's own slice.
    #[inline]
    pub fn catch_panic<R>(&self, code: impl FnOnce() -> R) -> Result<R, Reason> {
        // SAFETY: used no longer than this call, and the slice lasts longer.
        let slice = unsafe { Slice::noted(self.here) };
        let is_own = |slice: &&Slice<'_>| {
            let process = slice.process();
            core::ptr::eq(process, self.process) && process.pid == self.pid && !slice.inside.get()
        };
        match slice.filter(is_own) {
            Some(slice) => slice.hand.kernel.contained(code),
            None => is_elsewhere(self.pid),
        }
    }
}

// SAFETY: every use checks that it happens inside the process's own slice.
unsafe impl<M> Send for PanicScope<M> {}
// SAFETY: as above: one thread at a time runs the slice.
unsafe impl<M> Sync for PanicScope<M> {}

impl<M> fmt::Debug for PanicScope<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("pid", &self.pid).finish_non_exhaustive()
    }
}

#[cold]
fn is_elsewhere(pid: Pid) -> ! {
    panic!("the Context of {pid} was used outside its process")
}

// SAFETY: every use checks that it happens inside the process's own slice, but for the drop, which is for any thread (`header`, P5).
unsafe impl<M> Send for Context<M> {}
// SAFETY: as above: one thread at a time runs the slice.
unsafe impl<M> Sync for Context<M> {}

impl<M> Drop for Context<M> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: used only here, and the slice lasts longer.
        let slice = unsafe { Slice::noted(self.here) };
        if slice.is_some_and(|slice| core::ptr::eq(slice.process(), self.process.as_ptr())) {
            // SAFETY: the context's share keeps it.
            let process = unsafe { self.process.as_ref() };
            // SAFETY: that share ends here, in the process's own slice.
            unsafe { process.context_is_gone() };
        } else {
            // SAFETY: the context's share, not used again.
            unsafe { Header::give_up_context(self.process) };
        }
    }
}

impl<M> fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("pid", &self.pid).finish_non_exhaustive()
    }
}

impl<M: Send + 'static> Context<M> {
    /// The context of a process, which has none yet: its body runs for the first time.
    pub(crate) fn new(cx: &Cx<'_, M>) -> Self {
        let process = cx.process();
        // SAFETY: the process runs, so its kernel is there (P4).
        let here = unsafe { process.kernel.as_ref() }.here;
        // SAFETY: its first slice, by contract.
        let process = unsafe { process.share_with_context() };
        Self { pid: cx.pid(), process, here, takes: PhantomData }
    }

    /// Runs `f` with the running slice's view of the kernel: everything that [`Cx`] can do.
    ///
    /// # Panics
    /// Outside the process's own slice.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(&Cx<'_, M>) -> R) -> R {
        // SAFETY: used no longer than `f` runs, and the slice lasts longer.
        match unsafe { self.view() } {
            Some(cx) => f(cx),
            None => self.is_elsewhere(),
        }
    }

    #[cold]
    pub(super) fn is_elsewhere(&self) -> ! {
        is_elsewhere(self.pid)
    }

    /// As [`Context::with`]; `None` outside the process's own slice, and while the kernel is at work in it. For
    /// destructors: a body's may run when there is no slice any more, a message's when the kernel drops it.
    #[inline(always)]
    pub fn try_with<R>(&self, f: impl FnOnce(&Cx<'_, M>) -> R) -> Option<R> {
        // SAFETY: used no longer than `f` runs, and the slice lasts longer.
        unsafe { self.view() }.map(f)
    }

    /// The running slice's view of the kernel, if that is the process's own; see [`Context::try_with`].
    ///
    /// # Safety
    /// The caller uses it no longer than its caller's call lasts.
    #[inline(always)]
    pub(super) unsafe fn view<'h>(&self) -> Option<&'h Cx<'h, M>> {
        // SAFETY: by contract no longer than this call's caller, and the slice lasts longer.
        let slice = unsafe { Slice::noted(self.here) }?;
        // The same address is the same process (`header`, P5), and its messages are of the type that its context was made with.
        if !core::ptr::eq(slice.process(), self.process.as_ptr()) || slice.inside.get() {
            return None;
        }
        Some(Cx::of(slice))
    }

    /// For what is to run contained while somebody else has the context.
    pub fn panic_catcher(&self) -> PanicScope<M> {
        PanicScope { pid: self.pid, process: self.process.as_ptr(), here: self.here, takes: PhantomData }
    }

    /// Who it is.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Where it can be sent to.
    pub fn address(&self) -> Address<M> {
        Address::new(self.pid)
    }

    /// The oldest message, EXIT, DOWN or timer, waiting for one if there is none. Cancel safe.
    pub fn recv(&self) -> Receive<'_, M> {
        Receive::new(self)
    }

    /// As [`Context::recv`], and what `take` makes of what has come, where it lies: what is moved as a whole, and through a
    /// layer or two, is waited for each time. `take` is called once, and should only sort.
    pub fn recv_with<R, F>(&self, take: F) -> ReceiveWith<'_, M, F>
    where
        F: FnMut(Received<M>) -> R,
    {
        ReceiveWith::new(self, take)
    }

    /// As [`Context::recv`], but `None` when nothing has come in time. Cancel safe.
    pub fn recv_timeout(&self, patience: Duration) -> ReceiveTimeout<'_, M> {
        ReceiveTimeout::new(self, patience)
    }

    /// The oldest that `wanted` accepts, waiting for it. Looks at each signal once.
    pub fn recv_match<F>(&self, wanted: F) -> ReceiveMatch<'_, M, F>
    where
        F: FnMut(Peek<'_, M>) -> bool,
    {
        ReceiveMatch::new(self, Cursor::new(), None, wanted)
    }

    /// As [`Context::recv_match`], from the cursor on ([`Context::cursor_at_end`]), and `None` when it
    /// has not come in time.
    pub fn recv_match_from<F>(&self, from: Cursor, patience: Option<Duration>, wanted: F) -> ReceiveMatch<'_, M, F>
    where
        F: FnMut(Peek<'_, M>) -> bool,
    {
        ReceiveMatch::new(self, from, patience, wanted)
    }

    /// See [`Cx::cursor_at_end`].
    pub fn cursor_at_end(&self) -> Cursor {
        self.with(|cx| cx.cursor_at_end())
    }

    /// The oldest that waits, without waiting.
    pub fn try_recv(&self) -> Option<Received<M>> {
        self.with(|cx| cx.receive())
    }

    /// Waits.
    pub fn sleep(&self, time: Duration) -> Sleep<'_, M> {
        Sleep::new(self, time)
    }

    /// Lets the others run.
    pub fn yield_now(&self) -> YieldNow<'_, M> {
        YieldNow::new(self)
    }

    /// Ends the process with a reason, from anywhere in the body.
    pub fn stop(&self, reason: Reason) -> Stop<'_, M> {
        Stop::new(self, reason)
    }

    /// Whether a process is alive, after all that was sent to it before.
    pub fn is_alive(&self, pid: impl Into<Pid>) -> Alive<'_, M> {
        Alive::new(self, pid.into())
    }

    /// See [`Cx::is_gone`].
    pub fn is_gone(&self, pid: impl Into<Pid>) -> bool {
        self.with(|cx| cx.is_gone(pid.into()))
    }

    /// What a process knows of itself; `None` when it is dead.
    pub fn info(&self, pid: impl Into<Pid>) -> Info<'_, M> {
        Info::new(self, pid.into())
    }

    /// See [`Cx::send`].
    pub fn send<N: Send + 'static>(&self, to: impl Recipient<N>, message: N) -> Result<(), SendError<N>> {
        self.with(|cx| cx.send(to.recipient(), message))
    }

    /// As [`Context::send`], but at a full mailbox it waits for room, in line with the others that do, and is woken when it
    /// is its turn. The message comes back when that takes longer than `patience`; `None`: for ever. What one sender
    /// sends, one after the other, keeps its order. Dropped, it has not sent. See [`Cx::send_or_enqueue`].
    pub fn send_wait<N: Send + 'static>(
        &self,
        to: impl Recipient<N>,
        message: N,
        patience: Option<Duration>,
    ) -> SendWait<'_, M, N> {
        SendWait::new(self, to.recipient(), message, patience)
    }

    /// See [`Cx::send_name`].
    pub fn send_name<N: Send + 'static>(&self, to: &str, message: N) -> Result<(), SendError<N>> {
        self.with(|cx| cx.send_name(to, message))
    }

    /// See [`Cx::send_alias`].
    pub fn send_alias<N: Send + 'static>(&self, to: Alias, message: N) -> Result<(), SendError<N>> {
        self.with(|cx| cx.send_alias(to, message))
    }

    /// See [`Cx::exit`]. To itself: the body runs on to its next await, and nothing it does is done.
    pub fn exit(&self, to: impl Into<Pid>, reason: Reason) -> Result<(), NoMemory> {
        self.with(|cx| cx.exit(to.into(), reason))
    }

    /// See [`Cx::exit_inline`].
    pub fn exit_inline(&self, to: impl Into<Pid>, reason: Reason) -> Result<(), NoMemory> {
        self.with(|cx| cx.exit_inline(to.into(), reason))
    }

    /// See [`Cx::link`].
    pub fn link(&self, to: impl Into<Pid>) -> Result<(), LinkError> {
        self.with(|cx| cx.link(to.into()))
    }

    /// See [`Cx::unlink`].
    pub fn unlink(&self, from: impl Into<Pid>) {
        self.with(|cx| cx.unlink(from.into()));
    }

    /// See [`Cx::monitor`].
    pub fn monitor(&self, target: impl Into<Pid>) -> Result<Reference, MonitorError> {
        self.with(|cx| cx.monitor(target.into()))
    }

    /// See [`Cx::monitor_name`].
    pub fn monitor_name(&self, name: &str) -> Result<Reference, MonitorError> {
        self.with(|cx| cx.monitor_name(name))
    }

    /// See [`Cx::monitor_with`].
    pub fn monitor_alias(&self, target: impl Into<Pid>, alias: AliasMode) -> Result<Alias, MonitorError> {
        let reference = self.with(|cx| cx.monitor_with(SendTarget::Pid(target.into()), Some(alias)))?;
        Ok(Alias { pid: self.pid, reference })
    }

    /// See [`Cx::demonitor`].
    pub fn demonitor(&self, monitor: Reference, flush: bool) -> bool {
        self.with(|cx| cx.demonitor(monitor, flush))
    }

    /// See [`Cx::trap_exit`].
    pub fn trap_exit(&self, trap: bool) -> bool {
        self.with(|cx| cx.trap_exit(trap))
    }

    /// Starts a process that runs `start`'s future.
    pub fn spawn<N, S, F>(&self, start: S) -> Result<Address<N>, SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new(), start).map(|(address, _)| address)
    }

    /// As [`Context::spawn`], linked.
    pub fn spawn_link<N, S, F>(&self, start: S) -> Result<Address<N>, SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        self.spawn_with(&SpawnOptions::new().link(), start).map(|(address, _)| address)
    }

    /// As [`Context::spawn`], monitored.
    pub fn spawn_monitor<N, S, F>(&self, start: S) -> Result<(Address<N>, Reference), SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: IntoReason> + Send + 'static,
    {
        let (address, monitor) = self.spawn_with(&SpawnOptions::new().monitor(), start)?;
        Ok((address, monitor.ok_or(SpawnError::NoMemory)?))
    }

    /// Starts a process with options; its address, and the monitor if one was asked for.
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
    pub fn spawn_body<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        self.with(|cx| cx.spawn(options, body))
    }

    /// See [`Cx::register`].
    pub fn register(&self, name: &str, pid: impl Into<Pid>) -> Result<(), RegisterError> {
        self.with(|cx| cx.register(name, pid.into()))
    }

    /// See [`Cx::unregister`].
    pub fn unregister(&self, name: &str) -> bool {
        self.with(|cx| cx.unregister(name))
    }

    /// See [`Cx::whereis`].
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.with(|cx| cx.whereis(name))
    }

    /// See [`Cx::alias`].
    pub fn alias(&self, reply: bool) -> Result<Alias, NoMemory> {
        self.with(|cx| cx.alias(reply))
    }

    /// See [`Cx::unalias`].
    pub fn unalias(&self, alias: Alias) -> bool {
        self.with(|cx| cx.unalias(alias))
    }

    /// See [`Cx::send_after`].
    pub fn send_after<'d, N: Send + 'static>(
        &self,
        to: impl Into<SendTarget<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.with(|cx| cx.send_after(to, after, message))
    }

    /// See [`Cx::start_timer`].
    pub fn start_timer<'d, N: Send + 'static>(
        &self,
        to: impl Into<SendTarget<'d>>,
        after: Duration,
        message: N,
    ) -> Result<Reference, TimerError> {
        self.with(|cx| cx.start_timer(to, after, message))
    }

    /// See [`Cx::cancel_timer`].
    pub fn cancel_timer(&self, timer: Reference) -> Option<Duration> {
        self.with(|cx| cx.cancel_timer(timer))
    }

    /// See [`Cx::read_timer`].
    pub fn read_timer(&self, timer: Reference) -> Option<Duration> {
        self.with(|cx| cx.read_timer(timer))
    }

    /// What it knows of itself.
    pub fn own_info(&self) -> Result<Option<ProcessInfo>, NoMemory> {
        match self.with(|cx| cx.info(cx.pid()))? {
            MaybeReady::Ready(info) => Ok(info),
            MaybeReady::Pending(_) => unreachable!("a process knows itself at once"),
        }
    }
}
