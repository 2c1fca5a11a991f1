//! Why a process ended: [`Reason`], one word.
//!
//! The reasons that have a meaning in OTP are small codes in that word. All other reasons are a
//! pointer to a reference-counted value. Cloning a reason therefore never allocates, so a dying
//! process can give its reason to a million other processes: the exit path allocates nothing. A
//! slot keeps the reason of its last process in the same word (`table`).
//!
//! A process may end normally *with a result* ([`Reason::normal_with`]). To all code that
//! interprets reasons this is `normal`: it equals `normal` and every other normal end. The value
//! only travels with the reason, to any number of watchers, and is kept as long as the reason is
//! kept. No signal, supervisor or comparison therefore depends on the result of a process, and the
//! result needs neither `Debug` nor `PartialEq`.
//!
//! A reason may carry another reason, which may carry a third. The kernel drops, compares and
//! formats the chain in a loop, so a long chain needs no more stack than a short one. The formatted
//! text is cut at [`SHOWN`]. A type of the embedder that holds a reason among other fields is
//! dropped by its own destructor, recursively, like a list of boxes.
//!
//! The reference count follows the usual rule: a clone needs no ordering (the thread that clones
//! already holds a count), a drop releases, and the last drop acquires.

mod show;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::any::Any;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};

use crate::catch_drop::CatchPanic;
use crate::memory;
use crate::memory::pool_box::PoolBox;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, acquire_by};

/// A value that a [`Reason`] can carry: any value that can be formatted with `Debug`, compared and
/// sent. The last holder of the reason drops the value, and this holder may be the kernel in the
/// middle of an operation. Once a process has died of the reason, or the reason has been sent to
/// it, a panic of the value's destructor is caught if the platform can catch panics
/// ([`crate::Platform::panic_catcher`]).
pub trait ReasonValue: Any + fmt::Debug + Send + Sync {
    /// Returns `true` if `other` is the same value, of the same type.
    fn same(&self, other: &dyn ReasonValue) -> bool;
}

impl<T: Any + fmt::Debug + Send + Sync + PartialEq> ReasonValue for T {
    fn same(&self, other: &dyn ReasonValue) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| other == self)
    }
}

impl dyn ReasonValue {
    /// Returns the value if it is a `T`.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref::<T>()
    }
}

/// The reason why a process ended, or why an exit signal asks it to end.
///
/// ```
/// use atropos_kernel::{Reason, ReasonKind};
/// assert_eq!(Reason::value("boom"), Reason::value("boom"));
/// assert!(matches!(Reason::crash("index out of range").kind(), ReasonKind::Crash(text) if text.starts_with("index")));
/// assert!(Reason::shutdown_with(3).is_orderly());
/// ```
pub struct Reason(NonNull<ReasonHeader>);

/// What a [`Reason`] means.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum ReasonKind<'a> {
    /// The process has finished its work.
    Normal,
    /// The process was asked to stop, for example by a supervisor.
    Shutdown,
    /// The process was asked to stop, and the reason carries a value.
    ShutdownWith(&'a dyn ReasonValue),
    /// As a signal: the receiver dies, even if it traps exits. As a reason: the process itself
    /// exited with `kill`.
    Kill,
    /// The process was killed.
    Killed,
    /// The process did not exist.
    NoProc,
    /// The node of the process, or the connection to that node, is gone.
    NoConnection,
    /// The process crashed. The text is that of the panic.
    Crash(&'a str),
    /// A reason that the embedder defines.
    Value(&'a dyn ReasonValue),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReasonTag {
    NormalWith,
    ShutdownWith,
    Crash,
    Value,
}

/// The header of every reference-counted value.
#[repr(C)]
struct ReasonHeader {
    count: AtomicUsize,
    kind: ReasonTag,
    /// Returns the value of a live header, which was made with this function.
    value: unsafe fn(&NonNull<ReasonHeader>) -> &dyn ReasonValue,
    /// Frees the allocation, whose last count the caller has released. If the value is itself a
    /// reason, it is returned, and the caller drops it next.
    free: unsafe fn(NonNull<ReasonHeader>) -> Option<Reason>,
    /// The [`CatchPanic`] function of the first platform that the reason reached; null before.
    panic_catcher: AtomicPtr<()>,
}

#[repr(C)]
struct RefCountedReason<T> {
    head: ReasonHeader,
    value: T,
}

/// The text of a crash, and the panic payload if the platform has kept it.
struct CrashText(Cow<'static, str>, Option<Box<dyn Any + Send + Sync>>);

impl fmt::Debug for CrashText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl PartialEq for CrashText {
    /// Compares by the text. The payload of a crash is not compared.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// A result, stored as a value that needs neither `Debug` nor `PartialEq`.
struct ResultOf<T>(T);

impl<T> fmt::Debug for ResultOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::any::type_name::<T>())
    }
}

impl<T> PartialEq for ResultOf<T> {
    /// All normal ends are equal.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

// Codes lie below every address at which an allocator places a `ReasonHeader`.
const CODES: usize = 9;
/// Number of nested reasons that are formatted with their braces.
const SHOWN: usize = 64;
const LOST_TEXT: &str = "out of memory: the reason's own value was lost";

impl Reason {
    /// The reason `normal`: the process has finished its work ([`ReasonKind::Normal`]).
    pub const NORMAL: Self = Self::code(1);
    /// The reason `shutdown`: the process was asked to stop ([`ReasonKind::Shutdown`]).
    pub const SHUTDOWN: Self = Self::code(2);
    /// The reason `kill`, which cannot be trapped as a signal ([`ReasonKind::Kill`]).
    pub const KILL: Self = Self::code(3);
    /// The reason `killed`: the process died of a kill ([`ReasonKind::Killed`]).
    pub const KILLED: Self = Self::code(4);
    /// The reason `noproc`: there is no such process ([`ReasonKind::NoProc`]).
    pub const NOPROC: Self = Self::code(5);
    /// The reason `noconnection`: the node is not reachable ([`ReasonKind::NoConnection`]).
    pub const NOCONNECTION: Self = Self::code(6);
    /// A crash whose value was lost because the kernel was out of memory.
    pub const OUT_OF_MEMORY: Self = Self::code(7);
    /// A normal end whose result was lost because the kernel was out of memory, see
    /// [`Reason::result_was_dropped`].
    pub const RESULT_OUT_OF_MEMORY: Self = Self::code(8);

    const fn code(code: usize) -> Self {
        assert!(code != 0 && code < CODES);
        match NonNull::new(ptr::without_provenance_mut(code)) {
            Some(code) => Self(code),
            None => unreachable!(),
        }
    }

    /// Creates a reason that is `normal` in every respect and carries the result of a process, see
    /// [`Reason::result`]. The last holder of the reason drops the value. Returns
    /// [`Reason::RESULT_OUT_OF_MEMORY`] when there is no memory.
    ///
    /// ```
    /// use atropos_kernel::Reason;
    /// let reason = Reason::normal_with(42_u32);
    /// assert!(reason.is_normal() && reason == Reason::NORMAL && reason == Reason::normal_with("another"));
    /// assert_eq!((reason.to_string().as_str(), reason.result::<u32>()), ("normal", Some(&42)));
    /// assert_eq!(reason.result::<i64>(), None, "of another type");
    /// ```
    pub fn normal_with<T: Any + Send + Sync>(value: T) -> Self {
        match Self::counted(ReasonTag::NormalWith, ResultOf(value)) {
            lost if lost.as_code().is_some() => Self::RESULT_OUT_OF_MEMORY,
            kept => kept,
        }
    }

    /// Creates a crash with its text. Returns [`Reason::OUT_OF_MEMORY`] when there is no memory.
    pub fn crash(text: impl Into<Cow<'static, str>>) -> Self {
        Self::counted(ReasonTag::Crash, CrashText(text.into(), None))
    }

    /// Creates a crash like [`Reason::crash`] that also carries the panic payload, for
    /// [`Reason::payload`]. Two crashes with the same text are equal, whatever they carry. The last
    /// holder of the reason drops the payload, whose destructor must not panic.
    pub fn crash_carrying(text: impl Into<Cow<'static, str>>, payload: Box<dyn Any + Send + Sync>) -> Self {
        Self::counted(ReasonTag::Crash, CrashText(text.into(), Some(payload)))
    }

    /// Returns the payload of the panic that caused this crash, if the platform has kept it (the
    /// `std` platform keeps payloads that are not text).
    pub fn payload(&self) -> Option<&(dyn Any + Send + Sync)> {
        let head = self.head().filter(|head| head.kind == ReasonTag::Crash)?;
        self.carried(head).downcast_ref::<CrashText>()?.1.as_deref()
    }

    /// Creates a crash whose text is that of `error`. Returns [`Reason::OUT_OF_MEMORY`] when there
    /// is no memory.
    pub fn crash_with(error: &dyn fmt::Display) -> Self {
        memory::try_text(format_args!("{error}")).map_or(Self::OUT_OF_MEMORY, Self::crash)
    }

    /// Creates `{shutdown, value}`: an orderly end. Returns [`Reason::OUT_OF_MEMORY`] when there is
    /// no memory.
    pub fn shutdown_with<T: ReasonValue>(value: T) -> Self {
        Self::counted(ReasonTag::ShutdownWith, value)
    }

    /// Creates a reason that the embedder defines. Returns [`Reason::OUT_OF_MEMORY`] when there is
    /// no memory.
    pub fn value<T: ReasonValue>(value: T) -> Self {
        Self::counted(ReasonTag::Value, value)
    }

    fn counted<T: ReasonValue>(kind: ReasonTag, value: T) -> Self {
        unsafe fn value_of<T: ReasonValue>(head: &NonNull<ReasonHeader>) -> &dyn ReasonValue {
            // SAFETY: the head starts a live `RefCountedReason<T>` (the contract of
            // `ReasonHeader::value`).
            &unsafe { head.cast::<RefCountedReason<T>>().as_ref() }.value
        }
        unsafe fn free<T: Any>(head: NonNull<ReasonHeader>) -> Option<Reason> {
            // SAFETY: B1 (`pool_box`): the last count is released (the contract of
            // `ReasonHeader::free`), so no other thread can reach the allocation, which `counted`
            // took out of a box.
            let whole = unsafe { PoolBox::from_raw(head.cast::<RefCountedReason<T>>()) };
            into_reason(whole.into_inner(None).value)
        }
        let panic_catcher = AtomicPtr::new(ptr::null_mut());
        let head =
            ReasonHeader { count: AtomicUsize::new(1), kind, value: value_of::<T>, free: free::<T>, panic_catcher };
        match PoolBox::try_new(RefCountedReason { head, value }, None) {
            Ok(whole) => Self(whole.into_raw().cast()),
            Err(_) => Self::OUT_OF_MEMORY,
        }
    }

    /// Marks the reason as one that a process has: the last holder catches a panic of the value's
    /// destructor with the function that `panic_catcher` returns. This function calls
    /// `panic_catcher` only for a reason that has a value.
    #[inline]
    pub(crate) fn catch_with(&self, panic_catcher: impl FnOnce() -> Option<CatchPanic>) {
        if let Some(head) = self.head()
            && head.kind != ReasonTag::Crash
            && let Some(panic_catcher) = panic_catcher()
        {
            // Relaxed: the Release and Acquire of the count order this store before the last drop.
            head.panic_catcher.store(panic_catcher as *mut (), Ordering::Relaxed);
        }
    }

    #[inline]
    fn as_code(&self) -> Option<usize> {
        let address = self.0.addr().get();
        (address < CODES).then_some(address)
    }

    fn head(&self) -> Option<&ReasonHeader> {
        match self.as_code() {
            Some(_) => None,
            // SAFETY: the word is not a code, so it points to a live `ReasonHeader` on which this
            // reason holds a count.
            None => Some(unsafe { self.0.as_ref() }),
        }
    }

    fn carried(&self, head: &ReasonHeader) -> &dyn ReasonValue {
        // SAFETY: `head` was read from `self.0`, which points to a live header as long as this
        // reason holds its count.
        unsafe { (head.value)(&self.0) }
    }

    /// Returns what the reason means.
    pub fn kind(&self) -> ReasonKind<'_> {
        match (self.as_code(), self.head()) {
            (_, Some(head)) => {
                let value = self.carried(head);
                match head.kind {
                    ReasonTag::NormalWith => ReasonKind::Normal,
                    ReasonTag::ShutdownWith => ReasonKind::ShutdownWith(value),
                    ReasonTag::Value => ReasonKind::Value(value),
                    ReasonTag::Crash => ReasonKind::Crash(value.downcast_ref::<CrashText>().map_or("", |text| &text.0)),
                }
            }
            (Some(1 | 8), _) => ReasonKind::Normal,
            (Some(2), _) => ReasonKind::Shutdown,
            (Some(3), _) => ReasonKind::Kill,
            (Some(4), _) => ReasonKind::Killed,
            (Some(5), _) => ReasonKind::NoProc,
            (Some(6), _) => ReasonKind::NoConnection,
            _ => ReasonKind::Crash(LOST_TEXT),
        }
    }

    /// Returns `true` if the reason is `normal`, with a result or without.
    pub fn is_normal(&self) -> bool {
        match self.head() {
            Some(head) => head.kind == ReasonTag::NormalWith,
            None => matches!(self.as_code(), Some(1 | 8)),
        }
    }

    /// Returns the result of the process, if it ended normally with a `T`.
    pub fn result<T: Any>(&self) -> Option<&T> {
        let head = self.head().filter(|head| head.kind == ReasonTag::NormalWith)?;
        self.carried(head).downcast_ref::<ResultOf<T>>().map(|result| &result.0)
    }

    /// Returns `true` if the process ended normally with a result of any type.
    pub fn has_result(&self) -> bool {
        self.head().is_some_and(|head| head.kind == ReasonTag::NormalWith)
    }

    /// Returns `true` if the process returned a result that was lost because there was no memory
    /// for it.
    pub fn result_was_dropped(&self) -> bool {
        self.as_code() == Some(8)
    }

    /// Returns `true` for `normal`, `shutdown` and `{shutdown, _}`: a supervisor does not treat
    /// these as failures.
    pub fn is_orderly(&self) -> bool {
        matches!(self.kind(), ReasonKind::Normal | ReasonKind::Shutdown | ReasonKind::ShutdownWith(_))
    }

    /// Returns the reason that this reason carries as its value, if it carries one.
    fn inner(&self) -> Option<&Self> {
        let head = self.head().filter(|head| matches!(head.kind, ReasonTag::Value | ReasonTag::ShutdownWith))?;
        self.carried(head).downcast_ref::<Self>()
    }

    /// Releases the count of a reason. The last release frees the value, or returns it if it is
    /// itself a reason.
    fn release(self) -> Option<Self> {
        let this = ManuallyDrop::new(self);
        let head = this.head()?;
        // Release: pairs with the Acquire fence of the last holder, so that the value is freed
        // after every use of it.
        if head.count.fetch_sub(1, Ordering::Release) != 1 {
            return None;
        }
        acquire_by(|order| head.count.load(order));
        // Relaxed: the counts order these fields, like everything that the holders wrote.
        let (free, panic_catcher) = (head.free, head.panic_catcher.load(Ordering::Relaxed));
        let mut inner = None;
        // SAFETY: this was the last count, and `free` runs once.
        let mut free = || inner = unsafe { free(this.0) };
        if panic_catcher.is_null() {
            free();
            return inner;
        }
        // SAFETY: a non-null panic_catcher was stored by `catch_with`, from a `CatchPanic`.
        let contain = unsafe { core::mem::transmute::<*mut (), CatchPanic>(panic_catcher) };
        contain(&mut free);
        inner
    }

    /// Returns the word itself, for a slot to keep.
    pub(crate) fn into_raw(self) -> *mut () {
        let word = self.0.as_ptr().cast();
        core::mem::forget(self);
        word
    }

    /// # Safety
    /// `word` came from [`Reason::into_raw`] and is given back once.
    pub(crate) unsafe fn from_raw(word: *mut ()) -> Option<Self> {
        NonNull::new(word.cast()).map(Self)
    }

    /// Clones the reason that `word` still holds.
    ///
    /// # Safety
    /// `word` came from [`Reason::into_raw`], and its holder keeps it for the duration of the
    /// call.
    pub(crate) unsafe fn clone_raw(word: *mut ()) -> Option<Self> {
        // `ManuallyDrop` does not change the holder's count.
        NonNull::new(word.cast()).map(|word| (*ManuallyDrop::new(Self(word))).clone())
    }
}

impl Clone for Reason {
    fn clone(&self) -> Self {
        if let Some(head) = self.head() {
            // Relaxed: the thread that clones already holds a count.
            head.count.fetch_add(1, Ordering::Relaxed);
        }
        Self(self.0)
    }
}

impl Drop for Reason {
    #[inline]
    fn drop(&mut self) {
        if self.as_code().is_none() {
            self.drop_counted();
        }
    }
}

impl Reason {
    /// Kept out of line: most reasons are codes. A chain of reasons is released in a loop.
    #[inline(never)]
    fn drop_counted(&mut self) {
        // The code that is left has nothing to drop.
        let mut next = core::mem::replace(self, Self::NORMAL).release();
        while let Some(reason) = next {
            next = reason.release();
        }
    }
}

/// Returns the reason that a value is, or that it is the result of a process. Drops any other
/// value.
fn into_reason<T: Any>(value: T) -> Option<Reason> {
    let mut value = Some(value);
    let any: &mut dyn Any = &mut value;
    if let Some(reason) = any.downcast_mut::<Option<Reason>>() {
        return reason.take();
    }
    any.downcast_mut::<Option<ResultOf<Reason>>>()?.take().map(|result| result.0)
}

// SAFETY: a reason is a code, or a counted value that is Send and Sync (`ReasonValue`).
unsafe impl Send for Reason {}
// SAFETY: a reason is a code, or a counted value that is Sync. All shared access is through `&`.
unsafe impl Sync for Reason {}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self, other);
        loop {
            if a.0 == b.0 || (a.is_normal() && b.is_normal()) {
                return true;
            }
            let (Some(head_a), Some(head_b)) = (a.head(), b.head()) else { return false };
            if head_a.kind != head_b.kind {
                return false;
            }
            match (a.inner(), b.inner()) {
                (Some(inner_a), Some(inner_b)) => (a, b) = (inner_a, inner_b),
                _ => return a.carried(head_a).same(b.carried(head_b)),
            }
        }
    }
}

impl Eq for Reason {}
