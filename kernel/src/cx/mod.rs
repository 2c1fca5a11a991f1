//! [`Cx`], what a body asks the kernel for while it runs.
//!
//! A [`Slice`] is one process in the hands of one core, for one turn. It is noted in the
//! world's [`crate::world::CurrentSlot`] while the body runs, so that whoever runs inside it (an
//! async body's [`crate::task::Context`], a waker) finds it; nothing else finds it, so
//! there is one user of the process's private part at a time.
//!
//! Once the process is dying every operation does nothing and says so: what a dead process
//! does is not done.
//!
//! | noun | module |
//! | --- | --- |
//! | the turn, and who is at work in it | `slice` |
//! | receiving, looking, sending, exits | `mail` |
//! | links and monitors | `tie` |
//! | names and aliases | `name` |
//! | timers | `timer` |
//! | what is asked of others | `question` |

mod mail;
mod name;
mod question;
mod slice;
mod tie;
mod timer;

use core::marker::PhantomData;
use core::task::Waker;

pub use mail::Search;
pub use question::MaybeReady;
pub(crate) use question::ask;
pub(crate) use slice::Slice;

use crate::held::CatchDrop;
use crate::pid::{Pid, Reference};
use crate::process::body::Body;
use crate::process::header::Header;
use crate::process::private::OwnerState;
use crate::process::spawn::{self, Parent, SlotSource, SpawnError, SpawnOptions, Spawned};
use crate::reason::Reason;
use crate::task::context::Context;
use crate::task::future::{FutureBody, LargeBody, is_large};
use crate::task::waker;

/// The kernel, as a running body of messages `M` sees it.
///
/// Invariant in `M`: a body both takes `M`s out of it and sends them to itself. So a process of one type of functions is not
/// taken for one of another:
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

/// Whom a timer's message is for.
#[derive(Clone, Copy, Debug)]
pub enum SendTarget<'a> {
    /// A process.
    Pid(Pid),
    /// Whoever has the name when the time has come.
    Name(&'a str),
}

impl From<Pid> for SendTarget<'_> {
    fn from(pid: Pid) -> Self {
        Self::Pid(pid)
    }
}

impl<'a> From<&'a str> for SendTarget<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a, M: Send + 'static> Cx<'a, M> {
    pub(crate) fn of<'s>(slice: &'s Slice<'a>) -> &'s Self {
        // SAFETY: repr(transparent) over the slice.
        unsafe { &*core::ptr::from_ref(slice).cast::<Self>() }
    }

    /// The owner's part. `f` calls nothing foreign and borrows nothing twice.
    fn private<R>(&self, f: impl FnOnce(&mut OwnerState) -> R) -> R {
        // SAFETY: the slice has the process (P1), and `f` is short (see above).
        f(unsafe { self.slice.process().private() })
    }

    pub(crate) fn process(&self) -> &'a Header {
        self.slice.process()
    }

    /// Whether the body, a future, wants another slice soon.
    pub(crate) fn take_yield(&self) -> bool {
        self.slice.yields.replace(false)
    }

    /// Slices that the process has run: another one is another number.
    pub(crate) fn slices(&self) -> u64 {
        self.private(|private| private.slices)
    }

    pub(crate) fn slice(&self) -> &Slice<'a> {
        &self.slice
    }

    /// Whether the slice has no reductions left.
    pub fn is_exhausted(&self) -> bool {
        self.slice.is_exhausted()
    }

    /// Ends the process as if its body had returned [`crate::Resumed::Exit`]: the body should
    /// return, and nothing it does any more is done.
    pub fn stop(&self, reason: Reason) {
        reason.come_into(self.slice.hand.kernel.world());
        // What is in a reason is foreign, so one too many is not dropped under the borrow.
        if !self.is_dying() {
            self.private(|private| private.dying = Some(reason));
        }
    }

    fn alive<E>(&self, dying: E) -> Result<(), E> {
        if self.is_dying() { Err(dying) } else { Ok(()) }
    }

    /// Who it is.
    pub fn pid(&self) -> Pid {
        self.slice.process().pid
    }

    /// The core that runs it now.
    pub fn core(&self) -> usize {
        self.slice.core.id()
    }

    /// Nanoseconds of the world's clock.
    pub fn now(&self) -> u64 {
        self.slice.hand.kernel.now()
    }

    /// Whether it has been decided that the process dies: the body should return.
    pub fn is_dying(&self) -> bool {
        self.private(|private| private.dying.is_some())
    }

    /// Spends reductions; false when the slice has none left and the body should yield.
    pub fn spend(&self, reductions: u32) -> bool {
        self.pay(reductions);
        !self.slice.is_exhausted()
    }

    /// As [`Cx::spend`], for operations: they ask nothing, so they do not look at the clock either.
    #[inline(always)]
    pub(crate) fn pay(&self, reductions: u32) {
        self.slice.pay(reductions);
    }

    /// As [`Cx::reference`], for its futures.
    pub(crate) fn new_reference(&self) -> Option<Reference> {
        self.reference()
    }

    /// Whether tasks of others wait for something of this process's.
    pub(crate) fn has_waiters(&self) -> bool {
        self.private(|private| private.waiters.is_some())
    }

    /// A reference that nobody else has.
    fn reference(&self) -> Option<Reference> {
        self.slice.core.reference(self.slice.hand.kernel)
    }

    /// Starts a process. Lock-free, but for growing the table.
    pub fn spawn<B: Body>(&self, options: &SpawnOptions<'_>, body: B) -> Result<Spawned, SpawnError> {
        self.alive(SpawnError::Dying)?;
        self.pay(10);
        let wanted = options.monitor || options.supervised;
        let reference = if wanted { Some(self.reference().ok_or(SpawnError::NoMemory)?) } else { None };
        let parent = Parent { process: self.slice.process(), reference, by_proxy: false };
        spawn::spawn(&self.slice.hand, SlotSource::Core(self.slice.core), Some(parent), options, body)
    }

    /// Starts a process that runs `start`'s future.
    pub fn spawn_async<N, S, F>(&self, options: &SpawnOptions<'_>, start: S) -> Result<Spawned, SpawnError>
    where
        N: Send + 'static,
        S: FnOnce(Context<N>) -> F + Send + 'static,
        F: Future<Output: crate::task::IntoReason> + Send + 'static,
    {
        match const { is_large::<F>() } {
            true => self.spawn(options, LargeBody::new(start)),
            false => self.spawn(options, FutureBody::new(start)),
        }
    }

    /// Runs foreign code inside the slice: a panic in it becomes a crash with its text, where the world can
    /// catch one, and the body goes on. What the code has left half done is the caller's to judge.
    pub fn catch_panic<R>(&self, code: impl FnOnce() -> R) -> Result<R, Reason> {
        self.slice.hand.kernel.contained(code)
    }

    /// Drops a foreign value: a panic of its destructor is contained, and nobody's ([`crate::Platform::on_unhandled_panic`]).
    pub fn let_go<T>(&self, what: T) {
        if core::mem::needs_drop::<T>() {
            let mut what = Some(what);
            self.slice.hand.catch_panic(|| drop(what.take()));
        }
    }

    /// A foreign value that this process keeps: a panic of its destructor is contained, wherever it is dropped.
    pub fn hold<T>(&self, value: T) -> CatchDrop<T> {
        CatchDrop::new(value, self.slice.hand.kernel.world().panic_catcher())
    }

    /// Wakes the body from anywhere, also after the process is gone.
    pub fn waker(&self) -> Waker {
        waker::of(self.slice.process())
    }
}
