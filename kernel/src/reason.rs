//! Why a process ended: [`Reason`], one word.
//!
//! The reasons that OTP gives a meaning are small codes in that word; all others are
//! a pointer to a counted value. Cloning one therefore never allocates, which is what
//! lets a dying process give its reason to a million others: the exit path allocates
//! nothing. A slot keeps the reason of its last process in the same word (`table`).
//!
//! A process may end normally *with a result* ([`Reason::normal_with`]): that is `normal` to everybody whom reasons
//! mean something, and equal to it and to every other normal end; the value only travels with it, to any number of
//! watchers, and stays where the reason stays. So no signal, supervisor or comparison depends on what somebody
//! returns, and what is returned need not be shown or compared.
//!
//! A reason may carry another, and that one a third. What the kernel does with all of them (drop, compare, show) goes from one to
//! the next in a loop, so that a long chain needs no more stack than a short one; what is shown of it is cut at [`SHOWN`]. A type of the embedder's that
//! holds a reason among other things is dropped by its own destructor, as a list of boxes is: one in the other.
//!
//! The count follows the usual rule: a clone needs no ordering (who clones, holds),
//! a drop releases, the last drop acquires.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::any::{Any, TypeId};
use core::fmt;
use core::mem::{ManuallyDrop, offset_of};
use core::ptr::{self, NonNull};

use crate::memory;
use crate::sync::{AtomicPtr, AtomicUsize, Ordering, acquire_by};
use crate::world::{CatchPanic, Platform};

/// A value that a [`Reason`] can carry: anything that can be shown, compared and sent. The last holder of the reason drops it, which
/// may be the kernel in the middle of something. Once a process has died of the reason, or has been sent it, a
/// panic of the value's destructor is contained, where the world can catch one ([`Platform::panic_catcher`]).
pub trait ReasonValue: Any + fmt::Debug + Send + Sync {
    /// Whether `other` is the same value, of the same type.
    fn same(&self, other: &dyn ReasonValue) -> bool;
}

impl<T: Any + fmt::Debug + Send + Sync + PartialEq> ReasonValue for T {
    fn same(&self, other: &dyn ReasonValue) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| other == self)
    }
}

impl dyn ReasonValue {
    /// The value, if it is a `T`.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref::<T>()
    }
}

/// Why a process ended, or why an exit signal asks it to.
///
/// ```
/// use atropos_kernel::{Reason, ReasonKind};
/// assert_eq!(Reason::value("boom"), Reason::value("boom"));
/// assert!(matches!(Reason::crash("index out of range").kind(), ReasonKind::Crash(text) if text.starts_with("index")));
/// assert!(Reason::shutdown_with(3).is_orderly());
/// ```
pub struct Reason(NonNull<ReasonHeader>);

/// What a [`Reason`] says.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum ReasonKind<'a> {
    /// The process has done its work.
    Normal,
    /// It was asked to stop, by a supervisor for one.
    Shutdown,
    /// Likewise, with a value.
    ShutdownWith(&'a dyn ReasonValue),
    /// As a signal: die, trapping or not. As a reason: it raised `kill` itself.
    Kill,
    /// It was killed.
    Killed,
    /// There was no such process.
    NoProc,
    /// The node or link to it is gone.
    NoConnection,
    /// It crashed: the text of the panic.
    Crash(&'a str),
    /// A reason of the embedder's own.
    Value(&'a dyn ReasonValue),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReasonTag {
    NormalWith,
    ShutdownWith,
    Crash,
    Value,
}

/// Starts every counted value.
#[repr(C)]
struct ReasonHeader {
    count: AtomicUsize,
    kind: ReasonTag,
    value: unsafe fn(NonNull<ReasonHeader>) -> NonNull<dyn ReasonValue>,
    /// Frees the whole; if its value is a reason, that is given back, to be dropped next.
    free: unsafe fn(NonNull<ReasonHeader>) -> Option<Reason>,
    /// The [`CatchPanic`] of the first world that the reason came into; null before.
    panic_catcher: AtomicPtr<()>,
}

#[repr(C)]
struct RefCountedReason<T> {
    head: ReasonHeader,
    value: T,
}

/// A crash's text, and what the panic was thrown with, where the world has kept that.
struct CrashText(Cow<'static, str>, Option<Box<dyn Any + Send + Sync>>);

impl fmt::Debug for CrashText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl PartialEq for CrashText {
    /// By the text: what else a crash carries need not be compared.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// A result, as a value that need not be shown or compared.
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

// Codes lie below every address at which an allocator puts a `ReasonHeader`.
const CODES: usize = 9;
/// So many reasons that carry one another are shown with their braces.
const SHOWN: usize = 64;
const LOST_TEXT: &str = "out of memory: the reason's own value was lost";

impl Reason {
    /// See [`ReasonKind::Normal`].
    pub const NORMAL: Self = Self::code(1);
    /// See [`ReasonKind::Shutdown`].
    pub const SHUTDOWN: Self = Self::code(2);
    /// See [`ReasonKind::Kill`].
    pub const KILL: Self = Self::code(3);
    /// See [`ReasonKind::Killed`].
    pub const KILLED: Self = Self::code(4);
    /// See [`ReasonKind::NoProc`].
    pub const NOPROC: Self = Self::code(5);
    /// See [`ReasonKind::NoConnection`].
    pub const NOCONNECTION: Self = Self::code(6);
    /// A crash whose value could not be kept, for want of memory.
    pub const OUT_OF_MEMORY: Self = Self::code(7);
    /// A normal end whose result could not be kept, for want of memory: see [`Reason::result_was_dropped`].
    pub const RESULT_OUT_OF_MEMORY: Self = Self::code(8);

    const fn code(code: usize) -> Self {
        assert!(code != 0 && code < CODES);
        match NonNull::new(ptr::without_provenance_mut(code)) {
            Some(code) => Self(code),
            None => unreachable!(),
        }
    }

    /// `normal`, in every respect, from a process that has a result: see [`Reason::result`]. The last to hold the reason
    /// drops the value. [`Reason::RESULT_OUT_OF_MEMORY`] when there is no memory.
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

    /// A crash, with its text. [`Reason::OUT_OF_MEMORY`] when there is no memory.
    pub fn crash(text: impl Into<Cow<'static, str>>) -> Self {
        Self::counted(ReasonTag::Crash, CrashText(text.into(), None))
    }

    /// As [`Reason::crash`], with what the panic was thrown with, for [`Reason::payload`]. Two crashes of one text are equal, whatever
    /// they carry. The last to hold the reason drops the payload, whose destructor must not panic.
    pub fn crash_carrying(text: impl Into<Cow<'static, str>>, payload: Box<dyn Any + Send + Sync>) -> Self {
        Self::counted(ReasonTag::Crash, CrashText(text.into(), Some(payload)))
    }

    /// What the panic was thrown with that a crash is of, where the world has kept it (`std`'s keeps what is no text).
    pub fn payload(&self) -> Option<&(dyn Any + Send + Sync)> {
        let head = self.head().filter(|head| head.kind == ReasonTag::Crash)?;
        self.carried(head).downcast_ref::<CrashText>()?.1.as_deref()
    }

    /// A crash with the text of what can be shown. [`Reason::OUT_OF_MEMORY`] when there is no memory.
    pub fn crash_with(error: &dyn fmt::Display) -> Self {
        memory::try_text(format_args!("{error}")).map_or(Self::OUT_OF_MEMORY, Self::crash)
    }

    /// `{shutdown, value}`: an orderly end. [`Reason::OUT_OF_MEMORY`] when there is no memory.
    pub fn shutdown_with<T: ReasonValue>(value: T) -> Self {
        Self::counted(ReasonTag::ShutdownWith, value)
    }

    /// A reason of the embedder's own. [`Reason::OUT_OF_MEMORY`] when there is no memory.
    pub fn value<T: ReasonValue>(value: T) -> Self {
        Self::counted(ReasonTag::Value, value)
    }

    fn counted<T: ReasonValue>(kind: ReasonTag, value: T) -> Self {
        unsafe fn value_of<T: ReasonValue>(head: NonNull<ReasonHeader>) -> NonNull<dyn ReasonValue> {
            let whole = head.cast::<RefCountedReason<T>>();
            // SAFETY: the caller's head starts a live `RefCountedReason<T>`, and the value lies in it.
            let value = unsafe { whole.byte_add(offset_of!(RefCountedReason<T>, value)) };
            value.cast::<T>()
        }
        unsafe fn free<T: Any>(head: NonNull<ReasonHeader>) -> Option<Reason> {
            let whole = head.cast::<RefCountedReason<T>>();
            // SAFETY: the last count is gone, and the value lies in what `try_new::<RefCountedReason<T>>` made.
            let value = unsafe { whole.byte_add(offset_of!(RefCountedReason<T>, value)) };
            let inner = if TypeId::of::<T>() == TypeId::of::<Reason>() {
                // SAFETY: `T` is `Reason`; it is read once, because the memory is freed without dropping it.
                Some(unsafe { value.cast::<Reason>().read() })
            } else if TypeId::of::<T>() == TypeId::of::<ResultOf<Reason>>() {
                // SAFETY: `T` is `ResultOf<Reason>`; it is read once, as above.
                Some(unsafe { value.cast::<ResultOf<Reason>>().read() }.0)
            } else {
                None
            };
            match inner {
                // SAFETY: made by `try_new` for this type; its value has been moved out.
                Some(_) => unsafe { memory::free(whole) },
                // SAFETY: the last count is gone, so the value is whole and out of everybody's reach.
                None => unsafe { memory::drop_and_free(whole) },
            }
            inner
        }
        let panic_catcher = AtomicPtr::new(ptr::null_mut());
        let head = ReasonHeader { count: AtomicUsize::new(1), kind, value: value_of::<T>, free: free::<T>, panic_catcher };
        match memory::try_new(RefCountedReason { head, value }) {
            Ok(whole) => Self(whole.cast()),
            Err(_) => Self::OUT_OF_MEMORY,
        }
    }

    /// The reason is a process's from now on: whoever drops its value drops it contained.
    #[inline]
    pub(crate) fn come_into(&self, world: &dyn Platform) {
        if let Some(head) = self.head()
            && head.kind != ReasonTag::Crash
            && let Some(panic_catcher) = world.panic_catcher()
        {
            // Relaxed: the count's Release and Acquire order it before the last drop.
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
            // SAFETY: not a code, so a live `ReasonHeader` that this reason counts.
            None => Some(unsafe { self.0.as_ref() }),
        }
    }

    fn carried(&self, head: &ReasonHeader) -> &dyn ReasonValue {
        // SAFETY: `self.0` is the live head that `head` is.
        let value = unsafe { (head.value)(self.0) };
        // SAFETY: the value lives as long as this reason counts it.
        unsafe { value.as_ref() }
    }

    /// What it says.
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

    /// `normal`, with a result or without.
    pub fn is_normal(&self) -> bool {
        match self.head() {
            Some(head) => head.kind == ReasonTag::NormalWith,
            None => matches!(self.as_code(), Some(1 | 8)),
        }
    }

    /// What the process returned, if it ended normally with a `T`.
    pub fn result<T: Any>(&self) -> Option<&T> {
        let head = self.head().filter(|head| head.kind == ReasonTag::NormalWith)?;
        self.carried(head).downcast_ref::<ResultOf<T>>().map(|result| &result.0)
    }

    /// Whether the process ended normally with a result, of whatever type.
    pub fn has_result(&self) -> bool {
        self.head().is_some_and(|head| head.kind == ReasonTag::NormalWith)
    }

    /// Whether the process returned a result that there was no memory to keep.
    pub fn result_was_dropped(&self) -> bool {
        self.as_code() == Some(8)
    }

    /// `normal`, `shutdown` or `{shutdown, _}`: nothing that a supervisor calls a failure.
    pub fn is_orderly(&self) -> bool {
        matches!(self.kind(), ReasonKind::Normal | ReasonKind::Shutdown | ReasonKind::ShutdownWith(_))
    }

    /// The reason that this one carries as its value, if it does.
    fn inner(&self) -> Option<&Self> {
        let head = self.head().filter(|head| matches!(head.kind, ReasonTag::Value | ReasonTag::ShutdownWith))?;
        self.carried(head).downcast_ref::<Self>()
    }

    /// Gives up the count of this reason. The last one frees the value, or has it given back if it is a reason.
    ///
    /// # Safety
    /// The reason is not used, nor dropped, any more.
    unsafe fn release(&self) -> Option<Self> {
        let head = self.head()?;
        // Release pairs with the fence of the last holder: its free comes after every use.
        if head.count.fetch_sub(1, Ordering::Release) != 1 {
            return None;
        }
        acquire_by(|order| head.count.load(order));
        // Relaxed: ordered by the counts, as everything that the holders wrote.
        let (free, panic_catcher) = (head.free, head.panic_catcher.load(Ordering::Relaxed));
        let mut inner = None;
        // SAFETY: this was the last count, and the code runs once.
        let mut free = || inner = unsafe { free(self.0) };
        if panic_catcher.is_null() {
            free();
            return inner;
        }
        // SAFETY: what is not null was a `CatchPanic` (`come_into`).
        let contain = unsafe { core::mem::transmute::<*mut (), CatchPanic>(panic_catcher) };
        contain(&mut free);
        inner
    }

    /// The word itself, for a slot to keep.
    pub(crate) fn into_word(self) -> *mut () {
        let word = self.0.as_ptr().cast();
        core::mem::forget(self);
        word
    }

    /// # Safety
    /// `word` came from [`Reason::into_word`] and is given back once.
    pub(crate) unsafe fn from_word(word: *mut ()) -> Option<Self> {
        NonNull::new(word.cast()).map(Self)
    }

    /// A clone of the reason that `word` still holds.
    ///
    /// # Safety
    /// `word` came from [`Reason::into_word`] and whoever holds it keeps it meanwhile.
    pub(crate) unsafe fn clone_word(word: *mut ()) -> Option<Self> {
        // SAFETY: by contract; `ManuallyDrop` leaves the holder's count alone.
        let held = core::mem::ManuallyDrop::new(unsafe { Self::from_word(word) });
        (*held).clone()
    }
}

impl Clone for Reason {
    fn clone(&self) -> Self {
        if let Some(head) = self.head() {
            // Relaxed: whoever clones holds a count already.
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
    /// Out of the way of the codes, which are most.
    #[inline(never)]
    fn drop_counted(&mut self) {
        // SAFETY: it is being dropped.
        let mut next = unsafe { self.release() };
        while let Some(reason) = next {
            let reason = ManuallyDrop::new(reason);
            // SAFETY: it was given back to be dropped, which this is.
            next = unsafe { reason.release() };
        }
    }
}

// SAFETY: a code, or a counted value that is Send and Sync (`ReasonValue`).
unsafe impl Send for Reason {}
// SAFETY: as above; all shared access is by `&`.
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut reason, mut open) = (self, 0);
        while let Some(inner) = reason.inner() {
            // A value is shown as it is, so a reason in a reason is that reason.
            if matches!(reason.kind(), ReasonKind::ShutdownWith(_)) {
                if open == SHOWN {
                    break;
                }
                f.write_str("{shutdown, ")?;
                open += 1;
            }
            reason = inner;
        }
        match reason.kind() {
            _ if reason.inner().is_some() => f.write_str("..."),
            ReasonKind::Normal => f.write_str("normal"),
            ReasonKind::Shutdown => f.write_str("shutdown"),
            ReasonKind::ShutdownWith(value) => write!(f, "{{shutdown, {value:?}}}"),
            ReasonKind::Kill => f.write_str("kill"),
            ReasonKind::Killed => f.write_str("killed"),
            ReasonKind::NoProc => f.write_str("noproc"),
            ReasonKind::NoConnection => f.write_str("noconnection"),
            ReasonKind::Crash(text) => write!(f, "crash: {text}"),
            ReasonKind::Value(value) => write!(f, "{value:?}"),
        }?;
        (0..open).try_for_each(|_| f.write_str("}"))
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Reason {}

impl fmt::Debug for ReasonKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReasonKind::ShutdownWith(value) => write!(f, "ShutdownWith({value:?})"),
            ReasonKind::Crash(text) => write!(f, "Crash({text:?})"),
            ReasonKind::Value(value) => write!(f, "Value({value:?})"),
            ReasonKind::Normal => f.write_str("Normal"),
            ReasonKind::Shutdown => f.write_str("Shutdown"),
            ReasonKind::Kill => f.write_str("Kill"),
            ReasonKind::Killed => f.write_str("Killed"),
            ReasonKind::NoProc => f.write_str("NoProc"),
            ReasonKind::NoConnection => f.write_str("NoConnection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::sync::Arc;

    #[test]
    fn equal_by_kind_and_value() {
        assert_eq!(Reason::NORMAL, Reason::NORMAL);
        assert_ne!(Reason::KILL, Reason::KILLED);
        assert_eq!(Reason::value(String::from("x")), Reason::value(String::from("x")));
        assert_ne!(Reason::value("x"), Reason::value(String::from("x")));
        assert_ne!(Reason::value("x"), Reason::shutdown_with("x"));
        assert_eq!(Reason::crash("x"), Reason::crash(String::from("x")));
    }

    #[test]
    fn a_normal_end_with_a_result_is_normal() {
        struct Opaque(u8);
        let with = Reason::normal_with(Opaque(7));
        for normal in [&with, &Reason::NORMAL, &Reason::RESULT_OUT_OF_MEMORY] {
            assert!(normal.is_normal() && normal.is_orderly() && matches!(normal.kind(), ReasonKind::Normal));
            assert_eq!(alloc::format!("{normal} {normal:?}"), "normal normal");
            assert_eq!((normal, &with), (&with, &Reason::NORMAL));
            assert_ne!(*normal, Reason::SHUTDOWN);
        }
        assert_ne!(with, Reason::value(7_u8));
        assert_eq!(with.clone().result::<Opaque>().map(|opaque| opaque.0), Some(7));
        assert!(with.has_result() && with.result::<u8>().is_none());
        assert!(!Reason::NORMAL.has_result() && !Reason::value(7_u8).has_result());
        assert_eq!(Reason::value(7_u8).result::<u8>(), None, "a reason's value is no result");
        assert!(Reason::RESULT_OUT_OF_MEMORY.result_was_dropped() && !with.result_was_dropped());
    }

    /// Issue 14, 17: a chain of reasons needs no stack for its length. (Each level was a call of its own: an overflow.)
    #[test]
    fn n17_reasons_in_reasons_are_dropped_compared_and_shown_without_recursion() {
        const DEEP: usize = if cfg!(miri) { 1_000 } else { 1_000_000 };
        let value = Arc::new(7);
        let chain = |wrap: fn(Reason) -> Reason| (0..DEEP).fold(Reason::value(value.clone()), |inner, _| wrap(inner));
        for wrap in [Reason::value::<Reason>, Reason::shutdown_with::<Reason>, Reason::normal_with::<Reason>] {
            let (one, other) = (chain(wrap), chain(wrap));
            assert!(one == other && one != Reason::KILL);
            let shown = alloc::format!("{one} {one:?} {:?}", one.kind());
            assert!(shown.len() < 4_000, "{} bytes", shown.len());
            drop((one.clone(), one, other));
            assert_eq!(Arc::strong_count(&value), 1, "all of it is dropped");
        }
        let two = Reason::shutdown_with(Reason::value(Reason::shutdown_with(3)));
        assert_eq!(alloc::format!("{two}"), "{shutdown, {shutdown, 3}}");
        assert_eq!(alloc::format!("{}", Reason::value(Reason::KILLED)), "killed");
        assert_ne!(Reason::value(Reason::KILLED), Reason::value(Reason::KILL));
    }

    #[test]
    fn the_last_clone_drops_the_value() {
        let value = Arc::new(7);
        let reason = Reason::value(value.clone());
        let word = reason.clone().into_word();
        drop(reason);
        assert_eq!(Arc::strong_count(&value), 2);
        // SAFETY: `word` holds a count until it is taken back below.
        let copy = unsafe { Reason::clone_word(word) }.expect("set");
        // SAFETY: given back once.
        drop(unsafe { Reason::from_word(word) });
        assert!(matches!(copy.kind(), ReasonKind::Value(v) if v.downcast_ref::<Arc<i32>>() == Some(&value)));
        drop(copy);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
