//! What a web knows of itself: who has lived and died ([`Lives`]), what a message carries ([`Cargo`]), why somebody
//! died ([`Cause`]), and a body made of a closure ([`body`]).
//!
//! All of it is kept beside the kernel, in locks of `std` (see [`crate::ground`]), and compared with what the kernel
//! says.

use std::fmt;
use std::sync::{Arc, Mutex, TryLockError};

use atropos_kernel::{Body, Cx, Reason, Resumed, ReasonKind};
use shuttle::sync::atomic::{AtomicUsize, Ordering};

/// Something that the threads of a web share, outside of shuttle's sight.
#[derive(Default, Debug)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    /// Shares `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Borrows it. `f` calls nothing of the kernel's, and looks at no [`Life`].
    ///
    /// # Panics
    /// When it does, and another thread of the web comes in between: all are coroutines of one thread, so to wait here
    /// would be to wait for ever.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = match self.0.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => panic!("the notes are held over a step of shuttle's"),
        };
        f(&mut value)
    }
}

/// The bodies and messages that there are.
#[derive(Clone, Default, Debug)]
pub struct Lives(Shared<Vec<bool>>);

impl Lives {
    /// A new life.
    pub fn begin(&self) -> Life {
        let number = self.0.with(|lives| {
            lives.push(true);
            lives.len() - 1
        });
        Life { lives: self.clone(), number, whole: AtomicUsize::new(WHOLE) }
    }

    /// How many last.
    pub fn count(&self) -> usize {
        self.0.with(|lives| lives.iter().filter(|alive| **alive).count())
    }

    /// How many there have ever been.
    pub fn ever(&self) -> usize {
        self.0.with(|lives| lives.len())
    }

    /// Whether one lasts.
    pub fn lasts(&self, number: usize) -> bool {
        self.0.with(|lives| lives[number])
    }
}

const WHOLE: usize = 0xA11_A11;
const ENDED: usize = 0xDEAD;

/// Ends when it is dropped, once.
///
/// Its word is one of shuttle's atomics: between two looks at it others run, and what was freed too early has time to
/// be freed.
#[derive(Debug)]
pub struct Life {
    lives: Lives,
    number: usize,
    whole: AtomicUsize,
}

impl Life {
    /// Which.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Looks twice whether it is still there.
    pub fn check(&self) {
        for _look in 0..2 {
            assert_eq!(self.whole.load(Ordering::Relaxed), WHOLE, "used after its end");
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.whole.swap(ENDED, Ordering::Relaxed), WHOLE, "dropped twice");
        self.lives.0.with(|lives| lives[self.number] = false);
    }
}

/// Why somebody died, to be compared and kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// `normal`.
    Normal,
    /// `shutdown`.
    Shutdown,
    /// `killed`.
    Killed,
    /// `noproc`.
    NoProc,
    /// A crash of the process of this number.
    Crash(usize),
}

/// What a crash's reason carries.
struct Blame(usize, Life);

impl fmt::Debug for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the crash of {}", self.0)
    }
}

impl PartialEq for Blame {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Cause {
    /// The reason of a crash; it has a life of its own, which ends with its last clone.
    pub fn crash(who: usize, lives: &Lives) -> Reason {
        Reason::value(Blame(who, lives.begin()))
    }

    /// What a reason says.
    ///
    /// # Panics
    /// When no web gives such a reason.
    pub fn of(reason: &Reason) -> Self {
        match reason.kind() {
            ReasonKind::Normal => Self::Normal,
            ReasonKind::Shutdown => Self::Shutdown,
            ReasonKind::Killed => Self::Killed,
            ReasonKind::NoProc => Self::NoProc,
            ReasonKind::Value(value) => {
                let blame = value.downcast_ref::<Blame>().expect("only crashes carry values");
                blame.1.check();
                Self::Crash(blame.0)
            }
            other => panic!("nobody dies of {other:?}"),
        }
    }
}

struct Closure<F, M> {
    step: F,
    life: Life,
    takes: std::marker::PhantomData<fn(M)>,
}

impl<M: Send + 'static, F: FnMut(&Cx<'_, M>) -> Resumed + Send + 'static> Body for Closure<F, M> {
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> Resumed {
        self.life.check();
        let resumed = (self.step)(cx);
        self.life.check();
        resumed
    }
}

/// A body that is resumed by calling `step`, for as long as its life lasts.
pub fn body<M: Send + 'static>(
    life: Life,
    step: impl FnMut(&Cx<'_, M>) -> Resumed + Send + 'static,
) -> impl Body<Message = M> {
    Closure { step, life, takes: std::marker::PhantomData }
}

/// A message, or what is in one.
#[derive(Debug)]
pub struct Cargo<T> {
    /// What it says.
    pub says: T,
    life: Life,
}

impl<T> Cargo<T> {
    /// A message with a life.
    pub fn new(says: T, lives: &Lives) -> Self {
        Self { says, life: lives.begin() }
    }

    /// Looks whether it is whole, and what it says.
    pub fn open(&self) -> &T {
        self.life.check();
        &self.says
    }
}
