//! A web's own records: the live and dead bodies and messages ([`Lives`]), the contents of a
//! message ([`Cargo`]), the cause of a death ([`Cause`]), and a body made of a closure ([`body`]).
//!
//! All records are kept outside the kernel, in locks of `std` (see [`crate::ground`]), and compared
//! with the kernel's answers.

use std::fmt;
use std::sync::{Arc, Mutex, TryLockError};

use atropos_kernel::{Body, BodyPoll, Cx, Reason, ReasonKind};
use shuttle::sync::atomic::{AtomicUsize, Ordering};

/// A value that the threads of a web share, invisible to shuttle.
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

    /// Borrows the value. `f` must not call the kernel, and must not check a [`Life`].
    ///
    /// # Panics
    /// Panics when `f` does so and another thread of the web runs in between. All threads are
    /// coroutines of one thread, so waiting here would never end.
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut value = match self.0.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => panic!("the notes are borrowed during a step of shuttle"),
        };
        f(&mut value)
    }
}

/// The bodies and messages of a web.
#[derive(Clone, Default, Debug)]
pub struct Lives(Shared<Vec<bool>>);

impl Lives {
    /// Starts a new life.
    pub fn begin(&self) -> Life {
        let number = self.0.with(|lives| {
            lives.push(true);
            lives.len() - 1
        });
        Life { lives: self.clone(), number, whole: AtomicUsize::new(WHOLE) }
    }

    /// Returns the number of lives that have not ended.
    pub fn count(&self) -> usize {
        self.0.with(|lives| lives.iter().filter(|alive| **alive).count())
    }

    /// Returns the number of lives that have ever begun.
    pub fn ever(&self) -> usize {
        self.0.with(|lives| lives.len())
    }

    /// Returns `true` if life `number` has not ended.
    pub fn lasts(&self, number: usize) -> bool {
        self.0.with(|lives| lives[number])
    }
}

const WHOLE: usize = 0xA11_A11;
const ENDED: usize = 0xDEAD;

/// A life that ends when it is dropped, once.
///
/// Its word is one of shuttle's atomics: other threads run between two checks of it, so a premature
/// free has time to happen.
#[derive(Debug)]
pub struct Life {
    lives: Lives,
    number: usize,
    whole: AtomicUsize,
}

impl Life {
    /// Returns the number of this life.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Checks twice that the life has not ended.
    pub fn check(&self) {
        for _look in 0..2 {
            assert_eq!(self.whole.load(Ordering::Relaxed), WHOLE, "used after its drop");
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

/// The cause of a death, which can be compared and kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cause {
    /// The reason `normal`.
    Normal,
    /// The reason `shutdown`.
    Shutdown,
    /// The reason `killed`.
    Killed,
    /// The reason `noproc`.
    NoProc,
    /// A crash of the process with this number.
    Crash(usize),
}

/// The value in a crash's reason.
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
    /// Returns the reason of a crash. It has a life of its own, which ends with its last clone.
    pub fn crash(who: usize, lives: &Lives) -> Reason {
        Reason::value(Blame(who, lives.begin()))
    }

    /// Returns the cause that a reason stands for.
    ///
    /// # Panics
    /// Panics when no web gives such a reason.
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
            other => panic!("no web gives the reason {other:?}"),
        }
    }
}

struct Closure<F, M> {
    step: F,
    life: Life,
    takes: std::marker::PhantomData<fn(M)>,
}

impl<M: Send + 'static, F: FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static> Body for Closure<F, M> {
    type Message = M;

    fn resume(&mut self, cx: &Cx<'_, M>) -> BodyPoll {
        self.life.check();
        let resumed = (self.step)(cx);
        self.life.check();
        resumed
    }
}

/// Returns a body that runs `step` each time it is resumed, with a life of its own.
pub fn body<M: Send + 'static>(
    life: Life,
    step: impl FnMut(&Cx<'_, M>) -> BodyPoll + Send + 'static,
) -> impl Body<Message = M> {
    Closure { step, life, takes: std::marker::PhantomData }
}

/// A message, or its contents.
#[derive(Debug)]
pub struct Cargo<T> {
    /// The contents.
    pub says: T,
    life: Life,
}

impl<T> Cargo<T> {
    /// Creates a message with a life.
    pub fn new(says: T, lives: &Lives) -> Self {
        Self { says, life: lives.begin() }
    }

    /// Checks that the message has not been dropped, and returns its contents.
    pub fn open(&self) -> &T {
        self.life.check();
        &self.says
    }
}
